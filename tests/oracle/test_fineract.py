"""Apache Fineract's own numbers: 606 loans of its end-to-end tests, read out of its tables, against loan_delinquency.

Every cell that both sides have must agree, or its case stands in DIFFERENCES with the rule that makes it differ. All
cases are shifted to one date (fineract_books), so that one build holds them all; delinquency depends on differences of
days alone.
"""

import shutil
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from arrears import steps
from arrears.settings import CHECKOUT
from arrears.warehouse.embedded import Server
from tests.conftest import Workplace, url
from tests.oracle.fineract_books import (
    CHARGEBACK,
    CREDITS,
    DISBURSEMENT,
    REFUNDS,
    TYPES,
    Books,
    Row,
    fill,
    load_cases,
    write_books,
)

D = date(2026, 3, 31)
DATABASE = "arrears_fineract"
ZERO = Decimal(0)
STATUSES = {"A": "active", "O": "overpaid", "C": None}  # of Fineract's names for them, the first letter
# Fineract's ranges of the tests' delinquency bucket, by days delinquent from which each begins.
RANGES = {
    0: "NO_DELINQUENCY",
    1: "RANGE_1",
    4: "RANGE_3",
    31: "RANGE_30",
    61: "RANGE_60",
    91: "RANGE_90",
    121: "RANGE_120",
    151: "RANGE_150",
    181: "RANGE_180",
    241: "RANGE_240",
}
NOTHING: Row = {
    "arrears_amount": ZERO,
    "days_past_due": 0,
    "days_delinquent": 0,
    "oldest_unpaid_due_on": None,
    "instalments_past_due": 0,
    "is_paused": False,
    "last_payment_on": None,
    "held_back_reason": None,
}

# What differs on purpose: cells by case, under the rule that makes them differ.
REASONS: dict[str, dict[str, set[str]]] = {
    "Fineract collects charges and chargebacks after the last due date with an instalment of its own and counts it;"
    " instalments_past_due counts instalments of the schedule only.": {
        "FX-CBR-0759-02": {"instalments_past_due"},
        "FX-CBR-1174-03": {"instalments_past_due"},
        "FX-CHARGEBACK-1536-03": {"instalments_past_due"},
        "FX-CHARGEBACK-1791-04": {"instalments_past_due"},
        "FX-CHARGEOFF-0907-01": {"instalments_past_due"},
        "FX-CHARGEOFF-0907-02": {"instalments_past_due"},
        "FX-REPAYMENT-3247-06": {"instalments_past_due"},
    },
    "Overpayment was refunded and the payment behind it then reversed. Fineract makes the refund due on its own date,"
    " here today; a refund without standing credit takes back what the newest claim was paid, which was due before.": {
        "FX-CBR-1022-03": {"arrears_amount"},
        "FX-CBR-1095-03": {"arrears_amount"},
    },
    "The same with the only payment reversed: a refund of more than was paid is left out and the loan held back.": {
        "FX-CBR-0426-02": {"held_back_reason", "outstanding_amount"},
    },
    "A charge was added after the payment. Fineract leaves the payment where it was booked; a replay of all claims"
    " known pays the charge before principal.": {
        "FX-CHARGE-1399-01": {
            "days_past_due",
            "oldest_unpaid_due_on",
            "instalments_past_due",
            "outstanding_principal_amount",
        },
        "FX-CHARGE-1431-01": {"outstanding_principal_amount"},
    },
    "Paid in advance. Fineract books it on the next instalments of that day's schedule, and later disbursements brought"
    " earlier ones; standing credit pays what comes due, oldest first.": {
        "FX-LOAN-2720-04": {"arrears_amount", "days_past_due", "oldest_unpaid_due_on", "instalments_past_due"},
    },
    "The same way Fineract paid a charge out of the overpayment before it was due, and calls what the refund then"
    " lacked principal.": {
        "FX-CBR-0759-02": {"outstanding_principal_amount"},
    },
    "A chargeback is due on its value date; Fineract adds it to the running instalment, due today. (Fineract's own"
    " delinquency counts from the chargeback too: the other cases of it agree.)": {
        "FX-CHARGEBACK-0426-03": {"arrears_amount", "days_past_due", "oldest_unpaid_due_on"},
    },
    "Fineract leaves instalments of no delinquent day by their own count out of its list by instalment; arrears_amount"
    " holds all that is past due. On the pause's last day, which counts again, it still calls it active.": {
        "FX-DELINQUENCY-0537-01": {"arrears by instalment"},
        "FX-DELINQUENCY-0537-02": {"arrears by instalment"},
        "FX-DELINQUENCY-0537-06": {"arrears by instalment", "is_paused"},
        "FX-DELINQUENCY-0537-07": {"arrears by instalment"},
    },
    "A closed loan has no row.": {
        "FX-CHARGEOFF-0520-03": {"status after charge-off"},
        "FX-LOAN-0987-03": {"last_payment_on"},
    },
}


