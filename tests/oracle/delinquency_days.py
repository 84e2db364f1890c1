"""Drops of a lender's books taken in, the delinquency of a day built, and what came out compared cell by cell."""

from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from psycopg.rows import dict_row

from arrears import steps, warehouse
from arrears.transform import dbt, kept
from tests.conftest import VIEWS, Workplace
from tests.oracle.delinquency_replay import ONE_DAY, Loan, Replayed, Row, Stretch

# Of a reading by loan; a loan is held back for many reasons, whose words are not the replay's business.
CELLS = (
    "borrower_id",
    "currency",
    "days_past_due",
    "days_delinquent",
    "bucket",
    "oldest_unpaid_due_on",
    "instalments_past_due",
    "arrears_amount",
    "arrears_principal_amount",
    "arrears_interest_amount",
    "arrears_fee_amount",
    "arrears_penalty_amount",
    "outstanding_principal_amount",
    "outstanding_amount",
    "credit_amount",
    "undrawn_amount",
    "last_payment_on",
    "is_paused",
    "is_held_back",
)
SHOWN = 5  # loans whose wrong cells are told


def take_in(folder: Path, day: date, *, replace: str | None = None) -> None:
    """Extracts a drop and has the raw gate judge it."""
    steps.run("extract", day, run_id=f"test-{day}", source="contract", drop=folder, replace=replace)
    steps.run("gate_raw", day, run_id=f"test-{day}")


def kept_models() -> list[str]:
    """The models that are kept from one day to the next."""
    nodes = dbt.manifest()["nodes"].values()
    return sorted(node["name"] for node in nodes if node["config"].get("materialized") == "incremental")


def build(day: date, *more: str, anew: bool = False) -> None:
    """Builds loan_delinquency, whatever is kept from day to day, and more models for a day, as the day's step does."""
    with warehouse.connect() as connection:
        anew = anew or kept.why_anew(connection) is not None
    select = [f"+{model}" for model in ("loan_delinquency", *kept_models(), *more)]
    again = ["--full-refresh"] if anew else []
    dbt.invoke(["run", "--select", *select, "--exclude", "resource_type:seed", VIEWS, *again], day)


def rows(workplace: Workplace, query: str, *given: object, as_of: date | None = None) -> list[Row]:
    """The rows of a query, as the pipeline sees them."""
    with workplace.connect(as_of) as connection:
        return connection.cursor(row_factory=dict_row).execute(query.encode(), given).fetchall()


def delinquency(workplace: Workplace, relation: str = "working.loan_delinquency", *given: object) -> dict[str, Row]:
    """Rows of loan_delinquency, or of what looks like it, by loan."""
    found = rows(workplace, f"select *, held_back_reason is not null as is_held_back from {relation}", *given)
    by_loan = {str(row["loan_id"]): row for row in found}
    assert len(by_loan) == len(found)
    return by_loan


def loans_held_back(workplace: Workplace, day: date) -> set[str]:
    """The loans with a row that could not be taken in."""
    findings = "select distinct loan_id from quarantine.rows where opened_on <= %s and coalesce(closed_on > %s, true)"
    return {str(loan_id) for (loan_id,) in workplace.rows(findings, day, day)}


def held_back(expected: Mapping[str, Row], loans: Iterable[str]) -> dict[str, Row]:
    """The replay's rows with those loans held back too of which a row could not be taken in."""
    more = dict.fromkeys(loans, True)
    return {
        loan_id: row | {"is_held_back": more.get(loan_id, row["is_held_back"])} for loan_id, row in expected.items()
    }


def differences(made: Mapping[str, Row], expected: Mapping[str, Row], cells: Iterable[str] = CELLS) -> list[str]:
    """What is otherwise than expected, a sentence a cell; only of the first loans."""
    wrong = []
    for loan_id in sorted(made.keys() | expected.keys()):
        mine, theirs = made.get(loan_id), expected.get(loan_id)
        if mine is None or theirs is None:
            wrong.append([f"{loan_id} {'has a row' if mine else 'has no row'}"])
        else:
            wrong.append(
                [_told(loan_id, cell, mine[cell], theirs[cell]) for cell in cells if mine[cell] != theirs[cell]]
            )
    return [told for loan in list(filter(None, wrong))[:SHOWN] for told in loan]


def _told(loan_id: str, what: object, made: object, expected: object) -> str:
    return f"{loan_id} {what}: {made}, expected {expected}"


def histories(workplace: Workplace, relation: str = "working.loan_delinquency_history") -> dict[str, list[Stretch]]:
    """The stretches of every loan, in order."""
    found: dict[str, list[Stretch]] = {}
    for row in rows(workplace, f"select * from {relation} order by loan_id, valid_from"):
        stretch = Stretch(**{name: row[name] for name in Stretch.__slots__})
        found.setdefault(str(row["loan_id"]), []).append(stretch)
    return found


def wrong_histories(
    made: Mapping[str, list[Stretch]], loans: Mapping[str, Loan], replayed: Replayed, day: date
) -> list[str]:
    """Stretches that are otherwise than replayed, a sentence each; only of the first loans."""
    expected = {loan_id: found for loan_id, loan in loans.items() if (found := replayed.history(loan, day))}
    wrong = []
    for loan_id in sorted(made.keys() | expected.keys()):
        mine, theirs = made.get(loan_id, []), expected.get(loan_id, [])
        if mine != theirs:
            only_mine = [f"{loan_id} has {stretch}" for stretch in mine if stretch not in theirs]
            wrong.append([*only_mine, *(f"{loan_id} lacks {stretch}" for stretch in theirs if stretch not in mine)])
    return [told for loan in wrong[:SHOWN] for told in loan]


def wrong_month_ends(workplace: Workplace, loans: Mapping[str, Loan], replayed: Replayed, day: date) -> list[str]:
    """Month ends that are otherwise than replayed, a sentence each; only the first."""
    cells = ("oldest_unpaid_due_on", "arrears_amount", "outstanding_principal_amount", "status")
    made = {
        (row["loan_id"], row["month_end_on"]): tuple(row[cell] for cell in cells)
        for row in rows(workplace, "select * from working.int_delinquency__month_ends")
    }
    expected = {}
    for loan_id, loan in loans.items():
        for on, row in replayed.life(loan).items():
            if on <= day and (on + ONE_DAY).day == 1:
                stated = row | ({"outstanding_principal_amount": None} if loan.is_revolving else {})
                expected[loan_id, on] = tuple(stated[cell] for cell in cells)
    return [
        _told(loan_id, on, made.get((loan_id, on)), expected.get((loan_id, on)))
        for loan_id, on in sorted(made.keys() | expected.keys())
        if made.get((loan_id, on)) != expected.get((loan_id, on))
    ][:SHOWN]
