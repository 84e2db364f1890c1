"""Faults in what dbt and the solver built: each is made in the working tables after the build and must be caught.

The day is 2026-03-31 of the clean portfolio; L11 and L02 are among the loans given to agency A1.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import orchestration, steps
from arrears.errors import AlreadyExported, GateBlocked, WarehouseUnreachable
from arrears.gate import run_gate
from arrears.gate.verdict import Stage
from arrears.warehouse.connections import connect
from arrears.warehouse.embedded import Server
from tests import conftest
from tests.defects.built_catalogue import BUILT, BuiltDefect
from tests.defects.delivery import SHARE
from tests.defects.gate_warehouse import FIRST
from tests.defects.sampling import sampled

TEMPLATE = "arrears_built_template"
# The drop is accepted and gone: extract and gate_raw find nothing to do.
UP_TO_QUEUES = orchestration.STEPS[: orchestration.STEPS.index("gate_queues")]


@pytest.fixture(scope="session")
def _template(_template: str, server: Server, session_home: Path) -> str:
    """The clean portfolio's day, built up to the queues, to be copied."""
    # dbt's parsed project holds the database's name, so the day is built under the name that every test's copy has.
    place = sql.Identifier(conftest.DATABASE)
    with psycopg.connect(conftest.url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(place, sql.Identifier(_template)))
        with pytest.MonkeyPatch.context() as patch:
            conftest._point_to(patch, server, session_home, conftest.DATABASE)
            patch.setattr(steps, "owner_kind", "process")
            for name in UP_TO_QUEUES:
                steps.run(name, FIRST, run_id="test")
            conftest.forget_settings()
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [conftest.DATABASE])
        admin.execute(sql.SQL("alter database {} rename to {}").format(place, sql.Identifier(TEMPLATE)))
    return TEMPLATE


def _suppress(borrower: str, kind: str = "cease_contact", channel: str = "null") -> str:
    return (
        "insert into versions.suppressions (suppression_id, borrower_id, kind, channel, starts_on, _source, _batch_id,"
        f" _known_from, _row_hash) values ('N', '{borrower}', '{kind}', {channel}, '2026-01-01', 'contract', 'b',"
        " '0001-01-01', gen_random_uuid())"
    )


@pytest.mark.parametrize("defect", sampled(BUILT))
def test_a_built_defect_is_caught(defect: BuiltDefect, workplace: conftest.Workplace) -> None:
    with connect(FIRST) as connection:
        loans = defect.inject(connection, SHARE)

    verdict = run_gate(defect.stage, FIRST)

    failed = {(result.suite, result.rule) for result in verdict.failures}
    told = [result.told for result in verdict.failures]
    if defect.slips:
        assert failed == set()
        return
    assert (defect.suite, defect.rule) in failed, told
    assert verdict.is_blocked == (defect.outcome == "block"), told
    found = workplace.rows(
        "select distinct loan_id, opened_on, closed_on - opened_on from quarantine.rows where rule = %s", defect.rule
    )
    assert found == ([(loan, FIRST, 1) for loan in loans] if defect.outcome == "row" else []) or verdict.is_blocked


@pytest.mark.parametrize("stage", ["marts", "queues"])
def test_a_clean_day_has_no_findings(stage: Stage, workplace: conftest.Workplace) -> None:
    verdict = run_gate(stage, FIRST)

    assert [result.told for result in verdict.failures] == []
    assert workplace.value("select count(*) from quarantine.rows") == 0


def _queue_of(workplace: conftest.Workplace) -> Callable[[str], object]:
    return lambda loan: workplace.value(
        "select (select count(*) from working.collection_queue where loan_id = %s)"
        " + (select count(*) from working.agency_assignment where loan_id = %s)"
        " + (select count(*) from working.queue_contact_details where loan_id = %s)",
        loan,
        loan,
        loan,
    )


def test_a_held_loan_leaves_the_queues_and_the_rest_goes_out(workplace: conftest.Workplace) -> None:
    lines = _queue_of(workplace)
    assert lines("L11") == lines("L02") == 3
    with connect() as connection:
        connection.execute(_suppress("B11").encode())

    verdict = run_gate("queues", FIRST)

    verdict.raise_if_blocked()
    assert (lines("L11"), lines("L02")) == (0, 3)
    assert workplace.value("select held_back_reason from working.loan_delinquency where loan_id = 'L11'") == (
        "queues gate, agency_assignment: the borrower is under cease_contact"
    )
    assert verdict.warnings[0] == (
        "queues.agency_assignment not-suppressed (expect_no_rows) failed for 1 of 13 rows, first loan_id=L11"
    )


