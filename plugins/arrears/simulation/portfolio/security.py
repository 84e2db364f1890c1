"""What stands behind loans: charged assets with their valuations, guarantees, credit insurance, documents."""

import numpy as np
import polars as pl

from arrears.simulation.portfolio.bookings import loan_id
from arrears.simulation.portfolio.covers import covers, security_value
from arrears.simulation.portfolio.dice import Bools, Dates, Ints
from arrears.simulation.portfolio.events import NEVER, History
from arrears.simulation.portfolio.frames import Frames, chained, frame, ids, money, revealed, share, texts
from arrears.simulation.portfolio.lending import Block
from arrears.simulation.portfolio.people import PARTY, party_rows
from arrears.simulation.portfolio.world import World

KINDS = ("real_estate", "vehicle", "equipment", "receivables", "project_assets", "inventory", "shares", "cash")
PROPERTIES = {"real_estate": "single_family", "vehicle": "passenger_car", "equipment": "machinery"}
INSURERS = ("Harbour Credit Insurance", "Polar Export Cover")
NEXT_LOAN = -1


def security(world: World, block: Block, history: History) -> Frames:
    """All tables of security."""
    return {
        **_collateral(world, block, history),
        **_guarantees(world, block, history),
        **_policies(world, block, history),
        "documents": _documents(world, block, history),
    }


def _first_of(loan: Ints, value: Ints | Dates, count: int, empty: object) -> object:
    """By loan the first value, in the order given."""
    found = np.full(count, empty, dtype=np.asarray(value).dtype)
    found[loan[::-1]] = value[::-1]
    return found


