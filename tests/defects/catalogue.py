"""Kinds of defects in delivered data, each with the rule of the raw gate that must catch it.

A defect is a small change of the clean portfolio's second daily drop. What must come of it: `row`, the rows are
quarantined and the rest goes on; `warning`, the delivery is taken in with a finding; `block`, the export stops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tests.defects.clean_portfolio import GONE, Drop, Row, of_another_lender

Outcome = Literal["row", "warning", "block"]


@dataclass(frozen=True, slots=True)
class Defect:
    """One kind: what it is called, how it is made, which rule of which suite catches it, whose loan is held back.

    `source`: the drop that is changed is another lender's first, delivered beside the clean one by a source `other`.
    """

    name: str
    mutate: Callable[[Drop], object]
    suite: str
    rule: str
    outcome: Outcome = "row"
    held_loan: str | None = None
    held_borrower: str | None = None
    found_count: int = 1
    source: Literal["contract", "other"] = "contract"

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def row_of(drop: Drop, table: str, **key: str) -> Row:
    """The one row of a table with these values."""
    (found,) = [row for row in drop[table] if all(row.get(name) == value for name, value in key.items())]
    return found


def set_value(table: str, column: str, value: Any, **key: str) -> Callable[[Drop], object]:
    """A mutator: one value of one row becomes another."""
    return lambda drop: row_of(drop, table, **key).update({column: value})


def add(table: str, **values: str) -> Callable[[Drop], object]:
    """A mutator: one more row."""
    return lambda drop: drop[table].append(values)


def add_first(table: str, **values: str) -> Callable[[Drop], object]:
    """A mutator: the first row of a table that was never delivered."""
    return lambda drop: drop.update({table: [values]})


def copy_with(table: str, changes: Row, **key: str) -> Callable[[Drop], object]:
    """A mutator: one more row like another, with some values changed."""
    return lambda drop: drop[table].append(row_of(drop, table, **key) | changes)


def remove(table: str, **key: str) -> Callable[[Drop], object]:
    """A mutator: one row is gone."""
    return lambda drop: drop[table].remove(row_of(drop, table, **key))


def keep_first(table: str, count: int) -> Callable[[Drop], object]:
    """A mutator: the file was cut off after some rows."""
    return lambda drop: drop[table].__delitem__(slice(count, None))


def set_in_first(table: str, count: int, column: str, value: Any) -> Callable[[Drop], object]:
    """A mutator: a value is wrong in many rows."""
    return lambda drop: [row.update({column: value}) for row in drop[table][:count]]


_REVERSAL = {
    "loan_id": "L07",
    "kind": "reversal",
    "effective_on": "2026-03-31",
    "booked_at": "2026-03-31T09:00:00+00:00",
    "amount": "110.00",
}
_BOOKING = {
    "transaction_id": "L07-N",
    "loan_id": "L07",
    "kind": "repayment",
    "effective_on": "2026-03-31",
    "booked_at": "2026-03-31T09:00:00+00:00",
    "amount": "110.00",
}


def _reverse(transaction_id: str, **changes: str) -> Callable[[Drop], object]:
    return add("transactions", **(_REVERSAL | {"transaction_id": transaction_id} | changes))


def _book(**changes: str) -> Callable[[Drop], object]:
    return add("transactions", **(_BOOKING | changes))


def _reschedule(loan_id: str, effective_on: dict[str, str], basis: str | None = None) -> Callable[[Drop], object]:
    """A second version of a loan's schedule: instalments by number, each with its own day of taking effect."""
    return lambda drop: drop["instalments"].extend(
        row_of(drop, "instalments", loan_id=loan_id, instalment_number=number)
        | {"schedule_version": "2", "effective_on": day, "basis": basis}
        for number, day in effective_on.items()
    )


_PAUSE = {
    "forbearance_id": "F1",
    "loan_id": "L05",
    "kind": "delinquency_pause",
    "agreed_on": "2026-03-01",
    "starts_on": "2026-03-01",
    "ends_on": "2026-03-15",
    "is_distressed": "false",
}


