"""A blocked day leaves no decision behind: nothing of it is in a mart, in an export or in what later days start from.

The clean portfolio: on 2026-04-02 the instalments of the 1st become late, L07, L14 and L15 with it, which owed nothing
before. That day is blocked.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import steps
from arrears.errors import GateBlocked
from arrears.orchestration import STEPS
from arrears.warehouse.connections import connect
from arrears.warehouse.embedded import Server
from tests import conftest
from tests.conftest import Workplace
from tests.day import bytes_below, run_day, run_step
from tests.defects.clean_portfolio import clean_drop, write_drop

BEFORE, BLOCKED, AFTER = date(2026, 4, 1), date(2026, 4, 2), date(2026, 4, 3)
BECOME_LATE = {"L07", "L14", "L15"}
TEMPLATE = "arrears_exported_template"

# How what was built is broken, so that the gate finds it: as in tests/defects.
BROKEN = {
    "gate_marts": "delete from working.loan_delinquency where loan_id = 'L11'",
    "gate_queues": "delete from working.collection_queue where loan_id = 'L11'",
}


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exports of the day before."""
    return tmp_path_factory.mktemp("before") / "exports"


@pytest.fixture(scope="module")
def _template(
    _template: str, server: Server, session_home: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A warehouse on the day before, exported, to be copied."""
    drop = write_drop(tmp_path_factory.mktemp("drop"), clean_drop())
    folder = tmp_path_factory.mktemp("made")
    place, kept = sql.Identifier(conftest.DATABASE), sql.Identifier(TEMPLATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "owner_kind", "process")
        with conftest.a_workplace(_template, server, session_home, folder, patch) as made:
            run_day(drop, BEFORE)
            shutil.copytree(made.exports, exported)
            with psycopg.connect(conftest.url(server, "postgres", "postgres"), autocommit=True) as admin:
                admin.execute(sql.SQL("create database {} template {}").format(kept, place))
    yield TEMPLATE
    with psycopg.connect(conftest.url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {}").format(kept))


@pytest.fixture
def on_the_day_before(
    workplaces: Callable[[str], AbstractContextManager[Workplace]], exported: Path
) -> Callable[[str], AbstractContextManager[Workplace]]:
    """A warehouse of that name as it was after the day before."""
    from contextlib import contextmanager

    @contextmanager
    def made(name: str) -> Iterator[Workplace]:
        with workplaces(name) as workplace:
            shutil.copytree(exported, workplace.exports)
            yield workplace

    return made


def block(gate: str, drop: Path) -> None:
    """Runs the day up to a gate that blocks it."""
    if gate == "gate_raw":
        broken = clean_drop()
        broken["transactions"] += [
            broken["transactions"][0] | {"transaction_id": f"X{n}", "amount": "none"} for n in range(60)
        ]
        drop = write_drop(drop.with_name("broken"), broken)
    for step in STEPS[: STEPS.index(gate)]:
        run_step(step, BLOCKED, drop=drop, source="contract")
    if gate in BROKEN:
        with connect() as connection:
            connection.execute(BROKEN[gate].encode())
    with pytest.raises(GateBlocked, match=f"blocked {BLOCKED}"):
        run_step(gate, BLOCKED)


def marts(workplace: Workplace) -> Mapping[str, list[tuple[object, ...]]]:
    """All marts whole, those of contact details too; not the gates' results, which tell of the blocked day."""
    tables = workplace.rows(
        "select table_schema || '.' || table_name from information_schema.tables"
        " where table_schema in ('marts', 'marts_personal') and table_type = 'BASE TABLE' order by 1"
    )
    return {str(name): sorted(workplace.rows(f"select * from {name}"), key=repr) for (name,) in tables}


def given(workplace: Workplace) -> dict[date, set[object]]:
    """The loans that were given to a recipient anew, by day."""
    found: dict[date, set[object]] = {}
    for day, loan in workplace.rows("select as_of_date, loan_id from marts.agency_assignment where is_new"):
        found.setdefault(day, set()).add(loan)  # type: ignore[arg-type]
    return found


def changed(workplace: Workplace, mart: str) -> set[tuple[object, ...]]:
    """The days of which a mart that keeps changes has a row of those loans."""
    return set(
        workplace.rows(f"select distinct as_of_date from marts.{mart} where loan_id = any(%s)", sorted(BECOME_LATE))
    )


# What the pipeline decided, and from what it will decide again.
DECISIONS = (
    "select * from ops.exports",
    "select * from ops.published_days",
    "select * from ledger.lines",
    "select kind, subject from ledger.entries where kind = 'export'",
)


HELD = "select loan_id, agency_id, is_returning from working.int_assignment__holdings order by loan_id"


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["gate_queues", "gate_marts", "gate_raw"])
def test_what_became_due_on_a_blocked_day_goes_out_once_on_the_next(
    gate: str, on_the_day_before: Callable[[str], AbstractContextManager[Workplace]], tmp_path: Path
) -> None:
    drop = write_drop(tmp_path / "drop", clean_drop())
    with on_the_day_before("blocked") as workplace:
        before, exports = marts(workplace), bytes_below(workplace.exports)
        decisions = [workplace.rows(query) for query in DECISIONS]

        block(gate, drop)

        assert marts(workplace) == before
        assert bytes_below(workplace.exports) == exports
        assert [path.name for path in workplace.exports.iterdir()] == [BEFORE.isoformat()]
        assert [workplace.rows(query) for query in DECISIONS] == decisions
        stage = gate.removeprefix("gate_")
        assert workplace.value(
            "select count(*) from marts.data_quality_results where as_of_date = %s and stage = %s and not is_passed"
            " and severity = 'critical'",
            BLOCKED,
            stage,
        )
        assert not workplace.value(
            "select count(*) from ops.step_runs where as_of_date = %s and step in ('publish', 'export_queues')", BLOCKED
        )

        run_day(drop, AFTER)

        found = marts(workplace)
        assert given(workplace)[AFTER] >= BECOME_LATE
        assert BLOCKED not in given(workplace)
        assert not BECOME_LATE & given(workplace)[BEFORE]
        for mart in ("loan_risk_score", "loan_classification"):
            assert (AFTER,) in changed(workplace, mart)
            assert (BLOCKED,) not in changed(workplace, mart)
        # The loans' lives know the day all the same: it is the day from which they were late.
        assert workplace.rows(
            "select loan_id, valid_from from marts.loan_delinquency_history"
            " where loan_id = any(%s) and valid_to is null order by 1",
            sorted(BECOME_LATE),
        ) == [(loan, BLOCKED) for loan in sorted(BECOME_LATE)]

    with on_the_day_before("never run") as workplace:
        run_day(drop, AFTER)

        assert marts(workplace) == found


