"""loan_delinquency against a plain day-by-day replay, on random loans to which everything happens."""

import random
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.conftest import Workplace
from tests.oracle.delinquency_days import build, delinquency, differences, held_back, take_in
from tests.oracle.delinquency_replay import Loan, all_states
from tests.oracle.lender import Drop, Known, key_of, write
from tests.oracle.random_loans import BOOKINGS, ORDERS, a_random_loan, tables_of

D = date(2026, 3, 31)


def random_loans(seed: int, count: int) -> list[Loan]:
    chance = random.Random(seed)  # noqa: S311
    return [a_random_loan(chance, number, D) for number in range(count)]


def deliver(workplace: Workplace, folder: Path, loans: list[Loan]) -> Known:
    """Takes in one drop of these loans on D; gives what is known of them on each date."""
    drop = Drop({table: {key_of(table, row): row for row in rows} for table, rows in tables_of(loans).items()})
    take_in(write(folder, drop), D)
    known = Known()
    known.take_in(D, drop)
    assert workplace.rows("select reason, loan_id from quarantine.rows") == []  # the loans are odd, not impossible
    return known


@pytest.mark.parametrize(
    ("seed", "count"),
    [(1, 400), *[pytest.param(seed, 3000, marks=pytest.mark.slow) for seed in (2, 3)]],
)
def test_the_mart_agrees_with_a_plain_replay(workplace: Workplace, tmp_path: Path, seed: int, count: int) -> None:
    """On the day of the drop, long before it, after it, and on the first day again."""
    known = deliver(workplace, tmp_path / "drop", random_loans(seed, count))

    for day in (D, D - timedelta(200), D + timedelta(45), D):
        build(day)
        expected = held_back(all_states(known.loans(day).values(), day), known.held_back(day))

        assert differences(delinquency(workplace), expected) == [], f"seed {seed}, {day}"
        assert len(expected) > count // 4


def test_the_random_loans_have_everything_that_can_happen_to_one() -> None:
    loans = random_loans(1, 400)
    bookings = [row for loan in loans for row in loan.transactions]
    by_key = {row["transaction_id"]: row["kind"] for row in bookings}

    assert {row["kind"] for row in bookings} == {*BOOKINGS, "reversal"}
    assert {by_key[row["reverses_transaction_id"]] for row in bookings if row["kind"] == "reversal"} == {*BOOKINGS}
    assert {row["component"] is None for row in bookings if row["kind"] == "chargeback"} == {True, False}
    assert {loan.loan["allocation_order"] for loan in loans} == {*ORDERS}
    assert {loan.loan["currency"] for loan in loans} == {"EUR", "JPY", "KWD"}
    assert {loan.loan["status"] for loan in loans} == {"active", "closed", "sold", "written_off"}
    states = [state for loan in loans if (state := loan.state(D)) is not None]
    counts = Counter(
        name
        for state in states
        for name, is_so in {
            "late": state["days_past_due"] > 0,
            "within tolerance": state["arrears_amount"] > 0 and state["days_past_due"] == 0,
            "paused": state["is_paused"],
            "late and paused": state["days_paused"] > 0,
            "credit": state["credit_amount"] > 0,
            "undrawn": state["undrawn_amount"] > 0,
            "nothing past due": state["arrears_amount"] == 0,
            "refused or without a schedule": state["is_held_back"],
        }.items()
        if is_so
    )
    assert min(counts.values()) >= 5 and len(counts) == 8, counts


def test_the_random_loans_need_both_ways_of_computing(workplace: Workplace, tmp_path: Path) -> None:
    deliver(workplace, tmp_path / "drop", random_loans(1, 300))

    build(D)

    counts = workplace.rows(
        "select count(*) filter (where is_replayed), count(*) filter (where not is_replayed)"
        " from working.int_delinquency__loans_stated"
    )
    assert min(int(str(count)) for count in counts[0]) > 50