def test_a_server_that_goes_away_meanwhile_is_no_finding(workplace: conftest.Workplace) -> None:
    """The gate's queries wait for a table; then the server ends every session, as it does when it is killed."""
    entries = "select kind, subject from ledger.entries"
    before = _found(workplace), workplace.rows(entries)

    def end_who_wait(holder: psycopg.Connection) -> None:
        with connect(role="admin", autocommit=True) as session:
            while not session.execute("select 1 from pg_locks where not granted").fetchone():
                time.sleep(0.05)
            session.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and pid not in (pg_backend_pid(), %s)",
                [holder.info.backend_pid],
            )
            holder.rollback()

    with connect(role="admin") as holder:
        holder.execute("lock table working.portfolio_at_risk in access exclusive mode")
        ending = threading.Thread(target=end_who_wait, args=[holder])
        ending.start()
        with pytest.raises(
            WarehouseUnreachable, match="went away while the marts gate looked at 2026-03-31, and nothing"
        ):
            run_gate("marts", FIRST)
        ending.join()

    assert (_found(workplace), workplace.rows(entries)) == before
    assert not run_gate("marts", FIRST).is_blocked


def test_a_gate_run_again_finds_the_same_and_leaves_the_same(workplace: conftest.Workplace) -> None:
    with connect() as connection:
        connection.execute(_suppress("B11").encode())

    def state() -> object:
        return [
            workplace.rows(query)
            for query in (
                "select * from quarantine.rows order by finding_id",
                "select * from ops.gate_results where stage = 'queues' order by suite, rule",
                "select * from working.collection_queue order by recipient_id, rank",
                "select * from working.loan_delinquency order by loan_id",
            )
        ]

    run_gate("queues", FIRST)
    before = state()
    run_gate("queues", FIRST)

    assert state() == before


def _export(manifest_sha256: str = "m") -> None:
    with connect() as connection:
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', %s, 'c', 'r')",
            [FIRST, manifest_sha256],
        )


def _found(workplace: conftest.Workplace) -> object:
    return [
        workplace.rows("select * from quarantine.rows order by finding_id"),
        workplace.rows("select * from ops.gate_results order by stage, suite, rule"),
    ]


def test_an_exported_date_keeps_its_results_where_the_gate_would_end_otherwise(workplace: conftest.Workplace) -> None:
    with connect() as connection:
        connection.execute(_suppress("B11").encode())
    run_gate("queues", FIRST)
    _export()
    before = _found(workplace)
    run_gate("queues", FIRST, may_replace=False)
    assert _found(workplace) == before
    with connect() as connection:
        connection.execute(_suppress("B02").replace("'N'", "'N2'").encode())

    with pytest.raises(
        AlreadyExported, match=r"^2026-03-31 is already exported, and the queues gate would now end oth"
    ):
        run_gate("queues", FIRST, may_replace=False)
    assert _found(workplace) == before

    run_gate("queues", FIRST, may_replace=True)
    assert _found(workplace) != before


def test_a_fault_mended_before_the_gate_runs_again_holds_nothing(workplace: conftest.Workplace) -> None:
    with connect() as connection:
        connection.execute(_suppress("B11").encode())
    run_gate("queues", FIRST)
    with connect() as connection:
        connection.execute("delete from versions.suppressions where suppression_id = 'N'")

    verdict = run_gate("queues", FIRST)

    assert verdict.failures == ()
    assert _queue_of(workplace)("L11") == 3
    assert workplace.value("select held_back_reason from working.loan_delinquency where loan_id = 'L11'") is None


def test_a_loan_held_by_the_marts_gate_is_no_candidate(workplace: conftest.Workplace) -> None:
    with connect() as connection:
        connection.execute("update working.loan_delinquency set bucket = '360+' where loan_id = 'L11'")

    run_gate("marts", FIRST)

    assert workplace.value("select count(*) from working.int_assignment__candidates where loan_id = 'L11'") == 0


def test_a_blocked_queue_says_what_when_and_what_next(workplace: conftest.Workplace) -> None:
    del workplace
    with connect() as connection:
        connection.execute("delete from working.collection_queue where loan_id = 'L11'")

    with pytest.raises(GateBlocked) as blocked:
        run_gate("queues", FIRST).raise_if_blocked()

    # A1 was given five loans: 330 + 445 + 440 + 440 + 225.
    assert str(blocked.value).startswith(
        "The queues gate blocked 2026-03-31: queues.collection_queue totals (expect_no_rows) failed for 1 of 12 rows,"
        " first A1 has 4 loans with 1550.0000 EUR, assigned are 5 with 1880.0000:"
        " see `arrears status --as-of 2026-03-31`. Likely cause: A model or a seed changed"
    )
