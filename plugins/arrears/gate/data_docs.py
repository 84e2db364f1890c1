"""Great Expectations' Data Docs: one static site for all dates, kept small, with indexes of ours in front.

Great Expectations builds a site of the run at hand and removes all others from it. So each run is built aside and its
pages are moved in, at the same depth, because they refer to each other and to the pictures by relative paths. Its own
index is an empty page without scripts from the web, so `index.html` lists the dates and `DATE-STAGE.html` the suites of
a gate with what failed. Pages of dates long past are removed: what they said stands in ops.gate_results.
"""

import re
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from arrears.gate.verdict import Stage, Verdict

SITE = "data_docs"
DATASOURCE = "warehouse"
DATES_KEPT = 60
STAGES = ("raw", "marts", "queues")
_PAGE = re.compile(r"(?P<date>\d{4}-\d{2}-\d{2})-(?P<stage>raw|marts|queues)\.html")
# Pictures for a tour of Great Expectations that no page here shows: 3 MB.
_TOUR = ("iterative-dev-loop.png", "glossary_scroller.gif", "validation_failed_unexpected_values.gif")


class DocsSite:
    """The site under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def index(self) -> Path:
        """The page to open first."""
        return self.folder / "index.html"

    def build(self, context: Any, stage: Stage, as_of_date: date, without: Collection[str] = ()) -> None:
        """Writes Great Expectations' pages of the run at hand.

        Args:
            context: the one that holds the run.
            stage: the gate.
            as_of_date: the date of the run.
            without: suites in which something raised: their pages would show the error whole, with the rows it quotes.
        """
        left_out = {f"{DATASOURCE}-{suite}.html" for suite in without}
        self.folder.mkdir(parents=True, exist_ok=True)
        _forget_sites(context)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".building-") as name:
            aside = Path(name)
            context.add_data_docs_site(SITE, _config(aside))
            context.build_data_docs(site_names=[SITE])
            self._remove_run(f"{as_of_date}-{stage}")
            for file in sorted(path for path in aside.rglob("*") if path.is_file()):
                place = file.relative_to(aside)
                if place.name not in left_out and place.name not in _TOUR and place != Path("index.html"):
                    target = self.folder / place
                    target.parent.mkdir(parents=True, exist_ok=True)
                    file.replace(target)

    def tell(self, verdict: Verdict) -> None:
        """Writes the page of a gate, and the index of all dates; removes what is too old."""
        self.folder.mkdir(parents=True, exist_ok=True)
        run = f"{verdict.as_of_date}-{verdict.stage}"
        pages = {
            page.stem.removeprefix(f"{DATASOURCE}-"): page.relative_to(self.folder).as_posix()
            for page in sorted(self.folder.glob(f"validations/**/{run}/*/*.html"))
        }
        (self.folder / f"{run}.html").write_text(_gate_page(verdict, pages), encoding="utf-8")
        dates = self._dates()
        for day in sorted(dates, reverse=True)[DATES_KEPT:]:
            for old in dates.pop(day):
                self._remove_run(f"{day}-{old}")
                (self.folder / f"{day}-{old}.html").unlink(missing_ok=True)
        self.index.write_text(_front_page(dates), encoding="utf-8")

    def _remove_run(self, run: str) -> None:
        for folder in (self.folder / "validations").glob(f"*/**/{run}"):
            shutil.rmtree(folder)

    def _dates(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self.folder.glob("*.html")):
            match = _PAGE.fullmatch(file.name)
            if match:
                found.setdefault(match["date"], []).append(match["stage"])
        return found


def _config(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
    }


def _forget_sites(context: Any) -> None:
    """An ephemeral context brings a site of its own, in a temporary folder that nobody removes."""
    for name, config in dict(context.list_data_docs_sites()).items():
        context.delete_data_docs_site(name)
        folder = config.get("store_backend", {}).get("base_directory")
        if folder and Path(folder).resolve().parent == Path(tempfile.gettempdir()).resolve():
            shutil.rmtree(folder, ignore_errors=True)


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        "<style>body{font:16px/1.5 sans-serif;margin:3em auto;max-width:60em}th,td{padding:.2em 1em .2em 0;"
        "text-align:left;vertical-align:top}td a{margin-right:1em}.bad{color:#a00}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def _front_page(dates: Mapping[str, Sequence[str]]) -> str:
    lines = []
    for day in sorted(dates, reverse=True):
        links = " ".join(f'<a href="{day}-{stage}.html">{stage}</a>' for stage in STAGES if stage in dates[day])
        lines.append(f"<tr><th>{day}</th><td>{links}</td></tr>")
    told = "<p>What each gate checked on each business date. A gate run again replaces its page.</p>\n<table>\n"
    return _page("Quality gates", told + "\n".join(lines) + "\n</table>")


def _gate_page(verdict: Verdict, pages: Mapping[str, str]) -> str:
    """Suites with links to their pages, then what failed, in words."""
    lines = []
    for suite in sorted({result.suite for result in verdict.results} | pages.keys()):
        of_suite = [result for result in verdict.results if result.suite == suite]
        failed = sum(not result.is_passed for result in of_suite)
        name = f'<a href="{escape(quote(pages[suite]))}">{escape(suite)}</a>' if suite in pages else escape(suite)
        mark = f'<td class="bad">{failed}</td>' if failed else "<td>0</td>"
        lines.append(f"<tr><td>{name}</td><td>{len(of_suite)}</td>{mark}</tr>")
    failures = "".join(
        f"<li>{'<b>blocks:</b> ' if result.is_blocking else ''}{escape(result.told)}. {escape(result.sentence)}</li>\n"
        for result in verdict.failures
    )
    state = "blocked the day" if verdict.is_blocked else "let the day pass"
    body = (
        f'<p><a href="index.html">All dates</a></p>\n<p>The gate {state}; {verdict.held_count} rows are held.</p>\n'
        "<table>\n<tr><th>suite</th><th>expectations</th><th>failed</th></tr>\n" + "\n".join(lines) + "\n</table>\n"
    )
    return _page(
        f"{verdict.stage} gate, {verdict.as_of_date}",
        body + (f"<h2>Failed</h2>\n<ul>\n{failures}</ul>" if failures else ""),
    )
