"""What an operator lets pass on one date: the day goes on, the row is taken in, the ledger says by whose word."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from arrears import gate, summary
from arrears.errors import GateBlocked, UsageError
from arrears.gate import waivers
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.clean_portfolio import clean_drop
from tests.defects.delivery import row_of, set_value
from tests.defects.gate_warehouse import FIRST, SECOND, THIRD, GateWarehouse, with_first_drop

BOOKING = {"transaction_id": "L05-R01"}


@pytest.fixture
def warehouse(workplace: Workplace, tmp_path: Path) -> GateWarehouse:
    """The clean portfolio's first drop is accepted."""
    del workplace
    return with_first_drop(tmp_path)


def waive(day: date, suite: str, rule: str, **key: str) -> waivers.Waiver:
    with connect() as connection:
        return waivers.waive(connection, day, suite, rule, key, by="R. Kaur", reason="Confirmed by the servicer")


def told_by_the_ledger(warehouse: GateWarehouse) -> list[tuple[Any, ...]]:
    return warehouse.rows(
        "select cast(leaf as jsonb) -> 'content' ->> 'state', cast(leaf as jsonb) -> 'content' ->> 'by'"
        " from ledger.entries where kind = 'waiver' order by position"
    )


def changed_booking() -> Any:
    drop = clean_drop()
    set_value("transactions", "amount", "90.00", **BOOKING)(drop)
    return drop


def amount_in_force(warehouse: GateWarehouse) -> list[tuple[Any, ...]]:
    return warehouse.rows(
        "select cast(trim_scale(amount) as text) from versions.transactions"
        " where transaction_id = 'L05-R01' and _known_to is null"
    )


