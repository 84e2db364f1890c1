"""Project finance: the project company's project, its milestones, budget, uses of funds, forecasts and reserves.

A project's delay follows the hidden state: every month of a shock moves what is left of the milestones by a month.
"""

from typing import Any

import numpy as np
import polars as pl

from arrears.simulation.portfolio.bookings import loan_id
from arrears.simulation.portfolio.capacity import NO_SHOCK
from arrears.simulation.portfolio.dice import Dates, Floats, Ints
from arrears.simulation.portfolio.events import NEVER, History
from arrears.simulation.portfolio.frames import Frames, chained, frame, ids, money, revealed, share, texts
from arrears.simulation.portfolio.lending import CONSTRUCTION_MONTHS, Block
from arrears.simulation.portfolio.world import World

NAMES = {3: "Solar park", 5: "Toll bridge", 9: "Data centre"}
STEPS = ("Permits", "Foundations", "Installation", "Commissioning")
STEP_MONTHS = (4, 10, 18, CONSTRUCTION_MONTHS)
PURPOSES = ("construction", "equipment", "land", "fees", "contingency")
PURPOSE_SHARES = (0.52, 0.28, 0.08, 0.07, 0.05)
ELSEWHERE = "general corporate purposes"
BUDGET_OVER_LOAN = 1.3


def projects(world: World, block: Block, history: History) -> Frames:
    """All tables about projects; empty frames where the block has none."""
    rows = np.flatnonzero(block.is_a("project_finance"))
    delays = _delays(world, block, history, rows)
    return {
        "projects": _projects(world, block, rows, delays),
        "milestones": _milestones(world, block, rows, delays),
        "budget_lines": _budget(world, block, rows),
        "fund_uses": _uses(world, block, rows),
        "cash_flow_forecasts": _forecasts(world, block, history, rows),
        "reserve_accounts": _reserves(world, block, history, rows),
    }


def _delays(world: World, block: Block, history: History, rows: Ints) -> Ints:
    """By project and month: months of delay so far (each month of a shock, and one in five others' slips)."""
    month = np.arange(world.calendar.months)
    shocked = history.shock[block.owner[rows]] != NO_SHOCK
    since = month[None, :] - block.disbursed_month[rows][:, None]
    building = (since >= 0) & (since < CONSTRUCTION_MONTHS + 12)
    slips = world.dice.uniform("slips", block.number[rows][:, None], month[None, :]) < 0.04
    delays: Ints = np.cumsum((shocked | slips) & building, axis=1)
    return delays


def _planned(block: Block, rows: Ints, months: Ints | int) -> Dates:
    on: Dates = block.disbursed[rows] + np.asarray(months) * 30
    return on


def _step_days(world: World, block: Block, rows: Ints, delays: Ints, step: int) -> tuple[Dates, Ints]:
    """When a step is reached (NaT: not within the months simulated), and its delay in months by then."""
    count, months = delays.shape
    planned = block.disbursed_month[rows] + STEP_MONTHS[step]
    month = np.arange(months)
    reached = month[None, :] >= planned[:, None] + delays
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), -1)
    delay = np.where(first >= 0, delays[np.arange(count), first.clip(0)], delays[:, -1])
    on = np.where(first >= 0, _planned(block, rows, STEP_MONTHS[step]) + 30 * delay, NEVER)
    return on, delay


def _projects(world: World, block: Block, rows: Ints, delays: Ints) -> pl.DataFrame:
    number = block.number[rows]
    industry = block.b_industry[block.owner[rows]]
    completed, _ = _step_days(world, block, rows, delays, 3)
    planned = _planned(block, rows, CONSTRUCTION_MONTHS)
    names = [f"{NAMES[kind]} {1 + n}" for kind, n in zip(industry, number, strict=True)]
    base = frame(
        block.disbursed[rows],
        {
            "project_id": ids("P", number),
            "borrower_id": ids("B", block.b_number[block.owner[rows]]),
            "name": pl.Series(names, dtype=pl.String),
            "industry_code": texts(world.p.surroundings.codes, industry),
            "country": texts([one.country for one in world.places], block.place[rows]),
            "currency": texts([one.currency for one in world.places], block.place[rows]),
            "budget_amount": money(_budget_minor(block, rows), block.digits[rows]),
            "started_on": block.disbursed[rows],
            "completion_planned_on": planned,
            "long_stop_on": planned + 270,
            "completed_on": completed,
            "environmental_category": texts(("A", "B", "C"), world.dice.pick("category", [0.2, 0.6, 0.2], number)),
            "is_green": industry == 3,
        },
    )
    return revealed(base, ["project_id"], {"completed_on": ["completed_on"]})


