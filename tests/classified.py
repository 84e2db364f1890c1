"""Loans for the rule books, put where the classification reads them: their history by hand instead of by bookings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import psycopg
from psycopg import sql

from arrears.transform import dbt
from arrears.warehouse import bootstrap
from tests.conftest import Workplace

DAY = timedelta(days=1)

# What classification reads of the delinquency and risk models, with the columns that it asks for.
READ = """
create table working.loan_delinquency_history (loan_id text, valid_from date, valid_to date, oldest_unpaid_due_on date,
    arrears_amount numeric(20, 4), outstanding_amount numeric(20, 4));
create table working.loan_delinquency (loan_id text, days_past_due integer, outstanding_amount numeric(20, 4));
create table working.int_delinquency__loans_positioned (loan_id text, days_past_due integer,
    unpaid_due_amount numeric(20, 4), tolerance_amount numeric(20, 4));
create table working.int_delinquency__loans_stated (loan_id text, oldest_unpaid_due_on date);
create table working.int_risk__loans_scored (loan_id text, model_role text, default_probability numeric(9, 8));
"""
MODELS = ("int_classification__*", "loan_classification")


@dataclass
class Stretch:
    """Days, both included, on which a loan's oldest unpaid claim, its arrears and its balance were the same."""

    first: date
    last: date
    oldest: date | None
    arrears: Decimal
    outstanding: Decimal


@dataclass
class Measure:
    """A concession that changed the contract of a borrower in distress; without an end or grace: its first day."""

    start: date
    grace_to: date
    in_force_to: date
    first_due: date | None = None


@dataclass
class Loan:
    """A loan with all that the books look at; without stretches it was never late."""

    loan_id: str
    borrower_id: str
    group_id: str | None = None
    product: str = "consumer"
    exposure_class: str = "retail"
    disbursed_on: date = date(2020, 1, 1)
    stretches: list[Stretch] = field(default_factory=list)
    period_months: int | None = 1
    measures: list[Measure] = field(default_factory=list)
    signs: list[tuple[str, date, date | None]] = field(default_factory=list)  # trigger, first day, last day
    in_excess: list[tuple[date, date]] = field(default_factory=list)  # since, last day
    is_present: bool = True
    rate: Decimal = Decimal(1)
    is_due_today: bool = False
    outstanding: Decimal = Decimal(5000)


@dataclass
class Event:
    """A credit event of a borrower, perhaps on one loan."""

    kind: str
    borrower_id: str
    occurred_on: date
    loan_id: str | None = None
    discovered_on: date | None = None
    ended_on: date | None = None


@dataclass
class Report:
    """What a credit bureau says of a borrower's debt to others."""

    borrower_id: str
    reported_on: date
    debt: Decimal
    overdue: Decimal


def months_after(day: date, months: int) -> date:
    """The same day some months on, or the last day of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    last = (date(year + (month == 11), (month + 1) % 12 + 1, 1) - DAY).day
    return date(year, month + 1, min(day.day, last))


def due_dates(loan: Loan, as_of: date) -> list[date]:
    """When the loan's instalments fall due: every period_months, else once, long after D."""
    if loan.period_months is None:
        return [as_of + 1000 * DAY]
    return [months_after(loan.disbursed_on, loan.period_months * number) for number in range(1, 121)]


def late(
    first: date, last: date, oldest: date | None = None, arrears: object = 600, outstanding: object = 5000
) -> Stretch:
    """A late stretch, by default of 600 EUR of 5000, since the day before it begins."""
    return Stretch(first, last, oldest or first - DAY, Decimal(str(arrears)), Decimal(str(outstanding)))


def never_late_between(loan: Loan, as_of: date) -> list[Stretch]:
    """The loan's stretches with those between filled in, from its disbursement to D."""
    found, day = [], loan.disbursed_on
    for stretch in sorted(loan.stretches, key=lambda s: s.first):
        if day < stretch.first:
            found.append(Stretch(day, stretch.first - DAY, None, Decimal(0), loan.outstanding))
        found.append(stretch)
        day = stretch.last + DAY
    if day <= as_of and loan.is_present:
        found.append(Stretch(day, as_of, None, Decimal(0), loan.outstanding))
    return found


