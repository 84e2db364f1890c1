"""Loan-servicing cases of Apache Fineract's own end-to-end tests as rows of its tables (data/fineract_cases.md).

A case is a loan as it stood on one business date, after all its events so far; it becomes one loan, with a client of
its own. Schedules, and amounts that Fineract computed (a charge-off's, a re-age's), are what its tests assert. Where
they assert no schedule, the loans are plain: equal instalments from the loan's terms.

Dates are shifted by whole days so that every case's date is the same day D: nothing here depends on the calendar, for
due dates and value dates are explicit.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

Row = dict[str, Any]
Json = dict[str, Any]

CASES = Path(__file__).parent / "data" / "fineract_cases.jsonl.gz"
SCHEMA = Path(__file__).parent / "data" / "fineract_schema.sql"
ZERO, CENT = Decimal(0), Decimal("0.01")

# LoanTransactionType, by the name in Fineract's list of transactions and by the case's kind of event.
DISBURSEMENT, REPAYMENT, REPAYMENT_AT_DISBURSEMENT, WAIVE_CHARGES = 1, 2, 5, 9
REFUND_FOR_ACTIVE_LOAN, CREDIT_BALANCE_REFUND, PAYOUT_REFUND, CHARGEBACK = 18, 20, 22, 25
CHARGE_ADJUSTMENT, CHARGE_OFF, DOWN_PAYMENT, REAGE, REAMORTIZE = 26, 27, 28, 29, 30
TYPES = {
    "Disbursement": DISBURSEMENT,
    "Repayment": REPAYMENT,
    "Repayment (at time of disbursement)": REPAYMENT_AT_DISBURSEMENT,
    "Waive loan charges": WAIVE_CHARGES,
    "Refund": REFUND_FOR_ACTIVE_LOAN,
    "Credit Balance Refund": CREDIT_BALANCE_REFUND,
    "Merchant Issued Refund": 21,
    "Payout Refund": PAYOUT_REFUND,
    "Goodwill Credit": 23,
    "Chargeback": CHARGEBACK,
    "Charge Adjustment": CHARGE_ADJUSTMENT,
    "Charge-off": CHARGE_OFF,
    "Down Payment": DOWN_PAYMENT,
    "Re-age": REAGE,
    "Re-amortize": REAMORTIZE,
}
EVENTS = {
    "disburse": DISBURSEMENT,
    "repayment": REPAYMENT,
    "payoff": REPAYMENT,
    "refund_by_cash": REFUND_FOR_ACTIVE_LOAN,
    "credit_balance_refund": CREDIT_BALANCE_REFUND,
    "merchant_issued_refund": 21,
    "refund": PAYOUT_REFUND,
    "payout_refund": PAYOUT_REFUND,
    "goodwill_credit": 23,
    "chargeback": CHARGEBACK,
    "charge_adjustment": CHARGE_ADJUSTMENT,
    "charge_off": CHARGE_OFF,
    "re_age": REAGE,
    "re_amortize": REAMORTIZE,
}
CREDITS = {REPAYMENT, 21, PAYOUT_REFUND, 23, CHARGE_ADJUSTMENT, DOWN_PAYMENT}
REFUNDS = {REFUND_FOR_ACTIVE_LOAN, CREDIT_BALANCE_REFUND}
UNDONE = {
    "undo_charge_off": CHARGE_OFF,
    "undo_re_age": REAGE,
    "undo_re_amortize": REAMORTIZE,
    "undo_waive_charge": WAIVE_CHARGES,
    "undo_charge_adjustment": CHARGE_ADJUSTMENT,
    "undo_refund": PAYOUT_REFUND,
}
PENALTIES = {"LOAN_NSF_FEE", "NSF_FEE", "LATE_FEE", "LOAN_LATE_FEE"}
AT_DISBURSEMENT, ON_DATE, WITH_EACH_INSTALMENT, WHEN_OVERDUE = 1, 2, 8, 9  # ChargeTimeType
STRATEGIES = {
    "PENALTIES_FEES_INTEREST_PRINCIPAL_ORDER": "mifos-standard-strategy",
    "DUE_PENALTY_FEE_INTEREST_PRINCIPAL_IN_ADVANCE_PRINCIPAL_PENALTY_FEE_INTEREST": (
        "due-penalty-fee-interest-principal-in-advance-principal-penalty-fee-interest-strategy"
    ),
    "DUE_PENALTY_INTEREST_PRINCIPAL_FEE_IN_ADVANCE_PENALTY_INTEREST_PRINCIPAL_FEE": (
        "due-penalty-interest-principal-fee-in-advance-penalty-interest-principal-fee-strategy"
    ),
    "ADVANCED_PAYMENT_ALLOCATION": "advanced-payment-allocation-strategy",
}
ADVANCED_ORDER = ",".join(
    f"{when}_{what}"
    for when in ("PAST_DUE", "DUE", "IN_ADVANCE")
    for what in ("PENALTY", "FEE", "PRINCIPAL", "INTEREST")
)
CLIENT_OFFICE, USER = 1, 1
COMPONENTS = ("penalty_charges", "fee_charges", "interest", "principal")


@dataclass(slots=True)
class Booking:
    """A row of m_loan_transaction."""

    kind: int
    on: date
    amount: Decimal
    booked_on: date
    portions: Mapping[str, Decimal] | None = None
    principal_after: Decimal | None = None  # as Fineract's list of transactions shows it
    reversed_on: date | None = None
    charge: int | None = None  # position of the charge that it waives
    is_gone: bool = False  # its disbursement was undone: reversed, and not listed any more


@dataclass(slots=True)
class Charge:
    """A row of m_loan_charge."""

    is_penalty: bool
    time: int
    due_on: date | None
    amount: Decimal
    booked_on: date
    waived: Decimal = ZERO


@dataclass(slots=True)
class Instalment:
    """A row of m_loan_repayment_schedule: what is due, credits included, and how much of that are credits."""

    from_on: date
    due_on: date
    principal: Decimal
    interest: Decimal = ZERO
    fees: Decimal = ZERO
    penalties: Decimal = ZERO
    credited: Decimal = ZERO
    credited_fee: Decimal = ZERO
    credited_penalty: Decimal = ZERO
    is_down_payment: bool = False
    is_additional: bool = False

    @property
    def total(self) -> Decimal:
        """All that is due with it."""
        return self.principal + self.interest + self.fees + self.penalties


@dataclass(slots=True)
class Books:
    """A case's loan as Fineract has it on the case's business date; dates are not shifted yet."""

    case: Json
    bookings: list[Booking] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)
    pauses: list[tuple[str, date, date | None, date]] = field(default_factory=list)
    reschedules: list[date] = field(default_factory=list)
    schedule: list[Instalment] = field(default_factory=list)
    before: list[Json] = field(default_factory=list)  # the schedule before a reschedule

    @property
    def as_of(self) -> date:
        """The business date."""
        return date.fromisoformat(self.case["as_of"])

    def made(self, *kinds: int) -> list[Booking]:
        """Bookings of some kinds that are not reversed."""
        return [booking for booking in self.bookings if booking.kind in kinds and booking.reversed_on is None]

    def collected_with(self, charge: Charge) -> Instalment:
        """The instalment in whose period a charge falls; a fee of each instalment has only one in these cases."""
        regular = [row for row in self.schedule if not row.is_down_payment]
        return next((row for row in regular if charge.due_on and row.due_on >= charge.due_on), regular[-1])

    @property
    def net(self) -> Decimal:
        """What is owed in all, interest and charges to come included; negative where it is overpaid."""
        owed = sum((row.interest for row in self.schedule), ZERO)
        owed += sum((charge.amount - charge.waived for charge in self.charges if charge.time != AT_DISBURSEMENT), ZERO)
        owed += sum((booking.amount for booking in self.made(DISBURSEMENT, CHARGEBACK, *REFUNDS)), ZERO)
        return owed - sum((booking.amount for booking in self.made(*CREDITS)), ZERO)

    @property
    def status(self) -> int:
        """LoanStatus."""
        if not self.made(DISBURSEMENT):
            return 200
        return 300 if self.net > 0 else 700 if self.net < 0 else 600


def load_cases() -> list[Json]:
    """All cases, amounts as Decimal."""
    with gzip.open(CASES, "rt", encoding="utf-8") as lines:
        return [json.loads(line, parse_float=Decimal) for line in lines]


def write_books(cases: Sequence[Json]) -> list[Books]:
    """What Fineract's books hold for each case."""
    books = [_book(case) for case in cases]
    by_scenario = defaultdict(list)
    for found in books:
        by_scenario[found.case["scenario_id"]].append(found)
    for found in books:
        if found.reschedules:  # the checkpoint before it has the schedule that it replaced
            earlier = [
                other.case["schedule"]
                for other in by_scenario[found.case["scenario_id"]]
                if other.case.get("schedule") and len(other.reschedules) < len(found.reschedules)
            ]
            found.before = earlier[-1] if earlier else []
    return books


