"""The assignment alone, on a real warehouse: what it reads, what binds, what it writes."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import psycopg
import pytest

from arrears.assignment import assign
from arrears.errors import TransformError
from arrears.transform import dbt
from arrears.warehouse import bootstrap
from tests.conftest import Workplace

D = date(2026, 3, 31)
ROWS = (
    "select loan_id, agency_id, contract_id, expected_net_amount, is_new, as_of_date"
    " from working.solver_assignments order by loan_id"
)


@pytest.fixture
def connection(workplace: Workplace) -> Iterator[psycopg.Connection]:
    """A warehouse with the tables that the step reads and writes, empty."""
    with workplace.connect() as opened:
        bootstrap.keep(opened, "reporting_currency", "EUR")
    dbt.invoke(["run", "--empty", "--selector", "marts"], D)
    with workplace.connect(D) as opened:
        yield opened


def a_loan(connection: psycopg.Connection, loan_id: str, *, held_by: str | None = None, **amounts: str) -> None:
    """A loan to place with what each agency would bring; an agency's contract is called as the agency."""
    connection.execute(
        "insert into working.int_assignment__loans_to_place (loan_id, borrower_id) values (%s, %s)", [loan_id, loan_id]
    )
    for agency_id, amount in amounts.items():
        connection.execute(
            "insert into working.int_assignment__candidates"
            " (loan_id, borrower_id, group_key, agency_id, contract_id, expected_net_amount, is_held, reason)"
            " values (%s, %s, %s, %s, %s, %s, %s, 'r')",
            [loan_id, loan_id, loan_id, agency_id, agency_id, Decimal(amount), agency_id == held_by],
        )


def a_contract(
    connection: psycopg.Connection,
    agency_id: str,
    capacity: int | None = None,
    held: int = 0,
    intake: int | None = None,
) -> None:
    connection.execute(
        "insert into working.int_assignment__contracts"
        " (contract_id, agency_id, capacity, daily_intake, held_count, taken_in_count) values (%s, %s, %s, %s, %s, 0)",
        [agency_id, agency_id, capacity, intake, held],
    )


def holders(connection: psycopg.Connection) -> dict[str, str]:
    return dict(connection.execute("select loan_id, agency_id from working.solver_assignments").fetchall())


def test_capacity_binds_and_goes_to_the_account_that_gains_most(connection: psycopg.Connection) -> None:
    a_contract(connection, "better", capacity=1)
    a_contract(connection, "plain")
    a_loan(connection, "L1", better="100", plain="90")
    a_loan(connection, "L2", better="80", plain="40.0001")
    a_loan(connection, "L3", better="60", plain="55")

    counts = assign(connection, D)

    assert holders(connection) == {"L1": "plain", "L2": "better", "L3": "plain"}
    assert {name: counts[name] for name in ("loans", "candidates", "assigned", "kept", "given", "unassigned")} == {
        "loans": 3,
        "candidates": 6,
        "assigned": 3,
        "kept": 0,
        "given": 3,
        "unassigned": 0,
    }


def test_the_days_intake_binds_where_capacity_does_not(connection: psycopg.Connection) -> None:
    a_contract(connection, "only", capacity=9, intake=1)
    a_loan(connection, "L1", only="10")
    a_loan(connection, "L2", only="20")

    counts = assign(connection, D)

    assert holders(connection) == {"L2": "only"}
    assert counts["unassigned"] == 1


def test_what_is_held_stays_though_another_would_bring_more(connection: psycopg.Connection) -> None:
    a_contract(connection, "better", capacity=1)
    a_contract(connection, "holder", capacity=1, held=1)
    a_loan(connection, "L1", held_by="holder", better="100", holder="10")
    a_loan(connection, "L2", better="20", holder="90")

    assign(connection, D)

    assert connection.execute(ROWS).fetchall() == [
        ("L1", "holder", "holder", Decimal("10.0000"), False, D),
        ("L2", "better", "better", Decimal("20.0000"), True, D),
    ]


def test_what_brings_nothing_is_given_to_nobody(connection: psycopg.Connection) -> None:
    a_contract(connection, "only")
    a_loan(connection, "L1", only="0")
    a_loan(connection, "L2", only="-3.88")
    a_loan(connection, "L3", only="0.0001")

    assign(connection, D)

    assert connection.execute(ROWS).fetchall() == [("L3", "only", "only", Decimal("0.0001"), True, D)]


def test_objective_bound_and_gap_are_written(connection: psycopg.Connection) -> None:
    a_contract(connection, "better", capacity=1)
    a_contract(connection, "plain")
    a_loan(connection, "L1", better="100", plain="90")
    a_loan(connection, "L2", better="80", plain="40.0001")
    a_loan(connection, "L3")

    assign(connection, D)
    run = connection.execute(
        "select as_of_date, loan_count, assigned_count, objective_amount, upper_bound_amount, gap_share,"
        " missed_promise_count, solver from working.solver_run"
    ).fetchall()

    assert [row[:-1] for row in run] == [(D, 3, 2, Decimal("170.0000"), Decimal("170.0000"), Decimal(0), 0)]
    assert run[0][-1].startswith("HiGHS ")


def test_again_it_leaves_the_same_rows_and_none_of_another_day(connection: psycopg.Connection) -> None:
    a_contract(connection, "a", capacity=20)
    a_contract(connection, "b", capacity=15)
    a_contract(connection, "c")
    for number in range(60):  # many ties: any of them is best, but it must be the same one
        a_loan(connection, f"L{number:02}", a="12", b="12", c=str(5 + number % 3))
    assign(connection, date(2026, 3, 30))
    assign(connection, D)
    first = connection.execute(ROWS).fetchall()
    run = connection.execute("select * from working.solver_run").fetchall()
    assign(connection, D)

    assert len(first) == 60
    assert {row[-1] for row in first} == {D}
    assert connection.execute(ROWS).fetchall() == first
    assert connection.execute("select * from working.solver_run").fetchall() == run


def test_without_the_candidates_it_says_which_step_makes_them(connection: psycopg.Connection) -> None:
    connection.execute("drop table working.int_assignment__candidates cascade")

    with pytest.raises(
        TransformError, match=r"The assignment of 2026-03-31 cannot be made, .* run the step build_marts"
    ):
        assign(connection, D)