# Of these nothing is asserted that has a counterpart here: only the next due date, or how a booking was split.
SILENT = [
    "FX-DELINQUENCY-1104-01",
    "FX-DELINQUENCY-1104-02",
    "FX-DELINQUENCY-1120-01",
    "FX-DELINQUENCY-1120-02",
    "FX-REPAYMENT-1873-01",
    "FX-REPAYMENT-1873-02",
    "FX-REPAYMENT-2816-01",
    "FX-REPAYMENT-2816-02",
]


@pytest.fixture(scope="module")
def books() -> list[Books]:
    """What Fineract's books hold for each case; the loan of case n has the id n."""
    return write_books(load_cases())


@pytest.fixture
def fineract(server: Server, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """An empty database that the source fineract reads."""
    shutil.copytree(CHECKOUT / "sources/fineract", workplace.sources / "fineract")
    monkeypatch.setenv("ARREARS_FINERACT_URL", url(server, "postgres", DATABASE))
    name = sql.Identifier(DATABASE)
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(name))
        try:
            with psycopg.connect(url(server, "postgres", DATABASE), autocommit=True) as connection:
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(name))


def test_the_books_hold_what_fineracts_tests_assert(books: list[Books]) -> None:
    wrong = {}
    for found in books:
        expected, case = found.case["expected"], found.case
        net = found.net if found.made(DISBURSEMENT) else ZERO
        stated = {
            "outstanding": [expected.get("loan_outstanding"), expected.get("totals", {}).get("outstanding")],
            "overpaid": [expected.get("loan_overpaid")],
        }
        held = {"outstanding": max(net, ZERO), "overpaid": max(-net, ZERO)}
        problems: list[object] = [
            (name, held[name], value)
            for name, values in stated.items()
            for value in values
            if value is not None and value != held[name] and found.made(DISBURSEMENT)
        ]
        made = sorted((row.kind, row.on.isoformat(), row.amount) for row in found.bookings if not row.is_gone)
        asserted = sorted(
            (TYPES[row["type"]], row["date"], row["amount"])
            for row in case.get("transactions") or []
            if row["type"] != "Accrual"
        )
        if asserted and made != asserted:
            problems.append((made, asserted))
        lent = sum((row.amount for row in found.made(DISBURSEMENT)), ZERO)
        if lent and sum((row.principal - row.credited for row in found.schedule), ZERO) != lent:
            problems.append("the schedule's principal, without credits, is not what was lent")
        if problems:
            wrong[case["case_id"]] = problems
    assert wrong == {}
    assert sum(bool(found.case.get("transactions")) for found in books) == 277


