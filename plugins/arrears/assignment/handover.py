"""Reads the candidates that dbt built and hands the decisions back, in tables that dbt reads as a source."""

import csv
import io
from datetime import date

import pandas as pd
import psycopg

from arrears.assignment.accounts import UNITS, Decisions, decide
from arrears.errors import TransformError

CANDIDATES = """
    select
        loan_id,
        group_key,
        agency_id,
        contract_id,
        cast(expected_net_amount * 10000 as bigint) as net_units,
        case when is_held then 1 else 0 end as is_held
    from working.int_assignment__candidates
"""
CONTRACTS = """
    select contract_id, agency_id, capacity, daily_intake, held_count, taken_in_count, minimum_share
    from working.int_assignment__contracts
"""
KEYS = {"loan_id": str, "group_key": str, "agency_id": str, "contract_id": str}
BLOCK = 50_000


def assign(connection: psycopg.Connection, as_of_date: date) -> dict[str, int | str]:
    """Decides who gets which loan on the date and writes working.solver_assignments and working.solver_run.

    What stood there before goes, so a second run leaves the same rows. All in one transaction.

    Returns:
        Counts for the log: loans, candidates, assigned, kept, given, unassigned, missed_promises; and the solver.

    Raises:
        TransformError: the tables that dbt builds are not there.
    """
    try:
        with connection.transaction():
            loan_count = _count(connection, "select count(*) from working.int_assignment__loans_to_place")
            candidates = _frame(connection, CANDIDATES)
            candidates["is_held"] = candidates["is_held"].astype(bool)
            decisions = decide(candidates, _frame(connection, CONTRACTS))
            _write(connection, as_of_date, loan_count, decisions)
    except psycopg.errors.UndefinedTable as error:
        raise TransformError(
            f"The assignment of {as_of_date} cannot be made, because {str(error).splitlines()[0]}: run the step"
            f" build_marts of that date first."
        ) from error
    assigned_count = len(decisions.assignments)
    given_count = int(decisions.assignments["is_new"].sum())
    return {
        "loans": loan_count,
        "candidates": len(candidates),
        "assigned": assigned_count,
        "kept": assigned_count - given_count,
        "given": given_count,
        "unassigned": loan_count - assigned_count,
        "missed_promises": decisions.missed_promise_count,
        "solver": decisions.solver,
    }


def _count(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _frame(connection: psycopg.Connection, query: str) -> pd.DataFrame:
    buffer = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(f"copy ({query}) to stdout (format csv, header)".encode()) as rows:
        for block in rows:
            buffer.write(block)
    buffer.seek(0)
    # Keys stay text whatever they look like; a share is read as text, so that it stays the decimal it is.
    return pd.read_csv(
        buffer,
        dtype=KEYS | {"minimum_share": str},
        keep_default_na=False,
        na_values={name: [""] for name in ("capacity", "daily_intake", "minimum_share")},
    )


def _write(connection: psycopg.Connection, as_of_date: date, loan_count: int, decisions: Decisions) -> None:
    connection.execute("delete from working.solver_assignments")
    connection.execute("delete from working.solver_run")
    rows = decisions.assignments
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "copy working.solver_assignments (as_of_date, loan_id, agency_id, contract_id, expected_net_amount, is_new,"
            " reason) from stdin (format csv)"
        ) as copy,
    ):
        for start in range(0, len(rows), BLOCK):
            block = rows.iloc[start : start + BLOCK]
            # Whole ten-thousandths, all above 0, written as a decimal.
            whole, part = block["net_units"] // UNITS, block["net_units"] % UNITS
            amount = whole.astype(str) + "." + part.astype(str).str.zfill(4)
            columns = block.assign(as_of_date=as_of_date.isoformat(), amount=amount)[
                ["as_of_date", "loan_id", "agency_id", "contract_id", "amount", "is_new", "reason"]
            ]
            copy.write(columns.to_csv(index=False, header=False, quoting=csv.QUOTE_NONNUMERIC))
    connection.execute(
        "insert into working.solver_run (as_of_date, loan_count, assigned_count, objective_amount, upper_bound_amount,"
        " gap_share, missed_promise_count, solver) values (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            as_of_date,
            loan_count,
            len(rows),
            decisions.objective_amount,
            decisions.upper_bound_amount,
            decisions.gap_share,
            decisions.missed_promise_count,
            decisions.solver,
        ),
    )
