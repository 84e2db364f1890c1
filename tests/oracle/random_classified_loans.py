"""Random portfolios for the rule books: arrears around every threshold, events, measures, siblings, groups."""

import random
from datetime import date, timedelta
from decimal import Decimal

from tests.classified import DAY, Event, Loan, Measure, Report, Stretch

EVENTS = [
    "non_accrual",
    "specific_provision",
    "distressed_sale",
    "fraud",
    "bankruptcy",
    "liquidation",
    "death",
    "evasion",
    "rating_cut",
    "repaid_by_new_loan",
    "default_elsewhere",
    "fund_misuse",
    *["technical_past_due", "court_dispute"] * 2,
]
PRODUCTS = ["consumer", "consumer", "auto", "mortgage", "revolving", "sme_term", "project_finance"]
EXPOSURES = ["retail", "retail", "sme_retail", "corporate", "corporate", "project"]
LENGTHS = (1, 3, 15, 29, 30, 31, 45, 59, 61, 88, 89, 90, 91, 120, 181, 270, 365)


def a_portfolio(chance: random.Random, size: int, as_of: date) -> tuple[list[Loan], list[Event], list[Report]]:
    """Loans of about two thirds as many borrowers, some of them in groups, with events and credit reports."""
    borrowers = [f"B{number}" for number in range(size * 2 // 3)]
    groups = {one: f"G{chance.randrange(max(1, size // 15))}" if chance.random() < 0.2 else None for one in borrowers}
    loans = []
    for number in range(size):
        borrower = chance.choice(borrowers)
        loans.append(a_loan(chance, f"L{number}", borrower, groups[borrower], as_of))
    events: list[Event] = []
    reports: list[Report] = []
    for borrower in sorted({loan.borrower_id for loan in loans}):
        own = [loan.loan_id for loan in loans if loan.borrower_id == borrower]
        while chance.random() < 0.3:
            events.append(_an_event(chance, borrower, own, as_of))
        if chance.random() < 0.1:
            days = {chance.randrange(700) for _ in range(chance.randrange(1, 3))}
            reports += [_a_report(chance, borrower, as_of - day * DAY) for day in sorted(days)]
    return loans, events, reports


def _an_event(chance: random.Random, borrower: str, own: list[str], as_of: date) -> Event:
    occurred_on = as_of - chance.randrange(900) * DAY
    return Event(
        kind=chance.choice(EVENTS),
        borrower_id=borrower,
        occurred_on=occurred_on,
        loan_id=chance.choice([None, chance.choice(own)]),
        discovered_on=occurred_on + chance.randrange(60) * DAY if chance.random() < 0.3 else None,
        ended_on=occurred_on + chance.randrange(1, 300) * DAY if chance.random() < 0.7 else None,
    )


def _a_report(chance: random.Random, borrower: str, reported_on: date) -> Report:
    debt = Decimal(chance.randrange(1000, 50000))
    return Report(borrower, reported_on, debt, debt * Decimal(chance.choice(["0", "0.1", "0.3", "0.6"])))


def a_loan(chance: random.Random, loan_id: str, borrower_id: str, group_id: str | None, as_of: date) -> Loan:
    """A loan of some months to three and a half years, late now and then, perhaps closed."""
    begin = as_of - chance.randrange(200, 1300) * DAY
    days = (as_of - begin).days
    end = as_of if chance.random() < 0.85 else begin + chance.randrange(100, days + 1) * DAY
    loan = Loan(
        loan_id,
        borrower_id,
        group_id,
        product=chance.choice(PRODUCTS),
        exposure_class=chance.choice(EXPOSURES),
        disbursed_on=begin,
        period_months=chance.choice([None, 1, 3, 6]),
        is_present=end == as_of,
        rate=chance.choice([Decimal(1), Decimal(1), Decimal("0.04")]),
    )
    loan.stretches = _stretches(chance, begin, end)
    if chance.random() < 0.25:
        starts = {begin + chance.randrange((end - begin).days) * DAY for _ in range(chance.randrange(1, 4))}
        loan.measures = [_a_measure(chance, start) for start in sorted(starts)]
    if loan.is_present and chance.random() < 0.03:
        loan.signs.append(("written_off", as_of - chance.randrange(100) * DAY, None))
    if chance.random() < 0.03:
        loan.signs.append(("credit_impaired_at_origination", begin, None))
    if loan.product == "revolving" and chance.random() < 0.4:
        since = as_of - chance.randrange(150) * DAY
        last = as_of if chance.random() < 0.6 else since + chance.randrange((as_of - since).days + 1) * DAY
        loan.in_excess = [(since, last)]
    return loan


def _a_measure(chance: random.Random, start: date) -> Measure:
    grace_to = start + chance.randrange(1, 200) * DAY if chance.random() < 0.3 else start
    in_force_to = start + chance.randrange(1, 400) * DAY if chance.random() < 0.3 else start
    return Measure(start, grace_to, max(grace_to, in_force_to))


def _stretches(chance: random.Random, begin: date, end: date) -> list[Stretch]:
    found: list[Stretch] = []
    day, balance = begin, Decimal(chance.randrange(500, 20000))

    def add(length: int, oldest: date | None, arrears: Decimal) -> None:
        nonlocal day, balance
        last = min(end, day + timedelta(days=length - 1))
        if day <= last:
            found.append(Stretch(day, last, oldest, arrears, balance))
        day = last + DAY
        balance = max(Decimal(50), balance - chance.randrange(300))

    while day <= end:
        add(chance.choice([5, 20, 40, 95, 100, 180, 300, 400]), None, Decimal(0))
        if day <= end and chance.random() < 0.1:
            add(chance.randrange(1, 20), None, Decimal(chance.randrange(1, 5)))  # within the tolerance
        oldest, arrears = day - DAY, Decimal(chance.choice([20, 60, 101, 150, 600, 900]))
        add(chance.choice(LENGTHS), oldest, arrears)
        while day <= end and chance.random() < 0.5:
            if chance.random() < 0.5:  # something was paid, and perhaps the oldest claim
                oldest = min(day - DAY, oldest + chance.randrange(70) * DAY)
                arrears = max(Decimal(6), arrears - chance.randrange(200))
            else:
                arrears += chance.randrange(10, 300)
            add(chance.choice([1, 5, 20, 30, 31, 60, 91]), oldest, arrears)
    return found
