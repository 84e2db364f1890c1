"""A run for a date gives the same bytes whenever it is made: a simulated month, and what came after it."""

import csv
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path

import pytest

from arrears import steps
from arrears.errors import AlreadyExported
from arrears.ledger.verification import verify
from arrears.settings import get_settings
from arrears.simulation.portfolio.simulate import Portfolio, simulate
from arrears.transform import dbt
from tests.conftest import Workplace, forget_settings
from tests.day import bytes_below, run_day

# Mondays and the month's end; what is booked between them comes with the next drop.
DAYS = [date(2026, 3, day) for day in (2, 9, 16, 23, 30, 31)]
MONTH = Portfolio(loans=120, months=18, seed=11, anchor=DAYS[0])
AGAIN = [DAYS[0], DAYS[2], DAYS[4]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The month's drops; from the fourth on, with a payment that bounced and one of weeks ago in its place."""
    folder = simulate(MONTH, tmp_path_factory.mktemp("month") / "drops", days=DAYS).folder
    with (folder / str(DAYS[0]) / "transactions.csv").open(newline="", encoding="utf-8") as file:
        paid = [row for row in csv.DictReader(file) if row["kind"] == "repayment"][-1]
    bounced = paid | {
        "transaction_id": "T-BOUNCED",
        "kind": "reversal",
        "booked_at": "2026-03-18T09:00:00+00:00",
        "reverses_transaction_id": paid["transaction_id"],
    }
    backdated = paid | {
        "transaction_id": "T-BACKDATED",
        "effective_on": "2026-03-05",
        "booked_at": "2026-03-20T09:00:00+00:00",
    }
    for day in DAYS[3:]:
        with (folder / str(day) / "transactions.csv").open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, list(paid), lineterminator="\n").writerows([bounced, backdated])
    return folder


@pytest.fixture
def month(
    workplaces: Callable[[str], AbstractContextManager[Workplace]],
    session_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drops: Path,
) -> Iterator[Workplace]:
    """The month, run day by day, in a home of its own: rules may be changed in it."""
    monkeypatch.setattr(steps, "owner_kind", "process")
    with workplaces("month") as workplace:
        shutil.copytree(session_home / "dbt", tmp_path / "home" / "dbt")
        monkeypatch.setenv("ARREARS_HOME", str(tmp_path / "home"))
        forget_settings()
        for day in DAYS:
            run_day(drops, day)
        yield workplace


def everything(workplace: Workplace) -> dict[str, object]:
    """Exports, marts, what is known of exports and what the ledger holds."""
    tables = workplace.rows(
        "select table_schema || '.' || table_name from information_schema.tables"
        " where table_schema in ('marts', 'marts_personal', 'versions', 'raw', 'quarantine') order by 1"
    )
    return {
        "exports": bytes_below(workplace.exports),
        "ops.exports": workplace.rows(
            "select as_of_date, revision, state, manifest_sha256 from ops.exports order by 1, 2"
        ),
        "ledger": workplace.rows("select position, leaf_hash from ledger.entries order by 1"),
        **{str(name): sorted(workplace.rows(f"select * from {name}"), key=repr) for (name,) in tables},
    }


def with_other_contact_hours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has dbt build a copy of the project in which nobody is contacted before nine, wherever no rule is on file."""
    project = shutil.copytree(dbt.PROJECT, folder / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    seed = project / "seeds" / "queues" / "contact_windows.csv"
    text = seed.read_text(encoding="utf-8")
    assert "default,08:00,20:00" in text
    seed.write_text(text.replace("default,08:00,20:00", "default,09:00,20:00"), encoding="utf-8")
    monkeypatch.setattr(dbt, "PROJECT", project)
    monkeypatch.setattr(dbt, "_kept_manifest", None)
    dbt.project_sha256.cache_clear()


@pytest.fixture
def _forget_the_other_project(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The next test has the project as it is."""
    yield
    monkeypatch.undo()
    dbt.project_sha256.cache_clear()


@pytest.mark.usefixtures("_forget_the_other_project")
def test_past_dates_of_a_month_give_the_same_bytes_until_a_rule_changes_and_then_say_so(
    month: Workplace, drops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The month has what makes a past date hard: exported days that would read otherwise by what came later.
    assert month.value("select count(*) from marts.delinquency_corrections where cause = 'booking'")
    assert month.value("select count(*) from versions.transactions where transaction_id like 'T-B%%'") == 2
    before = everything(month)

    for day in AGAIN:
        done = run_day(drops, day)

        assert done["publish"]["is_unchanged"], day
        assert everything(month) == before, day

    with_other_contact_hours(tmp_path, monkeypatch)
    day = DAYS[2]
    with pytest.raises(
        AlreadyExported, match=r"2026-03-16 is already exported with other bytes: .*queue\.csv"
    ) as error:
        run_day(drops, day)

    assert error.value.exit_code == 6
    named = str(error.value).split("other bytes: ")[1].split(" would differ")[0].split(", ")
    assert everything(month) == before

    run_day(drops, day, replace="nobody may be called before nine")

    after = bytes_below(month.exports)
    old = {name: content for name, content in before["exports"].items() if name.startswith(f"{day}/")}  # type: ignore[attr-defined]
    kept = bytes_below(month.exports / ".revisions" / day.isoformat() / "1")
    assert {f"{day}/{name}": content for name, content in kept.items()} == old
    assert sorted(named) == sorted(name.removeprefix(f"{day}/") for name in old if after[name] != old[name])
    assert {name: content for name, content in after.items() if not name.startswith((f"{day}/", ".revisions"))} == {
        name: content
        for name, content in before["exports"].items()
        if name not in old  # type: ignore[attr-defined]
    }
    assert month.rows("select revision, state, reason from ops.exports where as_of_date = %s order by 1", day) == [
        (1, "replaced", None),
        (2, "done", "nobody may be called before nine"),
    ]
    assert month.rows(
        "select cast(leaf as jsonb) -> 'content' ->> 'reason' from ledger.entries"
        " where kind = 'export' and subject = %s",
        f"{day}/2",
    ) == [("nobody may be called before nine",)]
    with month.connect() as connection:
        assert verify(connection).findings == []
    now = everything(month)
    for name, rows in before.items():
        if name.startswith("marts"):  # of other days, and of the latest one, all is as it was
            others = [row for row in rows if day not in row]  # type: ignore[attr-defined]
            assert [row for row in now[name] if day not in row] == others, name  # type: ignore[attr-defined]
    assert get_settings().home == tmp_path / "home"