def test_a_blocked_day_goes_on_once_its_finding_is_waived(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    del drop["instalments"][150:]
    blocked = warehouse.judge(drop, SECOND)
    assert [(one.rule, one.is_waivable) for one in blocked.failures if one.is_blocking] == [("row-count-fall", True)]
    with pytest.raises(GateBlocked, match="Likely cause: The file was cut off"):
        blocked.raise_if_blocked()
    (failure,) = [one for one in summary.status(SECOND).failures if one.is_blocking]
    assert failure.owner == "data engineering"
    assert failure.waive_with == (
        "arrears gate waive raw.deliveries row-count-fall --as-of 2026-04-01 --by NAME --reason TEXT"
    )

    waive(SECOND, "raw.deliveries", "row-count-fall")
    verdict = gate.judge_batches(SECOND)

    assert not verdict.is_blocked
    assert len(verdict.accepted_batches) == 1
    assert warehouse.rows(
        "select waived_by, waived_count > 0 from ops.gate_results where rule = 'row-count-fall' and as_of_date = %s",
        SECOND,
    ) == [("R. Kaur", True)]
    # Nothing is deleted for it: that has a waiver of its own.
    assert warehouse.rows("select count(*) from versions.instalments where _known_to is null") == [(240,)]
    assert told_by_the_ledger(warehouse) == [("waived", "R. Kaur")]


def test_deletions_are_confirmed_table_by_table(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    last = [row for row in drop["instalments"] if row["instalment_number"] == "12"]
    drop["instalments"] = [row for row in drop["instalments"] if row not in last[:13]]
    known = "select count(*) from versions.instalments where _known_to is null"
    refused = warehouse.judge(drop, SECOND)
    assert "deletions" in [one.rule for one in refused.failures]
    assert warehouse.rows(known) == [(240,)]

    with pytest.raises(UsageError, match="table by table"):
        waive(SECOND, "raw.deliveries", "deletions")
    with connect() as connection:
        waivers.waive(
            connection, THIRD, "raw.deliveries", "deletions", {"table_name": "instalments"}, by="R. Kaur", reason="Sold"
        )
    verdict = warehouse.judge(drop, THIRD)

    (result,) = [one for one in verdict.failures if one.rule == "deletions"]
    assert result.waived_by == "R. Kaur"
    assert warehouse.rows(known) == [(227,)]


def test_a_changed_booking_is_taken_in_by_the_next_full_drop_once_it_is_waived(warehouse: GateWarehouse) -> None:
    warehouse.judge(changed_booking(), SECOND)
    assert amount_in_force(warehouse) == [("110",)]
    assert warehouse.rows("select rule from quarantine.rows where closed_on is null") == [("known-row-stays",)]

    waive(THIRD, "raw.transactions", "known-row-stays", **BOOKING)
    verdict = warehouse.judge(changed_booking(), THIRD)

    (result,) = [one for one in verdict.failures if one.rule == "known-row-stays"]
    assert (result.failed_count, result.waived_count, result.waived_by) == (1, 1, "R. Kaur")
    assert amount_in_force(warehouse) == [("90",)]
    assert warehouse.rows("select count(*) from quarantine.rows where closed_on is null") == [(0,)]
    assert warehouse.rows(
        "select cast(trim_scale(amount) as text) from versions.transactions where transaction_id = 'L05-R01'"
        " and _known_from <= %s and _known_to > %s",
        SECOND,
        SECOND,
    ) == [("110",)], "what was known before stays known then"


@pytest.mark.parametrize("is_gone", [False, True], ids=["changed", "vanished"])
def test_a_delta_brings_a_waived_row_again(warehouse: GateWarehouse, is_gone: bool) -> None:
    booking = row_of(clean_drop(), "transactions", **BOOKING)
    told = {"mode": "delta"}
    delta = {"transactions": [booking | ({"_deleted": "true"} if is_gone else {"amount": "90.00"})]}
    warehouse.judge(delta, SECOND, told)
    assert amount_in_force(warehouse) == [("110",)]

    suite = "raw.transactions.deletions" if is_gone else "raw.transactions"
    rule = "known-row-vanishes" if is_gone else "known-row-stays"
    waive(THIRD, suite, rule, **BOOKING)
    verdict = warehouse.judge(
        {"loans": [row_of(clean_drop(), "loans", loan_id="L07") | {"grace_days": "3"}]}, THIRD, told
    )

    assert not verdict.is_blocked
    assert amount_in_force(warehouse) == ([] if is_gone else [("90",)])
    assert warehouse.rows("select count(*) from quarantine.rows where closed_on is null") == [(0,)]


def test_a_waiver_that_is_withdrawn_counts_for_nothing_and_stays_told(warehouse: GateWarehouse) -> None:
    warehouse.judge(changed_booking(), SECOND)
    waive(THIRD, "raw.transactions", "known-row-stays", **BOOKING)
    with connect() as connection:
        waivers.withdraw(
            connection, THIRD, "raw.transactions", "known-row-stays", BOOKING, by="A. Novak", reason="Wrong loan"
        )

    warehouse.judge(changed_booking(), THIRD)

    assert amount_in_force(warehouse) == [("110",)]
    assert told_by_the_ledger(warehouse) == [("waived", "R. Kaur"), ("withdrawn", "A. Novak")]
    with connect() as connection, pytest.raises(UsageError, match="is waived for"):
        waivers.withdraw(
            connection, THIRD, "raw.transactions", "known-row-stays", BOOKING, by="A. Novak", reason="Twice"
        )


def test_what_cannot_be_waived_is_told_in_a_sentence(warehouse: GateWarehouse) -> None:
    drop = changed_booking()
    set_value("loans", "product", "karaoke", loan_id="L06")(drop)
    warehouse.judge(drop, SECOND)

    with pytest.raises(UsageError, match=r"raw.loans product-values cannot be waived, no judgement makes it right"):
        waive(SECOND, "raw.loans", "product-values", loan_id="L06")
    with pytest.raises(UsageError, match="did not fail on 2026-04-01"):
        waive(SECOND, "raw.loans", "key-unique", loan_id="L06")
    with pytest.raises(UsageError, match="say which, as --key"):
        waive(SECOND, "raw.transactions", "known-row-stays")
    with pytest.raises(UsageError, match="No row with transaction_id=L06-R01 breaks"):
        waive(SECOND, "raw.transactions", "known-row-stays", transaction_id="L06-R01")
    with connect() as connection:
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', 'x', 'x', 'test')",
            [SECOND],
        )
    with pytest.raises(UsageError, match="is exported"):
        waive(SECOND, "raw.transactions", "known-row-stays", **BOOKING)
    with connect() as connection, pytest.raises(UsageError, match="a name"):
        waivers.waive(connection, THIRD, "raw.transactions", "known-row-stays", BOOKING, by=" ", reason="x")


def test_every_rule_that_can_fail_has_an_owner_and_advice(warehouse: GateWarehouse) -> None:
    from arrears.gate import advice, suites

    warehouse.judge(clean_drop(), SECOND)
    rules = warehouse.rows("select distinct suite, rule from ops.gate_results")
    for stage, names in (("marts", suites.MARTS), ("queues", suites.QUEUES)):
        for check in suites.built(names, stage, SECOND):
            rules += [(check.name, expectation.meta["rule"]) for expectation in check.suite.expectations]
    assert {suite.partition(".")[0] for suite, _ in rules} == {"raw", "marts", "queues"}
    for suite, rule in rules:
        found = advice.advise(suite, rule)
        assert advice.owner_of(suite), suite
        assert found is not None, (suite, rule)
        assert "{" not in advice.next_step(found, suite, rule, FIRST)
