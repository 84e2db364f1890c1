"""A plain second implementation of the delinquency rules: one loan, day by day, and loans drawn at random to try it on.

It shares no idea with the models: no sums, no windows, no shortcut for loans that follow from totals.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
COMPONENTS = ("principal", "interest", "fee", "penalty")
LAST_IN_ORDER = ("penalty", "fee", "interest", "principal")
KIND_ORDER = {"instalment": 1, "charge": 2, "chargeback": 3}
ZERO = Decimal(0)


@dataclass(slots=True)
class Claim:
    """What the lender may ask for, and what became of it, by component."""

    kind: str
    number: int
    key: str
    due_on: date
    amounts: dict[str, Decimal]
    lapses_on: date | None = None
    paid: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(COMPONENTS, ZERO))
    waived: dict[str, Decimal] = field(default_factory=lambda: dict.fromkeys(COMPONENTS, ZERO))

    def left(self, component: str) -> Decimal:
        """What is unpaid of a component."""
        return self.amounts[component] - self.paid[component] - self.waived[component]

    @property
    def unpaid(self) -> Decimal:
        """What is unpaid in all."""
        return sum((self.left(component) for component in COMPONENTS), ZERO)

    @property
    def place(self) -> tuple[date, int, int, bytes]:
        """Where it stands in the order of payment."""
        return self.due_on, KIND_ORDER[self.kind], self.number, self.key.encode()


@dataclass(frozen=True, slots=True)
class Loan:
    """A loan with all its rows, as known on the day."""

    loan: Row
    instalments: Sequence[Row]
    transactions: Sequence[Row]
    charges: Sequence[Row]
    forbearances: Sequence[Row]
    balances: Sequence[Row]

    def state(self, day: date) -> Row | None:
        """The loan's row of loan_delinquency at the end of a day; None where it has none."""
        loan = self.loan
        if loan["disbursed_on"] > day or (loan["status"] in ("closed", "sold") and loan["status_on"] <= day):
            return None
        schedule = self._schedule(day)
        replayed_from = date.min
        if any(row["basis"] == "unpaid" for row in schedule):
            replayed_from = min(row["effective_on"] for row in schedule)
        made = [row for row in self._made() if row["effective_on"] <= day]
        bookings = sorted((row for row in made if row["effective_on"] >= replayed_from), key=_booking_order)
        claims = sorted(self._claims(schedule, bookings, replayed_from), key=lambda claim: claim.place)
        standing, refused_count = self._replay(claims, bookings, day)
        return self._describe(day, schedule, made, claims, standing, refused_count)

    def _schedule(self, day: date) -> list[Row]:
        effective = [row for row in self.instalments if row["effective_on"] <= day]
        version = max((row["schedule_version"] for row in effective), default=None)
        return [row for row in effective if row["schedule_version"] == version]

    def _made(self) -> list[Row]:
        by_key = {row["transaction_id"]: row for row in self.transactions}
        never_made = set()
        for row in self.transactions:
            if row["kind"] == "reversal":
                meant = by_key.get(row["reverses_transaction_id"])
                if meant and meant["kind"] != "reversal" and meant["amount"] == row["amount"]:
                    never_made.add(meant["transaction_id"])
        return [
            row for row in self.transactions if row["kind"] != "reversal" and row["transaction_id"] not in never_made
        ]

    def _claims(self, schedule: Sequence[Row], bookings: Sequence[Row], replayed_from: date) -> list[Claim]:
        claims = [
            Claim(
                "instalment",
                row["instalment_number"],
                "",
                row["due_on"],
                {component: row[f"{component}_amount"] for component in COMPONENTS},
            )
            for row in schedule
        ]
        for row in self.charges:
            is_waived_in_time = row["waived_on"] is not None and row["waived_on"] <= row["due_on"]
            if not is_waived_in_time and row["due_on"] >= replayed_from:
                amounts = dict.fromkeys(COMPONENTS, ZERO) | {row["kind"]: row["amount"]}
                claims.append(Claim("charge", 0, row["charge_id"], row["due_on"], amounts, row["waived_on"]))
        for row in bookings:
            if row["kind"] == "chargeback":
                amounts = dict.fromkeys(COMPONENTS, ZERO) | {row["component"]: row["amount"]}
                claims.append(Claim("chargeback", 0, row["transaction_id"], row["effective_on"], amounts))
        return claims

    def _replay(self, claims: Sequence[Claim], bookings: Sequence[Row], day: date) -> tuple[Decimal, int]:
        order = component_order(self.loan["allocation_order"])
        is_revolving = self.loan["product"] == "revolving"
        standing, refused_count = ZERO, 0

        def pay(amount: Decimal, today: date) -> Decimal:
            due = [claim for claim in claims if claim.due_on <= today]
            if self.loan["allocation_mode"] == "oldest_first":
                places = [(claim, component) for claim in due for component in order]
            else:
                places = [(claim, component) for component in order for claim in due]
            for claim, component in places:
                part = min(amount, claim.left(component))
                claim.paid[component] += part
                amount -= part
            return amount

        dates = {claim.due_on for claim in claims} | {claim.lapses_on for claim in claims if claim.lapses_on}
        for today in sorted(found for found in dates | {row["effective_on"] for row in bookings} if found <= day):
            if not is_revolving:
                standing = pay(standing, today)
            for claim in claims:
                if claim.lapses_on == today:
                    for component in COMPONENTS:
                        claim.waived[component] += claim.left(component)
            for row in bookings:
                if row["effective_on"] != today:
                    continue
                amount = row["amount"]
                if row["kind"] in ("repayment", "recovery", "credit_note") and row["reduces_claim"] is not False:
                    standing = standing + pay(amount, today) if is_revolving else pay(standing + amount, today)
                elif row["kind"] == "waiver":
                    for claim in claims:
                        if claim.due_on <= today:
                            part = min(amount, claim.left(row["component"]))
                            claim.waived[row["component"]] += part
                            amount -= part
                elif row["kind"] == "refund":
                    if amount > standing + sum((sum(claim.paid.values()) for claim in claims), ZERO):
                        refused_count += 1
                        continue
                    part = min(amount, standing)
                    standing -= part
                    amount -= part
                    for claim in reversed(claims):
                        for component in reversed(order):
                            part = min(amount, claim.paid[component])
                            claim.paid[component] -= part
                            amount -= part
        return standing, refused_count

    def _describe(
        self,
        day: date,
        schedule: Sequence[Row],
        made: Sequence[Row],
        claims: Sequence[Claim],
        standing: Decimal,
        refused_count: int,
    ) -> Row:
        loan = self.loan
        is_revolving = loan["product"] == "revolving"
        past_due = [claim for claim in claims if claim.due_on < day and claim.unpaid > 0]
        arrears = {component: sum((claim.left(component) for claim in past_due), ZERO) for component in COMPONENTS}
        is_past_due = sum(arrears.values()) > loan["tolerance_amount"]
        oldest = min(claim.due_on for claim in past_due) if is_past_due else None
        days_past_due = (day - oldest).days if oldest else 0
        days_paused = sum(self._is_paused(oldest + timedelta(n)) for n in range(days_past_due)) if oldest else 0
        undrawn = ZERO
        if loan["is_drawn_in_parts"]:
            drawn = sum((row["amount"] for row in made if row["kind"] == "disbursement"), ZERO)
            undrawn = max(ZERO, sum((row["principal_amount"] for row in schedule), ZERO) - drawn)
        principal: Decimal | None = sum((claim.left("principal") for claim in claims), ZERO) - undrawn
        others = [claim.unpaid - claim.left("principal") for claim in claims if claim.due_on <= day]
        outstanding: Decimal | None = (principal or ZERO) + sum(others, ZERO)
        if is_revolving:
            stated = [row for row in self.balances if row["balance_on"] <= day]
            latest = max(stated, key=lambda row: row["balance_on"], default={})
            principal, outstanding = latest.get("outstanding_principal_amount"), latest.get("outstanding_amount")
        return {
            "days_past_due": days_past_due,
            "days_delinquent": max(0, days_past_due - days_paused - loan["grace_days"]),
            "oldest_unpaid_due_on": oldest,
            "instalments_past_due": sum(claim.kind == "instalment" for claim in past_due) if is_past_due else 0,
            "arrears_amount": sum(arrears.values()),
            **{f"arrears_{component}_amount": arrears[component] for component in COMPONENTS},
            "outstanding_principal_amount": principal,
            "outstanding_amount": outstanding,
            "credit_amount": ZERO if is_revolving else standing,
            "undrawn_amount": undrawn,
            "last_payment_on": max(
                (row["effective_on"] for row in made if row["kind"] in ("repayment", "recovery")), default=None
            ),
            "is_paused": self._is_paused(day),
            "is_held_back": refused_count > 0 or (not schedule and not is_revolving),
        }

    def _is_paused(self, day: date) -> bool:
        return any(
            row["kind"] == "delinquency_pause"
            and row["starts_on"] <= day
            and (row["ends_on"] is None or day < row["ends_on"])
            for row in self.forbearances
        )


