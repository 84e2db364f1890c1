"""The raw gate on deliveries that are not whole: deltas, tables complete from a date, batches that come late."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from arrears import gate
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.clean_portfolio import Row, clean_drop
from tests.defects.delivery import row_of, set_in_first, set_value
from tests.defects.gate_warehouse import FIRST, SECOND, THIRD, GateWarehouse, with_first_drop

FOURTH = date(2026, 4, 3)
A_DELTA = {"mode": "delta"}


@pytest.fixture
def warehouse(workplace: Workplace, tmp_path: Path) -> GateWarehouse:
    """The clean portfolio's first drop is accepted."""
    del workplace
    return with_first_drop(tmp_path)


def loan(loan_id: str, **changes: Any) -> Row:
    """A loan of the portfolio; under a number that it does not have, one like L05."""
    known = [row for row in clean_drop()["loans"] if row["loan_id"] in (loan_id, "L05")]
    return known[-1] | {"loan_id": loan_id} | changes


def deleted(rows: Sequence[Row]) -> list[Row]:
    return [row | {"_deleted": "true"} for row in rows]


def open_findings(warehouse: GateWarehouse, day: date) -> list[tuple[Any, ...]]:
    return warehouse.rows(
        "select table_name, rule, key from quarantine.rows"
        " where opened_on <= %s and (closed_on is null or closed_on > %s) order by table_name, cast(key as text)",
        day,
        day,
    )


