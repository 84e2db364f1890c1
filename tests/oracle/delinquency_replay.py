"""A plain second implementation of the delinquency rules: one loan, day by day.

It shares no idea with the models: no sums, no windows, no shortcut for loans that follow from totals. It walks through
the days of a loan, lets claims come due, charges lapse and bookings count, and says after each day how the loan stands.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
COMPONENTS = ("principal", "interest", "fee", "penalty")
LAST_IN_ORDER = ("penalty", "fee", "interest", "principal")
KIND_ORDER = {"instalment": 1, "charge": 2, "chargeback": 3}
BUCKETS = ((360, "360+"), (180, "180-359"), (90, "90-179"), (60, "60-89"), (30, "30-59"), (1, "1-29"), (0, "current"))
ZERO = Decimal(0)
ONE_DAY = timedelta(days=1)


@dataclass(slots=True)
class Claim:
    """What the lender may ask for, and what became of it, by component."""

    kind: str
    number: int
    key: str
    due_on: date
    amounts: Mapping[str, Decimal]
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


@dataclass(slots=True)
class Standing:
    """What a loan has beside its claims: credit, and refunds that could not be."""

    credit: Decimal = ZERO
    refused_count: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Days, both ends included, in which the oldest unpaid claim and the arrears stay the same; no end: still so."""

    valid_from: date
    valid_to: date | None
    oldest_unpaid_due_on: date | None
    arrears_amount: Decimal
    outstanding_principal_amount: Decimal | None
    outstanding_amount: Decimal | None

    def __str__(self) -> str:
        return (
            f"{self.valid_from}..{self.valid_to or ''} oldest {self.oldest_unpaid_due_on},"
            f" arrears {self.arrears_amount},"
            f" outstanding {self.outstanding_principal_amount}, {self.outstanding_amount}"
        )