def component_order(text: str) -> list[str]:
    """The four components as an allocation_order has them; those it does not name come last."""
    named = [word.strip() for word in text.split(">")]
    return list(dict.fromkeys([*named, *LAST_IN_ORDER]))


def _booking_order(row: Row) -> tuple[Any, ...]:
    booked_at = row["booked_at"]
    return (
        row["effective_on"],
        booked_at is None,
        booked_at.timestamp() if booked_at else 0,
        row["transaction_id"].encode(),
    )


def a_random_loan(chance: random.Random, number: int, day: date) -> Loan:
    """A loan with everything that can happen to one, much more of it than a real loan has."""
    loan_id = f"L{number:05d}"
    begun = day - timedelta(chance.randint(20, 500))
    is_revolving = chance.random() < 0.2
    loan = {
        "loan_id": loan_id,
        "borrower_id": f"B{number}",
        "product": "revolving" if is_revolving else chance.choice(["consumer", "mortgage", "sme_term"]),
        "currency": "EUR",
        "principal_amount": Decimal(1000),
        "is_drawn_in_parts": None if is_revolving else chance.choice([None, False, False, True]),
        "disbursed_on": begun,
        "maturity_on": day + timedelta(400),
        "interest_rate": Decimal("0.1"),
        "allocation_order": chance.choice(
            [
                "penalty>fee>interest>principal",
                "interest>principal",
                "principal",
                "fee > principal > interest > penalty",
            ]
        ),
        "allocation_mode": chance.choice(["oldest_first", "oldest_first", "component_first"]),
        "grace_days": chance.choice([0, 0, 3, 10]),
        "tolerance_amount": chance.choice([ZERO, ZERO, Decimal("0.5"), Decimal(20)]),
        "governing_law": "DE",
        "is_green": False,
        "status": chance.choice(["active"] * 8 + ["written_off", "closed"]),
        "status_on": day + timedelta(chance.choice([-5, 0, 1, 5])),
    }
    return Loan(
        loan,
        list(_instalments(chance, loan, day)),
        _transactions(chance, loan_id, begun, day),
        list(_charges(chance, loan_id, begun)),
        list(_forbearances(chance, loan_id, begun)),
        [
            {
                "loan_id": loan_id,
                "balance_on": day - timedelta(20 * n - 10),
                "outstanding_principal_amount": _money(chance, 0, 900),
                "outstanding_amount": _money(chance, 0, 900),
            }
            for n in range(chance.randint(0, 3) if is_revolving else 0)
        ],
    )