@pytest.mark.slow
def test_a_blocked_day_that_is_mended_goes_out_and_the_next_one_starts_from_it(
    on_the_day_before: Callable[[str], AbstractContextManager[Workplace]], tmp_path: Path
) -> None:
    drop = write_drop(tmp_path / "drop", clean_drop())
    with on_the_day_before("mended") as workplace:
        block("gate_queues", drop)
        run_day(drop, BLOCKED)
        run_day(drop, AFTER)
        found, went_out = marts(workplace), bytes_below(workplace.exports)
        assert given(workplace)[BLOCKED] >= BECOME_LATE
        assert not BECOME_LATE & given(workplace).get(AFTER, set())

    with on_the_day_before("never blocked") as workplace:
        run_day(drop, BLOCKED)
        run_day(drop, AFTER)

        assert marts(workplace) == found
        assert bytes_below(workplace.exports) == went_out


@pytest.mark.slow
def test_a_blocked_day_that_is_made_up_later_leaves_the_days_after_it_as_they_went_out(
    on_the_day_before: Callable[[str], AbstractContextManager[Workplace]], tmp_path: Path
) -> None:
    drop = write_drop(tmp_path / "drop", clean_drop())
    with on_the_day_before("made up") as workplace:
        block("gate_queues", drop)
        run_day(drop, AFTER)
        went_out, latest = bytes_below(workplace.exports / AFTER.isoformat()), marts(workplace)
        held = workplace.rows(HELD)

        run_day(drop, BLOCKED)

        assert bytes_below(workplace.exports / AFTER.isoformat()) == went_out
        rows_after = {name: [row for row in rows if BLOCKED not in row] for name, rows in marts(workplace).items()}
        assert rows_after == {name: [row for row in rows if BLOCKED not in row] for name, rows in latest.items()}

        done = run_day(drop, AFTER)

        assert done["publish"]["is_unchanged"]
        assert bytes_below(workplace.exports / AFTER.isoformat()) == went_out
        # Nobody comes back who was never away: where a recipient is full, they would lose their place.
        assert workplace.rows(HELD) == held
