"""Why an account is, or is not, in a queue: from the queue's line down to the file that each booking came from."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row

from arrears.errors import UsageError
from arrears.warehouse.connections import connect

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that bears on one loan on one date, nearest to the decision first."""

    loan_id: str
    as_of_date: date
    verdict: str
    queue_lines: Rows = field(default_factory=list)
    assignment: Rows = field(default_factory=list)
    score: Rows = field(default_factory=list)
    delinquency: Rows = field(default_factory=list)
    quarantined: Rows = field(default_factory=list)
    bookings: Rows = field(default_factory=list)
    loan: Rows = field(default_factory=list)

    def sections(self) -> list[tuple[str, Rows]]:
        """Titles and rows, in the order to read them."""
        return [
            (f"Loan {self.loan_id} on {self.as_of_date}: {self.verdict}", self.loan),
            ("Queue line", self.queue_lines),
            ("Assignment", self.assignment),
            ("Score", self.score),
            ("Delinquency", self.delinquency),
            ("Quarantined rows that hold it back", self.quarantined),
            ("Bookings known then, newest first, with their file", self.bookings),
        ]


def explain(loan_id: str, as_of: date | None = None) -> Explanation:
    """Collects what is known of a loan on a published date.

    Raises:
        UsageError: nothing is published, or no source ever delivered such a loan.
    """
    with connect() as connection:
        if as_of is None:
            row = connection.execute(
                "select coalesce((select max(as_of_date) from ops.published_days),"
                " (select max(as_of_date) from ops.step_runs))"
            ).fetchone()
            if row is None or row[0] is None:
                raise UsageError("No day has been run yet: run `arrears run` first.")
            as_of = row[0]
        given = {"loan": loan_id, "date": as_of}
        loan = _rows(
            connection,
            "select loan_id, borrower_id, product, currency, principal_amount, disbursed_on, status, status_on,"
            " _batch_id, _file, _line"
            " from versions.loans where loan_id = %(loan)s and _known_from <= %(date)s"
            " and (_known_to is null or _known_to > %(date)s)",
            given,
        )
        quarantined = _rows(
            connection,
            "select stage, table_name, rule, reason, batch_id, file, line from quarantine.rows"
            " where opened_on <= %(date)s and (closed_on is null or closed_on > %(date)s)"
            " and (loan_id = %(loan)s or (loan_id is null and borrower_id = %(borrower)s))"
            " order by table_name, line",
            given | {"borrower": loan[0]["borrower_id"] if loan else None},
        )
        if not loan and not quarantined:
            raise UsageError(f"No loan {loan_id} is known on {as_of}.")
        lines = _of_day(connection, "collection_queue", given)
        assignment = _of_day(connection, "agency_assignment", given)
        score = _rows(
            connection,
            "select * from marts.loan_risk_score where loan_id = %(loan)s and as_of_date <= %(date)s"
            " order by as_of_date desc limit 1",
            given,
        )
        delinquency = _of_day(connection, "loan_delinquency", given)
        bookings = _rows(
            connection,
            "select transaction_id, kind, effective_on, booked_at, amount, reverses_transaction_id,"
            " _batch_id, _file, _line"
            " from versions.transactions where loan_id = %(loan)s and _known_from <= %(date)s"
            " and (_known_to is null or _known_to > %(date)s) order by effective_on desc, transaction_id desc",
            given,
        )
        reasons = _reasons_for_none(connection, given)
        published = connection.execute(
            "select exists (select 1 from ops.published_days where as_of_date = %s)", [as_of]
        ).fetchone()
    if published != (True,) and not quarantined:
        verdict = f"in no queue: {as_of} was not run to its end (`arrears status` says which dates were)"
    elif loan and loan[0]["status"] in ("closed", "sold") and loan[0]["status_on"] <= as_of:
        verdict = f"in no queue, because it is {loan[0]['status']} since {loan[0]['status_on']}"
    elif loan and loan[0]["disbursed_on"] > as_of:
        verdict = f"in no queue, because it is disbursed only on {loan[0]['disbursed_on']}"
    else:
        verdict = _verdict(lines, quarantined, delinquency, reasons)
    return Explanation(loan_id, as_of, verdict, lines, assignment, score, delinquency, quarantined, bookings, loan)


def _reasons_for_none(connection: psycopg.Connection, given: dict[str, Any]) -> Rows:
    """Why nobody was given the loan, while the working schema still holds that date."""
    stands = connection.execute(
        "select as_of_date = %(date)s and state = 'done' from ops.step_runs where step = 'build_queues'"
        " order by step_run_id desc limit 1",
        given,
    ).fetchone()
    if stands != (True,):
        return []
    return _rows(connection, "select reason from working.int_queues__loans_unassigned where loan_id = %(loan)s", given)


def _verdict(lines: Rows, quarantined: Rows, delinquency: Rows, reasons: Rows) -> str:
    if lines:
        return f"in the queue of {lines[0]['recipient_id']}: {lines[0]['reason']}"
    if quarantined:
        return f"in no queue, because it is held back: {quarantined[0]['reason']}"
    if not delinquency:
        return "in no queue; its state of that date is not kept (marts of kind latest hold the last date run)"
    if delinquency[0]["days_delinquent"] == 0 and delinquency[0]["days_past_due"] > 0:
        days = delinquency[0]["days_past_due"]
        return f"in no queue, because grace or a pause covers its {days} days past due"
    if delinquency[0]["days_delinquent"] == 0:
        return "in no queue, because it is not past due"
    if reasons:
        return f"in no queue: {reasons[0]['reason']}"
    return "in no queue: it is suppressed, or no recipient may take it at a gain (run the date again to see which)"


def _of_day(connection: psycopg.Connection, mart: str, given: dict[str, Any]) -> Rows:
    return _rows(
        connection,
        f"select * from marts.{mart} where loan_id = %(loan)s and as_of_date = %(date)s",  # noqa: S608 (our names)
        given,
    )


def _rows(connection: psycopg.Connection, query: str, given: dict[str, Any]) -> Rows:
    with connection.cursor(row_factory=dict_row) as cursor:
        return [dict(row) for row in cursor.execute(query.encode(), given).fetchall()]