def _money(chance: random.Random, low: int, high: int) -> Decimal:
    return Decimal(chance.randint(low * 100, high * 100)) / 100


def _instalments(chance: random.Random, loan: Row, day: date) -> list[Row]:
    rows = []
    begun = loan["disbursed_on"]
    for version in range(1, chance.choice([1, 1, 1, 2, 3]) + 1):
        effective_on = begun + timedelta(chance.randint(0, 120) * (version - 1))
        if chance.random() < 0.1:
            effective_on = day + timedelta(5)
        basis = chance.choice([None, "gross", "gross", "unpaid"]) if version > 1 or chance.random() < 0.2 else None
        first, every = effective_on + timedelta(chance.randint(-20, 30)), chance.choice([7, 15, 30])
        for number in range(1, chance.randint(1, 8) + 1):
            due_on = first + timedelta(every * number)
            is_revolving = loan["product"] == "revolving"
            rows.append(
                {
                    "loan_id": loan["loan_id"],
                    "schedule_version": version,
                    "effective_on": due_on - timedelta(10) if is_revolving else effective_on,
                    "basis": basis,
                    "instalment_number": number,
                    "due_on": due_on,
                    "principal_amount": _money(chance, 0, 150),
                    "interest_amount": chance.choice([ZERO, _money(chance, 0, 20)]),
                    "fee_amount": chance.choice([ZERO, _money(chance, 0, 5)]),
                    "penalty_amount": chance.choice([ZERO, ZERO, _money(chance, 0, 5)]),
                }
            )
    return rows


