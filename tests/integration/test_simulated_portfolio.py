"""A simulated portfolio on the real pipeline: nothing critical, and full drops and deltas come to the same."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import steps
from arrears.errors import AlreadyExported, GateBlocked, NotDelivered, SourceError
from arrears.orchestration import STEPS
from arrears.settings import CHECKOUT, get_settings
from arrears.simulation.portfolio import reference_database
from arrears.simulation.portfolio.simulate import LENDERS, Portfolio, days_from, simulate
from arrears.simulation.portfolio.troubles import AGAIN, LATE
from arrears.warehouse.embedded import Server
from tests.conftest import Workplace, url
from tests.day import bytes_below, run_day, run_step

FIRST, LAST = date(2026, 3, 30), date(2026, 4, 1)
LENDER = "simulated_lender"
LOANS = Portfolio(loans=300, months=36, seed=7, anchor=FIRST)


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


def test_a_drop_passes_every_gate_without_a_finding(workplace: Workplace, tmp_path: Path) -> None:
    drops = simulate(LOANS, tmp_path / "drops", days=[FIRST]).folder

    run_day(drops, FIRST)

    failed = "select suite, expectation from marts.data_quality_results where not is_passed and severity = 'critical'"
    assert workplace.rows(failed) == []
    assert workplace.value("select count(*) from quarantine.rows") == 0
    assert workplace.value("select count(*) from marts.loan_delinquency where held_back_reason is not null") == 0
    # Where the simulated servicing system states figures of its own, the replay agrees with them.
    assert workplace.rows("select distinct cause from marts.servicer_reconciliation") in ([("none",)], [])


@pytest.mark.slow
def test_full_drops_and_deltas_of_one_seed_give_the_same_marts_and_queues(
    workplaces: Callable[[str], AbstractContextManager[Workplace]], tmp_path: Path
) -> None:
    days = days_from(FIRST, LAST)
    found = []
    for name, deltas in (("full", False), ("deltas", True)):
        drops = simulate(LOANS, tmp_path / f"drops-{name}", days=days, deltas=deltas).folder
        with workplaces(name) as workplace:
            for day in days:
                run_day(drops, day)
            found.append((queues(workplace), marts(workplace)))

    assert found[0] == found[1]
    assert len(found[0][0]) >= 2 * len(days)


@pytest.mark.slow
def test_a_database_moved_on_day_by_day_gives_the_queues_of_the_drops(
    workplaces: Callable[[str], AbstractContextManager[Workplace]],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Days that are long past: rows are written by the clock of today, and are of the business date played."""
    days = days_from(FIRST, FIRST + timedelta(days=2))
    portfolio = Portfolio(loans=200, months=24, seed=7, anchor=FIRST)
    with workplaces("files") as workplace:
        drops = simulate(portfolio, tmp_path / "drops", days=days).folder
        for day in days:
            run_day(drops, day)
        expected = queues(workplace)
    with workplaces("database") as workplace:
        (workplace.sources / "servicing").mkdir()
        (workplace.sources / "servicing/source.yml").write_text((CHECKOUT / "sources/servicing/source.yml").read_text())
        monkeypatch.setenv("ARREARS_SERVICING_URL", url(server, "postgres", LENDER))
        try:
            reference_database.fill(None, portfolio, FIRST, report=lambda _: None)
            run_day(None, days[0], source="servicing")
            for day in days[1:]:
                assert reference_database.advance(None, 1, report=lambda _: None)[0] == day
                run_day(None, day, source="servicing")
        finally:
            with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
                admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(LENDER)))
        found = queues(workplace)

    assert found == expected
    assert found


def queues(workplace: Workplace) -> dict[str, bytes]:
    """The exported queues of all days, by path."""
    return {path: content for path, content in bytes_below(workplace.exports).items() if "queue." in path}


def marts(workplace: Workplace) -> dict[str, list[tuple[object, ...]]]:
    """All marts that are about loans, whole."""
    names = ("loan_delinquency", "loan_month_ends", "loan_delinquency_history", "agency_assignment", "loan_risk_score")
    return {name: sorted(workplace.rows(f"select * from marts.{name}"), key=str) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["duplicate_key", "negative_amount", "year_0206", "reversal_of_unknown"])
def test_an_injected_defect_of_a_row_is_quarantined(kind: str, workplace: Workplace, tmp_path: Path) -> None:
    drops = simulate(LOANS, tmp_path / "drops", days=[FIRST], defects=[f"{kind}:0.0002"]).folder

    run_day(drops, FIRST)

    assert workplace.value("select count(*) from quarantine.rows") >= 1  # type: ignore[operator]


@pytest.mark.slow
def test_a_file_cut_off_on_the_second_day_stops_that_day(workplace: Workplace, tmp_path: Path) -> None:
    days = days_from(FIRST, FIRST + timedelta(days=1))
    drops = simulate(LOANS, tmp_path / "drops", days=days, defects=["truncated_file"]).folder
    run_day(drops, days[0])

    with pytest.raises((GateBlocked, SourceError)):
        run_day(drops, days[1])


@pytest.mark.slow
def test_troubled_deliveries_are_gone_through_as_their_text_says(workplace: Workplace, tmp_path: Path) -> None:
    days = days_from(FIRST, FIRST + timedelta(days=4))
    done = simulate(LOANS, tmp_path / "drops", days=days, troubles=True)
    first, twice, skipped, late, newest = days
    run_day(done.folder, first)
    run_day(done.folder, twice)
    for missing in (skipped, late):
        with pytest.raises(NotDelivered):
            run_day(done.folder, missing)
    run_day(done.folder, newest)
    booked = "select count(*) from versions.transactions where _known_from = %s"
    before = workplace.value(booked, twice)

    run_day(done.folder / LATE, late)
    with pytest.raises(AlreadyExported, match="--replace"):
        run_day(done.folder / AGAIN, twice)
    run_day(done.folder / AGAIN, twice, replace="a third of the bookings was missing")

    assert workplace.value(booked, twice) > before  # type: ignore[operator]
    assert [day for day in days if not (workplace.exports / day.isoformat()).exists()] == [skipped]


@pytest.mark.slow
def test_two_lenders_with_one_numbering_make_one_portfolio(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number, name in enumerate(LENDERS[:2]):
        drops = simulate(replace(LOANS, lender=number), tmp_path / name, days=[FIRST]).folder
        (workplace.sources / name).mkdir()
        (workplace.sources / name / "source.yml").write_text(
            f"description: Lender {name}.\nengine: files\nkey_prefix: {name[0].upper()}-\ndrop: {drops}\n"
        )
    monkeypatch.setenv("ARREARS_SOURCES", ",".join(LENDERS[:2]))
    get_settings.cache_clear()
    for name in LENDERS[:2]:
        run_step("extract", FIRST, source=name)
    for step in STEPS:
        if step != "extract":
            run_step(step, FIRST)

    by_lender = "select left(loan_id, 2), count(*) from versions.loans group by 1 order by 1"
    assert workplace.rows(by_lender) == [("N-", 300), ("S-", 300)]
    assert workplace.value("select count(distinct left(loan_id, 2)) from marts.loan_delinquency") == 2
    assert workplace.value("select count(*) from quarantine.rows") == 0
