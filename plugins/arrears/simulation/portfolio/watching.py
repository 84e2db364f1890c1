"""What shows of the hidden state: statements, credit reports, current accounts, covenants, environmental events.

The capacity moves the ratios when it falls; the instalments fail months later. Noise hides some of it, and some
statements and reports look worse than the truth.
"""

import numpy as np
import polars as pl

from arrears.simulation.portfolio.bookings import loan_id
from arrears.simulation.portfolio.capacity import common
from arrears.simulation.portfolio.dice import Dates, Floats, Ints
from arrears.simulation.portfolio.events import NEVER, History
from arrears.simulation.portfolio.frames import Frames, frame, ids, money, ratio, texts
from arrears.simulation.portfolio.lending import PERSON, SPV, Block
from arrears.simulation.portfolio.people import OWN
from arrears.simulation.portfolio.world import World

BUREAUS = ("Northern Credit Bureau", "Register of Debtors")
REPORT_EVERY = 6  # months, by borrower in turn
BEHAVIOUR_IN = 4  # one borrower in so many has a current account with the lender
BEHAVIOUR_EVERY = 3
COVENANTS = (
    ("debt_service_cover", "at_least", 1.10, 6),
    ("leverage", "at_most", 4.0, 6),
    ("current_ratio", "at_least", 1.0, 6),
    ("loan_life_cover", "at_least", 1.15, 12),
)
EVENTS = ("permit_breach", "pollution", "accident", "labour", "community", "sanction", "greenwashing")
CREDIT_EVENTS = (
    "default_elsewhere",
    "bankruptcy",
    "rating_cut",
    "fund_misuse",
    "non_accrual",
    "specific_provision",
    "death",
)


def watching(world: World, block: Block, history: History) -> Frames:
    """All tables that early warning reads."""
    return {
        "financial_statements": _statements(world, block, history),
        "credit_reports": _reports(world, block, history),
        "account_behaviour": _behaviour(world, block, history),
        "covenants": _covenants(world, block),
        "esg_events": _esg(world, block),
    }


def _lead(world: World, block: Block, history: History, rows: Ints, month: int, what: str) -> Floats:
    """The hidden log capacity as an outsider measures it: with noise, and now and then much too low."""
    p, number = world.p.watching, block.b_number[rows]
    seen = history.capacity[rows, month].astype(np.float64) - world.p.capacity.mean_log
    seen = seen + p.statement_noise * world.dice.normal(what, number, month)
    false = world.dice.uniform(what + "/false", number, month) < p.false_signal_share
    measured: Floats = np.where(false, seen - 0.8, seen)
    return measured


def _debt(block: Block) -> tuple[Ints, Floats]:
    """What each borrower of the block borrowed, in minor units of its place, and a year's service of it."""
    total = np.bincount(block.owner, block.principal, len(block.b_number))
    service = np.bincount(
        block.owner, block.principal * (block.rate + np.minimum(1, 12 / (block.count * block.gap))), len(total)
    )
    return total.astype(np.int64), service.astype(np.float64)


