"""loan_month_ends against a plain day-by-day replay of random loans, at every month end of their lives."""

import random
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.conftest import Workplace
from tests.oracle.delinquency_days import SHOWN, build, rows, take_in
from tests.oracle.delinquency_replay import ONE_DAY, Loan, Replayed
from tests.oracle.lender import Drop, Known, Lender, key_of, write
from tests.oracle.random_loans import a_random_loan, tables_of

D = date(2026, 3, 31)
CELLS = (
    "loan_id",
    "month_end_on",
    "currency",
    "status",
    "days_past_due",
    "days_delinquent",
    "bucket",
    "arrears_amount",
    "outstanding_principal_amount",
)
MonthEnd = tuple[object, ...]


def month_ends_of(workplace: Workplace) -> set[MonthEnd]:
    return {tuple(row[cell] for cell in CELLS) for row in rows(workplace, "select * from working.loan_month_ends")}


def replayed_month_ends(loans: Mapping[str, Loan], replayed: Replayed, day: date) -> set[MonthEnd]:
    found = set()
    for loan in loans.values():
        for on, row in replayed.life(loan).items():
            if on <= day and (on + ONE_DAY).day == 1:
                told = loan.loan | row | {"month_end_on": on}
                found.add(tuple(told[cell] for cell in CELLS))
    return found


def differences(made: set[MonthEnd], expected: set[MonthEnd]) -> list[MonthEnd]:
    return [*sorted(made - expected, key=str)[:SHOWN], *sorted(expected - made, key=str)[:SHOWN]]


@pytest.mark.parametrize(("seed", "count"), [(11, 150), pytest.param(12, 2000, marks=pytest.mark.slow)])
def test_every_month_end_reads_as_a_plain_replay_of_that_day(
    workplace: Workplace, tmp_path: Path, seed: int, count: int
) -> None:
    """On a month end, and months before it, when less is known."""
    chance = random.Random(seed)  # noqa: S311
    loans = [a_random_loan(chance, number, D) for number in range(count)]
    drop = Drop({table: {key_of(table, row): row for row in found} for table, found in tables_of(loans).items()})
    take_in(write(tmp_path / "drop", drop), D)
    known = Known()
    known.take_in(D, drop)
    replayed = Replayed(D)

    for day in (D, D - timedelta(100)):
        build(day, "loan_month_ends")

        made = month_ends_of(workplace)
        assert differences(made, replayed_month_ends(known.loans(day), replayed, day)) == [], f"{day}"
        assert len(made) > count
        assert (
            workplace.rows(
                "select month_ends.loan_id from working.loan_month_ends as month_ends"
                " inner join working.loan_delinquency as loans on loans.loan_id = month_ends.loan_id"
                " and loans.as_of_date = month_ends.month_end_on"
                " where month_ends.is_restructured <> loans.is_restructured"
            )
            == []
        )


@pytest.mark.parametrize(
    ("seed", "day_count", "loan_count"), [(13, 5, 40), pytest.param(14, 40, 120, marks=pytest.mark.slow)]
)
def test_what_is_kept_and_what_is_published_follow_what_becomes_known(
    workplace: Workplace, tmp_path: Path, seed: int, day_count: int, loan_count: int
) -> None:
    """Day by day over a month end, with bookings, pauses and balances that reach back; published is what was noted."""
    first = date(2026, 1, 29)
    last = first + timedelta(day_count - 1)
    lender = Lender(seed, loan_count, first, last)
    known, replayed = Known(), Replayed(last)
    published: set[MonthEnd] = set()
    noted = []
    for number in range(day_count):
        day = first + timedelta(number)
        drop = lender.turn(day, loan_count // 2 if number else 0)
        take_in(write(tmp_path / str(number), drop), day)
        known.take_in(day, drop)
        build(day, "loan_month_ends")

        made = month_ends_of(workplace)
        assert differences(made, replayed_month_ends(known.loans(day), replayed, day)) == [], f"{day}"

        noted.append(workplace.value("select count(*) from ops.unpublished_loans"))
        published = publish(workplace, published, made, day)
        assert differences(published, made) == [], f"published {day}"
    assert all(0 < int(str(count)) < loan_count for count in noted[1:]), noted


def publish(workplace: Workplace, published: set[MonthEnd], made: set[MonthEnd], day: date) -> set[MonthEnd]:
    """What publishing makes of a mart with a life: the rows of loans that were noted, and of a month that ended."""
    noted = dict(workplace.rows("select loan_id, changed_from::text from ops.unpublished_loans"))
    workplace.rows("delete from ops.unpublished_loans returning loan_id")
    if "" in noted:
        return made

    def is_replaced(row: MonthEnd) -> bool:
        changed_from = str(noted.get(str(row[0]), "infinity"))
        return changed_from == "-infinity" or (
            changed_from != "infinity" and str(row[1]) >= str(date.fromisoformat(changed_from) - ONE_DAY)
        )

    ended = {row for row in made if str(row[1]) > str(day - ONE_DAY)}
    return {row for row in published if not is_replaced(row)} | {row for row in made if is_replaced(row)} | ended
