"""loan_delinquency against a plain day-by-day replay, on random loans to which everything happens."""

import random
from collections.abc import Iterable
from datetime import date

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from arrears.transform import dbt
from tests.conftest import Workplace
from tests.oracle.delinquency_replay import Loan, Row, a_random_loan

D = date(2026, 3, 31)


def insert(connection: psycopg.Connection, table: str, rows: Iterable[Row]) -> None:
    """Puts rows into a versions table, known before all time."""
    found = list(rows)
    columns = list(found[0])
    statement = sql.SQL(
        "insert into {} ({}, _source, _batch_id, _known_from, _row_hash) values ({}, 'test', 'b', '0001-01-01', {})"
    ).format(
        sql.Identifier("versions", table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
        sql.SQL("gen_random_uuid()"),
    )
    connection.cursor().executemany(statement, [[row[column] for column in columns] for row in found])


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_the_mart_agrees_with_a_plain_replay(workplace: Workplace, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    loans = [a_random_loan(chance, number, D) for number in range(1500)]
    with workplace.connect() as connection:
        insert(connection, "loans", (loan.loan for loan in loans))
        for table, rows in tables_of(loans).items():
            insert(connection, table, rows)

    dbt.invoke(["run", "--select", "+loan_delinquency", "--exclude", "resource_type:seed"], D)

    with workplace.connect() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        cursor.execute("select *, held_back_reason is not null as is_held_back from working.loan_delinquency")
        made = {row["loan_id"]: row for row in cursor}
    expected = {loan.loan["loan_id"]: state for loan in loans if (state := loan.state(D)) is not None}
    assert made.keys() == expected.keys()
    wrong = {
        loan_id: {
            column: (value, made[loan_id][column]) for column, value in state.items() if made[loan_id][column] != value
        }
        for loan_id, state in expected.items()
    }
    assert {loan_id: columns for loan_id, columns in wrong.items() if columns} == {}


def test_the_random_loans_need_both_ways_of_computing(workplace: Workplace) -> None:
    chance = random.Random(1)  # noqa: S311
    loans = [a_random_loan(chance, number, D) for number in range(300)]
    with workplace.connect() as connection:
        insert(connection, "loans", (loan.loan for loan in loans))
        for table, rows in tables_of(loans).items():
            insert(connection, table, rows)

    dbt.invoke(["run", "--select", "+int_delinquency__loans_positioned"], D)

    counts = workplace.rows(
        "select count(*) filter (where is_replayed_by_booking), count(*) filter (where not is_replayed_by_booking)"
        " from working.int_delinquency__loans_positioned"
    )
    assert min(int(str(count)) for count in counts[0]) > 50


def tables_of(loans: Iterable[Loan]) -> dict[str, list[Row]]:
    """The rows of all loans by table of the contract."""
    found = list(loans)
    return {
        "instalments": [row for loan in found for row in loan.instalments],
        "transactions": [row for loan in found for row in loan.transactions],
        "charges": [row for loan in found for row in loan.charges],
        "forbearances": [row for loan in found for row in loan.forbearances],
        "servicer_balances": [row for loan in found for row in loan.balances],
    }