def test_every_number_of_fineracts_tests_comes_out_or_differs_for_a_stated_reason(
    books: list[Books], workplace: Workplace, fineract: psycopg.Connection
) -> None:
    fill(fineract, books, D)
    for name in ("extract", "gate_raw", "build_marts"):
        steps.run(name, D, run_id="test", source="fineract" if name == "extract" else None)

    assert workplace.rows("select table_name, rule, reason from quarantine.rows") == []
    # Nine of the cases overpay a loan by more than all that it was to pay.
    assert workplace.rows("select suite, rule, failed_count from ops.gate_results where not is_passed") == [
        ("raw.transactions", "credit-within-the-loan", 9)
    ]
    assert workplace.rows("select table_name, warnings from ops.batch_tables where warnings <> '[]'") == []
    made = Made(workplace)
    cell_count, late_count, wrong, silent = 0, 0, {}, list[str]()
    for number, found in enumerate(books, start=1):
        cells = list(made.cells(str(number), found))
        silent += [found.case["case_id"]] * (len(cells) == 1)  # that one only says that the loan is not held back
        cell_count += len(cells)
        late_count += any(cell.name == "days_past_due" and cell.fineracts for cell in cells)
        if differing := {cell for cell in cells if cell.fineracts != cell.ours}:
            wrong[found.case["case_id"]] = differing
    stated: dict[str, set[str]] = {}
    for cases in REASONS.values():
        for case, names in cases.items():
            stated[case] = stated.get(case, set()) | names
    unexplained = {
        case: sorted(map(str, cells))
        for case, cells in wrong.items()
        if {cell.name for cell in cells} != stated.get(case)
    }
    assert unexplained == {}
    assert wrong.keys() == stated.keys()  # a reason that explains nothing any more goes
    assert (len(books), cell_count, late_count, silent) == (606, 3859, 75, SILENT)


def test_whatever_changes_in_a_row_moves_its_cursor(books: list[Books], fineract: psycopg.Connection) -> None:
    cases = ("FX-REAGING-0272-02", "FX-DELINQUENCY-0026-01", "FX-CHARGEOFF-0907-01")
    by_case = {found.case["case_id"]: found for found in books}
    fill(fineract, [by_case[case] for case in cases], D)
    before = {name: read(fineract, name) for name in CURSORS}

    fineract.execute(CHANGES.encode())

    after = {name: read(fineract, name) for name in CURSORS}
    for name, rows in after.items():
        stale = {
            key: row
            for key, row in rows.items()
            if row["updated_at"] < CHANGED_AT
            and before[name].get(key, {}) | {"updated_at": None} != row | {"updated_at": None}
        }
        assert stale == {}, name
        assert before[name].keys() - rows.keys() <= {("1", 1, number) for number in range(1, 5)}, name

    def instalments(loan_id: str) -> list[tuple[object, ...]]:
        columns = ("schedule_version", "effective_on", "basis", "instalment_number", "due_on", "principal_amount")
        return [tuple(row[name] for name in columns) for key, row in after["instalments"].items() if key[0] == loan_id]

    # Re-aged: 750 of 1000 were unpaid; nothing of the four old instalments is left, and their version was not kept.
    assert instalments("1") == [
        *((2, date(2026, 4, 1), "unpaid", number, due_on, 0) for number, due_on in OLD_DUE_DATES),
        (2, date(2026, 4, 1), "unpaid", 5, date(2026, 5, 1), 375),
        (2, date(2026, 4, 1), "unpaid", 6, date(2026, 6, 1), 375),
    ]
    # Rescheduled: the version before is there too; in the new one the last instalment is due a month later.
    first_due_dates = (date(2026, 3, 16), D, date(2026, 4, 15))
    assert [row[:2] + row[4:] for row in instalments("2")] == [
        *((1, date(2026, 3, 16), due_on, 250) for due_on in (*first_due_dates, date(2026, 4, 30))),
        *((2, date(2026, 4, 1), due_on, 250) for due_on in (*first_due_dates, date(2026, 5, 30))),
    ]
    assert after["forbearances"][("pause-1",)]["ends_on"] == date(2026, 4, 1)
    assert after["forbearances"][("restated-100",)]["is_distressed"]
    assert after["charges"][("2",)]["waived_on"] == date(2026, 4, 1)
    reversal = next(row for key, row in after["transactions"].items() if str(key[0]).startswith("R"))
    assert (reversal["kind"], reversal["effective_on"], reversal["amount"]) == ("reversal", date(2026, 4, 1), 1020)


