"""A small portfolio without a fault, in contract form: what the defects are injected into.

20 loans of 16 borrowers, each with 12 monthly instalments of 110.00 (100.00 principal, 10.00 interest) from 2025-07-01
on. Loan number n has paid its first (3 + n mod 8) instalments on their due dates.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from arrears.contract.servicing import contract

Row = dict[str, Any]
Drop = dict[str, list[Row]]

# Stands in every row for a column that the file lacks.
GONE = "(gone)"

LOANS, BORROWERS, INSTALMENTS = 20, 16, 12


def clean_drop() -> Drop:
    """The portfolio's tables, rows as delivered (values are text or None)."""
    loans = [_loan(number) for number in range(1, LOANS + 1)]
    return {
        "borrowers": [_borrower(number) for number in range(1, BORROWERS + 1)],
        "loans": loans,
        "loan_parties": [
            {"loan_id": "L01", "borrower_id": "B16", "role": "guarantor", "starts_on": "2025-06-01"},
            {"loan_id": "L02", "borrower_id": "B15", "role": "co_borrower", "starts_on": "2025-06-01"},
        ],
        "instalments": [_instalment(loan["loan_id"], number) for loan in loans for number in range(1, INSTALMENTS + 1)],
        "transactions": [booking for number in range(1, LOANS + 1) for booking in _bookings(number)] + _reversals(),
        "charges": [
            {
                "charge_id": f"C{number:02}",
                "loan_id": f"L{number:02}",
                "kind": "fee",
                "due_on": "2026-01-15",
                "amount": "5",
            }
            for number in range(1, 7)
        ],
        "suppressions": [
            {"suppression_id": "S1", "borrower_id": "B03", "kind": "cease_contact", "starts_on": "2026-01-01"},
            {"suppression_id": "S2", "borrower_id": "B04", "kind": "deceased", "starts_on": "2026-02-01"},
        ],
        "contact_preferences": [
            {"borrower_id": "B05", "channel": "call", "place": "any", "is_allowed": "false", "starts_on": "2025-06-01"},
            {"borrower_id": "B06", "channel": "sms", "place": "any", "is_allowed": "true", "starts_on": "2025-06-01"},
        ],
        "contacts": [
            {
                "contact_id": f"K{number:02}",
                "borrower_id": f"B{number:02}",
                "loan_id": f"L{number:02}",
                "contacted_at": "2026-03-02T10:00:00+00:00",
                "recorded_at": "2026-03-02T10:05:00+00:00",
                "channel": "call",
                "is_inbound": "false",
                "outcome": "no_answer",
            }
            for number in range(1, 6)
        ],
        "promises": [
            {"promise_id": "P1", "loan_id": "L07", "made_on": "2026-03-10", "due_on": "2026-04-10", "amount": "110.00"}
        ],
        "fx_rates": [{"currency": "USD", "base_currency": "EUR", "quoted_on": "2026-03-30", "rate": "0.92"}],
        "agencies": [
            {"agency_id": "A1", "name": "Inkasso North", "kind": "agency", "opened_on": "2020-01-01"},
            {"agency_id": "A2", "name": "Inkasso South", "kind": "agency", "opened_on": "2020-01-01"},
            {"agency_id": "T1", "name": "Team one", "kind": "internal", "opened_on": "2020-01-01"},
        ],
        "agency_licences": [
            {"agency_id": agency, "jurisdiction": "DE", "starts_on": "2020-01-01"} for agency in ("A1", "A2")
        ],
        "agency_contracts": [_contract("V1", "A1", 5), _contract("V2", "A2", 5), _contract("V3", "T1", 100)],
        "agency_conflicts": [{"agency_id": "A1", "borrower_id": "B09", "reason": "relative of the owner"}],
        "placements": [
            {
                "placement_id": "Q1",
                "loan_id": "L08",
                "agency_id": "A2",
                "contract_id": "V2",
                "placed_on": "2026-02-01",
                "placed_amount": "500.00",
            }
        ],
        "guarantees": [
            {
                "guarantee_id": "G1",
                "guarantor_id": "B16",
                "guarantor_name": "Sixteenth Guarantor",
                "guarantor_kind": "person",
                "cover_share": "0.5",
                "currency": "EUR",
                "starts_on": "2025-06-01",
                "clock_starts": "called",
                "demand_after_days": "30",
            }
        ],
        "guarantee_loans": [{"guarantee_id": "G1", "loan_id": "L01"}],
    }


def next_drop() -> Drop:
    """The next day's: every loan has paid another instalment on 2026-03-31, and one payment has bounced."""
    drop = clean_drop()
    drop["transactions"] += [
        {
            "transaction_id": f"L{number:02}-N",
            "loan_id": f"L{number:02}",
            "kind": "repayment",
            "effective_on": "2026-03-31" if number > 2 else "2026-03-12",
            "booked_at": f"2026-03-31T09:00:{number:02}+00:00",
            "amount": "110.00",
            "channel": "transfer",
        }
        for number in range(1, LOANS + 1)
    ] + [
        {
            "transaction_id": "L04-X",
            "loan_id": "L04",
            "kind": "reversal",
            "effective_on": "2026-03-31",
            "booked_at": "2026-03-31T10:00:00+00:00",
            "amount": "110.00",
            "reverses_transaction_id": "L04-R02",
        }
    ]
    return drop