def _statements(world: World, block: Block, history: History) -> pl.DataFrame:
    """Half-yearly accounts of firms and project companies; audited ones at year ends come later."""
    dice, p = world.dice, world.p.watching
    firms = np.flatnonzero(block.b_kind != PERSON)
    debt, service = _debt(block)
    parts = []
    for month in range(world.calendar.months):
        calendar_month = int((world.calendar.start + month).astype(np.int64)) % 12
        if calendar_month not in (5, 11):
            continue
        ends = world.calendar.day(month, 31)
        # A firm has accounts from the year before its loan on.
        rows = firms[block.b_since[firms] - 365 < ends]
        number = block.b_number[rows]
        digits = np.array([one.digits for one in world.places])[block.b_place[rows]]
        unit = 10.0**digits
        state = _lead(world, block, history, rows, month, "statement")
        # Balance sheets show the firm's own state, and little of what moves all firms of a year alike.
        own_state = state - (1 - p.common_in_ratios) * common(world, block, month)[rows]
        each = {name: dice.normal(f"statement/{name}", number, month) for name in ("cr", "turn", "margin", "inv")}
        own = {name: dice.normal(f"firm/{name}", number) for name in ("cr", "lev", "turn", "margin", "inv")}
        is_spv = block.b_kind[rows] == SPV
        # Liabilities over assets is normal, the current ratio skewed; both move with the hidden state.
        usual = p.leverage + p.leverage_spread * own["lev"]
        leverage = np.clip(usual - p.leverage_by_state * own_state, 0.05, 1.4)
        total = debt[rows] * 1.7 / np.clip(usual, 0.18, 1.0)
        total = np.where(is_spv, debt[rows] / 0.62, total)
        leverage = np.where(is_spv, np.clip(0.72 - 0.1 * state, 0.4, 1.2), leverage)
        liabilities = total * leverage
        score = 0.80 * own["cr"] + 0.25 * each["cr"] + p.liquidity_by_state * own_state
        current = p.current_ratio * np.exp(p.current_spread * score + p.current_skew * score**2)
        current_liabilities = np.minimum(
            liabilities * np.clip(0.6 + 0.12 * own["turn"], 0.2, 0.9), 0.95 * total / current
        )
        current_assets = current_liabilities * current
        stock = 1 - p.quick_ratio / p.current_ratio - 0.07 * score + 0.05 * own["inv"] + 0.01 * each["inv"]
        inventory = np.where(is_spv, 0, current_assets * np.clip(stock, 0.01, 0.9))
        equity = total - liabilities
        revenue = total * np.clip(1.2 + 0.45 * own["turn"] + 0.08 * each["turn"], 0.1, 4) * np.where(is_spv, 0.2, 1)
        yearly = service[rows]
        cover = np.exp(0.25 + 0.8 * state + 0.1 * each["margin"])
        cash_flow = yearly * cover
        ebitda = cash_flow * 1.12
        depreciation = total * 0.035
        columns = {
            "current_assets": current_assets,
            "inventory": inventory,
            "prepaid_expenses": current_assets * 0.02,
            "cash": current_assets * np.clip(0.14 * np.exp(0.5 * state), 0.01, 0.6),
            "fixed_assets": total - current_assets,
            "total_assets": total,
            "current_liabilities": current_liabilities,
            "financial_debt": np.minimum(liabilities, 0.9 * debt[rows]),
            "total_liabilities": liabilities,
            "retained_earnings": equity * 0.5,
            "equity": equity,
            "market_value": np.maximum(0.05 * total, equity) * np.clip(1.3 + 0.8 * state, 0.2, 4),
            "revenue": revenue,
            "ebit": ebitda - depreciation,
            "ebitda": ebitda,
            "interest_expense": 0.05 * np.minimum(liabilities, 0.9 * debt[rows]),
            "debt_service": yearly,
            "operating_cash_flow": cash_flow,
        }
        low, high = p.publication_days
        published = ends + low + (dice.uniform("published", number, month) * (high - low)).astype(np.int64)
        rounded = {
            name: money((np.rint(value / unit) * unit).astype(np.int64), digits) for name, value in columns.items()
        }
        parts.append(
            frame(
                published,
                {
                    "borrower_id": ids(OWN, number),
                    "period_ends_on": np.full(len(rows), ends),
                    "published_on": published,
                    "months": np.full(len(rows), 12 if calendar_month == 11 else 6),
                    "currency": texts([one.currency for one in world.places], block.b_place[rows]),
                    **rounded,
                    "is_audited": np.full(len(rows), calendar_month == 11),
                },
            )
        )
    every = pl.concat(parts)
    # Nobody's books hold what was published before they knew the borrower; the first look brings it along.
    since = pl.DataFrame(
        {
            "borrower_id": ids(OWN, block.b_number),
            "_since": pl.Series(block.b_since.astype("datetime64[ms]")).cast(pl.Date),
        }
    )
    return (
        every.join(since, on="borrower_id", how="left", maintain_order="left")
        .with_columns(pl.max_horizontal("_from", "_since").alias("_from"))
        .drop("_since")
    )


def _reports(world: World, block: Block, history: History) -> pl.DataFrame:
    """Every borrower in turn, twice a year; what is overdue elsewhere shows before the own instalment is missed."""
    dice = world.dice
    debt, _ = _debt(block)
    parts = []
    for month in range(world.calendar.months):
        day = world.calendar.day(month, 8)
        rows = np.flatnonzero((block.b_number % REPORT_EVERY == month % REPORT_EVERY) & (block.b_since < day))
        number = block.b_number[rows]
        state = _lead(world, block, history, rows, month, "report")
        elsewhere = np.rint(debt[rows] * np.exp(0.6 * dice.normal("elsewhere", number) - 0.8 - 0.3 * state)).astype(
            np.int64
        )
        strain = 1 / (1 + np.exp(4.2 + 3.2 * state))
        draw = dice.uniform("report/default", number, month)
        defaults = (draw < strain).astype(np.int64) + (draw < strain / 4)
        overdue = np.where(
            defaults > 0, np.rint(elsewhere * (0.1 + 0.5 * dice.uniform("report/overdue", number, month))), 0
        )
        place = block.b_place[rows]
        digits = np.array([one.digits for one in world.places])[place]
        parts.append(
            frame(
                np.full(len(rows), day + 1),
                {
                    "borrower_id": ids(OWN, number),
                    "bureau": texts(BUREAUS, (place % 2)),
                    "reported_on": np.full(len(rows), day),
                    "score": np.clip(np.rint(640 + 95 * state + 25 * block.b_spread[rows]), 300, 900).astype(np.int64),
                    "enquiries_6m": np.clip(
                        np.floor(-np.log(dice.uniform("enquiries", number, month)) * (0.8 - 0.6 * state.clip(-2, 1))),
                        0,
                        20,
                    ).astype(np.int64),
                    "defaults_elsewhere": defaults,
                    "debt_elsewhere_amount": money(elsewhere, digits),
                    "overdue_90_elsewhere_amount": money(overdue.astype(np.int64), digits),
                    "currency": texts([one.currency for one in world.places], place),
                },
            )
        )
    return pl.concat(parts)