def test_groups_guarantors_addresses_and_statuses_are_read(books: list[Books], fineract: psycopg.Connection) -> None:
    fill(fineract, books[:4], D)

    fineract.execute(MORE_PEOPLE.encode())

    borrowers, parties, loans = (read(fineract, name) for name in ("borrowers", "loan_parties", "loans"))
    assert {key[0]: (row["kind"], row["country"], row["street"], row["city"]) for key, row in borrowers.items()} == {
        "client-1": ("company", "KE", "Moi Avenue, 5", "Nairobi"),
        "client-2": ("person", "IN", None, None),
        "client-3": ("person", "IN", None, None),
        "group-1": ("company", "IN", None, None),
        "guarantor-2": ("person", "IN", "1 High Street", "Kisumu"),
    }
    assert sorted(key[:2] for key in parties) == [("1", "client-3"), ("1", "guarantor-2")]
    stated = {
        key[0]: (row["borrower_id"], row["product"], row["status"], row["status_on"], row["refinances_loan_id"])
        for key, row in loans.items()
    }
    assert stated == {
        "1": ("client-1", "sme_term", "written_off", date(2026, 3, 1), "2"),
        "2": ("client-2", "consumer", "written_off", date(2026, 3, 2), None),
        "3": ("group-1", "consumer", "closed", date(2026, 3, 3), None),
    }
    assert {(row["loan_id"], row["kind"], row["component"]) for row in read(fineract, "transactions").values()} >= {
        ("2", "waiver", "interest"),
        ("2", "recovery", None),
    }