def _book(case: Json) -> Books:
    books = Books(case)
    for event in case["events"]:
        _happen(books, event)
    _describe_portions(books)
    books.schedule = _given_schedule(books) if case.get("schedule") else _plain_schedule(books)
    _add_percentages(books)
    _add_overdue_penalties(books)
    _credit(books)
    if case.get("schedule_basis") != "asserted":
        for booking in books.made(REAMORTIZE):
            _re_amortise(books, booking)
    return books


def _happen(books: Books, event: Json) -> None:
    kind = event["kind"]
    today = date.fromisoformat(event["business_date"]) if event["business_date"] else books.as_of
    on = date.fromisoformat(event["date"]) if event.get("date") else today
    amount = Decimal(event["amount"]) if event.get("amount") is not None else None
    if kind in EVENTS:
        books.bookings.append(
            Booking(EVENTS[kind], on, amount if amount is not None else _asserted_amount(books, kind, on), today)
        )
        if kind == "disburse" and "DOWNPAYMENT_AUTO" in books.case["loan"]["template"]:
            _pay_down(books, books.bookings[-1])
    elif kind == "charge":
        books.charges.append(_charge(event, today))
        if books.charges[-1].time == AT_DISBURSEMENT:
            amount = Decimal(books.case["loan"]["principal"]) * Decimal(event["pct"]) / 100
            books.charges[-1].amount = amount
            books.bookings.append(Booking(REPAYMENT_AT_DISBURSEMENT, today, amount, today))
    elif kind == "waive_charge":
        waived = _asserted_amount(books, kind, on)
        number = len(books.charges) - 1
        books.charges[number].waived = waived if waived > 0 else books.charges[number].amount
        booking = Booking(WAIVE_CHARGES, on, books.charges[number].waived, today, charge=number)
        books.bookings.append(booking)
    elif kind in UNDONE:
        undone = [booking for booking in books.made(UNDONE[kind]) if not event.get("date") or booking.on == on][-1]
        undone.reversed_on = today
        if undone.charge is not None:
            books.charges[undone.charge].waived = ZERO
    elif kind == "undo_last":
        books.made(*CREDITS)[-1].reversed_on = today
    elif kind == "undo":
        _undone(books, event).reversed_on = today
    elif kind == "undo_disbursal":
        last = books.made(DISBURSEMENT)[-1]
        for booking in books.bookings[books.bookings.index(last) :]:
            booking.is_gone = True
            if booking.reversed_on is None:
                booking.reversed_on = today
    elif kind == "pause":
        books.pauses.append(("PAUSE", date.fromisoformat(event["start"]), date.fromisoformat(event["end"]), today))
    elif kind == "resume":
        books.pauses.append(("RESUME", on, None, today))
    elif kind == "reschedule":
        books.reschedules.append(today)  # submitted and approved on the same day
    elif kind not in ("end_of_day", "classify_job", "future_rule", "fraud_on", "fraud_off", "start_type"):
        raise ValueError(f"{books.case['case_id']}: unknown event {kind}")


