"""Holds loans back for a day whose rows, as dbt built them, break a rule; puts them back before the gate runs again.

What is taken out of a working table is kept beside it, with the table's oid: dbt makes a new table at every build, so
rows are put back only into the very table they were taken from.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from arrears.gate.checking import Found
from arrears.gate.quarantine import content_hash
from arrears.gate.thresholds import Thresholds, row_findings
from arrears.gate.verdict import Result, Stage

# Where a loan that is held back may not appear, by the gate that found it; each has a column loan_id.
TAKEN_FROM: Mapping[Stage, tuple[str, ...]] = {
    "marts": ("loan_risk_score", "int_assignment__candidates"),
    "queues": ("agency_assignment", "collection_queue", "queue_contact_details"),
}
STATE_MART = "loan_delinquency"

KEPT_BESIDE = """
create table if not exists working.gate_taken_out (
    stage text not null,
    table_name text not null,
    relation oid not null,
    row_data jsonb not null
)
"""


def take_out(connection: psycopg.Connection, stage: Stage, as_of_date: date, found: Sequence[Found]) -> Counter[str]:
    """Quarantines the loans of the rows found for that day alone and takes their lines out; gives rows by table."""
    connection.execute("delete from quarantine.rows where as_of_date = %s and stage = %s", [as_of_date, stage])
    connection.execute(KEPT_BESIDE)
    connection.execute("delete from working.gate_taken_out where stage = %s", [stage])
    rows_by_table: dict[str, set[str]] = {}
    reasons: dict[str, str] = {}
    for one in found:
        key = one.key
        finding_id = content_hash([str(as_of_date), stage, one.table, one.rule, key])
        connection.execute(
            sql.SQL(
                """
                insert into quarantine.rows (
                    finding_id, as_of_date, stage, table_name, suite, rule, reason, severity, loan_id, key, row_data,
                    opened_on, closed_on
                )
                select %(finding_id)s, %(as_of_date)s, %(stage)s, %(table)s, %(suite)s, %(rule)s, %(reason)s,
                    %(severity)s, %(loan_id)s, %(key)s,
                    (select to_jsonb(rows) from working.{table} as rows where to_jsonb(rows) @> %(typed_key)s limit 1),
                    %(as_of_date)s, %(next_day)s
                on conflict (finding_id) do nothing
                """
            ).format(table=sql.Identifier(one.table)),
            {
                "finding_id": finding_id,
                "as_of_date": as_of_date,
                "next_day": as_of_date + timedelta(days=1),
                "stage": stage,
                "table": one.table,
                "suite": one.suite,
                "rule": one.rule,
                "reason": one.reason,
                "severity": one.severity,
                "loan_id": key.get("loan_id"),
                "key": Jsonb(key),
                "typed_key": Jsonb(key),
            },
        )
        rows_by_table.setdefault(one.table, set()).add(repr(sorted(key.items())))
        if "loan_id" in key:
            reasons.setdefault(key["loan_id"], f"{stage} gate, {one.table}: {one.reason}")
    if reasons:
        _remove_lines(connection, stage, sorted(reasons))
        _say_so(connection, stage, reasons)
    return Counter({table: len(rows) for table, rows in rows_by_table.items()})


def _remove_lines(connection: psycopg.Connection, stage: Stage, loans: Sequence[str]) -> None:
    for name in TAKEN_FROM[stage]:
        if _oid(connection, name) is None:
            continue
        connection.execute(
            sql.SQL(
                """
                with taken as (delete from working.{table} as rows where rows.loan_id = any(%(loans)s) returning rows.*)

                insert into working.gate_taken_out (stage, table_name, relation, row_data)
                select %(stage)s, %(name)s, cast(cast(%(qualified)s as regclass) as oid), to_jsonb(taken) from taken
                """
            ).format(table=sql.Identifier(name)),
            {"loans": list(loans), "stage": stage, "name": name, "qualified": f"working.{name}"},
        )


def _say_so(connection: psycopg.Connection, stage: Stage, reasons: Mapping[str, str]) -> None:
    """The state mart says why a loan is in no queue; a reason that it gives already stays."""
    connection.execute(
        sql.SQL(
            """
            with reasons as (
                select loan_id, reason from unnest(%(loans)s::text[], %(reasons)s::text[]) as given (loan_id, reason)
            ),
            told as (
                update working.{table} as loans set held_back_reason = reasons.reason
                from reasons
                where loans.loan_id = reasons.loan_id and loans.held_back_reason is null
                returning loans.loan_id
            )

            insert into working.gate_taken_out (stage, table_name, relation, row_data)
            select
                %(stage)s,
                %(name)s,
                cast(cast(%(qualified)s as regclass) as oid),
                jsonb_build_object('loan_id', loan_id)
            from told
            """
        ).format(table=sql.Identifier(STATE_MART)),
        {
            "loans": list(reasons),
            "reasons": list(reasons.values()),
            "stage": stage,
            "name": STATE_MART,
            "qualified": f"working.{STATE_MART}",
        },
    )


def put_back(connection: psycopg.Connection, stage: Stage, as_of_date: date) -> list[dict[str, Any]]:
    """Undoes what this gate took out of tables that were not built again since; then it sees what it saw before.

    Returns:
        The findings that this removed, for `keep_findings`.
    """
    removed = connection.execute(
        "delete from quarantine.rows as findings where as_of_date = %s and stage = %s returning to_jsonb(findings)",
        [as_of_date, stage],
    ).fetchall()
    connection.execute(KEPT_BESIDE)
    for name in (*TAKEN_FROM[stage], STATE_MART):
        oid = _oid(connection, name)
        if oid is None:
            continue
        given = {"stage": stage, "name": name, "oid": oid}
        if name == STATE_MART:
            connection.execute(
                sql.SQL(
                    """
                    update working.{table} as loans set held_back_reason = null
                    from working.gate_taken_out as taken
                    where taken.stage = %(stage)s and taken.table_name = %(name)s and taken.relation = %(oid)s
                        and loans.loan_id = taken.row_data ->> 'loan_id'
                    """
                ).format(table=sql.Identifier(name)),
                given,
            )
            continue
        connection.execute(
            sql.SQL(
                """
                insert into working.{table}
                select rows.*
                from working.gate_taken_out as taken
                cross join lateral jsonb_populate_record(cast(null as working.{table}), taken.row_data) as rows
                where taken.stage = %(stage)s and taken.table_name = %(name)s and taken.relation = %(oid)s
                """
            ).format(table=sql.Identifier(name)),
            given,
        )
    connection.execute("delete from working.gate_taken_out where stage = %s", [stage])
    return [row[0] for row in removed]


def finding_ids(connection: psycopg.Connection, stage: Stage, as_of_date: date) -> set[str]:
    """The ids of what this gate found for the date."""
    rows = connection.execute(
        "select finding_id from quarantine.rows where as_of_date = %s and stage = %s", [as_of_date, stage]
    ).fetchall()
    return {str(row[0]) for row in rows}


def keep_findings(connection: psycopg.Connection, findings: Sequence[Mapping[str, Any]]) -> None:
    """Writes findings again as they stood before `put_back`."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into quarantine.rows select * from jsonb_populate_record(cast(null as quarantine.rows), %s)",
            [[Jsonb(dict(finding))] for finding in findings],
        )


def _oid(connection: psycopg.Connection, name: str) -> int | None:
    row = connection.execute(
        "select c.oid from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid"
        " where n.nspname = 'working' and c.relname = %s and c.relkind = 'r'",
        [name],
    ).fetchone()
    return None if row is None else int(row[0])


def beyond_threshold(held: Mapping[str, int], results: Sequence[Result], in_force: Thresholds) -> list[Result]:
    """For each table with rows taken out: whether so many are wrong that the table is."""
    found = []
    for table, wrong in sorted(held.items()):
        of_table = [result for result in results if result.suite.endswith(f".{table}")]
        checked = max((result.checked_count for result in of_table), default=0)
        threshold = in_force.of("row_findings", table)
        keys = [key for result in of_table if result.scope == "row" for key in result.failing_keys]
        found.append(row_findings(of_table[0].suite, "row-findings", table, wrong, checked, threshold, keys))
    return found
