"""loan_month_ends against a plain day-by-day replay of random loans, at every month end of their lives."""

import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.conftest import Workplace
from tests.oracle.delinquency_days import SHOWN, build, rows, take_in
from tests.oracle.delinquency_replay import ONE_DAY, Replayed
from tests.oracle.lender import Drop, Known, key_of, write
from tests.oracle.random_loans import a_random_loan, tables_of

D = date(2026, 3, 31)
CELLS = ("currency", "status", "days_past_due", "days_delinquent", "bucket", "arrears_amount")


@pytest.mark.parametrize(("seed", "count"), [(11, 150), pytest.param(12, 2000, marks=pytest.mark.slow)])
def test_every_month_end_reads_as_a_plain_replay_of_that_day(
    workplace: Workplace, tmp_path: Path, seed: int, count: int
) -> None:
    """On a month end, months before it, when less is known, and after it."""
    chance = random.Random(seed)  # noqa: S311
    loans = [a_random_loan(chance, number, D) for number in range(count)]
    drop = Drop({table: {key_of(table, row): row for row in found} for table, found in tables_of(loans).items()})
    take_in(write(tmp_path / "drop", drop), D)
    known = Known()
    known.take_in(D, drop)
    replayed = Replayed(D + timedelta(60))

    for day in (D, D - timedelta(100), D + timedelta(45)):
        build(day, "loan_month_ends")
        columns = (*CELLS, "outstanding_principal_amount")
        made = {
            (row["loan_id"], row["month_end_on"], *(row[column] for column in columns))
            for row in rows(workplace, "select * from working.loan_month_ends")
        }
        expected = {
            (loan_id, on, *({**loan.loan, **row}[column] for column in columns))
            for loan_id, loan in known.loans(day).items()
            for on, row in replayed.life(loan).items()
            if on <= day and (on + ONE_DAY).day == 1
        }
        assert [*sorted(made - expected, key=str)[:SHOWN], *sorted(expected - made, key=str)[:SHOWN]] == [], f"{day}"
        assert len(made) > count

        restructured = workplace.rows(
            "select count(*) from working.loan_month_ends as month_ends"
            " inner join working.loan_delinquency as loans on loans.loan_id = month_ends.loan_id"
            " and loans.as_of_date = month_ends.month_end_on"
            " where month_ends.is_restructured <> loans.is_restructured"
        )
        assert restructured == [(0,)]