def _behaviour(world: World, block: Block, history: History) -> pl.DataFrame:
    """One borrower in four, every third month: turnover, returned debits, the peak use of the limit."""
    dice = world.dice
    _, service = _debt(block)
    parts = []
    for month in range(BEHAVIOUR_EVERY, world.calendar.months, BEHAVIOUR_EVERY):
        first = world.calendar.day(month - 1, 1)
        rows = np.flatnonzero((block.b_number // 10 % BEHAVIOUR_IN == 1) & (block.b_since < first))
        number = block.b_number[rows]
        state = _lead(world, block, history, rows, month - 1, "account")
        digits = np.array([one.digits for one in world.places])[block.b_place[rows]]
        turnover = service[rows] / 12 * np.exp(1.3 + 0.8 * state)
        use = np.clip(0.45 * np.exp(-0.6 * state), 0.02, 1.3)
        parts.append(
            frame(
                np.full(len(rows), world.calendar.day(month, 4)),
                {
                    "borrower_id": ids(OWN, number),
                    "month": np.full(len(rows), first),
                    "currency": texts([one.currency for one in world.places], block.b_place[rows]),
                    "turnover_amount": money(np.rint(turnover).astype(np.int64), digits),
                    "returned_debits": np.floor(
                        -np.log(dice.uniform("returned", number, month)) * 0.35 * np.exp(-1.2 * state.clip(-2.5, 2))
                    ).astype(np.int64),
                    "peak_limit_use": ratio(use),
                },
            )
        )
    return pl.concat(parts)


def _covenants(world: World, block: Block) -> pl.DataFrame:
    """All four on project loans, cover and leverage on half of the firms' term loans."""
    is_project, is_sme = block.is_a("project_finance"), block.is_a("sme_term")
    parts = []
    for number, (metric, comparison, threshold, every) in enumerate(COVENANTS):
        has = is_project | (is_sme & (number < 2) & (world.dice.uniform("covenant", block.number) < 0.5))
        rows = np.flatnonzero(has)
        starts = block.disbursed[rows]
        waived = (number == 0) & (world.dice.uniform("covenant/waived", block.number[rows]) < 0.06)
        parts.append(
            frame(
                starts,
                {
                    "covenant_id": ids("CV", block.number[rows], (np.full(len(rows), number), 1)),
                    "loan_id": loan_id(block, rows),
                    "metric": metric,
                    "comparison": comparison,
                    "threshold": ratio(np.full(len(rows), threshold)),
                    "tested_every_months": np.full(len(rows), every),
                    "cure_days": np.full(len(rows), 30),
                    "starts_on": starts,
                    "waived_until": np.where(waived, starts + 540, NEVER),
                },
            )
        )
    return pl.concat(parts)


def _esg(world: World, block: Block) -> pl.DataFrame:
    """Environmental and social events of firms and projects; most are resolved within a year."""
    dice, calendar = world.dice, world.calendar
    firms = np.flatnonzero(block.b_kind != PERSON)
    parts = []
    for month in range(calendar.months):
        day = calendar.day(month, 17)
        hazard = np.where(block.b_kind[firms] == SPV, 0.02, 0.002)
        rows = firms[(dice.uniform("esg", block.b_number[firms], month) < hazard) & (block.b_since[firms] < day)]
        parts.append((rows, np.full(len(rows), month)))
    rows, at = (np.concatenate(each) for each in zip(*parts, strict=True))
    number = block.b_number[rows]
    on = calendar.day(at, 17)
    kind = dice.integers("esg/kind", 0, len(EVENTS), number, at)
    severity = 1 + dice.pick("esg/severity", [0.4, 0.3, 0.2, 0.07, 0.03], number, at)
    resolved = on + dice.integers("esg/resolved", 60, 700, number, at)

    def version(begins: Dates, is_resolved: bool) -> pl.DataFrame:
        is_project = block.b_kind[rows] == SPV
        return frame(
            begins,
            {
                "esg_event_id": ids("E", number, (at, 3)),
                "borrower_id": ids(OWN, number),
                "project_id": ids("P", number).zip_with(pl.Series(is_project), pl.Series([None], dtype=pl.String)),
                "occurred_on": on,
                "kind": texts(EVENTS, kind),
                "severity": severity,
                "is_resolved": np.full(len(rows), is_resolved),
            },
        )

    from arrears.simulation.portfolio.frames import chained

    return chained(pl.concat([version(on + 3, False), version(resolved, True)]), ["esg_event_id"])
