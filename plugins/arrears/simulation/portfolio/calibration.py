"""Headline figures of a simulated portfolio, to be held against published ones (calibration.yml).

They are computed from the contract's tables (schedules, bookings, statements) as an analyst would, not from the hidden
state; only the loss given default comes from the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import yaml
from pydantic import TypeAdapter

from arrears.simulation.portfolio.dice import Bools, Floats, Ints
from arrears.simulation.portfolio.events import (
    GUARANTOR,
    INSURER,
    RECOVERY,
    REPAYMENT,
    REVERSAL,
    SALE,
    WRITE_OFF,
    History,
)
from arrears.simulation.portfolio.frames import Frames
from arrears.simulation.portfolio.lending import Block, schedule
from arrears.simulation.portfolio.parameters import Section
from arrears.simulation.portfolio.simulate import Portfolio, blocks, tables_of, world_of
from arrears.simulation.portfolio.world import World

FILE = Path(__file__).with_name("calibration.yml")


class Target(Section):
    """A published figure: its range and where it stands."""

    figure: str
    low: float
    high: float
    published: str
    source: str


@cache
def targets() -> tuple[Target, ...]:
    """All targets, in the order of the file."""
    return TypeAdapter(tuple[Target, ...]).validate_python(yaml.safe_load(FILE.read_text(encoding="utf-8")))


Made = tuple[Block, History, Frames, Frames]


@dataclass(frozen=True, slots=True)
class Panel:
    """Loans by month end: months behind, balance in euros, product; what the figures are made of."""

    products: tuple[str, ...]
    product: Ints
    behind: Ints  # loan, month
    balance: Floats  # loan, month; 0: not there
    is_live: Bools  # loan, month: granted, neither closed, sold nor written off
    months: int


def panel(world: World, block: Block, history: History) -> Panel:
    """The month ends of a block."""
    plan = schedule(block, world.calendar.months)
    months = world.calendar.last_month + 1
    falls = np.zeros((len(block), months), dtype=np.float64)
    shown = plan.month < months
    np.add.at(falls, (plan.loan[shown], plan.month[shown]), plan.principal[shown])
    owed = np.bincount(plan.loan, plan.principal, len(block))[:, None] - np.cumsum(falls, axis=1)
    revolving = block.is_a("revolving")
    bills = history.events.columns("statements")
    drawn = np.zeros((len(block), months))
    shown = bills["month"] < months
    drawn[bills["loan"][shown], bills["month"][shown]] = bills["balance"][shown]
    owed = np.where(revolving[:, None], drawn, owed)
    ends = world.calendar.day(np.arange(months), 31)
    ended = np.where(history.status == 0, np.datetime64("9999-01-01", "D"), history.status_on)
    is_live = (block.disbursed[:, None] < ends[None, :]) & (ended[:, None] > ends[None, :])
    # What is unpaid of past instalments stays in the balance.
    per_instalment = np.divide(block.principal, np.maximum(1, block.count * np.maximum(1, block.gap)))
    owed = owed + np.maximum(0, history.behind[:, :months] - 1) * np.where(revolving, 0, per_instalment)[:, None]
    euros = owed / (block.per_euro * 10.0**block.digits)[:, None]
    return Panel(
        block.products,
        block.product,
        history.behind[:, :months].astype(np.int64),
        np.where(is_live, euros, 0),
        is_live,
        months,
    )


def figures(world: World, made: list[Made]) -> dict[str, float]:
    """All figures of simulated blocks, by name."""
    panels = [panel(world, block, history) for block, history, _, _ in made]
    found: dict[str, float] = {}
    product = np.concatenate([one.product for one in panels])
    behind = np.concatenate([one.behind for one in panels])
    balance = np.concatenate([one.balance for one in panels])
    is_live = np.concatenate([one.is_live for one in panels])
    names = panels[0].products
    found |= _delinquency(names, product, behind, balance, is_live)
    for name in ("revolving", "mortgage", "consumer", "auto"):
        found |= _rolls(behind, is_live, product == names.index(name), name)
    projects = (product == names.index("project_finance")) & is_live.any(axis=1)
    found["ever 90+ within three years, project_finance"] = float((behind[projects] >= 4).any(axis=1).mean())
    found |= _charge_offs(world, made, names, balance)
    found |= _liquidation(made)
    found |= _losses(made)
    found |= _ratios(made)
    return found


def _delinquency(
    names: tuple[str, ...], product: Ints, behind: Ints, balance: Floats, is_live: Bools
) -> dict[str, float]:
    """Shares of the balance in the last twelve months: two instalments unpaid is 30 to 60 days."""
    found = {}
    last = slice(max(0, behind.shape[1] - 13), behind.shape[1] - 1)
    for index, name in enumerate(names):
        rows = product == index
        weight = balance[rows][:, last]
        late = behind[rows][:, last]
        for figure, least in (("30+", 2), ("90+", 4)):
            found[f"{figure} share of balance, {name}"] = float(
                (weight * (late >= least)).sum() / max(1.0, weight.sum())
            )
    retail = np.isin(product, [names.index(name) for name in ("consumer", "auto", "mortgage", "revolving")])
    weight, late = balance[:, last], behind[:, last]
    found["90+ share of balance, all loans"] = float((weight * (late >= 4)).sum() / weight.sum())
    found["30+ share of balance, retail"] = float((weight * (late >= 2))[retail].sum() / weight[retail].sum())
    return found


def _rolls(behind: Ints, is_live: Bools, rows: Bools, of: str) -> dict[str, float]:
    """Monthly transitions of accounts between 0, 1, 2, 3 instalments behind and more."""
    found = {}
    before, after = behind[rows, :-1], behind[rows, 1:]
    # What is written off or sold next month has not rolled, and counts in neither.
    both = is_live[rows, :-1] & is_live[rows, 1:]
    stage = ("current", "30", "60", "90", "120+")
    for index in range(4):
        at = both & (before == index)
        found[f"roll {stage[index]} to {stage[index + 1]}, {of}"] = float(
            (at & (after == index + 1)).sum() / max(1, at.sum())
        )
        if index:
            found[f"cure {stage[index]} to current, {of}"] = float((at & (after == 0)).sum() / max(1, at.sum()))
    return found


def _charge_offs(world: World, made: list[Made], names: tuple[str, ...], balance: Floats) -> dict[str, float]:
    """Charge-offs of the last two years, net of recoveries, over the average balance, a year."""
    found = {}
    offset = 0
    lost: dict[str, float] = dict.fromkeys(names, 0.0)
    months = world.calendar.last_month + 1
    since = max(0, months - 25)
    by_product = np.zeros(len(names))
    for block, history, _, _ in made:
        booked = history.events.columns("transactions")
        rows = (
            np.isin(booked["kind"], [WRITE_OFF, RECOVERY]) & (booked["month"] >= since) & (booked["month"] < months - 1)
        )
        loan = booked["loan"][rows]
        sign = np.where(booked["kind"][rows] == WRITE_OFF, 1, -1)
        euros = sign * booked["minor"][rows] / (block.per_euro * 10.0**block.digits)[loan]
        for index, name in enumerate(names):
            lost[name] += float(euros[block.product[loan] == index].sum())
        for index in range(len(names)):
            by_product[index] += balance[offset : offset + len(block)][block.product == index][
                :, since : months - 1
            ].sum()
        offset += len(block)
    for index, name in enumerate(names):
        found[f"charge-offs a year over balance, {name}"] = lost[name] * 12 / max(1.0, by_product[index])
    return found


def _liquidation(made: list[Made]) -> dict[str, float]:
    """Firms' term loans: of what is past due when they are so many months behind, the share paid within a year."""
    found = {}
    for least in (3, 6, 12):
        got = asked = 0.0
        for block, history, _, _ in made:
            late = history.behind >= least
            first = np.where(late.any(axis=1), late.argmax(axis=1), 10_000)
            chosen = block.is_a("sme_term") & (first + 12 < late.shape[1])
            booked = history.events.columns("transactions")
            loan = booked["loan"]
            sign = np.select(
                [np.isin(booked["kind"], [REPAYMENT, RECOVERY]), booked["kind"] == REVERSAL], [1.0, -1.0], 0.0
            )
            # Of the debtor: neither the sale of the security nor a guarantor.
            sign = np.where(np.isin(booked["channel"], [SALE, GUARANTOR, INSURER]), 0.0, sign)
            within = chosen[loan] & (booked["month"] > first[loan]) & (booked["month"] <= first[loan] + 12)
            paid = np.bincount(loan[within], (sign * booked["minor"])[within], len(block))
            rate = block.rate / 12
            due = least * block.principal * rate / (1 - (1 + rate) ** -block.count.astype(np.float64))
            euro = 1 / (block.per_euro * 10.0**block.digits)
            got += float((np.minimum(paid, due) * euro)[chosen].sum())
            asked += float((due * euro)[chosen].sum())
        found[f"collected within a year of debt {least} months past due, sme_term"] = got / max(1.0, asked)
    return found