MORE_PEOPLE = """
insert into m_code (id, code_name) values (1, 'COUNTRY');
insert into m_code_value (id, code_id, code_value) values (1, 1, 'KE');
insert into m_address (id, street, address_line_1, city, country_id) values (1, 'Moi Avenue', '5', 'Nairobi', 1);
insert into m_client_address (id, client_id, address_id, address_type_id, is_active) values (1, 1, 1, 1, true);
update m_client set legal_form_enum = 2 where id = 1;
insert into m_group (id, office_id, level_id, display_name, account_no) values (1, 1, 2, 'Umoja', '1');
update m_loan set client_id = null, group_id = 1, loan_status_id = 602, closedon_date = '2026-03-03' where id = 3;
update m_loan set loan_status_id = 300, is_charged_off = true, charged_off_on_date = '2026-03-01' where id = 1;
update m_loan set loan_status_id = 601, writtenoffon_date = '2026-03-02', closedon_date = '2026-03-02' where id = 2;
-- Applied for and rejected: nobody owes anything.
update m_loan set loan_status_id = 500 where id = 4;
insert into m_loan_topup (id, loan_id, closure_loan_id) values (1, 1, 2);
insert into m_guarantor (id, loan_id, type_enum, entity_id, firstname, lastname, address_line_1, city, is_active)
values
(1, 1, 1, 3, null, null, null, null, true),
(2, 1, 3, null, 'Asha', 'Otieno', '1 High Street', 'Kisumu', true),
(3, 1, 2, 1, null, null, null, null, true),
(4, 1, 3, null, 'Gone', 'Long', null, null, false);
insert into m_loan_transaction (
    id, loan_id, office_id, is_reversed, transaction_type_enum, transaction_date, amount, submitted_on_date,
    created_on_utc, last_modified_on_utc, created_by, last_modified_by
)
values
(100, 2, 1, false, 4, '2026-03-01', 5, '2026-03-01', '2026-03-01 09:00Z', '2026-03-01 09:00Z', 1, 1),
(101, 2, 1, false, 8, '2026-03-20', 7, '2026-03-20', '2026-03-20 09:00Z', '2026-03-20 09:00Z', 1, 1)
"""
KEYS = {
    "borrowers": ("borrower_id",),
    "loan_parties": ("loan_id", "borrower_id", "role"),
    "loans": ("loan_id",),
}
CURSORS = {
    "instalments": ("loan_id", "schedule_version", "instalment_number"),
    "transactions": ("transaction_id",),
    "charges": ("charge_id",),
    "forbearances": ("forbearance_id",),
}
CHANGED_AT = datetime(2026, 4, 1, 9, tzinfo=UTC)
OLD_DUE_DATES = ((1, D), (2, date(2026, 4, 15)), (3, date(2026, 4, 30)), (4, date(2026, 5, 15)))
CHANGES = """
-- Loan 1 is re-aged: the old instalments keep what was paid, two new ones hold the rest.
insert into m_loan_transaction (
    id, loan_id, office_id, is_reversed, transaction_type_enum, transaction_date, amount, submitted_on_date,
    created_on_utc, last_modified_on_utc, created_by, last_modified_by
)
values (100, 1, 1, false, 29, '2026-04-01', 750, '2026-04-01', '2026-04-01 09:00Z', '2026-04-01 09:00Z', 1, 1);
insert into m_loan_transaction_repayment_schedule_mapping (
    id, loan_transaction_id, loan_repayment_schedule_id, amount, principal_portion_derived
)
select 100, m_loan_transaction.id, m_loan_repayment_schedule.id, 250, 250
from m_loan_transaction
inner join m_loan_repayment_schedule on m_loan_transaction.loan_id = m_loan_repayment_schedule.loan_id
where m_loan_transaction.loan_id = 1 and transaction_type_enum = 2 and installment = 1;
update m_loan_repayment_schedule set principal_amount = 0, last_modified_on_utc = '2026-04-01 09:00Z'
where loan_id = 1 and installment > 1;
insert into m_loan_repayment_schedule (
    id, loan_id, fromdate, duedate, installment, principal_amount, completed_derived, is_re_aged,
    created_on_utc, last_modified_on_utc, created_by, last_modified_by
)
values
(101, 1, '2026-05-15', '2026-05-01', 5, 375, false, true, '2026-04-01 09:00Z', '2026-04-01 09:00Z', 1, 1),
(102, 1, '2026-05-01', '2026-06-01', 6, 375, false, true, '2026-04-01 09:00Z', '2026-04-01 09:00Z', 1, 1);
-- Loan 2's pause ends, and its schedule moves by a month.
insert into m_loan_delinquency_action (
    id, loan_id, action, start_date, created_on_utc, last_modified_on_utc, created_by, last_modified_by
)
values (100, 2, 'RESUME', '2026-04-01', '2026-04-01 09:00Z', '2026-04-01 09:00Z', 1, 1);
insert into m_loan_reschedule_request (
    id, loan_id, status_enum, reschedule_from_installment, reschedule_from_date, submitted_on_date,
    submitted_by_user_id, approved_on_date
)
values (100, 2, 200, 2, '2026-04-15', '2026-04-01', 1, '2026-04-01');
insert into m_loan_repayment_schedule_history (
    id, loan_id, loan_reschedule_request_id, fromdate, duedate, installment, principal_amount, version,
    created_on_utc, last_modified_on_utc
)
select
    100 + installment, 2, 100, fromdate, duedate, installment, principal_amount, 1,
    '2026-04-01 09:00Z', '2026-04-01 09:00Z'
from m_loan_repayment_schedule
where loan_id = 2;
update m_loan_repayment_schedule
set duedate = duedate + interval '1 month', last_modified_on_utc = '2026-04-01 09:00Z'
where loan_id = 2 and installment = 4;
-- Loan 3's payment is reversed, and its penalty after the last instalment waived.
update m_loan_transaction
set is_reversed = true, reversed_on_date = '2026-04-01', last_modified_on_utc = '2026-04-01 09:00Z'
where loan_id = 3 and transaction_type_enum = 2;
insert into m_loan_transaction (
    id, loan_id, office_id, is_reversed, transaction_type_enum, transaction_date, amount, submitted_on_date,
    created_on_utc, last_modified_on_utc, created_by, last_modified_by
)
values (101, 3, 1, false, 9, '2026-04-01', 15, '2026-04-01', '2026-04-01 09:00Z', '2026-04-01 09:00Z', 1, 1);
insert into m_loan_charge_paid_by (id, loan_transaction_id, loan_charge_id, amount)
select 100, 101, id, 15 from m_loan_charge where loan_id = 3 and is_penalty;
update m_loan_charge
set waived = true, amount_waived_derived = 15, last_modified_on_utc = '2026-04-01 09:00Z'
where loan_id = 3 and is_penalty
"""


