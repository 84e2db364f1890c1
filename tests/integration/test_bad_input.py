"""Everything that can be wrong with a booking or a schedule, in one drop: none stops the others."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from arrears import steps
from arrears.orchestration import STEPS
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.day import run_day, run_step
from tests.defects.clean_portfolio import clean_drop
from tests.defects.delivery import row_of
from tests.defects.gate_warehouse import SECOND, GateWarehouse, with_first_drop
from tests.portfolio import a_borrower, a_loan, a_repayment, an_instalment, instalments_of

D = date(2026, 3, 31)

# What is wrong with which loan, and what is said of it. Each loan lent 300.00 on 2026-01-01, due in three parts of
# 100.00 on the first of February, March and April.
HELD = {
    "reverses-nothing-known": "it reverses T404, which is no known booking of this loan",
    "reverses-again": "T1-reverses-again is reversed already",
    "reverses-a-reversal": "it reverses the reversal R1-reverses-a-reversal",
    "reverses-a-part": "it reverses 50 of 100 booked in T1-reverses-a-part",
    "pays-less-than-nothing": "amount is -100.0000, not above 0",
    "pays-nothing": "amount is 0.0000, not above 0",
    "pays-in-forty-years": "effective_on is 2066-03-01, more than 366 days after the delivery",
    "due-in-year-206": "due_on is 0206-02-01, outside 1900-01-01 to 2200-12-31",
    "due-a-century-ago": "due_on is 1926-02-01, years before 2026-01-01, when the loan was disbursed",
    "two-versions": "two versions have one number: version 2 is effective on 2026-03-01 and on 2026-03-15",
    "version-in-forty-years": "effective_on is 2066-03-01, more than 366 days after the delivery",
    "one-instalment-twice": "the drop has another row of this key that differs",
    "without-instalments": "No version of the schedule is in force, so nothing can be said to be due.",
}
NOT_HELD = ("sound", "delivered-twice", "adds-up-to-less", "pays-in-yen", "pays-before-disbursement")


def a_reversal(transaction_id: str, loan_id: str, reverses: str, **more: object) -> dict[str, object]:
    return a_repayment(transaction_id, loan_id, "2026-03-02", kind="reversal", reverses_transaction_id=reverses, **more)


def bookings() -> list[dict[str, object]]:
    def paid(loan_id: str, **more: object) -> dict[str, object]:
        return a_repayment(f"T1-{loan_id}", loan_id, **more)

    return [
        a_reversal("R1", "reverses-nothing-known", "T404"),
        paid("reverses-again"),
        a_reversal("R1-reverses-again", "reverses-again", "T1-reverses-again"),
        a_reversal("R2-reverses-again", "reverses-again", "T1-reverses-again", booked_at="2026-03-03T12:00:00Z"),
        paid("reverses-a-reversal"),
        a_reversal("R1-reverses-a-reversal", "reverses-a-reversal", "T1-reverses-a-reversal"),
        a_reversal("R2-reverses-a-reversal", "reverses-a-reversal", "R1-reverses-a-reversal"),
        paid("reverses-a-part"),
        a_reversal("R1-reverses-a-part", "reverses-a-part", "T1-reverses-a-part", amount="50.00"),
        paid("pays-less-than-nothing", amount="-100.00"),
        paid("pays-nothing", amount="0"),
        paid("pays-before-disbursement", effective_on="2025-12-31"),
        paid("pays-in-forty-years", effective_on="2066-03-01", booked_at="2026-03-01T12:00:00Z"),
        paid("pays-in-yen", amount="16500.00", currency="JPY"),
        paid("delivered-twice"),
        paid("delivered-twice"),
    ]


def schedules() -> list[dict[str, object]]:
    rows = {loan_id: instalments_of(loan_id) for loan_id in (*HELD, *NOT_HELD) if loan_id != "without-instalments"}
    rows["due-in-year-206"][0]["due_on"] = "0206-02-01"
    rows["due-a-century-ago"][0]["due_on"] = "1926-02-01"
    rows["adds-up-to-less"][2]["principal_amount"] = "90.00"
    rows["one-instalment-twice"].append(an_instalment("one-instalment-twice", 3, "2026-04-02"))
    rows["two-versions"] += [
        an_instalment("two-versions", 1, "2026-05-01", schedule_version=2, effective_on="2026-03-01"),
        an_instalment("two-versions", 2, "2026-06-01", schedule_version=2, effective_on="2026-03-15"),
    ]
    rows["version-in-forty-years"].append(
        an_instalment("version-in-forty-years", 1, "2066-04-01", schedule_version=2, effective_on="2066-03-01")
    )
    return [row for of_loan in rows.values() for row in of_loan]


def test_bad_rows_of_every_kind_in_one_drop_are_told_and_stop_nothing(
    workplace: Workplace, drop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "owner_kind", "process")
    loans = [*HELD, *NOT_HELD]

    run_day(
        drop(
            borrowers=[a_borrower(f"B-{loan_id}") for loan_id in loans],
            loans=[a_loan(loan_id, f"B-{loan_id}") for loan_id in loans],
            instalments=schedules(),
            transactions=bookings(),
        ),
        D,
    )

    held = dict(workplace.rows("select loan_id, held_back_reason from marts.loan_delinquency"))
    assert held == {**HELD, "one-instalment-twice": HELD["one-instalment-twice"] + " (1 more)"} | {
        # Two rows of one fault: each has a finding that says so.
        "two-versions": HELD["two-versions"] + " (1 more)",
        **dict.fromkeys(NOT_HELD),
    }
    # Of the others, two paid nothing and are 58 days past due (since 1 February), one paid February's instalment and is
    # 30 (since 1 March), one paid far too much.
    assert workplace.rows("select loan_id, days_past_due from marts.collection_queue order by loan_id") == [
        ("adds-up-to-less", 58),
        ("delivered-twice", 30),
        ("pays-before-disbursement", 30),
        ("sound", 58),
    ]
    assert workplace.rows(
        "select suite, rule, failing_keys -> 0 ->> 'found' from ops.gate_results"
        " where not is_passed and severity = 'warning' and scope = 'table' and stage = 'raw' and rule <> 'columns'"
        " order by suite, rule"
    ) == [
        (
            "raw.deliveries",
            "currency-of-the-loan",
            "transactions has a column currency, which is ignored: its amounts are taken for amounts in the loan's"
            " currency; convert others in the source's SQL",
        ),
        ("raw.instalments", "first-version-adds-up", "loan adds-up-to-less of 300 EUR has instalments of 290"),
        ("raw.loans", "has-instalments", "loan without-instalments has no instalment"),
        (
            "raw.transactions",
            "credit-within-the-loan",
            "booking T1-pays-in-yen of 16500 EUR is more than the whole loan pays-in-yen was to pay",
        ),
        (
            "raw.transactions",
            "effective_on-from-disbursement",
            "loan pays-before-disbursement: booking is valued on 2025-12-31, before its disbursement on 2026-01-01",
        ),
    ]
    # No age of two thousand years anywhere, and no version but the first is in force.
    assert workplace.rows("select max(days_past_due), max(schedule_version) from marts.loan_delinquency") == [(58, 1)]


def test_one_wrong_version_of_a_delta_is_one_finding_however_long_it_is(workplace: Workplace, tmp_path: Path) -> None:
    del workplace
    warehouse = with_first_drop(tmp_path)
    version = [
        row_of(clean_drop(), "instalments", loan_id="L05", instalment_number=str(number))
        | {"schedule_version": "2", "effective_on": "2026-04-01" if number <= 6 else "2026-05-01"}
        for number in range(1, 13)
    ]

    verdict = warehouse.judge({"instalments": version}, SECOND, said={"mode": "delta", "after": D.isoformat()})

    # Twelve of twelve rows are wrong, which as rows of their own would be a wrong file.
    assert not verdict.is_blocked
    assert warehouse.rows("select rule, count(*) from quarantine.rows group by rule order by rule") == [
        ("schedule_version-one", 1),
        ("schedule_version-one-held", 11),
    ]
    assert warehouse.rows("select count(*) from versions.instalments where loan_id = 'L05'") == [(12,)]


def test_what_looks_odd_and_is_right_is_taken_in(workplace: Workplace, tmp_path: Path) -> None:
    """A version restated whole, a reschedule that makes interest principal, statements billed one by one."""
    del workplace
    drop = clean_drop()
    card = row_of(drop, "loans", loan_id="L20") | {"loan_id": "CARD", "product": "revolving"}
    drop["loans"].append(card)
    drop["transactions"].append(
        row_of(drop, "transactions", loan_id="L20", kind="disbursement")
        | {"transaction_id": "CARD-D", "loan_id": "CARD"}
    )
    drop["instalments"] += [
        row_of(drop, "instalments", loan_id="L20", instalment_number=number)
        | {"loan_id": "CARD", "effective_on": billed_on}
        for number, billed_on in (("1", "2025-06-15"), ("2", "2025-07-15"))
    ]
    warehouse = GateWarehouse(tmp_path)
    first = warehouse.judge(drop, D)
    for row in drop["instalments"]:
        if row["loan_id"] == "L04":
            row["effective_on"] = "2025-06-02"
    drop["instalments"] += [
        row_of(drop, "instalments", loan_id="L05", instalment_number=number)
        | {"schedule_version": "2", "effective_on": "2026-04-01", "principal_amount": "700.00"}
        for number in ("11", "12")
    ]

    second = warehouse.judge(drop, D + timedelta(days=1))

    assert (first.failures, second.failures) == ((), ())


@pytest.mark.slow
def test_an_age_of_two_thousand_years_that_got_in_stops_nothing_either(
    workplace: Workplace, drop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a row may stand there that was accepted before its rule was made."""
    monkeypatch.setattr(steps, "owner_kind", "process")
    for name in STEPS[:2]:
        run_step(name, D, drop=drop(), source="contract")
    with connect(role="admin") as connection:
        connection.execute(
            "update versions.instalments set due_on = '0206-01-01' where loan_id = 'L2' and instalment_number = 1"
        )

    for name in STEPS[2:]:
        run_step(name, D)

    # From 1 January 206 to 1 January 2026 1,820 years of 365 days and 442 leap days (455 fourth years, less 18
    # centuries, plus 5 fourth ones), and 89 to 31 March.
    assert workplace.rows("select loan_id, days_past_due, bucket from marts.loan_delinquency order by loan_id") == [
        ("L1", 30, "30-59"),
        ("L2", 664_831, "360+"),
    ]
    # The loan was disbursed on 1 January 2026: late since its first day, by 100 more since 1 March.
    assert workplace.rows(
        "select valid_from, valid_to, arrears_amount from marts.loan_delinquency_history where loan_id = 'L2'"
        " order by valid_from"
    ) == [(date(2026, 1, 1), date(2026, 3, 1), 100), (date(2026, 3, 2), None, 200)]
    assert (workplace.exports / "2026-03-31" / "manifest.json").exists()
