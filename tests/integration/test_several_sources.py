"""Two lenders' systems in one portfolio: their keys stay apart, and what is wrong with one is not the other's fault."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from arrears.errors import GateBlocked
from arrears.extraction import batches
from arrears.gate import Verdict, judge_batches
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.clean_portfolio import Drop, clean_drop, of_another_lender
from tests.defects.delivery import row_of
from tests.defects.gate_warehouse import FIRST, SECOND, THIRD, GateWarehouse, add_source

FOURTH = date(2026, 4, 3)


@pytest.fixture
def warehouse(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GateWarehouse:
    """The first lender's first drop is accepted; another lender's system stands beside it."""
    add_source(workplace, monkeypatch)
    delivered = GateWarehouse(tmp_path)
    first = delivered.deliver(clean_drop(), FIRST)
    with connect() as connection:
        batches.accept(connection, first)
    return delivered


def judge_both(warehouse: GateWarehouse, first: Drop, other: Drop, day: date) -> Verdict:
    warehouse.deliver(first, day)
    warehouse.deliver(other, day, source="other")
    return judge_batches(day)


def other_with_a_loan_of_the_first() -> Drop:
    """L05 is delivered by both, its schedule and a booking of its own with it: 12 of 252 instalments."""
    drop = of_another_lender()
    drop["loans"].append(row_of(drop, "loans", loan_id="XL05") | {"loan_id": "L05"})
    drop["instalments"] += [row | {"loan_id": "L05"} for row in drop["instalments"] if row["loan_id"] == "XL05"]
    drop["transactions"].append(
        row_of(drop, "transactions", transaction_id="XL05-R01") | {"transaction_id": "X-N", "loan_id": "L05"}
    )
    return drop


def sources_of(warehouse: GateWarehouse, table: str, day: date, loan_id: str = "L05") -> list[Any]:
    rows = warehouse.rows(
        f"select distinct _source from versions.{table} where loan_id = %s"
        " and _known_from <= %s and (_known_to is null or _known_to > %s) order by 1",
        loan_id,
        day,
        day,
    )
    return [row[0] for row in rows]


def test_a_loan_that_both_deliver_stays_with_the_first_and_is_held(warehouse: GateWarehouse) -> None:
    verdict = judge_both(warehouse, clean_drop(), other_with_a_loan_of_the_first(), SECOND)

    assert not verdict.is_blocked
    for table in ("loans", "instalments", "transactions"):
        assert sources_of(warehouse, table, SECOND) == ["contract"]
    assert warehouse.rows("select count(*) from versions.loans where _source = 'other'") == [(20,)]
    found = warehouse.rows(
        "select table_name, rule, loan_id, count(*), min(reason) from quarantine.rows group by 1, 2, 3 order by 1"
    )
    told = "the key is delivered by other and contract; the row known first stays in force"
    assert found == [
        ("instalments", "key-of-one-source", "L05", 12, told),
        ("loans", "key-of-one-source", "L05", 1, told),
        # Not paid into the other lender's loan.
        ("transactions", "loan_id-held", "L05", 1, "loan_id L05 names a row of loans that is quarantined itself"),
    ]


def test_a_loan_may_move_to_the_other_system_once_the_first_one_has_dropped_it(warehouse: GateWarehouse) -> None:
    judge_both(warehouse, clean_drop(), of_another_lender(), SECOND)
    without = {
        table: [row for row in rows if row.get("loan_id") != "L05" and row.get("charge_id") != "C05"]
        for table, rows in clean_drop().items()
    }
    both_sides = {
        table: [row for row in other_with_a_loan_of_the_first()[table] if row.get("loan_id") == "L05"]
        for table in ("loans", "instalments", "transactions")
    }
    warehouse.deliver(without, THIRD)
    warehouse.deliver(both_sides, THIRD, source="other", said={"mode": "delta"})
    held = judge_batches(THIRD)
    assert {result.rule.split(" ")[0] for result in held.failures} >= {"key-of-one-source", "loan_id-held"}
    assert not held.is_blocked
    assert sources_of(warehouse, "loans", SECOND) == ["contract"]
    assert sources_of(warehouse, "loans", THIRD) == []

    # A delta that says nothing of it: what waited can go now.
    grace = row_of(of_another_lender(), "loans", loan_id="XL07") | {"grace_days": "3"}
    warehouse.deliver(without, FOURTH)
    warehouse.deliver({"loans": [grace]}, FOURTH, source="other", said={"mode": "delta"})
    verdict = judge_batches(FOURTH)

    assert verdict.failures == ()
    for table in ("loans", "instalments", "transactions"):
        assert sources_of(warehouse, table, FOURTH) == ["other"]
    assert warehouse.rows("select count(*) from quarantine.rows where closed_on is null") == [(0,)]


def test_two_systems_with_one_numbering_block_the_day_and_none_of_them_becomes_known(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_source(workplace, monkeypatch)
    warehouse = GateWarehouse(tmp_path)

    verdict = judge_both(warehouse, clean_drop(), clean_drop(), FIRST)

    assert len(verdict.rejected_batches) == 2
    assert warehouse.rows("select count(*) from versions.loans") == [(0,)]
    with pytest.raises(GateBlocked, match="first delivered by contract and other: agency_id=A1"):
        verdict.raise_if_blocked()


def test_key_prefix_keeps_the_same_numbering_apart(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_source(workplace, monkeypatch, key_prefix="N-")
    warehouse = GateWarehouse(tmp_path)

    verdict = judge_both(warehouse, clean_drop(), clean_drop(), FIRST)

    assert verdict.failures == ()
    assert warehouse.rows("select count(*), count(distinct loan_id) from versions.loans") == [(40, 40)]
    assert warehouse.rows(
        "select distinct left(borrower_id, 2), _source from versions.loans where loan_id like 'N-%%'"
    ) == [("N-", "other")]
    assert warehouse.rows("select count(*) from versions.fx_rates") == [(2,)]


def test_deletions_that_are_refused_of_one_source_are_not_refused_of_another(warehouse: GateWarehouse) -> None:
    judge_both(warehouse, clean_drop(), of_another_lender(), SECOND)
    cut, less = clean_drop(), of_another_lender()
    # One instalment in twelve is too much, one in 240 is not.
    cut["instalments"] = [row for row in cut["instalments"] if row["instalment_number"] != "12"]
    less["instalments"].remove(row_of(less, "instalments", loan_id="XL07", instalment_number="12"))

    verdict = judge_both(warehouse, cut, less, THIRD)

    assert [(result.suite, result.rule) for result in verdict.failures] == [
        ("raw.deliveries", "deletions"),
        ("raw.instalments.deletions@other", "schedule-stays-whole"),
    ]
    assert warehouse.rows(
        "select _source, count(*) from versions.instalments where _known_to is null group by 1 order by 1"
    ) == [("contract", 240), ("other", 239)]
    assert warehouse.rows("select distinct source from quarantine.rows") == [("contract",)]
