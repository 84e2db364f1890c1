"""A whole day on a real PostgreSQL: what goes out, what is held back, what blocks, and that nothing is done twice."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from arrears import steps
from arrears.errors import AlreadyExported, GateBlocked, UsageError, WarehouseBusy
from arrears.orchestration import STEPS
from arrears.warehouse import run_lock
from tests.conftest import Workplace
from tests.day import bytes_below, run_day, run_step
from tests.portfolio import (
    a_borrower,
    a_loan,
    a_repayment,
    instalments_of,
    small_portfolio,
)

D = date(2026, 3, 31)


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


def test_a_small_drop_becomes_queues_marts_and_a_manifest(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)

    assert workplace.rows(
        "select loan_id, days_past_due, bucket, arrears_amount from marts.loan_delinquency order by 1"
    ) == [
        ("L1", 30, "30-59", 100),  # the March instalment, due on the 1st
        ("L2", 58, "30-59", 200),  # February's and March's
    ]
    lines = workplace.rows("select loan_id, days_past_due from marts.collection_queue order by rank")
    assert lines == [("L2", 58), ("L1", 30)]
    manifest = json.loads((workplace.exports / "2026-03-31" / "manifest.json").read_text())
    assert manifest["as_of_date"] == "2026-03-31"
    queue_files = sorted((workplace.exports / "2026-03-31").glob("*/queue.csv"))
    assert [len(pd.read_csv(file)) for file in queue_files] == [2]


def test_the_same_date_again_gives_the_same_bytes_and_changes_nothing(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports)
    inode = (workplace.exports / "2026-03-31").stat().st_ino

    done = run_day(drop(), D)

    assert done["publish"]["is_unchanged"]
    assert bytes_below(workplace.exports) == before
    assert (workplace.exports / "2026-03-31").stat().st_ino == inode
    assert workplace.rows("select revision, state from ops.exports") == [(1, "done")]


def test_a_past_date_gives_the_same_bytes_after_later_days_with_backdated_bookings(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports / "2026-03-31")
    backdated = a_repayment("T2", "L2", effective_on="2026-02-03", amount="200.00", booked_at="2026-04-01T09:00:00Z")
    run_day(drop("next", transactions=[a_repayment("T1", "L1"), backdated]), D + timedelta(days=1))

    run_day(None, D)

    assert bytes_below(workplace.exports / "2026-03-31") == before
    # The mart of the latest date still shows the latest date, where L2 owes its April instalment at most.
    assert workplace.rows("select as_of_date, days_past_due from marts.loan_delinquency where loan_id = 'L2'") == [
        (D + timedelta(days=1), 0)
    ]


def test_another_drop_for_an_exported_date_changes_nothing(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports)

    with pytest.raises(AlreadyExported, match=r"transactions\.csv"):
        run_day(drop("other", transactions=[a_repayment(amount="50.00")]), D)

    assert bytes_below(workplace.exports) == before
    assert workplace.value("select arrears_amount from marts.loan_delinquency where loan_id = 'L1'") == 100


def test_an_exported_date_is_replaced_when_a_reason_is_given(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)
    first = bytes_below(workplace.exports / "2026-03-31")

    run_day(drop("other", transactions=[a_repayment(amount="50.00")]), D, replace="the bank sent the wrong file")

    assert workplace.rows("select revision, state, reason from ops.exports order by 1") == [
        (1, "replaced", None),
        (2, "done", "the bank sent the wrong file"),
    ]
    assert workplace.value("select arrears_amount from marts.loan_delinquency where loan_id = 'L1'") == 150
    assert bytes_below(workplace.exports / "2026-03-31") != first
    assert bytes_below(workplace.exports / ".revisions" / "2026-03-31" / "1") == first


def test_an_unreadable_row_holds_its_loan_back_and_the_rest_goes_out(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    broken = [a_repayment("T1", "L1"), a_repayment("T2", "L2", amount="ten")]

    run_day(drop(transactions=broken), D)

    assert workplace.rows("select loan_id from marts.collection_queue") == [("L1",)]
    reason = workplace.value("select held_back_reason from marts.loan_delinquency where loan_id = 'L2'")
    assert "transactions.csv, line 3: column amount is no number" in str(reason)


def test_a_loan_comes_back_by_itself_when_its_row_is_mended(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(transactions=[a_repayment("T1", "L1"), a_repayment("T2", "L2", amount="ten")]), D)

    mended = [a_repayment("T1", "L1"), a_repayment("T2", "L2", amount="10.00", booked_at="2026-04-01T08:00:00Z")]
    run_day(drop("mended", transactions=mended), D + timedelta(days=1))

    assert workplace.rows(
        "select loan_id from marts.collection_queue where as_of_date = %s order by 1", D + timedelta(1)
    ) == [
        ("L1",),
        ("L2",),
    ]


@pytest.mark.slow
def test_differing_duplicates_are_all_quarantined(workplace: Workplace, drop: Callable[..., Path]) -> None:
    loans = [a_loan("L1", "B1"), a_loan("L2", "B2"), a_loan("L2", "B2", grace_days=5), a_loan("L3", "B1")]
    instalments = [row for loan in ("L1", "L3") for row in instalments_of(loan)]

    run_day(drop(loans=loans, instalments=instalments, transactions=[a_repayment()]), D)

    assert workplace.rows("select loan_id from marts.loan_delinquency order by 1") == [("L1",), ("L3",)]
    assert workplace.value("select count(*) from quarantine.rows where table_name = 'loans' and loan_id = 'L2'") == 2


def test_a_booking_of_an_unknown_loan_is_quarantined(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(transactions=[a_repayment("T1", "L1"), a_repayment("T9", "L9")]), D)

    assert workplace.rows("select transaction_id from versions.transactions") == [("T1",)]
    assert workplace.rows("select key ->> 'transaction_id', file, line from quarantine.rows") == [
        ("T9", "transactions.csv", 3)
    ]


def test_too_many_broken_rows_block_the_export_and_leave_the_last_one(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports)
    broken = [a_repayment("T1", "L1"), *(a_repayment(f"X{n}", "L1", amount="none") for n in range(30))]

    with pytest.raises(GateBlocked, match="raw gate blocked 2026-04-01"):
        run_day(drop("broken", transactions=broken), D + timedelta(days=1))

    assert bytes_below(workplace.exports) == before
    assert workplace.value("select max(as_of_date) from marts.loan_delinquency") == D
    assert workplace.value("select state from ops.batches where batch_date = %s", D + timedelta(days=1)) == "rejected"
    # A blocked day shows in the results that BI reads.
    assert (
        workplace.value(
            "select count(*) from marts.data_quality_results where as_of_date = %s and not is_passed", D + timedelta(1)
        )
        != 0
    )


@pytest.mark.slow
def test_a_blocked_date_goes_out_once_it_is_mended(workplace: Workplace, drop: Callable[..., Path]) -> None:
    broken = [a_repayment("T1", "L1"), *(a_repayment(f"X{n}", "L1", amount="none") for n in range(30))]
    with pytest.raises(GateBlocked):
        run_day(drop("broken", transactions=broken), D)

    run_day(drop("mended"), D)

    assert (workplace.exports / "2026-03-31" / "manifest.json").exists()
    assert workplace.value("select count(*) from marts.collection_queue") == 2


def test_nobody_is_contacted_against_a_suppression(workplace: Workplace, drop: Callable[..., Path]) -> None:
    ceased = {"suppression_id": "S1", "borrower_id": "B2", "kind": "cease_contact", "starts_on": "2026-03-01"}

    run_day(drop(suppressions=[ceased]), D)

    assert workplace.rows("select loan_id from marts.collection_queue") == [("L1",)]


def test_accounts_go_to_the_agency_that_nets_most_within_its_limits(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    agencies = [
        {"agency_id": "HOUSE", "name": "In-house team", "kind": "internal", "opened_on": "2020-01-01"},
        {"agency_id": "FIRM", "name": "Agency", "kind": "agency", "opened_on": "2020-01-01"},
    ]
    licences = [{"agency_id": "FIRM", "jurisdiction": "CZ", "starts_on": "2020-01-01"}]
    contracts = [
        {
            "contract_id": f"C-{agency}",
            "agency_id": agency,
            "starts_on": "2020-01-01",
            "dpd_from": 1,
            "balance_from": 0,
            "capacity": capacity,
            "commission_share": share,
            "fixed_cost_amount": 0,
            "recall_after_days": 180,
        }
        for agency, capacity, share in (("HOUSE", 100, "0.20"), ("FIRM", 1, "0.05"))
    ]

    run_day(drop(agencies=agencies, agency_licences=licences, agency_contracts=contracts), D)

    held = workplace.rows("select agency_id, count(*) from marts.agency_assignment group by 1")
    assert sum(count for _, count in held) == 2  # type: ignore[misc]
    assert dict(held)["FIRM"] == 1  # it nets more for both, and has room for one  # type: ignore[index]
    (run,) = workplace.rows(
        "select loan_count, assigned_count, objective_amount <= upper_bound_amount, gap_share >= 0, solver"
        " from marts.assignment_run"
    )
    assert run[:4] == (2, 2, True, True)
    assert "HiGHS" in str(run[4])


def test_a_step_refuses_what_another_date_left(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)

    with pytest.raises(UsageError, match="needs extract of that date first"):
        run_step("publish", D + timedelta(days=1))


def test_a_blocked_day_cannot_be_built_past_its_gate(workplace: Workplace, drop: Callable[..., Path]) -> None:
    broken = [a_repayment("T1", "L1"), *(a_repayment(f"X{n}", "L1", amount="none") for n in range(30))]
    with pytest.raises(GateBlocked):
        run_day(drop("broken", transactions=broken), D)

    with pytest.raises(UsageError, match="needs gate_raw of that date first"):
        run_step("build_marts", D)


@pytest.mark.slow
def test_a_drop_taken_in_after_the_queues_were_gated_is_not_exported_past(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    for name in STEPS[:-2]:
        run_step(name, D, drop=drop(), source="contract")
    run_step("extract", D, drop=drop("other", transactions=[a_repayment(amount="1.00")]), source="contract")

    with pytest.raises(UsageError, match="needs gate_raw of that date first"):
        run_step("publish", D)


@pytest.mark.slow
def test_a_rejected_replacement_leaves_the_accepted_drop_in_force(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports)
    broken = [a_repayment("T1", "L1"), *(a_repayment(f"X{n}", "L1", amount="none") for n in range(30))]

    with pytest.raises(GateBlocked):
        run_day(drop("broken", transactions=broken), D, replace="a better file")

    assert workplace.rows("select state from ops.batches order by 1") == [("accepted",), ("rejected",)]
    assert workplace.rows("select transaction_id from versions.transactions where _known_to is null") == [("T1",)]
    run_day(drop(), D)
    assert bytes_below(workplace.exports) == before


@pytest.mark.slow
def test_a_drop_that_comes_back_brings_its_hold_backs_back(workplace: Workplace, drop: Callable[..., Path]) -> None:
    bad = drop("bad", transactions=[a_repayment("T1", "L1"), a_repayment("T2", "L2", amount="ten")])
    for folder in (bad, drop("good"), bad):
        for name in ("extract", "gate_raw"):
            run_step(name, D, drop=folder, source="contract")
    for name in STEPS[2:]:
        run_step(name, D)

    assert workplace.rows("select loan_id from marts.collection_queue") == [("L1",)]


def test_a_second_run_ends_while_the_first_holds_the_warehouse(workplace: Workplace) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with workplace.connect() as connection:
            connection.execute(
                "insert into ops.run_lock (run_id, owner_kind, host, pid, process_started_at, as_of_date)"
                " values ('other', 'process', %s, %s, %s, %s)",
                [os.uname().nodename, other.pid, __import__("psutil").Process(other.pid).create_time(), D],
            )
        with pytest.raises(
            WarehouseBusy, match=f"The run other for 2026-03-31 holds the warehouse.*process {other.pid}"
        ):
            run_step("gate_raw", D)
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    run_lock.take("mine", D, "process")  # its owner is dead: taken over
    with workplace.connect() as connection:
        held = run_lock.holder(connection)
    assert held is not None
    assert held.run_id == "mine"


def test_a_portfolio_keeps_its_sources(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)
    (workplace.sources / "second").mkdir()
    (workplace.sources / "second" / "source.yml").write_text("description: Another.\nengine: files\n")

    with pytest.raises(UsageError, match="set ARREARS_SOURCES=contract,second to add it"):
        run_step("extract", D, source="second", drop=drop("second"))


def test_a_kill_between_intent_and_switch_is_rolled_forward(workplace: Workplace, drop: Callable[..., Path]) -> None:
    for name in STEPS[:-1]:
        run_step(name, D, drop=drop(), source="contract")
    assert not (workplace.exports / "2026-03-31").exists()
    assert workplace.rows("select state from ops.exports") == [("intended",)]

    run_day(drop(), D)

    assert workplace.rows("select revision, state from ops.exports") == [(1, "done")]
    assert [path.name for path in workplace.exports.iterdir()] == ["2026-03-31"]


@pytest.mark.slow
def test_a_kill_between_switch_and_its_record_is_recorded_by_the_next_run(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports)
    with workplace.connect() as connection:
        connection.execute("update ops.exports set state = 'intended', done_at = null")

    done = run_day(drop(), D)

    assert done["publish"]["is_unchanged"]
    assert bytes_below(workplace.exports) == before
    assert workplace.rows("select revision, state from ops.exports") == [(1, "done")]


@pytest.mark.slow
def test_an_interrupted_export_is_recorded_by_the_next_days_run_too(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    with workplace.connect() as connection:
        connection.execute("update ops.exports set state = 'intended', done_at = null")

    run_day(drop(), D + timedelta(days=1))

    assert workplace.rows("select as_of_date, state from ops.exports order by 1") == [
        (D, "done"),
        (D + timedelta(days=1), "done"),
    ]


@pytest.mark.slow
def test_a_replacement_that_was_killed_needs_its_reason_for_other_bytes(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    before = bytes_below(workplace.exports / "2026-03-31")
    other = drop("other", transactions=[a_repayment(amount="50.00")])
    for name in STEPS[:-1]:
        run_step(name, D, drop=other, source="contract", replace="the wrong file")
    third = drop("third", transactions=[a_repayment(amount="60.00")])
    run_step("extract", D, drop=third, source="contract", replace="another")
    for name in STEPS[1:-2]:
        run_step(name, D)

    with pytest.raises(AlreadyExported, match="say --replace REASON"):
        run_step("publish", D)

    assert bytes_below(workplace.exports / "2026-03-31") == before


@pytest.mark.slow
def test_an_export_of_another_warehouse_is_not_touched(workplace: Workplace, drop: Callable[..., Path]) -> None:
    (workplace.exports / "2026-03-31").mkdir(parents=True)
    (workplace.exports / "2026-03-31" / "kept.txt").write_text("theirs")

    with pytest.raises(AlreadyExported, match="this warehouse did not export it: move it away"):
        run_day(drop(), D)

    assert bytes_below(workplace.exports) == {"2026-03-31/kept.txt": b"theirs"}
    assert workplace.value("select count(*) from marts.collection_queue") == 0


@pytest.mark.slow
def test_borrowers_without_a_required_value_hold_their_loans_back(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(borrowers=[a_borrower("B1"), a_borrower("B2")]), D)

    run_day(
        drop(
            "worse",
            borrowers=[a_borrower("B1"), a_borrower("B2", country="")],
            transactions=small_portfolio()["transactions"],
        ),
        D + timedelta(days=1),
    )

    assert workplace.rows("select loan_id from marts.collection_queue where as_of_date = %s", D + timedelta(1)) == [
        ("L1",)
    ]
