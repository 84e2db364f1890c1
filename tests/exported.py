"""An exported day without the steps before it: lines by hand; rendering, switching and recording are the real ones."""

from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql

from arrears import export, steps
from arrears.settings import get_settings
from tests.conftest import Workplace

DAY = date(2026, 3, 31)

TABLES = """
drop table if exists working.collection_queue cascade;
drop table if exists working.queue_contact_details cascade;
drop table if exists working.int_assignment__recipients cascade;
create table working.int_assignment__recipients (agency_id text primary key, kind text);
create table working.collection_queue (
    as_of_date date, work_on date, recipient_id text, rank integer, loan_id text, borrower_id text,
    party_borrower_id text, party_role text, action text, channel text, reason text, days_past_due integer,
    arrears_amount numeric(20, 4), currency text, expected_net_amount numeric(20, 4),
    contact_from_at timestamptz, contact_until_at timestamptz, deadline_on date,
    primary key (as_of_date, recipient_id, loan_id, party_borrower_id)
);
create table working.queue_contact_details (
    as_of_date date, recipient_id text, loan_id text, party_borrower_id text, name text, born_on date, language text,
    phone text, email text, street text, postcode text, city text, country text,
    primary key (as_of_date, recipient_id, loan_id, party_borrower_id)
);
"""


def empty_queue(connection: psycopg.Connection) -> None:
    """An agency, a law firm, an internal team and an empty queue."""
    connection.execute(TABLES)
    connection.execute("insert into ops.portfolio values ('reporting_currency', 'EUR') on conflict do nothing")
    connection.execute(
        "insert into working.int_assignment__recipients values"
        " ('team', 'internal'), ('aster', 'agency'), ('cedar', 'law_firm')"
    )


def a_line(connection: psycopg.Connection, recipient_id: str = "team", loan_id: str = "L1", **more: Any) -> None:
    """A line of a queue with its contact details."""
    usual = {
        "as_of_date": DAY,
        "work_on": date(2026, 4, 1),
        "recipient_id": recipient_id,
        "rank": 1,
        "loan_id": loan_id,
        "borrower_id": "B1",
        "party_borrower_id": "B1",
        "party_role": "borrower",
        "action": "call",
        "channel": "call",
        "reason": "31 days past due",
        "days_past_due": 31,
        "arrears_amount": Decimal("1234.5"),
        "currency": "EUR",
        "expected_net_amount": Decimal("-3.2"),
        "contact_from_at": "2026-04-01T08:00:00+02:00",
        "contact_until_at": "2026-04-01T18:00:00+02:00",
        "deadline_on": None,
    }
    details = {"name": "Anna Nováková", "phone": "123", "email": "a@mail.example", "city": "Brno", "country": "CZ"}
    line = {name: more.get(name, value) for name, value in usual.items()}
    key = {name: line[name] for name in ("as_of_date", "recipient_id", "loan_id", "party_borrower_id")}
    insert(connection, "collection_queue", line)
    insert(connection, "queue_contact_details", key | {name: more.get(name, value) for name, value in details.items()})


def insert(connection: psycopg.Connection, table: str, row: dict[str, Any]) -> None:
    query = sql.SQL("insert into working.{} ({}) values ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() * len(row)),
    )
    connection.execute(query, list(row.values()))


def a_day(as_of: date = DAY) -> steps.Day:
    """What a step is told of a date."""
    return steps.Day(as_of, f"test-{as_of}")


def export_lines(
    workplace: Workplace, *lines: dict[str, Any], as_of: date = DAY, revision: int = 1, reason: str | None = None
) -> None:
    """Exports lines as a date's queues; each says what differs from `a_line`'s."""
    with workplace.connect(as_of) as connection:
        empty_queue(connection)
        for line in lines:
            a_line(connection, **({"as_of_date": as_of} | line))
        staged = export.stage(connection, as_of, get_settings())
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, reason, run_id)"
            " values (%s, %s, 'intended', %s, 'test', %s, 'test')",
            [as_of, revision, staged.manifest_sha256, reason],
        )
    steps.export_queues(a_day(as_of), 0)