def _pay_down(books: Books, disbursement: Booking) -> None:
    """The down payment that Fineract books by itself, less what an overpayment covers of it."""
    share = Decimal(books.case["loan"]["down_payment_pct"]) / 100
    overpaid = max(disbursement.amount - books.net, ZERO)
    amount = (disbursement.amount * share).quantize(CENT) - overpaid
    if amount > 0:
        books.bookings.append(Booking(DOWN_PAYMENT, disbursement.on, amount, disbursement.booked_on))


def _undone(books: Books, event: Json) -> Booking:
    """The booking that is undone: the tests name the nth of a type on a date, the nth repayment, or the nth on a date.

    The last two read alike in the cases; where the date is not that of the nth repayment, the nth on the date is meant.
    """
    on, nth = date.fromisoformat(event["on"]), int(event["nth"])
    in_order = sorted(books.bookings, key=lambda booking: booking.on)
    on_that_day = [booking for booking in in_order if booking.on == on]
    if event.get("of"):
        return [booking for booking in on_that_day if booking.kind == TYPES[event["of"]]][nth - 1]
    repayments = [booking for booking in in_order if booking.kind == REPAYMENT]
    if books.case["case_id"] == "FX-CBR-1022-03":  # undoes the first repayment and gives another one's date
        return repayments[0]
    if len(on_that_day) < nth or repayments[nth - 1 :][:1] in [[found] for found in on_that_day]:
        return repayments[nth - 1]
    return on_that_day[nth - 1]