@dataclass(frozen=True, slots=True)
class Loan:
    """A loan with all its rows, as they are known at one time."""

    loan: Row
    instalments: Sequence[Row] = ()
    transactions: Sequence[Row] = ()
    charges: Sequence[Row] = ()
    forbearances: Sequence[Row] = ()
    balances: Sequence[Row] = ()

    @property
    def is_revolving(self) -> bool:
        """Whether statements come one by one and credit reduces the balance."""
        return bool(self.loan["product"] == "revolving")

    def state(self, day: date) -> Row | None:
        """The loan's row of loan_delinquency at the end of a day; None where it has none."""
        return next(self.states(day, day))[1]

    def states(self, first: date, last: date) -> Iterator[tuple[date, Row | None]]:
        """Its row at the end of each day from the first to the last.

        A day is replayed from the beginning only where the schedule in force is another than the day before.
        """
        day = first
        while day <= last:
            schedule = self._schedule(day)
            until = min([row["effective_on"] for row in self.instalments if row["effective_on"] > day], default=None)
            end = last if until is None else min(last, until - ONE_DAY)
            yield from self._states_under(schedule, day, end)
            day = end + ONE_DAY

    def life(self, until: date) -> dict[date, Row]:
        """Its row of every day on which it has one, from disbursement to a date."""
        begun = self.loan["disbursed_on"]
        return {day: row for day, row in self.states(begun, until) if row is not None} if begun <= until else {}

    def has_row(self, day: date) -> bool:
        """Whether it is disbursed, and neither closed nor sold."""
        loan = self.loan
        return bool(
            loan["disbursed_on"] <= day and not (loan["status"] in ("closed", "sold") and loan["status_on"] <= day)
        )

    def status(self, day: date) -> str:
        """Its status on a day."""
        return str(self.loan["status"]) if self.loan["status_on"] <= day else "active"

    def _schedule(self, day: date) -> list[Row]:
        effective = [row for row in self.instalments if row["effective_on"] <= day]
        version = max((row["schedule_version"] for row in effective), default=None)
        return [row for row in effective if row["schedule_version"] == version]

    def _states_under(self, schedule: Sequence[Row], first: date, last: date) -> Iterator[tuple[date, Row | None]]:
        replayed_from = date.min
        if any(row["basis"] == "unpaid" for row in schedule):
            replayed_from = min(row["effective_on"] for row in schedule)
        made = sorted(self._made(), key=_booking_order)
        bookings = [row for row in made if row["effective_on"] >= replayed_from]
        claims = sorted(self._claims(schedule, bookings, replayed_from), key=lambda claim: claim.place)
        standing = Standing()
        events = {claim.due_on for claim in claims} | {claim.lapses_on for claim in claims if claim.lapses_on}
        events |= {row["effective_on"] for row in made} | {row["balance_on"] for row in self.balances}
        # A claim is past due from the day after its due date on.
        turns = events | {claim.due_on + ONE_DAY for claim in claims if claim.due_on < date.max}
        for day in sorted(event for event in events if event < first):
            self._happen(claims, bookings, standing, day)
        day, row = first, None
        while day <= last:
            if day in events:
                self._happen(claims, bookings, standing, day)
            if not self.has_row(day):
                row = None
            elif row is None or day in turns:
                row = self._describe(day, schedule, made, claims, standing)
            else:
                oldest = row["oldest_unpaid_due_on"]
                more_paused = bool(oldest) and self._is_paused(day - ONE_DAY)
                row = row | self._counts(day, oldest, row["days_paused"] + more_paused)
            yield day, row
            day += ONE_DAY

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
                amounts = dict.fromkeys(COMPONENTS, ZERO) | {row["component"] or "principal": row["amount"]}
                claims.append(Claim("chargeback", 0, row["transaction_id"], row["effective_on"], amounts))
        return claims

    def _happen(self, claims: Sequence[Claim], bookings: Sequence[Row], standing: Standing, today: date) -> None:
        """What one day does: claims come due, charges lapse, bookings count."""
        due = [claim for claim in claims if claim.due_on <= today]
        order = component_order(self.loan["allocation_order"])
        if not self.is_revolving:
            standing.credit = self._pay(due, standing.credit)
        for claim in claims:
            if claim.lapses_on == today:
                for component in COMPONENTS:
                    claim.waived[component] += claim.left(component)
        for row in bookings:
            if row["effective_on"] != today:
                continue
            amount = row["amount"]
            if row["kind"] in ("repayment", "recovery", "credit_note") and row["reduces_claim"] is not False:
                if self.is_revolving:
                    standing.credit += self._pay(due, amount)
                else:
                    standing.credit = self._pay(due, standing.credit + amount)
            elif row["kind"] == "waiver":
                for claim in due:
                    part = min(amount, claim.left(row["component"]))
                    claim.waived[row["component"]] += part
                    amount -= part
            elif row["kind"] == "refund":
                if amount > standing.credit + sum((sum(claim.paid.values()) for claim in claims), ZERO):
                    standing.refused_count += 1
                    continue
                part = min(amount, standing.credit)
                standing.credit -= part
                amount -= part
                for claim in reversed(claims):
                    for component in reversed(order):
                        part = min(amount, claim.paid[component])
                        claim.paid[component] -= part
                        amount -= part

    def _pay(self, due: Sequence[Claim], amount: Decimal) -> Decimal:
        """Pays the claims that are due; gives what is left."""
        order = component_order(self.loan["allocation_order"])
        if self.loan["allocation_mode"] == "oldest_first":
            places = [(claim, component) for claim in due for component in order]
        else:
            places = [(claim, component) for component in order for claim in due]
        for claim, component in places:
            if not amount:
                break
            part = min(amount, claim.left(component))
            claim.paid[component] += part
            amount -= part
        return amount

    def _describe(
        self, day: date, schedule: Sequence[Row], made: Sequence[Row], claims: Sequence[Claim], standing: Standing
    ) -> Row:
        loan = self.loan
        made = [row for row in made if row["effective_on"] <= day]
        claims = [claim for claim in claims if claim.kind != "chargeback" or claim.due_on <= day]
        past_due = [claim for claim in claims if claim.due_on < day and claim.unpaid > 0]
        arrears = {component: sum((claim.left(component) for claim in past_due), ZERO) for component in COMPONENTS}
        is_past_due = sum(arrears.values()) > loan["tolerance_amount"]
        oldest = min(claim.due_on for claim in past_due) if is_past_due else None
        undrawn = ZERO
        if loan["is_drawn_in_parts"]:
            drawn = sum((row["amount"] for row in made if row["kind"] == "disbursement"), ZERO)
            undrawn = max(ZERO, sum((row["principal_amount"] for row in schedule), ZERO) - drawn)
        principal: Decimal | None = sum((claim.left("principal") for claim in claims), ZERO) - undrawn
        others = [claim.unpaid - claim.left("principal") for claim in claims if claim.due_on <= day]
        outstanding: Decimal | None = (principal or ZERO) + sum(others, ZERO)
        if self.is_revolving:
            stated = [row for row in self.balances if row["balance_on"] <= day]
            latest = max(stated, key=lambda row: row["balance_on"], default={})
            principal, outstanding = latest.get("outstanding_principal_amount"), latest.get("outstanding_amount")
        return {
            "borrower_id": loan["borrower_id"],
            "currency": loan["currency"],
            "is_revolving": self.is_revolving,
            "oldest_unpaid_due_on": oldest,
            "instalments_past_due": sum(claim.kind == "instalment" for claim in past_due) if is_past_due else 0,
            "arrears_amount": sum(arrears.values()),
            **{f"arrears_{component}_amount": arrears[component] for component in COMPONENTS},
            "outstanding_principal_amount": principal,
            "outstanding_amount": outstanding,
            "credit_amount": ZERO if self.is_revolving else standing.credit,
            "undrawn_amount": undrawn,
            "last_payment_on": max(
                (row["effective_on"] for row in made if row["kind"] in ("repayment", "recovery")), default=None
            ),
            "is_held_back": standing.refused_count > 0 or (not schedule and not self.is_revolving),
        } | self._counts(day, oldest, self._days_paused(oldest, day) if oldest else 0)

    def _counts(self, day: date, oldest: date | None, days_paused: int) -> Row:
        """What grows with the days alone."""
        days_past_due = (day - oldest).days if oldest else 0
        days_delinquent = max(0, days_past_due - days_paused - self.loan["grace_days"])
        return {
            "days_past_due": days_past_due,
            "days_delinquent": days_delinquent,
            "days_paused": days_paused,
            "bucket": next(bucket for days_from, bucket in BUCKETS if days_delinquent >= days_from),
            "is_paused": self._is_paused(day),
            "status": self.status(day),
        }

    def _days_paused(self, oldest: date, day: date) -> int:
        return sum(self._is_paused(oldest + timedelta(n)) for n in range((day - oldest).days))

    def _is_paused(self, day: date) -> bool:
        return any(
            row["starts_on"] <= day and (row["ends_on"] is None or day < row["ends_on"])
            for row in self.forbearances
            if row["kind"] == "delinquency_pause"
        )


