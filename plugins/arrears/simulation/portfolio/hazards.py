"""The hazard model: log odds of paying nothing in a month, from what a borrower is and how the means stand.

The months are played with it, and the truth is told with it: one place for both.
"""

from dataclasses import dataclass

import numpy as np

from arrears.simulation.portfolio.dice import Floats, Ints
from arrears.simulation.portfolio.lending import Block
from arrears.simulation.portfolio.world import World

FAR_BEHIND = 5  # months; from then on payments are rare and small
DECEMBER, SPRING = 11, (2, 3)  # months of the year from 0


def odds(logit: Floats) -> Floats:
    """The probability of log odds."""
    probability: Floats = 1 / (1 + np.exp(-np.clip(logit, -30, 30)))
    return probability


@dataclass(frozen=True, slots=True)
class Lean:
    """By loan: log odds of paying nothing at mean means, nothing late (`miss`); one, two, more months late (`roll`)."""

    miss: Floats
    roll: Floats  # loan, stage


def lean_of(world: World, block: Block) -> Lean:
    """What product, origination and temper say of each loan."""
    p, products = world.p.capacity, list(world.p.products.values())
    forgetful, strategic = block.b_forgetful[block.owner], block.b_strategic[block.owner]
    miss = np.array([one.miss_logit for one in products])[block.product] + block.lean
    miss = miss + p.forgetful_logit * forgetful + p.strategic_logit * strategic
    roll = np.array([one.roll_logits for one in products])[block.product] + p.strategic_logit * strategic[:, None]
    roll[:, 0] -= world.p.collecting.forgetful_relief * forgetful
    return Lean(miss, roll)


def season(world: World, month: int) -> float:
    """Christmas and tax refunds, in log odds of missing."""
    of_year = int((world.calendar.start + month).astype(np.int64)) % 12
    p = world.p.capacity
    return p.december if of_year == DECEMBER else p.tax_refund if of_year in SPRING else 0.0


def answers(world: World, block: Block) -> Floats:
    """By borrower: how readily they answer, as a multiple of each channel's reach."""
    mean, deviation = world.p.collecting.answers
    return np.clip(mean + deviation * world.dice.normal("answers", block.b_number), 0.1, 1.3)


def pays_far_behind(world: World, over: Floats, relief: Floats, behind: Ints) -> Floats:
    """The chance that an account far behind pays something in a month.

    Args:
        world: has the parameters.
        over: log capacity above its mean.
        relief: what treatment takes off the log odds of paying nothing.
        behind: months behind.
    """
    p = world.p.paying
    far = world.p.collecting.far_behind
    moved = far.state_effect * over + far.relief_effect * relief - p.default_payment_decay * (behind - FAR_BEHIND)
    return np.clip(p.default_payment_share * np.exp(moved), 0, far.most)