def _budget_minor(block: Block, rows: Ints) -> Ints:
    unit = 10 ** block.digits[rows]
    minor: Ints = np.rint(block.principal[rows] * BUDGET_OVER_LOAN).astype(np.int64) // unit * unit
    return minor


def _milestones(world: World, block: Block, rows: Ints, delays: Ints) -> pl.DataFrame:
    """Four milestones each; until one is achieved its forecast moves with the delay, as known at quarter ends."""
    parts = []
    for step, name in enumerate(STEPS):
        planned = _planned(block, rows, STEP_MONTHS[step])
        achieved, _ = _step_days(world, block, rows, delays, step)

        def version(on: Dates, chosen: Ints, forecast: Dates, done: Dates, step: int = step, name: str = name,
                    planned: Dates = planned) -> pl.DataFrame:  # fmt: skip
            return frame(
                on,
                {
                    "project_id": ids("P", block.number[rows[chosen]]),
                    "milestone_number": np.full(len(chosen), step + 1),
                    "name": name,
                    "planned_on": planned[chosen],
                    "forecast_on": forecast,
                    "achieved_on": done,
                    "weight": share(np.full(len(chosen), 0.25)),
                },
            )

        every = np.arange(len(rows))
        parts.append(version(block.disbursed[rows], every, planned, np.full(len(rows), NEVER)))
        for month in range(2, world.calendar.months, 3):
            on = world.calendar.day(month, 31)
            forecast = planned + 30 * delays[:, month]
            before = planned + 30 * delays[:, max(0, month - 3)]
            told = np.flatnonzero((block.disbursed[rows] < on) & ~(achieved <= on) & (forecast != before))
            parts.append(version(np.full(len(told), on), told, forecast[told], np.full(len(told), NEVER)))
        reached = np.flatnonzero(~np.isnat(achieved))
        parts.append(version(achieved[reached], reached, achieved[reached], achieved[reached]))
    return chained(pl.concat(parts), ["project_id", "milestone_number"])


def _budget(world: World, block: Block, rows: Ints) -> pl.DataFrame:
    """The agreed purposes of the loan; of firms' term loans one purpose."""
    firms = np.flatnonzero(block.is_a("sme_term"))
    loan = np.concatenate([np.repeat(rows, len(PURPOSES)), firms])
    purpose = np.concatenate([np.tile(np.arange(len(PURPOSES)), len(rows)), np.ones(len(firms), dtype=np.int64)])
    part = np.concatenate([np.tile(PURPOSE_SHARES, len(rows)), np.ones(len(firms))])
    is_project = np.arange(len(loan)) < len(rows) * len(PURPOSES)
    minor = np.rint(block.principal[loan] * part).astype(np.int64)
    return frame(
        block.disbursed[loan],
        {
            "loan_id": loan_id(block, loan),
            "project_id": ids("P", block.number[loan]).zip_with(
                pl.Series(is_project), pl.Series([None], dtype=pl.String)
            ),
            "purpose": texts(PURPOSES, purpose),
            "budget_amount": money(minor, block.digits[loan]),
        },
    )