def insert(connection: psycopg.Connection, table: str, rows: Iterable[Mapping[str, object]]) -> None:
    """Puts rows into a versions table, known before all time."""
    found = list(rows)
    if not found:
        return
    columns = list(found[0])
    known = sql.SQL("'test', 'b', '0001-01-01', gen_random_uuid()")
    statement = sql.SQL("insert into {} ({}, _source, _batch_id, _known_from, _row_hash) values ({}, {})").format(
        sql.Identifier("versions", table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        known,
    )
    connection.cursor().executemany(statement, [[row[column] for column in columns] for row in found])


def put(
    workplace: Workplace,
    as_of: date,
    loans: Sequence[Loan],
    events: Sequence[Event] = (),
    reports: Sequence[Report] = (),
) -> None:
    """Fills the tables that classification reads. Rates: 25 CZK for a EUR."""
    with workplace.connect() as connection:
        bootstrap.keep(connection, "reporting_currency", "EUR")
        connection.execute(READ)
        borrowers = {loan.borrower_id: loan.group_id for loan in loans}
        insert(
            connection,
            "borrowers",
            ({"borrower_id": one, "kind": "person", "group_id": group} for one, group in borrowers.items()),
        )
        insert(connection, "loans", (_loan_row(loan) for loan in loans))
        rate = {"currency": "CZK", "base_currency": "EUR", "quoted_on": date(2020, 1, 1), "rate": Decimal("0.04")}
        insert(connection, "fx_rates", [rate])
        insert(connection, "instalments", (row for loan in loans for row in _instalment_rows(loan, as_of)))
        insert(connection, "forbearances", (row for loan in loans for row in _forbearance_rows(loan)))
        insert(connection, "servicer_balances", (row for loan in loans for row in _balance_rows(loan, as_of)))
        insert(
            connection,
            "credit_events",
            ({"credit_event_id": f"E{number}", **vars(event)} for number, event in enumerate(events)),
        )
        insert(connection, "credit_reports", (_report_row(report) for report in reports))
        for loan in loans:
            _put_history(connection, loan, as_of)


def _loan_row(loan: Loan) -> dict[str, object]:
    written_off = next((first for kind, first, _ in loan.signs if kind == "written_off"), None)
    return {
        "loan_id": loan.loan_id,
        "borrower_id": loan.borrower_id,
        "product": loan.product,
        "exposure_class": loan.exposure_class,
        "currency": "EUR" if loan.rate == 1 else "CZK",
        "disbursed_on": loan.disbursed_on,
        "principal_amount": 5000,
        "tolerance_amount": 5,
        "interest_rate": 0,
        "status": "written_off" if written_off else "active",
        "status_on": written_off or loan.disbursed_on,
        "is_credit_impaired_at_origination": any(kind.startswith("credit_impaired") for kind, _, _ in loan.signs),
    }


def _instalment_rows(loan: Loan, as_of: date) -> Iterable[dict[str, object]]:
    for number, due_on in enumerate(due_dates(loan, as_of), start=1):
        yield {
            "loan_id": loan.loan_id,
            "schedule_version": 1,
            "effective_on": loan.disbursed_on,
            "instalment_number": number,
            "due_on": due_on,
            "principal_amount": 10,
            "interest_amount": 0,
            "fee_amount": 0,
            "penalty_amount": 0,
        }


def _forbearance_rows(loan: Loan) -> Iterable[dict[str, object]]:
    for measure in loan.measures:
        yield {
            "forbearance_id": f"{loan.loan_id} {measure.start}",
            "loan_id": loan.loan_id,
            "kind": "term_extension",
            "agreed_on": measure.start,
            "starts_on": measure.start,
            "is_distressed": True,
            "grace_ends_on": measure.grace_to if measure.grace_to > measure.start else None,
            "ends_on": measure.in_force_to + DAY if measure.in_force_to > measure.start else None,
        }


def _balance_rows(loan: Loan, as_of: date) -> Iterable[dict[str, object]]:
    for since, last in loan.in_excess:
        yield {"loan_id": loan.loan_id, "balance_on": since, "in_excess_since": since}
        if last < as_of:
            yield {"loan_id": loan.loan_id, "balance_on": last + DAY, "in_excess_since": None}


def _report_row(report: Report) -> dict[str, object]:
    return {
        "borrower_id": report.borrower_id,
        "bureau": "B",
        "reported_on": report.reported_on,
        "debt_elsewhere_amount": report.debt,
        "overdue_90_elsewhere_amount": report.overdue,
        "currency": "EUR",
    }


def _put_history(connection: psycopg.Connection, loan: Loan, as_of: date) -> None:
    stretches = never_late_between(loan, as_of)
    for s in stretches:
        still_so = s.last == as_of and loan.is_present
        connection.execute(
            "insert into working.loan_delinquency_history values (%s, %s, %s, %s, %s, %s)",
            [loan.loan_id, s.first, None if still_so else s.last, s.oldest, s.arrears, s.outstanding],
        )
    if not loan.is_present:
        return
    now = stretches[-1]
    days = (as_of - now.oldest).days if now.oldest else 0
    connection.execute(
        "insert into working.loan_delinquency values (%s, %s, %s)", [loan.loan_id, days, now.outstanding]
    )
    connection.execute(
        "insert into working.int_delinquency__loans_positioned values (%s, %s, %s, 5)",
        [loan.loan_id, days, now.arrears + (600 if loan.is_due_today else 0)],
    )
    connection.execute("insert into working.int_delinquency__loans_stated values (%s, %s)", [loan.loan_id, now.oldest])


def classify(workplace: Workplace, as_of: date) -> dict[tuple[str, str], tuple[str, date, date | None, str]]:
    """Class, since when, earliest exit and reason, by rule book and loan."""
    dbt.invoke(["run", "--select", *MODELS], as_of)
    found = workplace.rows(
        "select rule_book, loan_id, class, since_on, earliest_exit_on, reason from working.loan_classification"
    )
    return {(str(row[0]), str(row[1])): tuple(row[2:]) for row in found}  # type: ignore[misc]