def _charge(event: Json, today: date) -> Charge:
    name = event["charge"]
    time_of = ON_DATE
    if name.startswith("LOAN_DISBURSEMENT"):
        time_of = AT_DISBURSEMENT
    elif name.startswith("LOAN_INSTALLMENT"):
        time_of = WITH_EACH_INSTALMENT
    due_on = date.fromisoformat(event["due_date"]) if event.get("due_date") else None
    amount = Decimal(event["amount"]) if event.get("amount") is not None else -Decimal(event["pct"])
    return Charge(name in PENALTIES, time_of, due_on, amount, today)


def _add_percentages(books: Books) -> None:
    """Percentages, marked by their sign so far, become amounts of principal and interest."""
    base = sum((row.principal + row.interest for row in books.schedule if not row.is_additional), ZERO)
    for charge in books.charges:
        if charge.amount < 0:
            charge.amount = (base * -charge.amount / 100).quantize(CENT)
            charge.waived = charge.waived if charge.waived > 0 else ZERO


def _add_overdue_penalties(books: Books) -> None:
    """Products with a penalty for overdue instalments: the nightly job raised what the asserted schedule holds."""
    if "OVERDUE_FROM_AMOUNT" in books.case["loan"]["template"]:
        for row in books.schedule:
            books.charges.append(Charge(True, WHEN_OVERDUE, row.due_on, row.penalties, row.due_on + timedelta(1)))


def _asserted_amount(books: Books, kind: str, on: date) -> Decimal:
    """What Fineract computed, where its test asserts it."""
    wanted = WAIVE_CHARGES if kind == "waive_charge" else EVENTS[kind]
    for row in books.case.get("transactions") or []:
        if TYPES.get(row["type"]) == wanted and row["date"] == on.isoformat():
            return Decimal(row["amount"])
    return ZERO


def _describe_portions(books: Books) -> None:
    """Gives bookings the components that Fineract's test asserts for them."""
    allocations = {row["seq"]: row for row in books.case["expected"].get("allocations") or []}
    free = list(books.bookings)
    for row in books.case.get("transactions") or []:
        key = (TYPES.get(row["type"]), date.fromisoformat(row["date"]), Decimal(row["amount"]))
        found = next((booking for booking in free if (booking.kind, booking.on, booking.amount) == key), None)
        if found is not None:
            free.remove(found)
            if row["seq"] in allocations:
                parts = allocations[row["seq"]]
                found.portions = {
                    name: Decimal(parts[name] or 0) for name in ("principal", "interest", "fees", "penalties")
                }
                found.principal_after = parts["loan_balance"]


def _given_schedule(books: Books) -> list[Instalment]:
    disbursed_on = {booking.on for booking in books.made(DISBURSEMENT)} or {
        date.fromisoformat(books.case["loan"]["submitted_on"])
    }
    has_down_payment = bool(books.case["loan"]["down_payment_pct"])
    rows: list[Instalment] = []
    previous = min(disbursed_on)
    for row in books.case["schedule"]:
        due_on = date.fromisoformat(row["due_date"])
        is_down_payment = has_down_payment and due_on in disbursed_on
        rows.append(
            Instalment(
                from_on=due_on if is_down_payment else previous,
                due_on=due_on,
                principal=Decimal(row["principal_due"]),
                interest=Decimal(row["interest_due"]),
                fees=Decimal(row["fees_due"]),
                penalties=Decimal(row["penalties_due"]),
                is_down_payment=is_down_payment,
            )
        )
        if not is_down_payment:
            previous = due_on
    return rows


