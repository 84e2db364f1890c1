"""Deliveries that hold no wrong row and are wrong all the same: told by what the last good ones brought."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from arrears import gate
from arrears.gate import Verdict, waivers
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.clean_portfolio import Row, clean_drop
from tests.defects.gate_warehouse import FIRST, GateWarehouse, with_first_drop

GOOD_WEEKS = 4
BOOKINGS_A_DAY = 60


def bookings(day: date, count: int = BOOKINGS_A_DAY) -> list[Row]:
    """Repayments of a day: amounts from 80 to 139, every third one with a channel unknown."""
    return [
        {
            "transaction_id": f"{day}-{number}",
            "loan_id": f"L{number % 15 + 1:02}",
            "kind": "repayment" if number % 10 else "credit_note",
            "effective_on": day.isoformat(),
            "booked_at": f"{day}T09:00:00+00:00",
            "amount": f"{80 + number % 60}.00",
            "channel": None if number % 3 == 0 else "direct_debit",
        }
        for number in range(count)
    ]


@pytest.fixture
def warehouse(workplace: Workplace, tmp_path: Path) -> GateWarehouse:
    """Four weeks of deltas with bookings on each weekday, written as accepted batches with their figures."""
    del workplace
    warehouse = with_first_drop(tmp_path)
    days = [FIRST + timedelta(days=number) for number in range(1, GOOD_WEEKS * 7 + 1)]
    for day in [day for day in days if day.isoweekday() <= 5]:
        _accept(warehouse.deliver({"transactions": bookings(day)}, day, said={"mode": "delta"}))
    return warehouse


def _accept(batch: str) -> None:
    """Takes a batch in as the gate does, with its figures and without the seconds of Great Expectations."""
    from arrears.contract.servicing import contract
    from arrears.extraction.batches import accept
    from arrears.gate import batches, profiles

    with connect() as connection:
        judged = [one for one in batches.waiting(connection, date(2100, 1, 1)) if one.batch_id == batch]
        profiles.write(connection, batches.loaded(connection, judged, contract()), contract())
        accept(connection, batch)


SATURDAY, NEXT_TUESDAY, WEDNESDAY = date(2026, 5, 2), date(2026, 5, 5), date(2026, 5, 6)


def judged(warehouse: GateWarehouse, brought: list[Row], day: date = NEXT_TUESDAY) -> Verdict:
    """What the gate says of a day's bookings; what was delivered for the day before is replaced."""
    warehouse.deliver({"transactions": brought}, day, said={"mode": "delta"})
    return gate.judge_batches(day)


def drifts(verdict: Verdict) -> list[str]:
    return [one.rule for one in verdict.failures if one.suite == "raw.drift"]


def changed(**changes: Callable[[Row], Any]) -> list[Row]:
    return [
        row
        | {name: change(row) for name, change in changes.items()}
        | {"transaction_id": f"{row['transaction_id']}-{'-'.join(changes)}"}
        for row in bookings(NEXT_TUESDAY)
    ]


def times(factor: int) -> Callable[[Row], str]:
    return lambda row: f"{Decimal(row['amount']) * factor:.2f}"


@pytest.mark.slow
def test_a_day_is_compared_with_the_last_good_ones(warehouse: GateWarehouse) -> None:
    weekend = judged(warehouse, bookings(SATURDAY, 1), SATURDAY)
    assert (drifts(weekend), weekend.is_blocked) == ([], False), "a weekend is like weekends"

    usual = judged(warehouse, bookings(NEXT_TUESDAY))
    assert (drifts(usual), usual.is_blocked) == ([], False)
    assert len([one for one in usual.results if one.suite == "raw.drift"]) == 15

    four_times = judged(warehouse, changed(amount=times(4)))
    assert (drifts(four_times), four_times.is_blocked) == (["drift-median"], False)

    cents = judged(warehouse, changed(amount=times(100)))
    assert (drifts(cents), cents.is_blocked) == (["drift-median-far", "drift-median"], True)

    emptied = judged(warehouse, changed(channel=lambda row: None))
    assert (drifts(emptied), emptied.is_blocked) == (["drift-null-share"], False)

    other_kinds = judged(warehouse, changed(kind=lambda row: "recovery"))
    assert (drifts(other_kinds), other_kinds.is_blocked) == (["drift-mix-far", "drift-mix"], True)

    nothing = judged(warehouse, bookings(WEDNESDAY, 1), WEDNESDAY)
    assert (drifts(nothing), nothing.is_blocked) == (["drift-row-count-low-far", "drift-row-count-low"], True)
    assert nothing.failures[0].failing_keys[0]["found"] == (
        "transactions: row count low is 1, on the last 4 good days 60"
    )
    with connect() as connection:
        waivers.waive(connection, WEDNESDAY, "raw.drift", "drift-row-count-low-far", {}, by="R. Kaur", reason="Strike")
    assert not gate.judge_batches(WEDNESDAY).is_blocked


def test_a_short_past_says_nothing(workplace: Workplace, tmp_path: Path) -> None:
    del workplace
    warehouse = with_first_drop(tmp_path)
    assert drifts(judged(warehouse, changed(amount=times(100)))) == []


def test_a_change_of_a_whole_table_is_told_on_the_second_day(workplace: Workplace, tmp_path: Path) -> None:
    del workplace
    warehouse = with_first_drop(tmp_path)
    drop = clean_drop()
    for row in drop["instalments"]:
        row["interest_amount"] = f"{Decimal(row['interest_amount']) * 100:.2f}"
    cents = warehouse.judge(drop, SATURDAY)
    assert (drifts(cents), cents.is_blocked) == (["drift-changed-median-far", "drift-changed-median"], True)
    assert cents.failures[0].failing_keys[0]["found"] == (
        "instalments interest_amount: changed median is 100 by the change of 240 rows"
    )

    drop = clean_drop()
    for row in drop["instalments"]:
        row["fee_amount"] = "0"
    for row in drop["instalments"][: len(drop["instalments"]) // 5]:
        row["fee_amount"] = "1.00"
    mostly_the_same = warehouse.judge(drop, NEXT_TUESDAY)
    assert drifts(mostly_the_same) == []
