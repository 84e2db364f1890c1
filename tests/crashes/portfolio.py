"""The killed day: 20 loans with rows that cannot be trusted, and the day after with what was corrected."""

from datetime import date
from pathlib import Path

from tests.defects.clean_portfolio import Drop, clean_drop, write_drop

FIRST, SECOND = date(2026, 3, 31), date(2026, 4, 1)


def _booking(key: str, loan_id: str, amount: str, on: str, booked_on: str, **more: str) -> dict[str, str]:
    return {
        "transaction_id": key,
        "loan_id": loan_id,
        "kind": "repayment",
        "effective_on": on,
        "booked_at": f"{booked_on}T09:00:00+00:00",
        "amount": amount,
        **more,
    }


def first_day() -> Drop:
    """A booking of nothing, two that differ under one key, one of an unknown loan: L10, L11 and L12 are held back."""
    drop = clean_drop()
    drop["transactions"] += [
        _booking("N1", "L10", "-5.00", "2026-03-20", "2026-03-20"),
        _booking("N2", "L11", "10.00", "2026-03-20", "2026-03-20"),
        _booking("N2", "L11", "20.00", "2026-03-20", "2026-03-20"),
        _booking("N3", "NOBODY", "10.00", "2026-03-20", "2026-03-20"),
        _booking("N4", "L12", "ten", "2026-03-20", "2026-03-20"),
    ]
    return drop


def second_day() -> Drop:
    """Most of it is mended; a payment of weeks ago is booked, another one bounces, a promise is made of nothing."""
    drop = clean_drop()
    drop["transactions"] += [
        _booking("N1", "L10", "5.00", "2026-03-20", "2026-04-01"),
        _booking("N2", "L11", "10.00", "2026-03-20", "2026-04-01"),
        _booking("N4", "L12", "tenner", "2026-03-20", "2026-03-20"),
        _booking("N5", "L09", "110.00", "2026-02-10", "2026-04-01"),
        _booking("N6", "L13", "110.00", "2025-09-01", "2026-04-01", kind="reversal", reverses_transaction_id="L13-R03"),
    ]
    drop["promises"] += [
        {"promise_id": "P2", "loan_id": "L14", "made_on": "2026-04-01", "due_on": "2026-04-20", "amount": "0"}
    ]
    return drop


def second_day_again() -> Drop:
    """The second day as the lender sends it again: the payment of weeks ago was another one."""
    drop = second_day()
    for row in drop["transactions"]:
        if row["transaction_id"] == "N5":
            row["amount"] = "220.00"
    return drop


def write_days(folder: Path) -> Path:
    """Both days, a folder each; and what replaces the second one, in a folder `again`."""
    write_drop(folder / FIRST.isoformat(), first_day())
    write_drop(folder / SECOND.isoformat(), second_day())
    write_drop(folder / "again", second_day_again())
    return folder