def component_order(text: str) -> list[str]:
    """The four components as an allocation_order has them; those it does not name come last."""
    named = [word.strip() for word in text.split(">")]
    return list(dict.fromkeys([*named, *LAST_IN_ORDER]))


def instant(booked_at: datetime | date) -> datetime:
    """The moment of a booking; a date alone is the end of that day."""
    if isinstance(booked_at, datetime):
        return booked_at.astimezone(UTC)
    return datetime.combine(booked_at, time.max, UTC)


def all_states(loans: Iterable[Loan], day: date) -> dict[str, Row]:
    """The rows of loan_delinquency for a day, by loan."""
    return {str(loan.loan["loan_id"]): row for loan in loans if (row := loan.state(day)) is not None}


class Replayed:
    """Loans replayed once for each set of their rows, to a horizon: what is known later costs what it changes."""

    def __init__(self, horizon: date) -> None:
        self._horizon = horizon
        self._lives: dict[str, list[tuple[Loan, dict[date, Row]]]] = {}

    def life(self, loan: Loan) -> dict[date, Row]:
        """A loan's row of every day to the horizon on which it has one."""
        lives = self._lives.setdefault(str(loan.loan["loan_id"]), [])
        for known, life in lives:
            if known == loan:
                return life
        lives.append((loan, loan.life(self._horizon)))
        return lives[-1][1]

    def rows(self, loans: Mapping[str, Loan], day: date) -> dict[str, Row]:
        """The rows of loan_delinquency for a day, by loan."""
        return {loan_id: row for loan_id, loan in loans.items() if (row := self.life(loan).get(day)) is not None}

    def history(self, loan: Loan, as_of: date) -> list[Stretch]:
        """A loan's stretches from disbursement to a date, or to the day before it was closed or sold."""
        return stretches({day: row for day, row in self.life(loan).items() if day <= as_of}, as_of)


def stretches(life: Mapping[date, Row], as_of: date) -> list[Stretch]:
    """The days of a loan up to a date, those alike beside each other taken together."""
    found: list[Stretch] = []
    for day, row in sorted(life.items()):
        reading = row["oldest_unpaid_due_on"], row["arrears_amount"]
        last = found[-1] if found else None
        if last is not None and reading == (last.oldest_unpaid_due_on, last.arrears_amount):
            found[-1] = replace(last, valid_to=day)
        else:
            outstanding = row["outstanding_principal_amount"], row["outstanding_amount"]
            found.append(Stretch(day, day, *reading, *((None, None) if row["is_revolving"] else outstanding)))
    if found and found[-1].valid_to == as_of:
        found[-1] = replace(found[-1], valid_to=None)
    return found


def _booking_order(row: Row) -> tuple[Any, ...]:
    booked_at = row["booked_at"]
    return (
        row["effective_on"],
        booked_at is None,
        instant(booked_at) if booked_at else datetime.min.replace(tzinfo=UTC),
        row["transaction_id"].encode(),
    )