def read(connection: psycopg.Connection, table: str) -> dict[tuple[object, ...], Row]:
    """The rows of a SELECT of sources/fineract, by key, in the order of the key."""
    select = (CHECKOUT / "sources/fineract" / f"{table}.sql").read_bytes()
    key = (CURSORS | KEYS)[table]
    rows = connection.cursor(row_factory=dict_row).execute(select).fetchall()
    return {tuple(row[name] for name in key): row for row in sorted(rows, key=lambda row: [row[name] for name in key])}


@dataclass(frozen=True, slots=True)
class Cell:
    """One number that Fineract's tests assert, and ours."""

    name: str
    fineracts: Hashable
    ours: Hashable


class Made:
    """What came of the loans: their rows in the mart, and in the contract's tables."""

    def __init__(self, workplace: Workplace) -> None:
        with workplace.connect(D) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            self._mart = {row["loan_id"]: row for row in cursor.execute("select * from working.loan_delinquency")}
            self._coming = {
                row["loan_id"]: row["amount"]
                for row in cursor.execute(
                    """
                    select
                        loan_id,
                        other_amounts[cardinality(other_amounts)]
                        - coalesce(other_amounts[width_bucket(%(day)s::date, due_ons)], 0) as amount
                    from (
                        select
                            *,
                            array(
                                select claims.due - claims.principal
                                from unnest(due_amounts, due_principal_amounts) as claims (due, principal)
                            ) as other_amounts
                        from working.int_delinquency__loans_stacked
                        where epoch_from <= %(day)s and epoch_until > %(day)s
                    ) as stacked
                    where due_ons[cardinality(due_ons)] > %(day)s
                    """,
                    {"day": D},
                )
            }
            self._stated = {
                row["loan_id"]: row for row in cursor.execute("select * from working.stg_servicing__servicer_balances")
            }
            self._pauses = defaultdict(set)
            for row in cursor.execute(
                "select * from working.stg_servicing__forbearances where kind = 'delinquency_pause'"
            ):
                self._pauses[row["loan_id"]].add((row["starts_on"], row["ends_on"]))

    def cells(self, loan_id: str, books: Books) -> Iterator[Cell]:
        """Every cell that both sides have."""
        row, expected = self._mart.get(loan_id), books.case["expected"]
        shift = D - books.as_of

        def day(text: str | None) -> date | None:
            return date.fromisoformat(text) + shift if text else None

        ours = row or NOTHING
        oldest = ours["oldest_unpaid_due_on"]
        yield Cell("held_back_reason", None, ours["held_back_reason"])
        if derived := expected.get("derived"):
            yield Cell("arrears_amount", derived["arrears_total"], ours["arrears_amount"])
            yield Cell("days_past_due", derived["days_past_due"], ours["days_past_due"])
            yield Cell("oldest_unpaid_due_on", day(derived["oldest_unpaid_due_date"]), oldest)
            yield Cell("instalments_past_due", derived["installments_overdue"], ours["instalments_past_due"])
            if row is not None and books.status == 300:
                stated = self._stated[loan_id]
                yield Cell("stated arrears_amount", derived["arrears_total"], stated["arrears_amount"])
                yield Cell("stated days_past_due", derived["days_past_due"], stated["days_past_due"])
        delinquency = expected.get("delinquency", {})
        if level := delinquency.get("loan_level"):
            yield Cell("arrears_amount", level["delinquent_amount"], ours["arrears_amount"])
            yield Cell("days_past_due", level["past_due_days"], ours["days_past_due"])
            yield Cell("days_delinquent", level["delinquent_days"], ours["days_delinquent"])
            yield Cell("delinquent_on", day(level["delinquent_date"]), oldest and oldest + timedelta(3))
        if check := delinquency.get("range_check"):
            yield Cell("range", check["range"], range_of(ours["days_delinquent"]))
            if check["delinquent_date"]:
                yield Cell("delinquent_on", day(check["delinquent_date"]), oldest and oldest + timedelta(3))
        if history := delinquency.get("history"):
            tag = next((entry["range"] for entry in history if entry["lifted_on"] is None), RANGES[0])
            yield Cell("range", tag, range_of(ours["days_delinquent"]))
        if (parts := delinquency.get("installment_level")) is not None:
            yield Cell("arrears by instalment", sum(part["amount"] for part in parts), ours["arrears_amount"])
        if "loan_overdue_total" in expected:
            yield Cell("arrears_amount", expected["loan_overdue_total"], ours["arrears_amount"])
        if books.case["pauses"]:
            pauses = {(day(pause["start"]), day(pause["end"])) for pause in books.case["pauses"]}
            yield Cell("pauses", frozenset(pauses), frozenset(self._pauses[loan_id]))
        if "pause_periods" in expected:
            yield Cell("is_paused", any(pause["active"] for pause in expected["pause_periods"]), ours["is_paused"])
        if "last_payment" in expected:
            yield Cell("last_payment_on", day(expected["last_payment"]["lastRepaymentDate"]), ours["last_payment_on"])
        if "charged_off_on" in expected:
            yield Cell("status after charge-off", "written_off", row["status"] if row else None)
        yield from self._balances(loan_id, books, row)

    def _balances(self, loan_id: str, books: Books, row: Row | None) -> Iterator[Cell]:
        expected = books.case["expected"]
        if not books.made(DISBURSEMENT):
            return
        net = ZERO
        if row is not None:
            # Fineract's outstanding holds interest and charges to come, and has taken payments in advance off it.
            net = row["outstanding_amount"] + self._coming.get(loan_id, ZERO) - row["credit_amount"]
        for stated in (expected.get("loan_outstanding"), expected.get("totals", {}).get("outstanding")):
            if stated is not None:
                yield Cell("outstanding_amount", stated, max(net, ZERO))
        if "loan_overpaid" in expected:
            yield Cell("credit_amount", expected["loan_overpaid"], max(-net, ZERO))
        if "loan_status" in expected:
            status = None if row is None else "overpaid" if net < 0 else "active"
            yield Cell("status", STATUSES[expected["loan_status"][0]], status)
        shown = [
            booking for booking in books.made(DISBURSEMENT, CHARGEBACK, *CREDITS, *REFUNDS) if booking.on <= books.as_of
        ]
        last = sorted(shown, key=lambda booking: booking.on)[-1]
        if last.principal_after is not None and row is not None and row["credit_amount"] == 0:
            yield Cell("outstanding_principal_amount", last.principal_after, row["outstanding_principal_amount"])


def range_of(days_delinquent: int) -> str:
    """Fineract's range of a number of days delinquent."""
    return RANGES[max(days for days in RANGES if days <= days_delinquent)]
