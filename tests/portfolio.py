"""Small drops in contract form, written by hand: two borrowers, two loans of three instalments, one payment."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

Row = Mapping[str, object]


def a_borrower(borrower_id: str = "B1", **more: object) -> dict[str, object]:
    """A person in Czechia, reachable by phone."""
    return {
        "borrower_id": borrower_id,
        "kind": "person",
        "name": f"Borrower {borrower_id}",
        "country": "CZ",
        "time_zone": "Europe/Prague",
        "phone": "+420000000000",
        **more,
    }


def a_loan(loan_id: str = "L1", borrower_id: str = "B1", **more: object) -> dict[str, object]:
    """300.00 EUR lent on 2026-01-01, three instalments of 100.00."""
    return {
        "loan_id": loan_id,
        "borrower_id": borrower_id,
        "product": "consumer",
        "currency": "EUR",
        "principal_amount": "300.00",
        "disbursed_on": "2026-01-01",
        "maturity_on": "2026-04-01",
        "interest_rate": "0",
        "allocation_order": "penalty>fee>interest>principal",
        "allocation_mode": "oldest_first",
        "grace_days": 0,
        "tolerance_amount": "0",
        "governing_law": "CZ",
        "is_green": "false",
        "status": "active",
        "status_on": "2026-01-01",
        **more,
    }


def an_instalment(
    loan_id: str = "L1", number: int = 1, due_on: str = "2026-02-01", **more: object
) -> dict[str, object]:
    """100.00 of principal."""
    return {
        "loan_id": loan_id,
        "schedule_version": 1,
        "effective_on": "2026-01-01",
        "instalment_number": number,
        "due_on": due_on,
        "principal_amount": "100.00",
        "interest_amount": "0",
        "fee_amount": "0",
        "penalty_amount": "0",
        **more,
    }


def a_repayment(
    transaction_id: str = "T1",
    loan_id: str = "L1",
    effective_on: str = "2026-02-01",
    amount: str = "100.00",
    **more: object,
) -> dict[str, object]:
    """Money that came in."""
    return {
        "transaction_id": transaction_id,
        "loan_id": loan_id,
        "kind": "repayment",
        "effective_on": effective_on,
        "booked_at": f"{effective_on}T12:00:00Z",
        "amount": amount,
        **more,
    }


def instalments_of(loan_id: str) -> list[dict[str, object]]:
    """Three instalments, on the first of February, March and April 2026."""
    return [
        an_instalment(loan_id, number, due_on)
        for number, due_on in enumerate(("2026-02-01", "2026-03-01", "2026-04-01"), start=1)
    ]


def small_portfolio() -> dict[str, list[dict[str, object]]]:
    """L1 paid its first instalment, L2 nothing: on 2026-03-31 they are 30 and 58 days past due."""
    return {
        "borrowers": [a_borrower("B1"), a_borrower("B2")],
        "loans": [a_loan("L1", "B1"), a_loan("L2", "B2")],
        "instalments": [*instalments_of("L1"), *instalments_of("L2")],
        "transactions": [a_repayment("T1", "L1")],
    }


def write_drop(folder: Path, **tables: object) -> Path:
    """Writes the small portfolio; a table given as rows replaces it, text is written as it is, None leaves it out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {**small_portfolio(), **tables}.items():
        file = folder / f"{name}.csv"
        if rows is None:
            continue
        if isinstance(rows, str | bytes):
            file.write_bytes(rows.encode() if isinstance(rows, str) else rows)
        else:
            write_table(file, rows)  # type: ignore[arg-type]
    return folder


def write_table(file: Path, rows: Sequence[Row]) -> None:
    """Writes rows as CSV under the union of their columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
