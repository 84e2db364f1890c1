"""Every kind of defect in the catalogue is caught by its rule, and by what the catalogue says must come of it."""

from pathlib import Path

import pytest

from arrears.gate import judge_batches
from arrears.simulation.portfolio.defects import DEFECTS as SIMULATED
from tests.conftest import Workplace
from tests.defects.built_catalogue import BUILT
from tests.defects.catalogue import CATALOGUE, Defect
from tests.defects.clean_portfolio import clean_drop, next_drop, of_another_lender
from tests.defects.gate_warehouse import SECOND, GateWarehouse, add_source
from tests.defects.measuring import measure, spoilt
from tests.defects.sampling import sampled

SMALL = tuple(defect for defect in CATALOGUE if not defect.needs_portfolio)


@pytest.mark.parametrize("defect", sampled(SMALL))
def test_a_defect_is_caught(
    defect: Defect, gate: GateWarehouse, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop, before = next_drop(), clean_drop()
    if defect.source == "other":
        add_source(workplace, monkeypatch)
        gate.deliver(drop, SECOND)
        drop, before = of_another_lender("X"), {}

    measured = measure(defect, spoilt(defect, drop, before, SECOND), gate, tmp_path / "spoilt")

    assert measured.outcome == defect.outcome, measured.told
    if defect.rule:
        assert measured.is_caught(defect), measured.told
    elif defect.outcome == "nothing":
        assert measured.failures == {}, measured.told
    if defect.outcome == "row":
        assert (measured.found, measured.wrong) == (measured.injected, 0)
        ((held,),) = gate.rows("select count(*) from quarantine.rows where rule = %s", defect.rule)
        assert held == measured.injected * defect.findings or (measured.injected == 0 and held == 1)


def test_what_is_said_to_slip_is_what_no_rule_finds() -> None:
    assert {defect.name for defect in CATALOGUE if defect.slips} == {
        defect.name for defect in CATALOGUE if defect.outcome == "nothing" and defect.severity != "harmless"
    }


def test_a_clean_drop_has_no_findings(gate: GateWarehouse) -> None:
    verdict = gate.judge(next_drop(), SECOND)

    assert verdict.failures == ()
    assert gate.rows("select count(*) from quarantine.rows") == [(0,)]
    assert {result.suite for result in verdict.results} == {"raw.deliveries", "raw.drift", "raw.transactions"}


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


def test_the_catalogue_names_each_kind_once_and_holds_all_that_the_simulator_injects() -> None:
    names = [defect.name for defect in (*CATALOGUE, *BUILT)]
    text = (Path(__file__).parent / "catalogue.py").read_text(encoding="utf-8")

    assert len(names) == len(set(names)) >= 60
    assert {
        kind for kind in SIMULATED if f'simulated("{kind}")' not in text and f'simulated_value("{kind}")' not in text
    } == set()
