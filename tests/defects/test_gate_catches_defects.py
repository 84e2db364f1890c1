"""Every kind of defect in the catalogue is caught by its rule, and by what the catalogue says must come of it."""

import pytest

from arrears.gate import judge_batches
from tests.conftest import Workplace
from tests.defects.catalogue import CATALOGUE, Defect
from tests.defects.clean_portfolio import clean_drop, of_another_lender
from tests.defects.gate_warehouse import SECOND, GateWarehouse, add_source
from tests.defects.sampling import sampled


@pytest.mark.parametrize("defect", sampled(CATALOGUE))
def test_a_defect_is_caught(
    defect: Defect, gate: GateWarehouse, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = clean_drop()
    if defect.source == "other":
        add_source(workplace, monkeypatch)
        gate.deliver(drop, SECOND)
        drop = of_another_lender("X")
    defect.mutate(drop)
    gate.deliver(drop, SECOND, source=defect.source)

    verdict = judge_batches(SECOND)

    failed = {(result.suite, result.rule.split(" ")[0]): result for result in verdict.failures}
    assert (defect.suite, defect.rule) in failed, [result.told for result in verdict.failures]
    assert verdict.is_blocked == (defect.outcome == "block"), [result.told for result in verdict.failures]
    if defect.outcome == "row":
        found = gate.rows(
            "select loan_id, borrower_id from quarantine.rows where suite = %s and rule = %s and opened_on = %s",
            defect.suite,
            defect.rule,
            SECOND,
        )
        assert len(found) == failed[(defect.suite, defect.rule)].failed_count == defect.found_count
        assert {row[0] for row in found} == {defect.held_loan}
        assert {row[1] for row in found} == {defect.held_borrower}


def test_a_clean_drop_has_no_findings(gate: GateWarehouse) -> None:
    drop = clean_drop()
    drop["transactions"].append(
        {
            "transaction_id": "L07-N",
            "loan_id": "L07",
            "kind": "repayment",
            "effective_on": "2026-03-31",
            "booked_at": "2026-03-31T09:00:00+00:00",
            "amount": "110.00",
        }
    )

    verdict = gate.judge(drop, SECOND)

    assert verdict.failures == ()
    assert gate.rows("select count(*) from quarantine.rows") == [(0,)]
    assert {result.suite for result in verdict.results} == {"raw.deliveries", "raw.transactions"}


def test_a_clean_drop_beside_another_lender_s_has_no_findings(
    gate: GateWarehouse, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_source(workplace, monkeypatch)
    gate.deliver(clean_drop(), SECOND)
    gate.deliver(of_another_lender("X"), SECOND, source="other")  # with the same exchange rate

    verdict = judge_batches(SECOND)

    assert verdict.failures == ()
    assert gate.rows("select count(*) from quarantine.rows") == [(0,)]
    assert len(verdict.accepted_batches) == 2
    assert "key-of-one-source" in {result.rule for result in verdict.results if result.suite == "raw.loans@other"}


def test_the_catalogue_covers_at_least_twenty_kinds_and_names_each_once() -> None:
    names = [defect.name for defect in CATALOGUE]

    assert len(names) == len(set(names)) >= 20
