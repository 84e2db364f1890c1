"""The front page of the docs, and what is removed from them."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from arrears.gate.data_docs import DATES_KEPT, DocsSite
from arrears.gate.verdict import Result, Stage, Verdict


class AContext:
    """Stands for a Great Expectations context that writes one page of a run into the folder it is given."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._folder = Path()

    def list_data_docs_sites(self) -> dict[str, Any]:
        return {}

    def add_data_docs_site(self, name: str, config: dict[str, Any]) -> None:
        del name
        self._folder = Path(config["store_backend"]["base_directory"])

    def build_data_docs(self, site_names: list[str]) -> None:
        del site_names
        page = (
            self._folder / "validations" / "raw" / "loans" / self._run / "20260331T000000Z" / "warehouse-raw.loans.html"
        )
        page.parent.mkdir(parents=True)
        page.write_text("a page")
        (self._folder / "index.html").write_text(f"index of {self._run}")


def a_result(**changes: Any) -> Result:
    given: dict[str, Any] = {
        "suite": "raw.loans",
        "expectation": "expect_no_rows",
        "rule": "key-unique",
        "scope": "row",
        "severity": "critical",
        "is_passed": True,
        "checked_count": 20,
        "failed_count": 0,
        "sentence": "loan_id is the key of one row.",
    }
    return Result(**given | changes)


def build(site: DocsSite, stage: Stage, day: date, *results: Result) -> None:
    site.build(AContext(f"{day}-{stage}"), stage, day)
    site.tell(Verdict(stage, day, results or (a_result(),)))


def test_the_front_page_lists_stages_in_the_order_of_the_day(tmp_path: Path) -> None:
    site, day = DocsSite(tmp_path / "docs"), date(2026, 3, 31)
    build(site, "queues", day)
    build(site, "raw", day)

    front = site.index.read_text()
    assert front.index('"2026-03-31-raw.html"') < front.index('"2026-03-31-queues.html"')


def test_a_gate_s_page_links_its_suites_and_says_what_failed(tmp_path: Path) -> None:
    site, day = DocsSite(tmp_path / "docs"), date(2026, 3, 31)
    build(site, "raw", day, a_result(is_passed=False, failed_count=2, failing_keys=({"loan_id": "<L5>"},)))

    page = (site.folder / "2026-03-31-raw.html").read_text()
    link = "validations/raw/loans/2026-03-31-raw/20260331T000000Z/warehouse-raw.loans.html"
    assert f'<a href="{link}">raw.loans</a></td><td>1</td><td class="bad">1</td>' in page
    assert (site.folder / link).read_text() == "a page"
    assert "raw.loans key-unique (expect_no_rows) failed for 2 of 20 rows, first loan_id=&lt;L5&gt;" in page


def test_a_run_made_again_has_one_page_and_nothing_is_left_beside(tmp_path: Path) -> None:
    site, day = DocsSite(tmp_path / "docs"), date(2026, 3, 31)
    build(site, "raw", day)
    build(site, "raw", day)

    assert len(list(site.folder.rglob("warehouse-raw.loans.html"))) == 1
    assert sorted(path.name for path in site.folder.iterdir()) == ["2026-03-31-raw.html", "index.html", "validations"]


def test_pages_of_dates_long_past_are_removed(tmp_path: Path) -> None:
    site, first = DocsSite(tmp_path / "docs"), date(2026, 1, 1)
    for number in range(DATES_KEPT + 2):
        build(site, "raw", first + timedelta(days=number))

    assert len(list(site.folder.rglob("warehouse-raw.loans.html"))) == DATES_KEPT
    assert not (site.folder / "2026-01-02-raw.html").exists()
    assert "2026-01-02" not in site.index.read_text()
    assert (site.folder / "2026-01-03-raw.html").exists()
