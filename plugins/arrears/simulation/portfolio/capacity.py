"""The hidden state: each borrower's means over the instalment, month by month, and what befalls them.

log capacity = mean + standing + surprise (autoregressive) + cycle + industry - shocks - contagion. A person's means are
income less essential expense, a company's its cash flow, a project company's the project's cash flow.
"""

import numpy as np

from arrears.simulation.portfolio.dice import Floats, Ints
from arrears.simulation.portfolio.lending import KINDS, PERSON, Block
from arrears.simulation.portfolio.world import World

NO_SHOCK = -1


def common(world: World, block: Block, month: int) -> Floats:
    """What cycle and industry add to each borrower's log capacity; people feel less of their industry than firms."""
    p, s = world.p.capacity, world.p.surroundings
    is_person = block.b_kind == PERSON
    felt = np.where(is_person, 1.0, np.array(list(s.industries.values()))[block.b_industry])
    industry = world.industry[month, block.b_industry, world.country_of_place[block.b_place]]
    moved: Floats = p.macro * felt * world.cycle[month] + p.industry * np.where(is_person, s.person_share, 1) * industry
    return moved


class Capacity:
    """Moves the borrowers of a block one month on at a time."""

    def __init__(self, world: World, block: Block) -> None:
        self._world, self._block = world, block
        count = len(block.b_number)
        self._surprise = np.zeros(count)
        self._left: Ints = np.zeros(count, dtype=np.int64)  # months that the shock still lasts
        self.shock: Ints = np.full(count, NO_SHOCK, dtype=np.int64)  # its kind: its place in `shock_names`
        self.shock_names = tuple(f"{kind}/{name}" for kind in KINDS for name in getattr(world.p.shocks, kind))

    def step(self, month: int, group_in_default: Floats) -> Floats:
        """Log capacity of each borrower in a month.

        Args:
            month: counted from the calendar's start; call in order.
            group_in_default: share of each borrower's group, itself left out, that is in default.
        """
        world, block, p = self._world, self._block, self._world.p.capacity
        drawn = world.dice.normal("surprise", block.b_number, month)
        self._surprise = p.persistence * self._surprise + p.surprise * drawn
        self._shocks(month)
        loss = np.zeros(len(block.b_number))
        for index, name in enumerate(self.shock_names):
            kind, shock = name.split("/")
            loss = np.where(self.shock == index, getattr(world.p.shocks, kind)[shock].loss, loss)
        log_capacity: Floats = (
            p.mean_log
            + p.borrower_spread * block.b_spread
            + self._surprise
            + common(world, block, month)
            - loss
            - p.contagion * group_in_default
        )
        return log_capacity

    def _shocks(self, month: int) -> None:
        """Ends the shocks that are over, begins new ones: at most one at a time."""
        world, block = self._world, self._block
        self._left = np.maximum(0, self._left - 1)
        self.shock = np.where(self._left == 0, NO_SHOCK, self.shock)
        draw = world.dice.uniform("shock", block.b_number, month)
        length = world.dice.uniform("shock/length", block.b_number, month)
        upto = np.zeros(len(block.b_number))
        for index, name in enumerate(self.shock_names):
            kind, shock = name.split("/")
            one = getattr(world.p.shocks, kind)[shock]
            hazard = np.where(
                block.b_kind == KINDS.index(kind), one.hazard * np.exp(-one.cycle * world.cycle[month]), 0.0
            )
            begins = (self._left == 0) & (self.shock == NO_SHOCK) & (draw >= upto) & (draw < upto + hazard)
            upto = upto + hazard
            self.shock = np.where(begins, index, self.shock)
            self._left = np.where(begins, 1 + np.rint(-np.log(length) * one.length).astype(np.int64), self._left)