def _losses(made: list[Made]) -> dict[str, float]:
    truth = pl.concat([known["loss_given_default"] for _, _, _, known in made])
    means = truth.group_by("collateral_kind").agg(pl.col("loss_given_default").mean())
    found = {f"LGD, {kind}": float(mean) for kind, mean in means.rows()}
    cards = truth.filter(pl.col("product") == "revolving")["loss_given_default"].mean()
    return found | {"LGD, revolving": float(cards)}  # type: ignore[arg-type]


def _ratios(made: list[Made]) -> dict[str, float]:
    accounts = pl.concat([frames["financial_statements"] for _, _, frames, _ in made]).filter(
        pl.col("borrower_id").str.starts_with("B") & (pl.col("inventory").cast(pl.Float64) > 0)
    )

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64)

    ratios = accounts.select(
        (number("current_assets") / number("current_liabilities")).alias("current ratio"),
        ((number("current_assets") - number("inventory")) / number("current_liabilities")).alias("quick ratio"),
        (number("total_liabilities") / number("total_assets")).alias("liabilities over assets"),
    )
    found = {}
    for name in ratios.columns:
        for part, at in (("lower quartile", 0.25), ("median", 0.5), ("upper quartile", 0.75)):
            found[f"{name}, {part}"] = float(ratios[name].quantile(at))  # type: ignore[arg-type]
    return found


def simulated_figures(portfolio: Portfolio, last: date) -> Mapping[str, float]:
    """The figures of a portfolio."""
    world = world_of(portfolio, last)
    made = []
    for block in blocks(world, portfolio):
        frames, known, history = tables_of(world, block)
        made.append((block, history, frames, known))
    return figures(world, made)