def _transactions(chance: random.Random, loan_id: str, begun: date, day: date) -> list[Row]:
    low, high, most = chance.choice([(1, 150, 0), (1, 150, 4), (200, 900, 3), (1, 150, 12)])
    has_waivers, has_refunds = chance.random() < 0.5, chance.random() < 0.5
    rows: list[Row] = []
    for n in range(chance.randint(0, most)):
        kind = chance.choices(
            ["repayment", "recovery", "credit_note", "chargeback", "write_off", "disbursement", "waiver", "refund"],
            [10, 2, 2, 0.5, 0.3, 1, 2 * has_waivers, 2 * has_refunds],
        )[0]
        rows.append(
            {
                "transaction_id": f"{chance.choice('Tt_')}{loan_id}-{n}",
                "loan_id": loan_id,
                "kind": kind,
                "effective_on": begun + timedelta(chance.randint(0, 400)),
                "booked_at": chance.choice([None, *(datetime(2026, 1, d, tzinfo=UTC) for d in (1, 2, 3))]),
                "amount": _money(chance, low, high),
                "component": chance.choice(COMPONENTS) if kind in ("waiver", "chargeback") else None,
                "reverses_transaction_id": None,
                "reduces_claim": chance.choice([None, None, True, False]) if kind == "recovery" else None,
            }
        )
    reversals = [
        row
        | {
            "transaction_id": f"R{row['transaction_id']}",
            "kind": "reversal",
            "effective_on": day + timedelta(chance.choice([-1, 9])),
            "amount": row["amount"] + chance.choice([0, 0, 0, 1]),
            "component": None,
            "reverses_transaction_id": row["transaction_id"],
            "reduces_claim": None,
        }
        for row in rows
        if chance.random() < 0.08
    ]
    return rows + reversals


def _charges(chance: random.Random, loan_id: str, begun: date) -> list[Row]:
    rows = []
    for n in range(chance.randint(0, 4)):
        due_on = begun + timedelta(chance.randint(0, 300))
        days = chance.choice([None, None, -1, 0, chance.randint(1, 60)])
        rows.append(
            {
                "charge_id": f"{loan_id}-{n}",
                "loan_id": loan_id,
                "kind": chance.choice(["fee", "penalty"]),
                "due_on": due_on,
                "amount": _money(chance, 1, 30),
                "waived_on": None if days is None else due_on + timedelta(days),
            }
        )
    return rows


def _forbearances(chance: random.Random, loan_id: str, begun: date) -> list[Row]:
    rows = []
    for n in range(chance.choice([0, 0, 1, 2, 3])):
        starts_on = begun + timedelta(chance.randint(0, 300))
        rows.append(
            {
                "forbearance_id": f"{loan_id}-{n}",
                "loan_id": loan_id,
                "kind": chance.choice(["delinquency_pause"] * 3 + ["payment_holiday"]),
                "agreed_on": starts_on,
                "starts_on": starts_on,
                "ends_on": chance.choice([None, starts_on + timedelta(chance.randint(0, 60))]),
                "is_distressed": False,
            }
        )
    return rows
