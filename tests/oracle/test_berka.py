"""Berka's arrears, computed a second time from other data: published counts of instalments due and paid.

No bookings, no schedule and none of the pipeline's SQL take part: a loan of which n instalments are paid is past due
since the due date of instalment n + 1, its first due date plus n months.
"""

import shutil
from datetime import date
from decimal import Decimal

import duckdb
import pytest

from arrears import steps
from arrears.settings import CHECKOUT
from tests.conftest import Workplace

DAY = date(1998, 12, 31)
DATA = CHECKOUT / "sources/berka/data"

POSITIONS = f"""
select
    counts.loan_id::varchar,
    case when n_paid < n_due then date '{DAY}' - cast(first_due + to_months(n_paid::integer) as date) else 0 end,
    case when n_paid < n_due then cast(first_due + to_months(n_paid::integer) as date) end,
    greatest(0, n_due - n_paid) * orders.amount::decimal(18, 4),
    greatest(0, n_due - n_paid),
    greatest(0, loan.duration::integer - n_paid) * orders.amount::decimal(18, 4)
from read_csv('{DATA}/loan_payment_counts_19981231.csv') as counts
inner join read_csv('{DATA}/loan.asc.gz', delim = ';', all_varchar = true) as loan
    on counts.loan_id::varchar = loan.loan_id
inner join read_csv('{DATA}/order.asc.gz', delim = ';', all_varchar = true) as orders
    on loan.account_id = orders.account_id and orders.k_symbol = 'UVER'
where n_paid < loan.duration::integer
"""


@pytest.fixture
def positions() -> dict[str, tuple[int, date | None, Decimal, int, Decimal]]:
    """By loan that is not paid off: days past due, since when, arrears, instalments past due, outstanding principal."""
    with duckdb.connect() as session:
        return {row[0]: tuple(row[1:]) for row in session.execute(POSITIONS).fetchall()}


def test_every_cell_of_every_loan_agrees(
    workplace: Workplace, positions: dict[str, tuple[int, date | None, Decimal, int, Decimal]]
) -> None:
    shutil.copytree(CHECKOUT / "sources/berka", workplace.sources / "berka")
    for name in ("extract", "gate_raw", "build_marts"):
        steps.run(name, DAY, run_id="test", source="berka" if name == "extract" else None)
    assert workplace.rows("select suite, rule, failed_count from ops.gate_results where not is_passed") == []
    mart = {
        row[0]: tuple(row[1:])
        for row in workplace.rows(
            "select loan_id, days_past_due, oldest_unpaid_due_on, arrears_amount, instalments_past_due,"
            " outstanding_principal_amount from working.loan_delinquency"
        )
    }

    assert len(positions) == 481
    assert mart == positions
    assert workplace.rows(
        "select distinct currency, arrears_interest_amount, credit_amount from working.loan_delinquency"
    ) == [("CZK", 0, 0)]
    assert workplace.value("select count(*) from quarantine.rows") == 0
    assert workplace.value("select count(*) from ops.gate_results where not is_passed") == 0