def test_a_delta_mends_the_keys_that_it_brings_and_no_others(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    for number in ("L05", "L06"):
        set_value("loans", "product", "karaoke", loan_id=number)(drop)
    warehouse.judge(drop, SECOND)

    # L05 as it was known before: it is brought again, though nothing changes.
    verdict = warehouse.judge({"loans": [loan("L05"), loan("L07", grace_days="3")]}, THIRD, A_DELTA)

    assert verdict.failures == ()
    assert verdict.counts["mended"] == 1
    assert open_findings(warehouse, SECOND) == [
        ("loans", "product-values", {"loan_id": "L05"}),
        ("loans", "product-values", {"loan_id": "L06"}),
    ]
    assert open_findings(warehouse, THIRD) == [("loans", "product-values", {"loan_id": "L06"})]
    assert warehouse.rows("select count(*) from versions.loans where _known_to is null") == [(20,)]
    assert warehouse.rows("select grace_days from versions.loans where loan_id = 'L07' and _known_to is null") == [(3,)]


def test_what_a_delta_says_is_deleted_goes_within_the_threshold_and_stays_beyond_it(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    delta = {
        # C01 is gone; of C02 it says this and that.
        "charges": [*deleted(drop["charges"][:2]), drop["charges"][1] | {"amount": "6"}],
        # 13 of 240 is more than one in twenty.
        "instalments": deleted([row for row in drop["instalments"] if row["instalment_number"] == "12"][:13]),
        "suppressions": deleted(drop["suppressions"][:1]),
        "transactions": deleted([row_of(drop, "transactions", transaction_id="L05-R01")]),
    }

    verdict = warehouse.judge(delta, SECOND, A_DELTA)

    assert not verdict.is_blocked
    told = {key["found"] for result in verdict.failures for key in result.failing_keys if "found" in key}
    assert told == {
        "instalments lacks 13 known rows of 240; nothing of it is deleted",
        "suppressions lacks 1 known rows of 2; nothing of it is deleted",
    }
    counts = {
        table: warehouse.rows(f"select count(*) from versions.{table} where _known_to is null")[0][0]
        for table in ("charges", "instalments", "suppressions", "transactions")
    }
    known = len(drop["transactions"])
    assert counts == {"charges": 5, "instalments": 240, "suppressions": 2, "transactions": known}
    assert warehouse.rows(
        "select amount from versions.charges where charge_id in ('C01', 'C02') and _known_to is null"
    ) == [(5,)]
    # A booking once known is not deleted: its loan is held.
    assert warehouse.rows("select rule, loan_id from quarantine.rows where loan_id is not null order by 1") == [
        ("key-unique", "L02"),
        ("known-row-vanishes", "L05"),
    ]


def test_few_rows_are_no_fall_in_a_delta_and_a_table_that_it_leaves_out_is_not_missing(
    warehouse: GateWarehouse,
) -> None:
    verdict = warehouse.judge({"loans": [loan("L05", grace_days="3")]}, SECOND, A_DELTA)
    # The fall is measured from the last drop that stated the whole table.
    whole = warehouse.judge(clean_drop(), THIRD)

    assert verdict.failures == ()
    assert whole.failures == ()


def test_a_booking_that_comes_before_its_loan_is_known_once_the_loan_is(warehouse: GateWarehouse) -> None:
    booking = row_of(clean_drop(), "transactions", transaction_id="L05-R01") | {
        "transaction_id": "N-1",
        "loan_id": "L99",
        "effective_on": "2026-03-31",
        "booked_at": "2026-04-01T09:00:00+00:00",
    }
    reversal = booking | {"transaction_id": "N-2", "kind": "reversal", "reverses_transaction_id": "N-1"}
    early = warehouse.judge({"transactions": [booking, reversal]}, SECOND, A_DELTA)
    assert {result.rule for result in early.failures} >= {"loan_id-reference"}
    between = warehouse.judge({"loans": [loan("L05", grace_days="3")]}, THIRD, A_DELTA)
    assert between.failures == ()  # it waits, and is not judged again for nothing

    verdict = warehouse.judge({"loans": [loan("L99")]}, FOURTH, A_DELTA)

    assert [result.rule for result in verdict.failures] == ["has-instalments"]  # its schedule never comes
    assert warehouse.rows(
        "select transaction_id, _known_from from versions.transactions where loan_id = 'L99' order by 1"
    ) == [("N-1", FOURTH), ("N-2", FOURTH)]
    assert open_findings(warehouse, THIRD) != []
    assert open_findings(warehouse, FOURTH) == []


def test_rows_of_a_loan_that_waits_in_quarantine_wait_with_it_and_follow_it(warehouse: GateWarehouse) -> None:
    warehouse.judge({"loans": [loan("L99", product="karaoke")]}, SECOND, A_DELTA)
    instalment = row_of(clean_drop(), "instalments", loan_id="L01", instalment_number="1") | {"loan_id": "L99"}

    follows = warehouse.judge({"instalments": [instalment]}, THIRD, A_DELTA)
    assert [(result.suite, result.rule) for result in follows.failures] == [("raw.instalments", "loan_id-held")]

    mended = warehouse.judge(
        {"loans": [loan("L99", principal_amount="100.00", maturity_on=instalment["due_on"])]}, FOURTH, A_DELTA
    )
    assert mended.failures == ()
    assert warehouse.rows("select loan_id, _known_from from versions.instalments where loan_id = 'L99'") == [
        ("L99", FOURTH)
    ]
    assert open_findings(warehouse, FOURTH) == []


def test_findings_of_a_rejected_delta_end_with_the_one_that_takes_its_place(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    set_in_first("loans", 15, "product", "karaoke")(drop)
    assert warehouse.judge({"loans": drop["loans"]}, SECOND, A_DELTA).is_blocked

    verdict = warehouse.judge({"loans": [loan("L20", grace_days="3")]}, SECOND, A_DELTA)

    assert not verdict.is_blocked
    assert open_findings(warehouse, SECOND) == []


def test_of_a_table_complete_from_a_date_only_later_rows_can_vanish_and_be_mended(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    drop["transactions"].append(
        row_of(drop, "transactions", transaction_id="L07-R01") | {"transaction_id": "L07-N", "amount": "-1"}
    )
    drop["transactions"].remove(row_of(drop, "transactions", transaction_id="L05-R02"))
    warehouse.judge(drop, SECOND)
    before = [
        ("transactions", "known-row-vanishes", {"transaction_id": "L05-R02"}),  # booked on 2025-08-01
        ("transactions", "amount-positive", {"transaction_id": "L07-N"}),  # on 2025-07-01
    ]
    assert open_findings(warehouse, SECOND) == before

    late = clean_drop()
    late["transactions"] = [row for row in late["transactions"] if row["booked_at"] >= "2025-08-01"]
    late["transactions"].remove(row_of(late, "transactions", transaction_id="L06-R03"))
    verdict = warehouse.judge(late, THIRD, {"tables": {"transactions": {"complete_from": date(2025, 8, 1)}}})

    assert not verdict.is_blocked
    assert [(result.suite, result.rule, result.failed_count) for result in verdict.failures] == [
        ("raw.transactions.deletions", "known-row-vanishes", 1)
    ]
    # L05-R02 is there again; nothing was said of L07-N.
    assert open_findings(warehouse, THIRD) == [
        ("transactions", "known-row-vanishes", {"transaction_id": "L06-R03"}),
        ("transactions", "amount-positive", {"transaction_id": "L07-N"}),
    ]


def test_a_late_batch_is_judged_by_what_was_known_then_and_mends_nothing_found_since(
    warehouse: GateWarehouse,
) -> None:
    newest = clean_drop()
    newest["charges"] += [newest["charges"][0] | {"charge_id": "C99"}]
    set_value("loans", "product", "karaoke", loan_id="L06")(newest)
    warehouse.judge(newest, THIRD)

    late = clean_drop()  # without C99, which was known later only: nothing vanishes
    set_value("loans", "status", "ACTIVE", loan_id="L05")(late)
    late["charges"].append(late["charges"][0] | {"charge_id": "C98", "loan_id": "L06"})
    verdict = warehouse.judge(late, SECOND)

    assert [(result.rule, result.failed_count) for result in verdict.failures] == [("status-values", 1)]
    assert open_findings(warehouse, SECOND) == [("loans", "status-values", {"loan_id": "L05"})]
    assert open_findings(warehouse, THIRD) == [("loans", "product-values", {"loan_id": "L06"})]
    known_on = "select charge_id from versions.charges where charge_id in ('C98', 'C99') and _known_from <= %s" + (
        " and (_known_to is null or _known_to > %s)"
    )
    assert warehouse.rows(known_on, SECOND, SECOND) == [("C98",)]
    assert warehouse.rows(known_on, THIRD, THIRD) == [("C99",)]


def test_findings_of_a_late_batch_that_is_rejected_hold_nobody_later(warehouse: GateWarehouse) -> None:
    warehouse.judge(clean_drop(), THIRD)
    late = clean_drop()
    set_in_first("loans", 15, "product", "karaoke")(late)

    verdict = warehouse.judge(late, SECOND)

    assert verdict.is_blocked
    assert len(open_findings(warehouse, SECOND)) == 15
    assert open_findings(warehouse, THIRD) == []
    assert gate.judge_batches(SECOND).is_blocked  # until another drop comes
    assert not gate.judge_batches(THIRD).is_blocked


def test_a_date_before_the_first_delivery_passes(warehouse: GateWarehouse) -> None:
    del warehouse

    verdict = gate.judge_batches(FIRST - timedelta(days=30))

    assert not verdict.is_blocked


def test_a_batch_known_from_a_later_date_leaves_the_results_of_its_own_date(warehouse: GateWarehouse) -> None:
    results = "select * from ops.gate_results where as_of_date = %s order by suite, rule"
    warehouse.judge(clean_drop() | {"loans": [*clean_drop()["loans"][:-1], loan("L20", grace_days="3")]}, SECOND)
    before = warehouse.rows(results, SECOND)
    with connect() as connection:
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', 'm', 'c', 'r')",
            [SECOND],
        )
    drop = clean_drop()
    set_value("loans", "product", "karaoke", loan_id="L05")(drop)

    warehouse.deliver(drop, SECOND, is_late=True)
    verdict = gate.judge_batches(SECOND)

    assert [result.rule for result in verdict.failures] == ["product-values"]
    assert warehouse.rows(results, SECOND) == before
    assert open_findings(warehouse, SECOND) == []
    assert open_findings(warehouse, THIRD) == [("loans", "product-values", {"loan_id": "L05"})]
    assert gate.judge_batches(THIRD).failures == verdict.failures


def test_a_row_kept_out_that_a_later_delta_deletes_holds_nobody_any_more(warehouse: GateWarehouse) -> None:
    warehouse.judge({"loans": [loan("L99", product="karaoke")]}, SECOND, A_DELTA)
    assert open_findings(warehouse, SECOND) == [("loans", "product-values", {"loan_id": "L99"})]

    verdict = warehouse.judge({"loans": deleted([loan("L99")])}, THIRD, A_DELTA)

    assert verdict.failures == ()
    assert open_findings(warehouse, THIRD) == []
    assert warehouse.rows(
        "select deleted_count from ops.batch_tables where table_name = 'loans' and mode = 'delta'"
    ) == [
        (0,),
        (0,),
    ]