def _plain_schedule(books: Books) -> list[Instalment]:
    """Equal instalments, flat interest by the month, as the loans have whose schedule no test asserts."""
    loan = books.case["loan"]
    principal = sum((booking.amount for booking in books.made(DISBURSEMENT)), ZERO) or Decimal(loan["principal"])
    start = min((booking.on for booking in books.made(DISBURSEMENT)), default=date.fromisoformat(loan["submitted_on"]))
    rows = []
    if loan["down_payment_pct"]:
        first = (principal * Decimal(loan["down_payment_pct"]) / 100).quantize(CENT)
        rows.append(Instalment(start, start, first, is_down_payment=True))
        principal -= first
    count = loan["number_of_repayments"]
    part = (principal / count).quantize(Decimal(1) if count > 1 and principal == principal.to_integral() else CENT)
    interest = (principal * Decimal(loan["annual_rate_pct"] or 0) / 1200).quantize(CENT)
    previous = start
    for number in range(1, count + 1):
        if loan["repay_unit"] == "MONTHS":
            due_on = _months_after(start, number * loan["repay_every"])
        else:
            due_on = start + timedelta(number * loan["repay_every"])
        amount = principal - part * (count - 1) if number == count else part
        rows.append(Instalment(previous, due_on, amount, interest))
        previous = due_on
    for charge in books.charges:
        if charge.due_on is not None and charge.amount > 0:
            _collect(rows, charge)
    return rows


def _collect(rows: list[Instalment], charge: Charge) -> None:
    assert charge.due_on is not None
    row = next((row for row in rows if not row.is_down_payment and row.due_on >= charge.due_on), None)
    if row is None:
        row = Instalment(rows[-1].due_on, charge.due_on, ZERO, is_additional=True)
        rows.append(row)
    if charge.is_penalty:
        row.penalties += charge.amount
    else:
        row.fees += charge.amount


def _months_after(start: date, months: int) -> date:
    year, month = divmod(start.month - 1 + months, 12)
    return date(start.year + year, month + 1, start.day)


def _credit(books: Books) -> None:
    """Says which part of the principal due are chargebacks, and refunds that overpayment does not bear any more.

    AbstractLoanRepaymentScheduleTransactionProcessor.processCreditTransaction: the first instalment due after it, else
    the last one if due on that day, else an additional one. A schedule that a test asserts holds them already.
    """
    is_asserted = books.case.get("schedule_basis") == "asserted"
    disbursed = sum((booking.amount for booking in books.made(DISBURSEMENT)), ZERO)
    excess = sum((row.principal for row in books.schedule), ZERO) - disbursed
    for booking in sorted(books.made(CHARGEBACK, CREDIT_BALANCE_REFUND), key=lambda booking: booking.on):
        amount = booking.amount
        if booking.portions is not None:
            amount -= booking.portions["interest"] + booking.portions["fees"] + booking.portions["penalties"]
        if is_asserted:
            amount = min(amount if booking.kind == CHARGEBACK else excess, excess)
            excess -= amount
        elif booking.kind == CREDIT_BALANCE_REFUND:
            continue  # paid out of the overpayment
        if amount <= 0:
            continue
        regular = [row for row in books.schedule if not row.is_down_payment]
        row = next((row for row in regular if row.due_on > booking.on), None)
        if row is None and regular[-1].due_on == booking.on:
            row = regular[-1]
        if row is None and is_asserted:
            row = regular[-1]
        if row is None:
            row = Instalment(regular[-1].due_on, booking.on, ZERO, is_additional=True)
            books.schedule.append(row)
        row.credited += amount
        if booking.portions is not None:
            row.credited_fee += booking.portions["fees"]
            row.credited_penalty += booking.portions["penalties"]
        if not is_asserted:
            row.principal += amount
    regular_count = books.case["loan"]["number_of_repayments"]
    for row in [row for row in books.schedule if not row.is_down_payment][regular_count:]:
        row.is_additional = row.principal == row.credited


def _re_amortise(books: Books, booking: Booking) -> None:
    """Spreads what is past due over the instalments to come; the principal moved is the booking's amount."""
    paid = sum((other.amount for other in books.made(*CREDITS) if other.on <= booking.on), ZERO)
    for row in books.schedule:
        completed = min(paid, row.principal)
        paid -= completed
        if row.due_on <= booking.on:
            booking.amount += row.principal - completed
            row.principal = completed
    coming = [row for row in books.schedule if row.due_on > booking.on]
    for row in coming:
        row.principal += booking.amount / len(coming)


# In an order that foreign keys allow.
FILLED = (
    "m_office",
    "m_client",
    "m_product_loan",
    "m_loan",
    "m_loan_payment_allocation_rule",
    "m_loan_arrears_aging",
    "m_loan_repayment_schedule",
    "m_loan_reschedule_request",
    "m_loan_repayment_schedule_history",
    "m_loan_charge",
    "m_loan_installment_charge",
    "m_loan_transaction",
    "m_loan_charge_paid_by",
    "m_loan_transaction_repayment_schedule_mapping",
    "m_loan_delinquency_action",
)


