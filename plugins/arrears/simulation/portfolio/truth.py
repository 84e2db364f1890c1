"""What no drop may tell: hidden states, hazards, responses to each way of collecting, losses given default."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from arrears.simulation.portfolio.capacity import NO_SHOCK
from arrears.simulation.portfolio.covers import covers, sale_value
from arrears.simulation.portfolio.dice import Bools, Floats, Ints
from arrears.simulation.portfolio.events import ACTIVE, CONTACT_CHANNELS, WRITTEN_OFF, History
from arrears.simulation.portfolio.frames import Frames, days, ids, texts
from arrears.simulation.portfolio.hazards import FAR_BEHIND, lean_of, odds, pays_far_behind, season
from arrears.simulation.portfolio.hazards import answers as answers_of
from arrears.simulation.portfolio.lending import KINDS, PERSON, Block, Schedule
from arrears.simulation.portfolio.recipients import AGENCIES, AGENCY_NUMBERS, LAW_NUMBERS, SEGMENTS, licensed, skills
from arrears.simulation.portfolio.world import World

DISCOUNT_RATE = 0.05  # a year, of recoveries in the loss given default


@dataclass(frozen=True, slots=True)
class _Logits:
    """By loan and month: log odds of paying nothing when nothing is late, one month late, two or more months late."""

    miss: Floats
    first: Floats
    second: Floats


def _logits(world: World, block: Block, history: History) -> _Logits:
    p, lean = world.p.capacity, lean_of(world, block)
    over = history.capacity[block.owner].astype(np.float64) - p.mean_log
    seasons = np.array([season(world, month) for month in range(world.calendar.months)])
    roll = -p.roll_logit_per_log * over
    return _Logits(
        lean.miss[:, None] - p.logit_per_log * over + seasons, roll + lean.roll[:, [0]], roll + lean.roll[:, [1]]
    )


def truth(world: World, block: Block, plan: Schedule, history: History) -> Frames:
    """The truth of a block."""
    logits = _logits(world, block, history)
    return {
        "borrower_months": _borrower_months(world, block, history, logits),
        "account_channel_response": _responses(world, block, history, logits),
        "loss_given_default": _losses(world, block, plan, history),
    }


def _borrower_months(world: World, block: Block, history: History, logits: _Logits) -> pl.DataFrame:
    """Every borrower and month from its first loan on.

    `default_hazard` is the chance that, without any treatment and with the state as it is, the worst of its loans is
    three months behind after as many more months as that takes: miss, then roll, then roll. Loans that are there
    already have none; `is_in_default` says that the borrower has one.
    """
    months = world.calendar.last_month + 1
    before = np.concatenate(
        [np.zeros((len(block), 1), dtype=history.behind.dtype), history.behind[:, : months - 1]], axis=1
    )
    miss, first, second = (odds(each[:, :months]) for each in (logits.miss, logits.first, logits.second))
    hazard = np.select([before == 0, before == 1, before == 2], [miss * first * second, first * second, second], 0.0)
    month = np.arange(months)
    runs = block.disbursed_month[:, None] < month[None, :]
    worst = np.zeros((len(block.b_number), months))
    in_default = np.zeros((len(block.b_number), months), dtype=bool)
    np.logical_or.at(in_default, block.owner, (before >= 3) & runs)
    misses = np.zeros_like(worst)
    np.maximum.at(worst, block.owner, np.where(runs, hazard, 0.0))
    np.maximum.at(misses, block.owner, np.where(runs, miss, 0.0))
    borrower, at = np.nonzero(world.calendar.month_of(block.b_since)[:, None] <= month[None, :])
    names = [
        name.split("/")[1] for kind in KINDS for name in (f"{kind}/{one}" for one in getattr(world.p.shocks, kind))
    ]
    shock = history.shock[borrower, at].astype(np.int64)
    return pl.DataFrame(
        {
            "borrower_id": ids("B", block.b_number[borrower]),
            "month": days(world.calendar.day(at, 1)),
            "capacity_ratio": pl.Series(np.exp(history.capacity[borrower, at]).astype(np.float32)),
            "shock": texts(names, shock.clip(0), shock != NO_SHOCK),
            "is_forgetful": block.b_forgetful[borrower],
            "is_strategic": block.b_strategic[borrower],
            "miss_probability": pl.Series(misses[borrower, at].astype(np.float32)),
            "default_hazard": pl.Series(worst[borrower, at].astype(np.float32)),
            "is_in_default": in_default[borrower, at],
        }
    )


def _responses(world: World, block: Block, history: History, logits: _Logits) -> pl.DataFrame:
    """Every account open on the last day and each way: the chance that it pays something within a month."""
    p = world.p.collecting
    last = world.calendar.last_month
    still = np.isin(history.status, [ACTIVE, WRITTEN_OFF]) | (history.status_on > world.calendar.last)
    rows = np.flatnonzero(still & (block.disbursed <= world.calendar.last))
    behind = history.behind[rows, last]
    logit = np.select(
        [behind == 0, behind == 1], [logits.miss[rows, last], logits.first[rows, last]], logits.second[rows, last]
    )
    answers = answers_of(world, block)[block.owner[rows]]
    base = odds(-logit)
    far = behind >= FAR_BEHIND
    over = history.capacity[block.owner[rows], last] - world.p.capacity.mean_log
    slow = pays_far_behind(world, over, np.zeros(len(rows)), behind)
    segment = SEGMENTS[block.product[rows]]
    parts = []

    def way(name: str, relief: Floats, reach: Floats | float, may: Bools) -> None:
        reached = np.where(far, pays_far_behind(world, over, relief, behind), odds(-(logit - relief)))
        untouched = np.where(far, slow, base)
        parts.append(
            pl.DataFrame(
                {
                    "loan_id": ids("L", block.number[rows[may]]),
                    "way": pl.Series([name]).new_from_index(0, int(may.sum())),
                    "months_behind": pl.Series(behind[may].astype(np.int64)),
                    "response_probability": pl.Series(
                        (reach * reached + (1 - reach) * untouched)[may].astype(np.float32)
                    ),
                }
            )
        )

    everybody = np.ones(len(rows), dtype=bool)
    way("none", np.zeros(len(rows)), 0.0, everybody)
    for name in CONTACT_CHANNELS:
        way(name, np.full(len(rows), p.effect[name]), np.clip(p.reach[name] * answers, 0, 1), everybody)
    for agency in (*AGENCY_NUMBERS, *LAW_NUMBERS):
        effect = p.agency_effect if agency in AGENCY_NUMBERS else p.suit_effect
        may = licensed(world, np.full(len(rows), agency), block.place[rows])
        way(AGENCIES[agency][0], effect * skills(world)[agency, segment], 1.0, may)
    return pl.concat(parts)


def _losses(world: World, block: Block, plan: Schedule, history: History) -> pl.DataFrame:
    """Every loan: what would be lost of its balance if it defaulted on the last day (or did, when it is written off).

    Expected, by the parameters that the simulation itself uses: the sale of the security if it can be enforced, the
    guarantor, instalments after default, recoveries after write-off.
    """
    owed = np.bincount(plan.loan, plan.principal, len(block))
    past = plan.month <= world.calendar.last_month
    fallen = np.bincount(plan.loan[past], plan.principal[past], len(block))
    exposure = np.where(block.is_a("revolving"), block.principal * 0.6, np.maximum(0.1 * owed, owed - fallen))
    value = sale_value(world, block)
    names = list(world.p.products)
    kinds = [world.p.products[name].collateral for name in names]
    months = np.array([getattr(world.p.recovery, kind).months if kind else 0 for kind in kinds])[block.product]
    enforceable = np.array([getattr(world.p.recovery, kind).enforceable if kind else 0.0 for kind in kinds])[
        block.product
    ]
    # As in the simulation, whether the security can be enforced is settled for each loan.
    can = world.dice.uniform("enforceable", block.number) < enforceable
    started = 1 - (1 - world.p.collecting.sale_of_collateral_share) ** 24
    secured = np.where(can, started * np.clip(value / np.maximum(1, exposure), 0, 1), 0) / (1 + DISCOUNT_RATE) ** (
        months / 12
    )
    p = world.p.paying
    age = np.arange(1, 60)
    after = float((p.recovery_share * np.exp(-p.recovery_decay * age) * p.recovery_size * np.exp(0.32)).sum())
    over = history.capacity[block.owner, world.calendar.last_month] - world.p.capacity.mean_log
    instalments = (
        10
        * np.clip(p.default_payment_share * np.exp(world.p.collecting.far_behind.state_effect * over), 0, 0.5)
        * p.default_payment_size
        / np.maximum(12, block.count)
    )
    has_guarantee, has_policy = covers(world, block)
    cover = np.where(has_guarantee, 0.18, 0) + np.where(has_policy & ~has_guarantee, 0.25, 0)
    loss = np.clip((1 - secured) * (1 - np.clip(after + instalments + cover, 0, 0.9)), 0.01, 1.0)
    collateral: Ints = np.array([0 if kind is None else 1 for kind in kinds])[block.product]
    return pl.DataFrame(
        {
            "loan_id": ids("L", block.number),
            "product": texts(names, block.product),
            "collateral_kind": texts([kind or "none" for kind in kinds], block.product),
            "is_person": block.b_kind[block.owner] == PERSON,
            "is_secured": collateral.astype(bool),
            "loss_given_default": pl.Series(loss.astype(np.float32)),
        }
    )