def of_another_lender(prefix: str = "X") -> Drop:
    """The same portfolio under other keys."""
    drop = clean_drop()
    for name, rows in drop.items():
        for row in rows:
            row.update(
                {column: prefix + row[column] for column in contract()[name].prefixed_columns if row.get(column)}
            )
    return drop


def _borrower(number: int) -> Row:
    return {
        "borrower_id": f"B{number:02}",
        "kind": "person",
        "name": f"Debtor {number}" if number != 12 else "Débiteur 12",
        "national_id": f"ID-{number:02}",
        "country": "DE",
        "time_zone": "Europe/Berlin",
        "income_amount": "2500.00",
        "income_currency": "EUR",
    }


def _loan(number: int) -> Row:
    return {
        "loan_id": f"L{number:02}",
        "borrower_id": f"B{(number - 1) % BORROWERS + 1:02}",
        "product": "consumer",
        "currency": "EUR",
        "principal_amount": "1200.00",
        "disbursed_on": "2025-06-01",
        "maturity_on": "2026-06-01",
        "interest_rate": "0.08",
        "allocation_order": "penalty>fee>interest>principal",
        "allocation_mode": "oldest_first",
        "grace_days": "0",
        "tolerance_amount": "1.00",
        "governing_law": "DE",
        "is_green": "false",
        "status": "active",
        "status_on": "2025-06-01",
    }


def _instalment(loan_id: str, number: int) -> Row:
    return {
        "loan_id": loan_id,
        "schedule_version": "1",
        "effective_on": "2025-06-01",
        "instalment_number": str(number),
        "due_on": _month(number),
        "principal_amount": "100.00",
        "interest_amount": "10.00",
        "fee_amount": "0",
        "penalty_amount": "0",
    }


def _month(number: int) -> str:
    return f"{2025 + (number + 5) // 12}-{(number + 5) % 12 + 1:02}-01"


def _bookings(number: int) -> list[Row]:
    loan_id = f"L{number:02}"
    disbursed = {
        "transaction_id": f"{loan_id}-D",
        "loan_id": loan_id,
        "kind": "disbursement",
        "effective_on": "2025-06-01",
        "booked_at": "2025-06-01T09:00:00+00:00",
        "amount": "1200.00",
    }
    paid = [
        {
            "transaction_id": f"{loan_id}-R{payment:02}",
            "loan_id": loan_id,
            "kind": "repayment",
            "effective_on": _month(payment),
            "booked_at": f"{_month(payment)}T09:00:00+00:00",
            "amount": "110.00",
            "channel": "direct_debit",
        }
        for payment in range(1, 4 + number % 8)
        if _month(payment) <= "2026-03-01"
    ]
    return [disbursed, *paid]


def _reversals() -> list[Row]:
    """The third repayments of two loans bounced; a fee of a third loan was waived."""
    return [
        {
            "transaction_id": f"{loan_id}-X03",
            "loan_id": loan_id,
            "kind": "reversal",
            "effective_on": "2025-09-04",
            "booked_at": "2025-09-04T09:00:00+00:00",
            "amount": "110.00",
            "reverses_transaction_id": f"{loan_id}-R03",
        }
        for loan_id in ("L05", "L06")
    ] + [
        {
            "transaction_id": "L03-W",
            "loan_id": "L03",
            "kind": "waiver",
            "effective_on": "2026-02-01",
            "booked_at": "2026-02-01T09:00:00+00:00",
            "amount": "5.00",
            "component": "fee",
        }
    ]


def _contract(contract_id: str, agency_id: str, capacity: int) -> Row:
    return {
        "contract_id": contract_id,
        "agency_id": agency_id,
        "starts_on": "2020-01-01",
        "dpd_from": "1",
        "balance_from": "0",
        "capacity": str(capacity),
        "commission_share": "0.2",
        "fixed_cost_amount": "5",
        "recall_after_days": "180",
    }


def write_drop(
    folder: Path, drop: Mapping[str, Sequence[Row]], columns_of: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Path:
    """Writes a drop as CSV files; gives the folder.

    Every file has the columns given for it, else those of the contract, but those GONE; and what else stands in its
    rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in drop.items():
        given = columns_of.get(name, contract()[name].column_names)
        columns = [column for column in given if not rows or any(row.get(column) != GONE for row in rows)]
        columns += sorted({column for row in rows for column in row} - set(given) - set(contract()[name].column_names))
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows({column: row.get(column) for column in columns} for row in rows)
    return folder