class Tables:
    """Collects rows of Fineract's tables, with ids as they come."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.rows: dict[str, list[Row]] = {name: [] for name in FILLED}

    def add(self, table: str, **row: Any) -> int:
        """Adds a row; gives its id."""
        number = len(self.rows[table]) + 1
        self.rows[table].append({"id": number} | row if table != "m_loan_arrears_aging" else row)
        return number


def fill(connection: psycopg.Connection, books: Iterable[Books], day: date) -> None:
    """Creates Fineract's tables in an empty database and fills them."""
    connection.execute(SCHEMA.read_bytes())
    for table, rows in tables_of(books, day).items():
        if not rows:
            continue
        names = list(rows[0])  # all rows of a table give the same columns; the others have their defaults
        target = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with connection.cursor() as cursor, cursor.copy(target) as copy:
            for row in rows:
                copy.write_row([row[name] for name in names])


def tables_of(books: Iterable[Books], day: date) -> dict[str, list[Row]]:
    """The rows of all loans by Fineract's table; each case's date becomes `day`."""
    tables = Tables(day)
    tables.add("m_office", name="Head Office", opening_date=date(2009, 1, 1), external_id="1")
    tables.add(
        "m_product_loan",
        short_name="LP",
        name="Loan product",
        currency_code="EUR",
        currency_digits=2,
        interest_method_enum=1,
        repay_every=1,
        repayment_period_frequency_enum=2,
        number_of_repayments=3,
        amortization_method_enum=1,
        accounting_type=1,
        allow_multiple_disbursals=False,
    )
    in_tranches = {"id": 2, "short_name": "LPM", "name": "In tranches", "allow_multiple_disbursals": True}
    tables.add("m_product_loan", **tables.rows["m_product_loan"][0] | in_tranches)
    for found in books:
        _loan_rows(tables, found)
    return tables.rows


def audit(day: date, minute: int = 0) -> Row:
    """The columns that tell when a row was made and changed: noon of a day, and so many minutes."""
    at = datetime.combine(day, time(12), UTC) + timedelta(minutes=minute)
    return {"created_on_utc": at, "last_modified_on_utc": at, "created_by": USER, "last_modified_by": USER}


