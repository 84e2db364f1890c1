"""Loans drawn at random to which everything happens that a booking, a schedule or a concession can do, and much more of
it than to a real loan: equal due dates, exact payments, nothing due at all, dates on the edge of each other.
"""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

from tests.oracle.delinquency_replay import COMPONENTS, ONE_DAY, ZERO, Loan, Row

MINOR_UNITS = {"EUR": 2, "JPY": 0, "KWD": 3}
ORDERS = (
    "penalty>fee>interest>principal",
    "principal>interest>fee>penalty",
    "interest>principal",
    "principal",
    "fee > principal",
    "interest > penalty > principal > fee",
)
BOOKINGS = {
    "repayment": 10.0,
    "recovery": 2.0,
    "credit_note": 2.0,
    "chargeback": 1.0,
    "write_off": 0.3,
    "disbursement": 1.0,
    "waiver": 2.0,
    "refund": 2.0,
}
MOST_DAYS_AHEAD = 200  # the raw gate doubts what is valued more than a year after its drop
OFFSETS = (UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-5)))


def money(chance: random.Random, currency: str, low: int, high: int) -> Decimal:
    """An amount of whole minor units; often a round one, so that amounts meet each other exactly."""
    digits = MINOR_UNITS[currency]
    if chance.random() < 0.4:
        return Decimal(chance.randint(low, high) // 10 * 10 or low)
    return Decimal(chance.randint(low * 10**digits, high * 10**digits)).scaleb(-digits)


def a_random_loan(chance: random.Random, number: int, day: date) -> Loan:
    """A loan begun up to two years before a day, with what is known of it then and things dated after it."""
    loan_id = f"{chance.choice('Ll')}{number:05d}"
    lengths = [chance.randint(1, 60), chance.randint(20, 500), chance.randint(300, 730)]
    begun = day - timedelta(chance.choice([*lengths * 8, chance.randint(-40, 0)]))
    is_revolving = chance.random() < 0.2
    currency = chance.choice(["EUR", "EUR", "JPY", "KWD"])
    loan = {
        "loan_id": loan_id,
        "borrower_id": f"B{number % 97}",
        "product": "revolving" if is_revolving else chance.choice(["consumer", "mortgage", "sme_term"]),
        "currency": currency,
        "principal_amount": Decimal(1000),
        "is_drawn_in_parts": chance.choice([None, False, False, True]),
        "disbursed_on": begun,
        "maturity_on": day + timedelta(1000),
        "interest_rate": Decimal("0.1"),
        "allocation_order": chance.choice(ORDERS),
        "allocation_mode": chance.choice(["oldest_first", "oldest_first", "component_first"]),
        "grace_days": chance.choice([0, 0, 3, 10]),
        "tolerance_amount": chance.choice([ZERO, ZERO, Decimal(10), money(chance, currency, 0, 150)]),
        "called_on": None,
        "governing_law": "DE",
        "is_green": False,
        "status": chance.choice(["active"] * 8 + ["written_off", "closed", "sold"]),
        "status_on": day + timedelta(chance.choice([-200, -5, -1, 0, 1, 5])),
    }
    instalments = instalments_of(chance, loan, begun, day)
    return Loan(
        loan,
        instalments,
        transactions_of(chance, loan, begun, day, instalments),
        [a_charge(chance, loan, n, begun, instalments) for n in range(chance.choice([0, 0, 1, 2, 4]))],
        [a_pause(chance, loan, n, begun) for n in range(chance.choice([0, 0, 1, 2, 3]))],
        balances_of(chance, loan, day),
    )


def balances_of(chance: random.Random, loan: Row, day: date) -> list[Row]:
    """Balances of the servicing system: of revolving loans, and of some others, where they play no part."""
    is_stated = loan["product"] == "revolving" or chance.random() < 0.1
    return [
        {
            "loan_id": loan["loan_id"],
            "balance_on": day - timedelta(45 * n - 10),
            "outstanding_principal_amount": chance.choice([None, money(chance, loan["currency"], 0, 900)]),
            "outstanding_amount": money(chance, loan["currency"], 0, 900),
        }
        for n in range(chance.randint(0, 4) if is_stated else 0)
    ]


def instalments_of(chance: random.Random, loan: Row, begun: date, day: date) -> list[Row]:
    """No, one or several versions of a schedule; a later version may take effect before an earlier one."""
    if chance.random() < 0.03:
        return []
    rows: list[Row] = []
    version_count = chance.choice([1, 1, 1, 2, 3])
    span = max(0, (day - begun).days)
    for version in range(1, version_count + 1):
        effective_on = begun + timedelta(chance.randint(0, span) if version > 1 else chance.choice([0, 0, 0, 3]))
        if chance.random() < 0.05:
            effective_on = day + timedelta(5)
        rows += a_version(chance, loan, version, effective_on, rows)
    return rows


def a_version(
    chance: random.Random, loan: Row, version: int, effective_on: date, earlier: Sequence[Row] = ()
) -> list[Row]:
    """A version of a schedule: drawn anew, restating the one before it, or calling the loan in."""
    before = [row for row in earlier if row["schedule_version"] == version - 1]
    kind = chance.choice(["anew", "anew", "restated", "called in"]) if before else "anew"
    if loan["product"] == "revolving":
        kind = "anew"
    basis = chance.choice([None, "gross", "gross", "unpaid"]) if version > 1 or chance.random() < 0.15 else None
    if kind == "anew":
        return _anew(chance, loan, version, effective_on, basis)
    coming = timedelta(chance.choice([7, 30]))
    called_on = max(loan["disbursed_on"], effective_on)
    if kind == "called in":
        loan["called_on"] = effective_on
    return [
        row
        | {"schedule_version": version, "effective_on": effective_on, "basis": chance.choice([None, "gross"])}
        | (
            {}
            if row["due_on"] < effective_on
            else {"due_on": row["due_on"] + coming if kind == "restated" else called_on}
        )
        for row in before
    ]


def _anew(chance: random.Random, loan: Row, version: int, effective_on: date, basis: str | None) -> list[Row]:
    first, every = effective_on + timedelta(chance.randint(-20, 30)), chance.choice([0, 1, 7, 15, 30, 30])
    currency = loan["currency"]
    rows = []
    for number in range(1, chance.randint(1, 9) + 1):
        due_on = max(loan["disbursed_on"], first + timedelta(every * number))
        rows.append(
            {
                "loan_id": loan["loan_id"],
                "schedule_version": version,
                "effective_on": due_on - timedelta(10) if loan["product"] == "revolving" else effective_on,
                "basis": basis,
                "instalment_number": number,
                "due_on": due_on,
                "principal_amount": chance.choice([ZERO, *[money(chance, currency, 0, 150)] * 5]),
                "interest_amount": chance.choice([ZERO, money(chance, currency, 0, 20)]),
                "fee_amount": chance.choice([ZERO, money(chance, currency, 0, 5)]),
                "penalty_amount": chance.choice([ZERO, ZERO, money(chance, currency, 0, 5)]),
            }
        )
    return rows


def transactions_of(chance: random.Random, loan: Row, begun: date, day: date, instalments: Sequence[Row]) -> list[Row]:
    """Bookings of every kind, some reversed; most kinds only on some loans, so that simple loans are there too."""
    low, high, most = chance.choice([(1, 150, 0), (1, 150, 4), (200, 900, 3), (1, 150, 12), (1, 60, 20)])
    kinds = dict(BOOKINGS)
    for kind in ("waiver", "refund", "chargeback"):
        if chance.random() < 0.5:
            kinds[kind] = 0
    rows = [
        a_booking(chance, loan, n, kinds, begun, day, instalments, low, high) for n in range(chance.randint(0, most))
    ]
    return rows + [a_reversal(chance, loan, row, day) for row in rows if chance.random() < 0.1]


def a_booking(
    chance: random.Random,
    loan: Row,
    number: int,
    kinds: dict[str, float],
    begun: date,
    day: date,
    instalments: Sequence[Row],
    low: int = 1,
    high: int = 150,
) -> Row:
    """One booking, valued from the loan's first day to after a day; often on a due date, often of what is due then."""
    kind = chance.choices(list(kinds), list(kinds.values()))[0]
    effective_on = begun + timedelta(chance.randint(0, max(0, (day - begun).days) + 20))
    amount = money(chance, loan["currency"], low, high)
    if instalments and chance.random() < 0.3:
        due = chance.choice(instalments)
        near = due["due_on"] + timedelta(chance.choice([-1, 0, 0, 1]))
        effective_on = min(max(begun, near), day + timedelta(MOST_DAYS_AHEAD))
        amount = sum((due[f"{component}_amount"] for component in COMPONENTS), ZERO) or amount
    has_component = kind == "waiver" or (kind == "chargeback" and chance.random() < 0.6)
    pays = kind in ("repayment", "recovery", "credit_note")
    return {
        "transaction_id": f"{chance.choice('Tt_')}{loan['loan_id']}-{number}",
        "loan_id": loan["loan_id"],
        "kind": kind,
        "effective_on": effective_on,
        "booked_at": booked_at(chance, effective_on),
        "amount": amount,
        "component": chance.choice(COMPONENTS) if has_component else None,
        "reverses_transaction_id": None,
        "reduces_claim": chance.choice([None, None, True, False]) if pays else None,
    }


def booked_at(chance: random.Random, effective_on: date) -> datetime | date | None:
    """When a booking was made: often on its value date or shortly after, at times before or long after; or unsaid."""
    days = chance.choice([0, 0, 0, 1, 2, -3, chance.randint(3, 40), chance.randint(40, 500)])
    booked_on = effective_on + timedelta(days)
    kind = chance.random()
    if kind < 0.15:
        return None
    if kind < 0.25:
        return booked_on
    # Close to midnight the zone decides the day.
    return datetime.combine(booked_on, chance.choice([time(0, 30), time(12), time(23, 30)]), chance.choice(OFFSETS))


def a_reversal(chance: random.Random, loan: Row, row: Row, day: date) -> Row:
    """The reversal of a booking, whose own value date plays no part."""
    booked = row["booked_at"]
    return row | {
        "transaction_id": f"R{row['transaction_id']}",
        "kind": "reversal",
        "effective_on": max(
            loan["disbursed_on"], chance.choice([row["effective_on"], day - ONE_DAY, day + 9 * ONE_DAY])
        ),
        "booked_at": None if booked is None else booked + timedelta(chance.choice([0, 1, 20, 200])),
        "component": None,
        "reverses_transaction_id": row["transaction_id"],
        "reduces_claim": None,
    }


def a_charge(chance: random.Random, loan: Row, number: int, begun: date, instalments: Sequence[Row]) -> Row:
    """A fee or a penalty, often due with an instalment; never waived, or before, on or after its due date."""
    due_on = begun + timedelta(chance.randint(0, 500))
    if instalments and chance.random() < 0.4:
        due_on = chance.choice(instalments)["due_on"]
    days = chance.choice([None, None, -1, 0, 1, chance.randint(1, 60), chance.randint(1, 400)])
    return {
        "charge_id": f"{chance.choice('Cc')}{loan['loan_id']}-{number}",
        "loan_id": loan["loan_id"],
        "kind": chance.choice(["fee", "penalty"]),
        "due_on": due_on,
        "amount": money(chance, loan["currency"], 1, 30),
        "waived_on": None if days is None else due_on + timedelta(days),
    }


def a_pause(chance: random.Random, loan: Row, number: int, begun: date) -> Row:
    """A concession, mostly a delinquency pause; open-ended, of no day at all, or overlapping others."""
    starts_on = begun + timedelta(chance.randint(0, 500))
    return {
        "forbearance_id": f"{loan['loan_id']}-{number}",
        "loan_id": loan["loan_id"],
        "kind": chance.choice(["delinquency_pause"] * 4 + ["payment_holiday"]),
        "agreed_on": starts_on,
        "starts_on": starts_on,
        "ends_on": chance.choice([None, *[starts_on + timedelta(chance.randint(0, 90))] * 3]),
        "is_distressed": chance.random() < 0.2,
    }


def tables_of(loans: Iterable[Loan]) -> dict[str, list[Row]]:
    """The rows of all loans by table of the contract, borrowers included."""
    found = list(loans)
    borrowers = sorted({str(loan.loan["borrower_id"]) for loan in found})
    return {
        "borrowers": [
            {"borrower_id": key, "kind": "person", "name": f"Borrower {key}", "country": "DE"} for key in borrowers
        ],
        "loans": [loan.loan for loan in found],
        "instalments": [row for loan in found for row in loan.instalments],
        "transactions": [row for loan in found for row in loan.transactions],
        "charges": [row for loan in found for row in loan.charges],
        "forbearances": [row for loan in found for row in loan.forbearances],
        "servicer_balances": [row for loan in found for row in loan.balances],
    }