def _uses(world: World, block: Block, rows: Ints) -> pl.DataFrame:
    """Payments out of each drawdown, some weeks after it; in some projects they drift from the purpose."""
    dice, calendar = world.dice, world.calendar
    firms = np.flatnonzero(block.is_a("sme_term"))
    drifts = dice.uniform("drifts", block.number) < 0.18
    parts = []
    for draw in range(8):
        month = block.disbursed_month + 3 * draw
        for piece in range(3):
            chosen = rows if draw or piece else np.concatenate([rows, firms])
            chosen = chosen[month[chosen] < calendar.months]
            number = block.number[chosen]
            code = draw * 10 + piece
            is_project = block.is_a("project_finance")[chosen]
            start = np.where(draw == 0, block.disbursed[chosen], calendar.day(month[chosen], 12))
            on = start + dice.integers("use/day", 3, 50, number, code)
            purpose = np.where(is_project, dice.pick("use", PURPOSE_SHARES, number, code), 1)
            strayed = dice.uniform("use/odd", number, code)
            strays = drifts[chosen] & (strayed < 0.12 + 0.03 * draw)
            minor = np.rint(block.principal[chosen] * np.where(is_project, 1 / 24, 1.0)).astype(np.int64)
            parts.append((chosen, np.full(len(chosen), code), on, purpose, strays, strayed, minor))
    columns: list[Any] = [np.concatenate(each) for each in zip(*parts, strict=True)]
    loan, key, on, purpose, strays, odd, minor = columns
    payee = dice.integers("payee", 1, 60, block.number[loan], key)
    is_project = block.is_a("project_finance")[loan]
    related = strays & (odd < 0.08)
    names = ("Contractor " + pl.Series(payee).cast(pl.String)).zip_with(
        pl.Series(~related), "Sponsor Services " + pl.Series(payee).cast(pl.String)
    )
    return frame(
        on,
        {
            "fund_use_id": ids("U", block.number[loan], (key, 2)),
            "loan_id": loan_id(block, loan),
            "project_id": ids("P", block.number[loan]).zip_with(
                pl.Series(is_project), pl.Series([None], dtype=pl.String)
            ),
            "used_on": on,
            "purpose": texts((*PURPOSES, ELSEWHERE), np.where(strays, len(PURPOSES), purpose)),
            "payee": names,
            "payee_is_related": related,
            "amount": money(minor.clip(1), block.digits[loan]),
            "currency": texts([one.currency for one in world.places], block.place[loan]),
            "is_documented": ~strays | (odd > 0.1),
        },
    )


def _cover(world: World, block: Block, history: History, rows: Ints, month: int) -> Floats:
    """Debt service cover as the project's sponsor sees it: the hidden capacity, a little rosy and noisy."""
    noise = world.dice.normal("forecast", block.number[rows], month)
    cover: Floats = np.exp(history.capacity[block.owner[rows], month] * 0.6 - 0.15 + 0.1 * noise)
    return cover


def _service(block: Block, rows: Ints) -> Ints:
    """About half a year's debt service, in minor units."""
    return np.rint(block.principal[rows] * (0.055 + block.rate[rows] / 2)).astype(np.int64)


def _half_years(world: World, block: Block, rows: Ints) -> list[tuple[int, Dates, Ints]]:
    """Ends of June and December within the calendar: their month, their day, the loans that run by then."""
    found = []
    for month in range(world.calendar.months):
        if int((world.calendar.start + month).astype(np.int64)) % 12 in (5, 11):
            on = world.calendar.day(month, 31)
            found.append((month, on, rows[block.disbursed[rows] < on]))
    return found


def _forecasts(world: World, block: Block, history: History, rows: Ints) -> pl.DataFrame:
    """Made every half-year, for the next three half-years; known three weeks later."""
    parts = []
    for month, on, running in _half_years(world, block, rows):
        cover = _cover(world, block, history, running, month)
        for ahead in (1, 2, 3):
            drift = 1 + 0.04 * ahead
            service = _service(block, running)
            parts.append(
                frame(
                    np.full(len(running), on + 20),
                    {
                        "project_id": ids("P", block.number[running]),
                        "made_on": np.full(len(running), on),
                        "period_ends_on": np.full(len(running), world.calendar.day(month + 6 * ahead, 31)),
                        "currency": texts([one.currency for one in world.places], block.place[running]),
                        "cash_available_amount": money(
                            np.rint(service * cover * drift).astype(np.int64), block.digits[running]
                        ),
                        "debt_service_amount": money(service, block.digits[running]),
                    },
                )
            )
    return pl.concat(parts)


def _reserves(world: World, block: Block, history: History, rows: Ints) -> pl.DataFrame:
    """The reserve for half a year's debt service, and one for maintenance, observed at quarter ends."""
    parts = []
    for month in range(2, world.calendar.months, 3):
        on = world.calendar.day(month, 31)
        running = rows[block.disbursed[rows] < on - 90]
        cover = _cover(world, block, history, running, month)
        for kind, part in (("debt_service", 1.0), ("maintenance", 0.2)):
            required = np.rint(_service(block, running) * part).astype(np.int64)
            held = np.rint(required * np.clip(0.55 + 0.42 * cover, 0.1, 1.25)).astype(np.int64)
            parts.append(
                frame(
                    np.full(len(running), on + 12),
                    {
                        "project_id": ids("P", block.number[running]),
                        "kind": kind,
                        "observed_on": np.full(len(running), on),
                        "currency": texts([one.currency for one in world.places], block.place[running]),
                        "balance_amount": money(held, block.digits[running]),
                        "required_amount": money(required, block.digits[running]),
                    },
                )
            )
    return pl.concat(parts)
