"""The measures of seven loans, worked by hand; docs/concepts/portfolio-measures.md shows the same tables.

Six loans of 300.00 EUR in three instalments of 100.00, of which five were lent on 10 January 2026 and are due on 1
February, March and April, seen on 15 June 2026, so that May is the last month that is over:

    P  pays on the due dates, closed on 2 April
    L  pays the first two on 5 March, the third on 1 April, closed on 2 April
    N  pays nothing
    W  pays the first, then nothing; written off on 15 May (200.00), 50.00 recovered on 10 June
    S  pays nothing, sold on 20 March
    Y  lent on 10 May, due from 1 June on, pays nothing

and C of 300.00 CZK lent on 10 January 2025, due from 1 February 2025 on: pays all on 20 May 2025.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from arrears.transform import dbt
from tests.conftest import VIEWS, Workplace
from tests.oracle.delinquency_days import take_in
from tests.portfolio import a_borrower, a_loan, a_repayment, an_instalment, write_drop

D = date(2026, 6, 15)
MEASURES = "path:models/marts/portfolio"


def three_instalments(loan_id: str, year: int, first_month: int) -> Iterator[dict[str, object]]:
    for number in range(3):
        yield an_instalment(
            loan_id,
            number + 1,
            f"{year}-{first_month + number:02d}-01",
            effective_on=f"{year}-{first_month - 1:02d}-10",
        )


def lent(loan_id: str, on: str, **more: object) -> dict[str, object]:
    return a_loan(loan_id, "B1", **{"disbursed_on": on, "status_on": on, "maturity_on": "2026-12-31", **more})


@pytest.fixture
def portfolio(workplace: Workplace, tmp_path: Path) -> Workplace:
    """The seven loans taken in and measured."""
    january = "2026-01-10"
    drop = write_drop(
        tmp_path / "drop",
        borrowers=[a_borrower("B1")],
        loans=[
            lent("P", january, status="closed", status_on="2026-04-02"),
            lent("L", january, status="closed", status_on="2026-04-02"),
            lent("N", january),
            lent("W", january, status="written_off", status_on="2026-05-15"),
            lent("S", january, status="sold", status_on="2026-03-20"),
            lent("Y", "2026-05-10"),
            lent("C", "2025-01-10", currency="CZK"),
        ],
        instalments=[
            *(row for loan_id in "PLNWS" for row in three_instalments(loan_id, 2026, 2)),
            *three_instalments("Y", 2026, 6),
            *three_instalments("C", 2025, 2),
        ],
        transactions=[
            a_repayment("P1", "P", "2026-02-01"),
            a_repayment("P2", "P", "2026-03-01"),
            a_repayment("P3", "P", "2026-04-01"),
            a_repayment("L1", "L", "2026-03-05", "200.00"),
            a_repayment("L2", "L", "2026-04-01"),
            a_repayment("W1", "W", "2026-02-01"),
            a_repayment("W2", "W", "2026-05-15", "200.00", kind="write_off"),
            a_repayment("W3", "W", "2026-06-10", "50.00", kind="recovery"),
            a_repayment("C1", "C", "2025-05-20", "300.00"),
        ],
    )
    take_in(drop, D)
    dbt.invoke(["build", "--select", f"+{MEASURES}", "--exclude", "resource_type:seed", "test_type:unit", VIEWS], D)
    return workplace


def test_a_portfolio_worked_by_hand_gives_these_measures(portfolio: Workplace) -> None:
    month_ends_say_how_late_each_loan_was(portfolio)
    roll_rates_follow_accounts(portfolio)
    net_flows_compare_totals(portfolio)
    vintages_keep_their_denominator(portfolio)
    first_payments_default_after_thirty_days(portfolio)
    cures_come_after_a_probation(portfolio)
    what_is_at_risk_is_known_for_every_month(portfolio)


def month_ends_say_how_late_each_loan_was(portfolio: Workplace) -> None:
    """27 days on 28 February since the 1st; 30 April less 1 February is 88 days, 31 May less 1 March 91."""
    found = portfolio.rows(
        "select loan_id, month_end_on, days_past_due, bucket, status, mba_status, ots_status,"
        " outstanding_principal_amount from working.loan_month_ends where currency = 'EUR'"
        " and (loan_id in ('L', 'W', 'Y') or month_end_on = '2026-05-31') order by loan_id, month_end_on"
    )
    assert found == [
        ("L", date(2026, 1, 31), 0, "current", "active", 0, 0, 300),
        ("L", date(2026, 2, 28), 27, "1-29", "active", 1, 0, 300),
        ("L", date(2026, 3, 31), 0, "current", "active", 0, 0, 100),
        ("N", date(2026, 5, 31), 119, "90-179", "active", 4, 3, 300),
        ("W", date(2026, 1, 31), 0, "current", "active", 0, 0, 300),
        ("W", date(2026, 2, 28), 0, "current", "active", 0, 0, 200),
        ("W", date(2026, 3, 31), 30, "30-59", "active", 1, 0, 200),
        ("W", date(2026, 4, 30), 60, "60-89", "active", 2, 1, 200),
        ("W", date(2026, 5, 31), 91, "90-179", "written_off", 3, 2, 200),
        ("Y", date(2026, 5, 31), 0, "current", "active", 0, 0, 300),
    ]


def roll_rates_follow_accounts(portfolio: Workplace) -> None:
    """Y is new in May and comes from nowhere; W has arrived in May."""
    found = portfolio.rows(
        "select month, from_bucket, to_bucket, direction, loan_count, balance_amount, roll_share, roll_balance_share"
        " from working.loan_roll_rates where currency = 'EUR' order by month, from_bucket, to_bucket"
    )
    third = Decimal("0.33333333")
    assert found == [
        (date(2026, 2, 1), "current", "1-29", "forward", 3, 900, Decimal("0.6"), Decimal("0.6")),
        (date(2026, 2, 1), "current", "current", "stay", 2, 600, Decimal("0.4"), Decimal("0.4")),
        (date(2026, 3, 1), "1-29", "30-59", "forward", 1, 300, third, third),
        (date(2026, 3, 1), "1-29", "current", "to_current", 1, 300, third, third),
        (date(2026, 3, 1), "1-29", "sold", "sold", 1, 300, third, third),
        (date(2026, 3, 1), "current", "30-59", "forward", 1, 200, Decimal("0.5"), Decimal("0.5")),
        (date(2026, 3, 1), "current", "current", "stay", 1, 200, Decimal("0.5"), Decimal("0.5")),
        (date(2026, 4, 1), "30-59", "60-89", "forward", 2, 500, 1, 1),
        (date(2026, 4, 1), "current", "closed", "closed", 2, 200, 1, 1),
        (date(2026, 5, 1), "60-89", "90-179", "forward", 1, 300, Decimal("0.5"), Decimal("0.6")),
        (date(2026, 5, 1), "60-89", "written_off", "written_off", 1, 200, Decimal("0.5"), Decimal("0.4")),
    ]
    assert portfolio.rows(
        "select month, current_count, late_count, late_share, current_amount, late_amount"
        " from working.loan_late_entries where currency = 'EUR' order by month"
    ) == [
        (date(2026, 2, 1), 5, 3, Decimal("0.6"), 1500, 900),
        (date(2026, 3, 1), 2, 1, Decimal("0.5"), 400, 200),
        (date(2026, 4, 1), 2, 0, 0, 200, 0),
    ]


def net_flows_compare_totals(portfolio: Workplace) -> None:
    """March: 500 in 30-59 (N, and W straight from current) by 900 in 1-29 is 0.5556, though only a third rolled."""
    found = portfolio.rows(
        "select month, from_bucket, to_bucket, from_amount, to_amount, net_flow_ratio from working.loan_net_flow_rates"
        " where currency = 'EUR' and from_amount > 0 order by month, from_amount, from_bucket"
    )
    assert found == [
        (date(2026, 2, 1), "current", "1-29", 1500, 900, Decimal("0.6")),
        (date(2026, 3, 1), "current", "1-29", 400, 0, 0),
        (date(2026, 3, 1), "1-29", "30-59", 900, 500, Decimal("0.55555556")),
        (date(2026, 4, 1), "current", "1-29", 200, 0, 0),
        (date(2026, 4, 1), "30-59", "60-89", 500, 500, 1),
        (date(2026, 5, 1), "60-89", "90-119", 500, 300, Decimal("0.6")),
    ]


def vintages_keep_their_denominator(portfolio: Workplace) -> None:
    """L, N and S are 30 days late on 3 March, W on the 31st; L is so at no month end. N is 60 days late on 2 April, W
    on the 30th; 90 days on 2 and 30 May. Closed, sold and written-off loans stay among the five."""
    found = portfolio.rows(
        "select months_on_book, loan_count, ever_30_count, ever_60_count, ever_90_count, ever_30_share"
        " from working.loan_vintages where origination_month = '2026-01-01' order by 1"
    )
    assert found == [
        (0, 5, 0, 0, 0, 0),
        (1, 5, 0, 0, 0, 0),
        (2, 5, 4, 0, 0, Decimal("0.8")),
        (3, 5, 4, 2, 0, Decimal("0.8")),
        (4, 5, 4, 2, 2, Decimal("0.8")),
    ]
    assert portfolio.rows(
        "select months_on_book, loan_count, ever_30_count from working.loan_vintages"
        " where origination_month = '2026-05-01'"
    ) == [(0, 1, 0)]
    # The recovery is of June, which is not over.
    assert portfolio.rows(
        "select months_on_book, gross_loss_amount, net_loss_amount, original_amount, ever_90_amount"
        " from working.loan_vintages_by_segment"
        " where origination_month = '2026-01-01' and months_on_book >= 3 order by 1"
    ) == [(3, 0, 0, 1500, 0), (4, 200, 200, 1500, 600)]


def first_payments_default_after_thirty_days(portfolio: Workplace) -> None:
    """L, N and S of five; the days of Y are not over. C paid its first instalment 108 days late."""
    assert portfolio.rows(
        "select origination_month, loan_count, observed_count, first_payment_default_count, first_payment_default_share"
        " from working.loan_first_payment_defaults order by 1"
    ) == [
        (date(2025, 1, 1), 1, 1, 1, 1),
        (date(2026, 1, 1), 5, 5, 3, Decimal("0.6")),
        (date(2026, 5, 1), 1, 0, 0, None),
    ]


def cures_come_after_a_probation(portfolio: Workplace) -> None:
    """C is in default from 2 May 2025 (day 90), up to date on the 20th, cured on 20 August. N is in default from 2 May
    2026; W reached day 90 after its write-off."""
    assert portfolio.rows(
        "select default_month, currency, months_since_default, default_count, cured_count from working.loan_cure_rates"
        " where months_since_default <= 4 order by 1, 3"
    ) == [
        (date(2025, 5, 1), "CZK", 0, 1, 0),
        (date(2025, 5, 1), "CZK", 1, 1, 0),
        (date(2025, 5, 1), "CZK", 2, 1, 0),
        (date(2025, 5, 1), "CZK", 3, 1, 1),
        (date(2025, 5, 1), "CZK", 4, 1, 1),
        (date(2026, 5, 1), "EUR", 0, 1, 0),
    ]
    assert portfolio.rows(
        "select cure_month, is_complete, cured_count, redefault_count, redefault_share"
        " from working.loan_redefault_rates"
    ) == [(date(2025, 8, 1), False, 1, 0, None)]


def what_is_at_risk_is_known_for_every_month(portfolio: Workplace) -> None:
    """W is 30 days late at the end of March, which is not more than 30; written off it is in no part."""
    assert portfolio.rows(
        "select month_end_on, loan_count, balance_amount, par_1_amount, par_30_amount, par_60_amount, par_90_amount,"
        " written_off_amount from working.portfolio_at_risk_by_month where currency = 'EUR' order by 1"
    ) == [
        (date(2026, 1, 31), 5, 1500, 0, 0, 0, 0, 0),
        (date(2026, 2, 28), 5, 1300, 900, 0, 0, 0, 0),
        (date(2026, 3, 31), 4, 700, 500, 300, 0, 0, 0),
        (date(2026, 4, 30), 2, 500, 500, 500, 300, 0, 0),
        (date(2026, 5, 31), 2, 600, 300, 300, 300, 300, 200),
    ]
