"""Figures of the servicing system beside ours, and what explains that they differ, on a whole day."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from arrears import steps
from tests.conftest import Workplace
from tests.day import run_day
from tests.portfolio import a_borrower, a_loan, a_repayment, an_instalment, instalments_of

D = date(2026, 3, 31)

# Of each loan 100.00 is due on the first of February, March and April, and nothing is paid unless said below. On 25
# March 200.00 is past due, for 52 days (since 1 February: 27 in February and 25 in March), of one that paid February's
# 100.00 for 24 (since 1 March). Days and arrears as the servicing system states them, ours, and the cause.
CASES = {
    "agrees": ((52, "200"), (52, "200"), "none"),
    "books-later": ((52, "200"), (24, "100"), "later_booking"),
    "takes-a-payment-back-later": ((24, "100"), (52, "200"), "later_booking"),
    "is-paused": ((42, "200"), (52, "200"), "pause"),  # 10 days
    "has-grace": ((47, "200"), (52, "200"), "grace"),  # 5 days
    "owes-little": ((24, "40"), (0, "40"), "tolerance"),  # 40 of 50 that count as none
    "owes-a-small-rest": ((24, "100"), (52, "100.5"), "tolerance"),  # 0.50 of February's is left out, within 1
    "counts-the-due-date": ((53, "200"), (52, "200"), "cut_off"),
    "counts-a-month": ((30, "200"), (52, "200"), "months"),
    "leaves-a-fee-out": ((24, "100"), (38, "115"), "charges"),  # 15 since 15 February
    "has-the-old-schedule": ((52, "200"), (0, "0"), "schedule"),
    "pays-interest-first": ((52, "100"), (24, "100"), "allocation"),
    "is-wrong": ((7, "33"), (52, "200"), "unexplained"),
    # Statements of 50 on the first of February and March; 80 paid in February pays one, and 30 reduce the balance.
    "card": ((24, "50"), (24, "50"), "none"),
    "card-books-later": ((24, "50"), (0, "0"), "later_booking"),
}


def test_every_difference_has_the_cause_that_explains_it(
    workplace: Workplace, drop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "owner_kind", "process")
    more: dict[str, dict[str, object]] = {
        "has-grace": {"grace_days": 5},
        "owes-little": {"tolerance_amount": "50"},
        "owes-a-small-rest": {"tolerance_amount": "1"},
        "pays-interest-first": {"allocation_order": "interest>principal"},
        "card": {"product": "revolving", "principal_amount": "1000"},
        "card-books-later": {"product": "revolving", "principal_amount": "1000"},
    }
    loans = [a_loan(loan_id, "B1", **more.get(loan_id, {})) for loan_id in CASES]
    instalments = [row for loan_id in CASES if not loan_id.startswith("card") for row in instalments_of(loan_id)]
    for row in instalments:
        if row["loan_id"] == "pays-interest-first":
            row |= {"principal_amount": "80", "interest_amount": "20"}
    instalments += [
        an_instalment("has-the-old-schedule", 1, "2026-06-01", schedule_version=2, effective_on="2026-03-15"),
        *(
            an_instalment(card, number, due_on, effective_on=billed_on, principal_amount="50")
            for card in ("card", "card-books-later")
            for number, due_on, billed_on in ((1, "2026-02-01", "2026-01-15"), (2, "2026-03-01", "2026-02-15"))
        ),
    ]
    transactions = [
        a_repayment("T1", "books-later", "2026-03-20", booked_at="2026-03-28T09:00:00Z"),
        a_repayment("T2", "takes-a-payment-back-later", "2026-02-01"),
        a_repayment("R2", "takes-a-payment-back-later", "2026-03-28", kind="reversal", reverses_transaction_id="T2"),
        a_repayment("T3", "owes-little", "2026-02-01"),
        a_repayment("T4", "owes-little", "2026-03-01", amount="60"),
        a_repayment("T5", "owes-a-small-rest", "2026-02-01", amount="99.50"),
        a_repayment("T6", "leaves-a-fee-out", "2026-02-01"),
        # By oldest claim it pays February's; interest first it pays 20 of each and 60 of February's 80.
        a_repayment("T7", "pays-interest-first", "2026-03-05"),
        a_repayment("T8", "card", "2026-02-10", amount="80"),
        a_repayment("T9", "card-books-later", "2026-02-10", amount="80"),
        a_repayment("T10", "card-books-later", "2026-03-10", amount="50", booked_at="2026-03-28T09:00:00Z"),
    ]
    pause = {
        "forbearance_id": "F1",
        "loan_id": "is-paused",
        "kind": "delinquency_pause",
        "agreed_on": "2026-02-10",
        "starts_on": "2026-02-10",
        "ends_on": "2026-02-20",
        "is_distressed": "false",
    }
    fee = {"charge_id": "C1", "loan_id": "leaves-a-fee-out", "kind": "fee", "due_on": "2026-02-15", "amount": "15"}
    balances = [
        {"loan_id": loan_id, "balance_on": balance_on, "days_past_due": days, "arrears_amount": arrears}
        for loan_id, ((days, arrears), _, _) in CASES.items()
        for balance_on in ("2026-03-24", "2026-03-25")
    ]

    run_day(
        drop(
            loans=loans,
            borrowers=[a_borrower("B1")],
            instalments=instalments,
            transactions=transactions,
            forbearances=[pause],
            charges=[fee],
            servicer_balances=balances,
        ),
        D,
    )

    found = {
        loan_id: ((servicer_days, f"{servicer_arrears.normalize():f}"), (days, f"{arrears.normalize():f}"), cause)
        for loan_id, servicer_days, servicer_arrears, days, arrears, cause in workplace.rows(
            "select loan_id, servicer_days_past_due, servicer_arrears_amount, days_past_due, arrears_amount, cause"
            " from marts.servicer_reconciliation where as_of_date = '2026-03-31' and balance_on = '2026-03-25'"
        )
    }
    assert found == CASES