def _rename_loan(drop: Drop) -> None:
    """A loan under a wrong product that was never known before, with its instalments."""
    drop["loans"].append(row_of(drop, "loans", loan_id="L01") | {"loan_id": "L77", "product": "karaoke"})
    drop["instalments"] += [
        instalment | {"loan_id": "L77"} for instalment in drop["instalments"] if instalment["loan_id"] == "L01"
    ]


def _without(table: str, column: str) -> Callable[[Drop], object]:
    """The column is gone from every row, and so from the file."""
    return lambda drop: [row.update({column: GONE}) for row in drop[table]]


def _both(*mutators: Callable[[Drop], object]) -> Callable[[Drop], object]:
    return lambda drop: [mutate(drop) for mutate in mutators]


def _of_a_lender(prefix: str) -> Callable[[Drop], object]:
    """Every row is another lender's."""
    return lambda drop: drop.update(of_another_lender(prefix))


def _take_loan(loan_id: str) -> Callable[[Drop], object]:
    """One loan has a key that the first lender uses too, without anything that hangs on it."""
    return lambda drop: drop["loans"].append(row_of(drop, "loans", loan_id="X" + loan_id) | {"loan_id": loan_id})


CATALOGUE = (
    # Keys
    Defect(
        "a loan delivered twice with other terms",
        copy_with("loans", {"grace_days": "5"}, loan_id="L05"),
        "raw.loans",
        "key-unique",
        held_loan="L05",
        found_count=2,
    ),
    Defect(
        "an instalment delivered twice with other amounts",
        copy_with("instalments", {"interest_amount": "11.00"}, loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "key-unique",
        held_loan="L05",
        found_count=2,
    ),
    Defect(
        "a booking number used twice",
        _both(_book(), _book(amount="90.00")),
        "raw.transactions",
        "key-unique",
        held_loan="L07",
        found_count=2,
    ),
    # Required columns
    Defect(
        "a loan without a borrower",
        set_value("loans", "borrower_id", None, loan_id="L05"),
        "raw.loans",
        "borrower_id-required",
        held_loan="L05",
    ),
    Defect(
        "a loan without a currency",
        set_value("loans", "currency", None, loan_id="L05"),
        "raw.loans",
        "currency-required",
        held_loan="L05",
    ),
    Defect(
        "an instalment without a due date",
        set_value("instalments", "due_on", None, loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "due_on-required",
        held_loan="L05",
    ),
    Defect("a booking without an amount", _book(amount=""), "raw.transactions", "amount-required", held_loan="L07"),
    Defect(
        "a borrower without a name",
        set_value("borrowers", "name", None, borrower_id="B05"),
        "raw.borrowers",
        "name-required",
        held_borrower="B05",
    ),
    # Allowed values
    Defect(
        "an unknown product",
        set_value("loans", "product", "karaoke", loan_id="L05"),
        "raw.loans",
        "product-values",
        held_loan="L05",
    ),
    Defect(
        "a status in other letters",
        set_value("loans", "status", "ACTIVE", loan_id="L05"),
        "raw.loans",
        "status-values",
        held_loan="L05",
    ),
    Defect("an unknown kind of booking", _book(kind="refnd"), "raw.transactions", "kind-values", held_loan="L07"),
    Defect(
        "an unknown kind of suppression",
        set_value("suppressions", "kind", "do_not_call", suppression_id="S1"),
        "raw.suppressions",
        "kind-values",
        held_borrower="B03",
    ),
    # References
    Defect(
        "a loan of an unknown borrower",
        set_value("loans", "borrower_id", "B99", loan_id="L05"),
        "raw.loans",
        "borrower_id-reference",
        held_loan="L05",
    ),
    Defect(
        "a booking on an unknown loan", _book(loan_id="L99"), "raw.transactions", "loan_id-reference", held_loan="L99"
    ),
    Defect(
        "a placement with an unknown agency",
        set_value("placements", "agency_id", "A9", placement_id="Q1"),
        "raw.placements",
        "agency_id-reference",
        held_loan="L08",
    ),
    Defect(
        "a new booking on a loan that this drop deletes",
        _both(
            lambda drop: [
                drop.update({table: [row for row in drop[table] if row.get("loan_id") != "L07"]})
                for table in ("loans", "instalments", "transactions", "promises")
            ],
            _book(),
        ),
        "raw.transactions",
        "loan_id-reference",
        held_loan="L07",
    ),
    Defect(
        "instalments of a loan that is quarantined itself",
        _rename_loan,
        "raw.instalments",
        "loan_id-held",
        held_loan="L77",
        found_count=12,
    ),
    # Shares, amounts, dates, currencies, zones
    Defect(
        "a share in percent",
        set_value("agency_contracts", "commission_share", "9.5", contract_id="V1"),
        "raw.agency_contracts",
        "commission_share-share",
    ),
    Defect(
        "a cover above the whole",
        set_value("guarantees", "cover_share", "1.5", guarantee_id="G1"),
        "raw.guarantees",
        "cover_share-share",
    ),
    Defect("a negative booking", _book(amount="-110.00"), "raw.transactions", "amount-positive", held_loan="L07"),
    Defect("a booking of nothing", _book(amount="0"), "raw.transactions", "amount-positive", held_loan="L07"),
    Defect(
        "a negative charge",
        set_value("charges", "amount", "-5", charge_id="C01"),
        "raw.charges",
        "amount-positive",
        held_loan="L01",
    ),
    Defect(
        "a negative interest component",
        set_value("instalments", "interest_amount", "-10.00", loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "interest_amount-not-negative",
        held_loan="L05",
    ),
    Defect(
        "a loan of nothing",
        set_value("loans", "principal_amount", "0", loan_id="L05"),
        "raw.loans",
        "principal_amount-positive",
        held_loan="L05",
    ),
    Defect("thousandths of a cent", _book(amount="110.005"), "raw.transactions", "amount-minor-unit", held_loan="L07"),
    Defect(
        "an instalment with a third of a cent",
        set_value("instalments", "interest_amount", "10.3333", loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "instalment-minor-unit",
        held_loan="L05",
    ),
    Defect(
        "yen with sen",
        _both(
            set_value("loans", "currency", "JPY", loan_id="L05"),
            set_value("loans", "principal_amount", "1200.50", loan_id="L05"),
        ),
        "raw.loans",
        "principal_amount-minor-unit",
        held_loan="L05",
    ),
    Defect(
        "a due date in year 206",
        set_value("instalments", "due_on", "0206-01-01", loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "due_on-plausible",
        held_loan="L05",
    ),
    Defect(
        "a maturity before disbursement",
        set_value("loans", "maturity_on", "2025-05-01", loan_id="L05"),
        "raw.loans",
        "maturity-after-disbursement",
        held_loan="L05",
    ),
    Defect(
        "a currency by its sign",
        set_value("loans", "currency", "€", loan_id="L05"),
        "raw.loans",
        "currency-code",
        held_loan="L05",
    ),
    Defect(
        "a time zone that is none",
        set_value("borrowers", "time_zone", "Mitteleuropa", borrower_id="B05"),
        "raw.borrowers",
        "time_zone-iana",
        held_borrower="B05",
    ),
    Defect(
        "an allocation order with a typing error",
        set_value("loans", "allocation_order", "penalty>fees>interest>principal", loan_id="L05"),
        "raw.loans",
        "allocation_order-components",
        held_loan="L05",
    ),
    Defect(
        "an exchange rate of 0", set_value("fx_rates", "rate", "0", currency="USD"), "raw.fx_rates", "rate-positive"
    ),
    Defect(
        "a charge waived in year 206",
        set_value("charges", "waived_on", "0206-01-01", charge_id="C01"),
        "raw.charges",
        "waived_on-plausible",
        held_loan="L01",
    ),
    Defect(
        "a status since year 1026",
        set_value("loans", "status_on", "1026-03-01", loan_id="L05"),
        "raw.loans",
        "status_on-plausible",
        held_loan="L05",
    ),
    Defect(
        "a disbursement in forty years",
        _both(
            set_value("loans", "disbursed_on", "2066-06-01", loan_id="L05"),
            set_value("loans", "maturity_on", "2067-06-01", loan_id="L05"),
        ),
        "raw.loans",
        "disbursed_on-not-far-ahead",
        held_loan="L05",
    ),
    Defect(
        "a booking valued in forty years",
        _book(effective_on="2066-03-31"),
        "raw.transactions",
        "effective_on-not-far-ahead",
        held_loan="L07",
    ),
    Defect(
        "a schedule that takes effect in forty years",
        _reschedule("L05", {"12": "2066-04-01"}),
        "raw.instalments",
        "effective_on-not-far-ahead",
        held_loan="L05",
    ),
    Defect(
        "a pause since year 206",
        add_first("forbearances", **(_PAUSE | {"starts_on": "0206-03-01"})),
        "raw.forbearances",
        "starts_on-plausible",
        held_loan="L05",
    ),
    Defect(
        "a pause that ends before it starts",
        add_first("forbearances", **(_PAUSE | {"ends_on": "2026-02-15"})),
        "raw.forbearances",
        "ends-after-start",
        held_loan="L05",
    ),
    Defect(
        "a servicer's balance of year 206",
        add_first("servicer_balances", loan_id="L05", balance_on="0206-03-31", days_past_due="0"),
        "raw.servicer_balances",
        "balance_on-plausible",
        held_loan="L05",
    ),
    # Schedules and their loans
    Defect(
        "two versions under one number",
        _reschedule("L05", {"9": "2026-04-01", "10": "2026-04-01", "11": "2026-05-01", "12": "2026-05-01"}),
        "raw.instalments",
        "schedule_version-one",
        held_loan="L05",
    ),
    Defect(
        "a known version that takes effect on another day in part",
        set_value("instalments", "effective_on", "2025-07-01", loan_id="L05", instalment_number="12"),
        "raw.instalments",
        "schedule_version-one",
        held_loan="L05",
    ),
    Defect(
        "a known version that is a rest in part",
        set_value("instalments", "basis", "unpaid", loan_id="L05", instalment_number="12"),
        "raw.instalments",
        "schedule_version-one",
        held_loan="L05",
    ),
    Defect(
        "a due date a century ago",
        set_value("instalments", "due_on", "1925-09-01", loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "due_on-not-far-before",
        held_loan="L05",
    ),
    Defect(
        "a booking before disbursement",
        _book(effective_on="2025-05-31"),
        "raw.transactions",
        "effective_on-from-disbursement",
        outcome="warning",
    ),
    Defect(
        "instalments that are not the principal",
        set_value("instalments", "principal_amount", "10.00", loan_id="L05", instalment_number="3"),
        "raw.instalments",
        "first-version-adds-up",
        outcome="warning",
    ),
    Defect(
        "a loan without instalments",
        copy_with("loans", {"loan_id": "L78"}, loan_id="L05"),
        "raw.loans",
        "has-instalments",
        outcome="warning",
    ),
    Defect(
        "bookings that name a currency of their own",
        _book(currency="USD"),
        "raw.deliveries",
        "currency-of-the-loan",
        outcome="warning",
    ),
    Defect(
        "a booking in a smaller currency",
        _book(amount="16500.00"),  # yen on a loan of 1320.00 EUR in all
        "raw.transactions",
        "credit-within-the-loan",
        outcome="warning",
    ),
    # Tables that only grow
    Defect(
        "a known booking changed",
        set_value("transactions", "amount", "10.00", transaction_id="L05-R01"),
        "raw.transactions",
        "known-row-stays",
        held_loan="L05",
    ),
    Defect(
        "a known booking gone",
        remove("transactions", transaction_id="L05-R01"),
        "raw.transactions.deletions",
        "known-row-vanishes",
        held_loan="L05",
    ),
    Defect(
        "a known contact gone",
        remove("contacts", contact_id="K01"),
        "raw.contacts.deletions",
        "known-row-vanishes",
        held_loan="L01",
    ),
    # Reversals and waivers
    Defect(
        "a reversal of an unknown booking",
        _reverse("L07-X", reverses_transaction_id="L07-R99"),
        "raw.transactions",
        "reversal-known",
        held_loan="L07",
    ),
    Defect("a reversal of no booking", _reverse("L07-X"), "raw.transactions", "reversal-known", held_loan="L07"),
    Defect(
        "a reversal of another loan's booking",
        _reverse("L07-X", reverses_transaction_id="L08-R01"),
        "raw.transactions",
        "reversal-known",
        held_loan="L07",
    ),
    Defect(
        "a reversal of a part",
        _reverse("L07-X", reverses_transaction_id="L07-R01", amount="50.00"),
        "raw.transactions",
        "reversal-whole",
        held_loan="L07",
    ),
    Defect(
        "a reversal of a reversal",
        _reverse("L05-X", loan_id="L05", reverses_transaction_id="L05-X03"),
        "raw.transactions",
        "reversal-of-reversal",
        held_loan="L05",
    ),
    Defect(
        "a booking reversed again",
        _reverse("L05-X", loan_id="L05", reverses_transaction_id="L05-R03"),
        "raw.transactions",
        "reversal-once",
        held_loan="L05",
    ),
    Defect(
        "a reversal of a part before the right one",
        _both(
            _reverse("L07-X1", reverses_transaction_id="L07-R01", amount="50.00"),
            _reverse("L07-X2", reverses_transaction_id="L07-R01"),
        ),
        "raw.transactions",
        "reversal-whole",
        held_loan="L07",
    ),
    Defect(
        "a booking reversed twice in one drop",
        _both(
            _reverse("L07-X1", reverses_transaction_id="L07-R01"), _reverse("L07-X2", reverses_transaction_id="L07-R01")
        ),
        "raw.transactions",
        "reversal-once",
        held_loan="L07",
    ),
    Defect(
        "a waiver of nothing in particular",
        _book(kind="waiver"),
        "raw.transactions",
        "waiver-component",
        held_loan="L07",
    ),
    # Deliveries
    Defect(
        "a suppression gone",
        remove("suppressions", suppression_id="S2"),
        "raw.deliveries",
        "deletions",
        outcome="warning",
    ),
    Defect(
        "a contact preference gone",
        remove("contact_preferences", borrower_id="B05"),
        "raw.deliveries",
        "deletions",
        outcome="warning",
    ),
    Defect(
        "a conflict of interest gone",
        remove("agency_conflicts", agency_id="A1"),
        "raw.deliveries",
        "deletions",
        outcome="warning",
    ),
    Defect(
        "one instalment in twelve gone",
        lambda drop: drop.update(instalments=[row for row in drop["instalments"] if row["instalment_number"] != "12"]),
        "raw.deliveries",
        "deletions",
        outcome="warning",
    ),
    Defect("a table gone", lambda drop: drop.pop("charges"), "raw.deliveries", "table-missing", outcome="warning"),
    Defect("a column gone", _without("loans", "officer_id"), "raw.deliveries", "columns-stay", outcome="block"),
    Defect("a file cut off", keep_first("instalments", 120), "raw.deliveries", "row-count-fall", outcome="block"),
    Defect(
        "bookings cut to none", keep_first("transactions", 0), "raw.deliveries", "required-not-empty", outcome="block"
    ),
    Defect(
        "a column shifted in a whole file",
        set_in_first("loans", 15, "product", "EUR"),
        "raw.loans",
        "row-findings",
        outcome="block",
    ),
    Defect(
        "signs turned round in a whole file",
        set_in_first("instalments", 100, "principal_amount", "-100.00"),
        "raw.instalments",
        "row-findings",
        outcome="block",
    ),
    Defect("a drop of another lender", _of_a_lender("Z"), "raw.deliveries", "known-loans-recur", outcome="block"),
    # Several sources
    Defect(
        "a loan number that another lender uses",
        _take_loan("L05"),
        "raw.loans@other",
        "key-of-one-source",
        held_loan="L05",
        source="other",
    ),
    Defect(
        "loan numbers that another lender uses throughout",
        _both(_take_loan("L05"), _take_loan("L06")),
        "raw.loans@other",
        "key-of-one-source",
        outcome="block",
        source="other",
    ),
    Defect(
        "a booking on another lender's loan",
        _book(transaction_id="X-N"),
        "raw.transactions@other",
        "loan_id-reference",
        held_loan="L07",
        source="other",
    ),
    Defect(
        "another rate for one day and currency",
        set_value("fx_rates", "rate", "0.93", currency="USD"),
        "raw.fx_rates@other",
        "key-of-one-source",
        source="other",
    ),
)
