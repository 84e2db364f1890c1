"""What stands behind a loan, as drawn when it was lent: guarantee, insurance, the value of its security."""

import numpy as np

from arrears.simulation.portfolio.dice import Bools, Ints
from arrears.simulation.portfolio.lending import Block
from arrears.simulation.portfolio.world import World


def covers(world: World, block: Block) -> tuple[Bools, Bools]:
    """Loans with a guarantee, and loans with a credit insurance policy."""
    draw = world.dice.uniform("cover", block.number)
    is_project, is_sme, is_trade = (block.is_a(name) for name in ("project_finance", "sme_term", "trade_finance"))
    guarantee = (is_project & (draw < 0.8)) | (is_sme & (draw < 0.45))
    policy = (is_trade & (draw < 0.5)) | (is_project & (draw > 0.5)) | (is_sme & (draw > 0.85))
    return guarantee, policy


def security_value(world: World, block: Block) -> Ints:
    """Value of what secures each loan, when it was lent; 0 where nothing does."""
    value = np.zeros(len(block))
    for index, product in enumerate(world.p.products.values()):
        if product.collateral is not None:
            one = getattr(world.p.recovery, product.collateral)
            drawn = one.value * np.exp(one.value_spread * world.dice.normal("security", block.number))
            value = np.where(block.product == index, drawn, value)
    return np.rint(block.principal * value).astype(np.int64)


def sale_value(world: World, block: Block) -> Ints:
    """What a forced sale of it brings, after haircut."""
    left = np.zeros(len(block))
    for index, product in enumerate(world.p.products.values()):
        if product.collateral is not None:
            one = getattr(world.p.recovery, product.collateral)
            haircut = one.haircut + one.haircut_spread * world.dice.normal("haircut", block.number)
            left = np.where(block.product == index, 1 - np.clip(haircut, 0.02, 0.95), left)
    return np.rint(security_value(world, block) * left).astype(np.int64)