def _loan_rows(tables: Tables, books: Books) -> None:
    case, loan = books.case, books.case["loan"]
    shift = tables.day - books.as_of
    began = date.fromisoformat(loan["submitted_on"]) + shift
    number = len(tables.rows["m_loan"]) + 1
    client_id = tables.add(
        "m_client",
        account_no=f"{number:09d}",
        office_id=CLIENT_OFFICE,
        display_name=f"Client {number}",
        legal_form_enum=1,
        mobile_no=f"+9100000{number:05d}",
        **audit(began),
    )
    disbursements = books.made(DISBURSEMENT)
    charged_off = books.made(CHARGE_OFF)
    strategy = STRATEGIES[loan["payment_strategy"]]
    last_on = max((booking.on for booking in books.bookings), default=None)
    loan_id = tables.add(
        "m_loan",
        account_no=f"{number:09d}",
        external_id=case["case_id"],
        client_id=client_id,
        product_id=2 if len([booking for booking in books.bookings if booking.kind == DISBURSEMENT]) > 1 else 1,
        loan_status_id=books.status,
        loan_type_enum=1,
        currency_code="EUR",
        currency_digits=2,
        principal_amount_proposed=loan["principal"],
        principal_amount=loan["principal"],
        approved_principal=loan["principal"],
        net_disbursal_amount=loan["principal"],
        annual_nominal_interest_rate=loan["annual_rate_pct"] or 0,
        interest_method_enum=1,
        repay_every=loan["repay_every"],
        repayment_period_frequency_enum={"DAYS": 0, "MONTHS": 2}[loan["repay_unit"]],
        number_of_repayments=loan["number_of_repayments"],
        amortization_method_enum=1,
        submittedon_date=began,
        disbursedon_date=min(booking.on for booking in disbursements) + shift if disbursements else None,
        expected_maturedon_date=max(row.due_on for row in books.schedule) + shift,
        closedon_date=last_on + shift if books.status == 600 and last_on else None,
        overpaidon_date=last_on + shift if books.status == 700 and last_on else None,
        is_charged_off=bool(charged_off),
        charged_off_on_date=charged_off[-1].on + shift if charged_off else None,
        grace_on_arrears_ageing=loan["grace_on_arrears_days"],
        loan_transaction_strategy_code=strategy,
        loan_transaction_strategy_name=strategy,
        loan_schedule_type="PROGRESSIVE" if "PROG" in loan["template"] else "CUMULATIVE",
        loan_schedule_processing_type="VERTICAL" if loan["template"].endswith("VERTICAL") else "HORIZONTAL",
        enable_down_payment=bool(loan["down_payment_pct"]),
        enable_installment_level_delinquency=loan["installment_level_delinquency"],
        rescheduledon_date=books.reschedules[-1] + shift if books.reschedules else None,
        last_closed_business_date=tables.day if "derived" in case["expected"] else None,
        total_outstanding_derived=max(books.net, ZERO),
        total_overpaid_derived=max(-books.net, ZERO) or None,
        principal_disbursed_derived=sum((booking.amount for booking in disbursements), ZERO),
        **audit(tables.day),
    )
    if strategy == "advanced-payment-allocation-strategy":
        tables.add(
            "m_loan_payment_allocation_rule",
            loan_id=loan_id,
            transaction_type="DEFAULT",
            allocation_types=ADVANCED_ORDER,
            future_installment_allocation_rule="NEXT_INSTALLMENT",
            **audit(began),
        )
    derived = case["expected"].get("derived")
    if derived and derived["arrears_total"]:
        tables.add(
            "m_loan_arrears_aging",
            loan_id=loan_id,
            total_overdue_derived=derived["arrears_total"],
            overdue_since_date_derived=date.fromisoformat(derived["oldest_unpaid_due_date"]) + shift,
        )
    schedule_ids = list(_schedule_rows(tables, books, loan_id, shift))
    _reschedule_rows(tables, books, loan_id, shift)
    charge_ids = list(_charge_rows(tables, books, loan_id, schedule_ids, shift))
    booking_ids = list(_booking_rows(tables, books, loan_id, charge_ids, shift))
    _mapping_rows(tables, books, booking_ids, schedule_ids)
    for action, start, end, today in books.pauses:
        tables.add(
            "m_loan_delinquency_action",
            loan_id=loan_id,
            action=action,
            start_date=start + shift,
            end_date=end + shift if end else None,
            **audit(today + shift),
        )


def _schedule_rows(tables: Tables, books: Books, loan_id: int, shift: timedelta) -> Iterator[int]:
    paid = {row["no"]: row for row in books.case["expected"].get("installments") or []}
    for number, row in enumerate(books.schedule, start=1):
        given = paid.get(number, {})
        waived = [charge for charge in books.charges if charge.waived and books.collected_with(charge) is row]
        yield tables.add(
            "m_loan_repayment_schedule",
            loan_id=loan_id,
            fromdate=row.from_on + shift,
            duedate=row.due_on + shift,
            installment=number,
            principal_amount=row.principal or None,
            interest_amount=row.interest or None,
            fee_charges_amount=row.fees or None,
            fee_charges_waived_derived=sum((charge.waived for charge in waived if not charge.is_penalty), ZERO),
            penalty_charges_amount=row.penalties or None,
            penalty_charges_waived_derived=sum((charge.waived for charge in waived if charge.is_penalty), ZERO),
            credits_amount=row.credited or None,
            credited_fee=row.credited_fee or None,
            credited_penalty=row.credited_penalty or None,
            completed_derived=given.get("outstanding") == 0,
            obligations_met_on_date=date.fromisoformat(given["paid_off_on"]) + shift
            if given.get("paid_off_on")
            else None,
            total_paid_in_advance_derived=given.get("paid_in_advance"),
            total_paid_late_derived=given.get("paid_late"),
            is_down_payment=row.is_down_payment,
            is_additional=row.is_additional,
            **audit(tables.day),
        )


