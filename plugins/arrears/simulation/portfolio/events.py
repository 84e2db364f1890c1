"""What happens to a block: kinds, columns, and the record that the tables are made from."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from arrears.simulation.portfolio.dice import Dates, Floats, Ints

NEVER = np.datetime64("NaT", "D")
ACTIVE, CLOSED, WRITTEN_OFF, SOLD = range(4)
STATUSES = ("active", "closed", "written_off", "sold")
PREPAID, CALLED = 1, 2
BOOKINGS = (
    "disbursement",
    "repayment",
    "reversal",
    "waiver",
    "chargeback",
    "refund",
    "write_off",
    "recovery",
    "credit_note",
)
DISBURSEMENT, REPAYMENT, REVERSAL, WAIVER, CHARGEBACK, REFUND, WRITE_OFF, RECOVERY, CREDIT_NOTE = range(len(BOOKINGS))
CHANNELS = ("direct_debit", "transfer", "cash", "card", "agency", "court", "guarantor", "insurer", "collateral_sale")
DEBIT, TRANSFER, CASH, CARD, AGENCY, COURT, GUARANTOR, INSURER, SALE = range(len(CHANNELS))
CONTACT_CHANNELS = ("call", "sms", "email", "letter", "visit")
OUTCOMES = (
    "no_answer",
    "message_left",
    "wrong_party",
    "right_party",
    "promise",
    "refusal",
    "complaint",
    "bounced",
)
NO_ANSWER, MESSAGE_LEFT, WRONG_PARTY, RIGHT_PARTY, PROMISE, REFUSAL, COMPLAINT, BOUNCED = range(len(OUTCOMES))
CALL, SMS, EMAIL, LETTER, VISIT = range(len(CONTACT_CHANNELS))
# Columns of the events beside loan (its place in the block) and month: days, flags, and whole numbers.
_DAYS = {"on", "booked", "due", "billed", "waived", "starts", "ends"}
_FLAGS = {"reduces", "is_penalty"}
COLUMNS = {
    "transactions": ("slot", "kind", "on", "booked", "minor", "channel", "component", "reverses", "agency", "reduces"),
    "statements": ("number", "billed", "due", "principal", "interest", "balance", "unpaid", "behind"),
    "charges": ("due", "minor", "waived", "is_penalty"),
    "contacts": ("attempt", "on", "channel", "outcome", "agency", "need"),
    "placements": ("agency", "on", "minor"),
    "recalls": ("since", "on", "reason"),
    "forbearances": ("kind", "on", "starts", "ends"),
    "suits": ("until", "minor", "on"),
    "sales": ("until",),
    "guarantors": ("minor", "on"),
    "insurers": ("minor", "on"),
    "closings": ("on",),
    "write_offs": ("on",),
    "debt_sales": ("on",),
}


class Events:
    """Columns of events, gathered month by month."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))

    def add(self, table: str, **columns: Any) -> None:
        """Rows of one table; numbers stand for all of the rows of `loan`."""
        count = len(columns["loan"])
        if count:
            for name, values in columns.items():
                values = np.asarray(values)
                self._parts[table][name].append(np.broadcast_to(values, (count,)) if values.ndim == 0 else values)

    def columns(self, table: str) -> dict[str, Any]:
        """All rows of a table, in the order of months; empty arrays where nothing happened."""
        found = {}
        for name in ("loan", "month", *COLUMNS[table]):
            dtype = "datetime64[D]" if name in _DAYS else np.bool_ if name in _FLAGS else np.int64
            parts = self._parts[table].get(name, ())
            found[name] = np.concatenate(parts).astype(dtype) if len(parts) else np.zeros(0, dtype=dtype)
        return found


@dataclass(slots=True)
class History:
    """What happened to a block: one entry a loan, one row and column a loan and month, and the events."""

    events: Events
    status: Ints
    status_on: Dates
    shift_from: Ints  # the first month whose instalments moved; -1: none
    shift_by: Ints
    shift_on: Dates
    final_kind: Ints  # PREPAID or CALLED
    final_month: Ints
    final_on: Dates
    final_principal: Ints
    behind: Ints  # loan, month: months since the oldest unpaid claim, at the end of the month
    miss: Floats  # loan, month: chance to pay nothing that month, as it stands
    capacity: Floats  # borrower, month
    shock: Ints  # borrower, month
    protected_from: Dates  # borrower
    protection: Ints
