"""The optimiser of the assignment against the OR-Library's generalised assignment problems (data/gap_instances.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arrears.assignment.optimiser import Market, Plan, optimise

INSTANCES: dict[str, dict[str, Any]] = {
    instance["instance"]: instance
    for instance in json.loads((Path(__file__).parent / "data" / "gap_instances.json").read_text())["instances"]
}
PROVED = [name for name, instance in INSTANCES.items() if instance["optimum_proved_here"]]
QUICK = ["gap1-1", "gap4-3", "gap7-5", "gap9-1", "gap12-5", "gapa-3", "gapb-5"]
FEW_NODES = 500


def solved(instance: dict[str, Any], *, node_limit: int) -> tuple[Plan, float, float]:
    """The plan, and its value and bound in the instance's own sense."""
    sign = 1 if instance["sense"] == "max" else -1
    agents, jobs = instance["agents"], instance["jobs"]
    market = Market(
        group=np.repeat(np.arange(jobs), agents),
        taker=np.tile(np.arange(agents), jobs),
        account=np.repeat(np.arange(jobs), agents),
        contract=np.tile(np.arange(agents), jobs),
        value=sign * np.array(instance["value"], dtype=float).T.ravel(),
        weight=np.array(instance["resource"], dtype=float).T.ravel(),
        room=np.array(instance["capacity"], dtype=float),
        promised=np.zeros(agents),
        is_complete=True,
    )
    plan = optimise(market, node_limit=node_limit)
    used = np.bincount(market.contract[plan.chosen], market.weight[plan.chosen], minlength=agents)
    assert len(plan.chosen) == jobs
    assert np.all(used <= market.room)
    return plan, sign * plan.value, sign * plan.bound


def assert_is_the_optimum(name: str) -> None:
    """The published value exactly, with the proof."""
    plan, value, bound = solved(INSTANCES[name], node_limit=100_000)
    assert value == INSTANCES[name]["best_known"]
    assert bound == pytest.approx(INSTANCES[name]["best_known"], rel=1e-8)
    assert plan.gap_share < 1e-8


@pytest.mark.parametrize("name", QUICK)
def test_the_published_optimum_is_found_and_proved(name: str) -> None:
    assert_is_the_optimum(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(PROVED) - set(QUICK)))
def test_every_proved_optimum_is_found_and_proved(name: str) -> None:
    assert_is_the_optimum(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(INSTANCES) - set(PROVED)))
def test_on_the_hard_set_little_work_comes_near_and_claims_no_more_than_is_true(name: str) -> None:
    instance = INSTANCES[name]
    _, value, bound = solved(instance, node_limit=FEW_NODES)

    assert instance["bound"] <= value <= 1.01 * instance["best_known"]
    assert bound <= value
    assert bound <= instance["best_known"]