def _reschedule_rows(tables: Tables, books: Books, loan_id: int, shift: timedelta) -> None:
    for position, approved_on in enumerate(books.reschedules):
        request_id = tables.add(
            "m_loan_reschedule_request",
            loan_id=loan_id,
            status_enum=200,
            reschedule_from_installment=1,
            reschedule_from_date=approved_on + shift,
            submitted_on_date=approved_on + shift,
            submitted_by_user_id=USER,
            approved_on_date=approved_on + shift,
        )
        if position:
            continue
        for row in books.before:
            tables.add(
                "m_loan_repayment_schedule_history",
                loan_id=loan_id,
                loan_reschedule_request_id=request_id,
                duedate=date.fromisoformat(row["due_date"]) + shift,
                installment=row["no"],
                principal_amount=row["principal_due"],
                interest_amount=row["interest_due"],
                fee_charges_amount=row["fees_due"],
                penalty_charges_amount=row["penalties_due"],
                version=1,
                created_on_utc=audit(approved_on + shift)["created_on_utc"],
                last_modified_on_utc=audit(approved_on + shift)["created_on_utc"],
            )


def _charge_rows(
    tables: Tables, books: Books, loan_id: int, schedule_ids: Sequence[int], shift: timedelta
) -> Iterator[int]:
    for charge in books.charges:
        paid = charge.amount - charge.waived if charge.waived else ZERO
        common = {
            "amount": charge.amount,
            "amount_waived_derived": charge.waived or None,
            "amount_paid_derived": paid or None,
            "waived": charge.waived > 0,
        }
        charge_id = tables.add(
            "m_loan_charge",
            loan_id=loan_id,
            charge_id=1,
            is_penalty=charge.is_penalty,
            charge_time_enum=charge.time,
            due_for_collection_as_of_date=charge.due_on + shift if charge.due_on else None,
            charge_calculation_enum=1,
            submitted_on_date=charge.booked_on + shift,
            **common,
            **audit(charge.booked_on + shift),
        )
        if charge.time == WITH_EACH_INSTALMENT:
            assert len(schedule_ids) == 1, books.case["case_id"]
            tables.add(
                "m_loan_installment_charge", loan_charge_id=charge_id, loan_schedule_id=schedule_ids[0], **common
            )
        yield charge_id


def _booking_rows(
    tables: Tables, books: Books, loan_id: int, charge_ids: Sequence[int], shift: timedelta
) -> Iterator[int]:
    for minute, booking in enumerate(books.bookings):
        portions = booking.portions or {}
        created = audit(booking.booked_on + shift, minute)
        if booking.reversed_on is not None:
            created["last_modified_on_utc"] = audit(booking.reversed_on + shift, minute)["created_on_utc"]
        booking_id = tables.add(
            "m_loan_transaction",
            loan_id=loan_id,
            office_id=CLIENT_OFFICE,
            is_reversed=booking.reversed_on is not None,
            transaction_type_enum=booking.kind,
            transaction_date=booking.on + shift,
            amount=booking.amount,
            principal_portion_derived=portions.get("principal"),
            interest_portion_derived=portions.get("interest"),
            fee_charges_portion_derived=portions.get("fees"),
            penalty_charges_portion_derived=portions.get("penalties"),
            submitted_on_date=booking.booked_on + shift,
            reversed_on_date=booking.reversed_on + shift if booking.reversed_on else None,
            **created,
        )
        if booking.charge is not None:
            charge = books.charges[booking.charge]
            tables.add(
                "m_loan_charge_paid_by",
                loan_transaction_id=booking_id,
                loan_charge_id=charge_ids[booking.charge],
                amount=booking.amount,
                installment_number=1 if charge.time == WITH_EACH_INSTALMENT else None,
            )
        yield booking_id


def _mapping_rows(tables: Tables, books: Books, booking_ids: Sequence[int], schedule_ids: Sequence[int]) -> None:
    """What each payment met of a schedule that was restated: oldest instalment first, as far as it went."""
    if not books.made(REAGE, REAMORTIZE):
        return
    left = [[row.penalties, row.fees, row.interest, row.principal] for row in books.schedule]
    for booking, booking_id in zip(books.bookings, booking_ids, strict=True):
        if booking.kind not in CREDITS or booking.reversed_on is not None:
            continue
        amount = booking.amount
        for schedule_id, unpaid in zip(schedule_ids, left, strict=True):
            parts = []
            for position, part in enumerate(unpaid):
                paid = min(part, amount)
                unpaid[position] -= paid
                amount -= paid
                parts.append(paid)
            if any(parts):
                tables.add(
                    "m_loan_transaction_repayment_schedule_mapping",
                    loan_transaction_id=booking_id,
                    loan_repayment_schedule_id=schedule_id,
                    amount=sum(parts),
                    **{f"{name}_portion_derived": part for name, part in zip(COMPONENTS, parts, strict=True)},
                )