def _collateral(world: World, block: Block, history: History) -> Frames:
    """One asset a secured loan; a tenth of the mortgages has a prior lien; enforcement goes through its stages."""
    dice, count = world.dice, len(block)
    kinds = [one.collateral for one in world.p.products.values()]
    kind = np.array([KINDS.index(one) if one else -1 for one in kinds])[block.product]
    has = (kind >= 0) & ~(block.is_a("sme_term") & (dice.uniform("unsecured", block.number) < 0.25))
    # Some firms pledge stock, shares or cash instead of machines.
    other = dice.pick("pledge", [0.7, 0.14, 0.08, 0.08], block.number)
    kind = np.where(block.is_a("sme_term") & (other > 0), other + 4, kind)
    rows = np.flatnonzero(has)
    place = block.place[rows]
    sales = history.events.columns("sales")
    start = np.full(count, -1, dtype=np.int64)
    until = np.full(count, -1, dtype=np.int64)
    start[sales["loan"]], until[sales["loan"]] = sales["month"], sales["until"]
    closings = history.events.columns("closings")
    closed = np.full(count, NEVER)
    closed[closings["loan"]] = closings["on"]

    def stage(on: Dates, chosen: Ints, status: str, released: Dates) -> pl.DataFrame:
        of = rows[chosen]
        number = block.number[of]
        return frame(
            on,
            {
                "collateral_id": ids("A", number),
                "kind": texts(KINDS, kind[of]),
                "property_type": texts([PROPERTIES.get(one) for one in KINDS], kind[of]),
                "country": texts([one.country for one in world.places], place[chosen]),
                "street": "Example Street " + pl.Series(1 + number % 180).cast(pl.String),
                "city": texts([one.cities[0] for one in world.places], place[chosen]),
                "postcode": pl.Series(10_000 + 37 * number % 89_999).cast(pl.String),
                "currency": texts([one.currency for one in world.places], place[chosen]),
                "enforcement_status": status,
                "released_on": released,
            },
        )

    every = np.arange(len(rows))
    parts = [stage(block.disbursed[rows], every, "none", np.full(len(rows), NEVER))]
    began = np.flatnonzero(start[rows] >= 0)
    for months, status in ((0, "started"), (2, "sale_ordered")):
        on = world.calendar.day(start[rows[began]] + months, 28)
        parts.append(stage(on, began, status, np.full(len(began), NEVER)))
    parts.append(stage(world.calendar.day(until[rows[began]], 22), began, "sold", np.full(len(began), NEVER)))
    freed = np.flatnonzero(~np.isnat(closed[rows]) & (start[rows] < 0))
    on = closed[rows[freed]] + 10
    parts.append(stage(on, freed, "released", on))
    prior = block.is_a("mortgage")[rows] & (dice.uniform("prior lien", block.number[rows]) < 0.1)
    value = security_value(world, block)[rows]
    digits = block.digits[rows]
    unit = 10**digits
    links = frame(
        block.disbursed[rows],
        {
            "collateral_id": ids("A", block.number[rows]),
            "loan_id": loan_id(block, rows),
            "lien_rank": np.where(prior, 2, 1),
            "prior_liens_amount": money(np.where(prior, value * 3 // 10 // unit * unit, 0), digits),
            "max_amount": money(block.principal[rows] * 12 // 10 // unit * unit, digits, block.is_a("mortgage")[rows]),
        },
    )
    return {
        "collateral": chained(pl.concat(parts), ["collateral_id"]),
        "collateral_loans": links,
        "valuations": _valuations(world, block, rows, kind, value),
    }


def _valuations(world: World, block: Block, rows: Ints, kind: Ints, value: Ints) -> pl.DataFrame:
    """External at the start, then by index or within the house once a year; cars and machines lose value."""
    dice, calendar = world.dice, world.calendar
    digits = block.digits[rows]
    unit = 10**digits
    number = block.number[rows]
    parts = []
    for year in range(calendar.months // 12 + 1):
        on = block.disbursed[rows] - 7 if year == 0 else block.disbursed[rows] + 365 * year
        drift = np.where(kind[rows] == 0, 1.02**year, np.where(kind[rows] == 4, 1.0, 0.84**year))
        noise = np.exp(0.05 * dice.normal("valuation", number, year))
        amount = np.maximum(1, np.rint(value * drift * noise).astype(np.int64) // unit) * unit
        how = 0 if year == 0 else 1
        known = np.maximum(on, block.disbursed[rows])
        chosen = np.flatnonzero(known <= calendar.last)
        parts.append(
            frame(
                known[chosen],
                {
                    "collateral_id": ids("A", number[chosen]),
                    "valued_on": on[chosen],
                    "kind": texts(("external", "index", "internal"), np.where(kind[rows[chosen]] == 0, how, how * 2)),
                    "method": "market comparison" if year == 0 else "index or depreciation table",
                    "amount": money(amount[chosen], digits[chosen]),
                },
            )
        )
    return pl.concat(parts)


def _guarantees(world: World, block: Block, history: History) -> Frames:
    dice, count = world.dice, len(block)
    has, _ = covers(world, block)
    rows = np.flatnonzero(has)
    number, digits = block.number[rows], block.digits[rows]
    is_project = block.is_a("project_finance")[rows]
    party, _ = party_rows(world, block)
    has_party = np.isin(rows, party)
    fund = ~is_project & (dice.uniform("fund", number) < 0.3)
    kind = np.where(is_project, 2, np.where(fund, 3, 0))
    events = history.events.columns("guarantors")
    settled = _first_of(events["loan"], events["on"], count, NEVER)[rows]  # type: ignore[index]
    paid = _first_of(events["loan"], events["minor"], count, 0)[rows]  # type: ignore[index]
    starts = block.disbursed[rows]
    by_party = has_party & ~fund
    rows_frame = frame(
        starts,
        {
            "guarantee_id": ids("GU", number),
            "guarantor_id": ids(PARTY, number).zip_with(pl.Series(by_party), pl.Series([None], dtype=pl.String)),
            "guarantor_name": texts(
                ("Private guarantor", "Company guarantor", "Sponsor", "State Guarantee Fund"), kind
            ),
            "guarantor_kind": texts(("person", "company", "sponsor", "guarantee_fund"), kind),
            "liability": texts(("joint", "ordinary"), (number % 3 == 0).astype(np.int64)),
            "cover_share": share(np.full(len(rows), 0.6)),
            "limit_amount": money(block.principal[rows] * 6 // 10, digits),
            "currency": texts([one.currency for one in world.places], block.place[rows]),
            "starts_on": starts,
            "ends_on": np.where(dice.uniform("guarantee/ends", number) < 0.2, starts + 1825, NEVER),
            "clock_starts": texts(("oldest_unpaid_due", "called", "first_missed_due"), number % 3),
            "demand_after_days": np.where(fund, 90, 30),
            "demand_within_days": np.full(len(rows), 180),
            "claimed_on": settled - 25,
            "settled_on": settled,
            "settled_amount": money(np.asarray(paid), digits, ~np.isnat(settled)),
        },
    )
    return {
        "guarantees": revealed(
            rows_frame, ["guarantee_id"], {"claimed_on": ["claimed_on"], "settled_on": ["settled_on", "settled_amount"]}
        ),
        "guarantee_loans": frame(
            starts,
            {
                "guarantee_id": ids("GU", number),
                "loan_id": loan_id(block, rows),
                "max_amount": money(block.principal[rows] * 6 // 10, digits),
            },
        ),
    }


def _policies(world: World, block: Block, history: History) -> Frames:
    count = len(block)
    _, has = covers(world, block)
    rows = np.flatnonzero(has)
    number, digits = block.number[rows], block.digits[rows]
    events = history.events.columns("insurers")
    settled = _first_of(events["loan"], events["on"], count, NEVER)[rows]  # type: ignore[index]
    paid = _first_of(events["loan"], events["minor"], count, 0)[rows]  # type: ignore[index]
    starts = block.disbursed[rows]
    unit = 10**digits
    policies = frame(
        starts,
        {
            "policy_id": ids("PO", number),
            "insurer_name": texts(INSURERS, number % 2),
            "cover_share": share(np.full(len(rows), 0.85)),
            "limit_amount": money(block.principal[rows], digits),
            "deductible_amount": money(block.principal[rows] // 100 // unit * unit, digits),
            "currency": texts([one.currency for one in world.places], block.place[rows]),
            "starts_on": starts,
            "ends_on": starts + 365 * np.where(block.is_a("project_finance")[rows], 12, 5),
            "clock_starts": texts(("oldest_unpaid_due", "insolvency", "long_stop"), number % 3),
            "notify_within_days": np.full(len(rows), 30),
            "waiting_days": np.full(len(rows), 150),
            "claim_within_days": np.full(len(rows), 365),
            "notified_on": settled - 70,
            "claimed_on": settled - 40,
            "settled_on": settled,
            "settled_amount": money(np.asarray(paid), digits, ~np.isnat(settled)),
        },
    )
    return {
        "insurance_policies": revealed(
            policies,
            ["policy_id"],
            {
                "notified_on": ["notified_on"],
                "claimed_on": ["claimed_on"],
                "settled_on": ["settled_on", "settled_amount"],
            },
        ),
        "policy_loans": frame(
            starts,
            {
                "policy_id": ids("PO", number),
                "loan_id": loan_id(block, rows),
                "max_amount": money(block.principal[rows], digits),
            },
        ),
    }


def _documents(world: World, block: Block, history: History) -> pl.DataFrame:
    """The contract (a few are missing), deeds, policies, and the letters that went out when instalments failed."""
    dice = world.dice
    every = np.arange(len(block))
    has_guarantee, has_policy = covers(world, block)
    parts = []

    def held(kind: str, code: str, has: Bools) -> None:
        rows = np.flatnonzero(has)
        on = block.disbursed[rows]
        parts.append(
            frame(
                on,
                {
                    "document_id": ids(f"D{code}", block.number[rows]),
                    "loan_id": loan_id(block, rows),
                    "kind": kind,
                    "received_on": on,
                },
            )
        )

    drawn = dice.uniform("document", block.number)
    held("contract", "C", drawn > 0.005)
    held("title_deed", "T", block.is_a("mortgage") & (drawn > 0.02))
    held("guarantee_deed", "G", has_guarantee & (drawn > 0.03))
    held("policy", "P", has_policy & (drawn > 0.03))
    letters = history.events.columns("contacts")
    sent = np.flatnonzero((letters["channel"] == 3) & (letters["attempt"] == 0))
    loan, on = letters["loan"][sent], letters["on"][sent]
    behind = history.behind[loan, np.maximum(0, letters["month"][sent] - 1)]
    number = block.number[loan]
    delivered = on + dice.integers("delivered", 2, 9, number, letters["month"][sent])
    letter = frame(
        on,
        {
            "document_id": ids("DL", number, (letters["month"][sent], 3)),
            "loan_id": loan_id(block, loan),
            "kind": texts(("arrears_notice", "demand_letter", "default_notice"), np.clip(behind - 1, 0, 2)),
            "addressee_id": ids("B", block.b_number[block.owner[loan]]),
            "sent_on": on,
            "delivered_on": delivered,
            "deadline_on": on + 14,
            "delivery_proof": "postal receipt",
        },
    )
    parts.append(revealed(letter, ["document_id"], {"delivered_on": ["delivered_on", "delivery_proof"]}))
    del every
    return pl.concat(parts, how="diagonal")
