"""Who collects: internal teams, agencies and law firms, their licences, contracts and prices, and how good each is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from arrears.simulation.portfolio.dice import Bools, Floats, Ints, Texts
from arrears.simulation.portfolio.frames import Frames, frame, money, share
from arrears.simulation.portfolio.world import World

EVERYWHERE = ("DE", "FR", "CZ", "GB", "US", "US-CA", "US-NY", "US-TX", "JP", "KW", "IN", "CN")
AGENCIES = (
    ("team-early", "Early Collections Team", "internal", EVERYWHERE),
    ("team-corporate", "Corporate Workout Team", "internal", EVERYWHERE),
    ("agency-aster", "Aster Receivables", "agency", ("DE", "FR", "CZ", "GB")),
    ("agency-birch", "Birch & Partners", "agency", ("US-CA", "US-NY", "US-TX", "JP", "DE", "GB")),
    ("agency-dahlia", "Dahlia Recoveries", "agency", ("IN", "CN", "KW", "JP", "FR", "US-TX")),
    ("law-cedar", "Cedar Law", "law_firm", ("DE", "FR", "CZ", "US-NY", "GB")),
    ("law-elm", "Elm Advocates", "law_firm", ("US-CA", "US-TX", "JP", "IN", "KW", "CN")),
)
AGENCY_NUMBERS = (2, 3, 4)
LAW_NUMBERS = (5, 6)
HARSH = 3  # the agency that presses hardest
SEGMENTS = np.array([0, 0, 1, 1, 2, 2, 2])  # of the products, in the order of parameters.yml
OPENED_BEFORE_DAYS = 400


def skills(world: World) -> Floats:
    """By agency and segment: how much of the common effect it has; internal teams have none of their own."""
    known = world.p.collecting.agency_skill
    return np.array([known.get(one[0], (0.0, 0.0, 0.0)) for one in AGENCIES])


def agency_skill(world: World, agency: Ints, product: Ints) -> Floats:
    """By account: how much of the common effect its agency has on its product; 0 where nobody holds it."""
    return np.where(agency >= 0, skills(world)[np.clip(agency, 0, len(AGENCIES) - 1), SEGMENTS[product]], 0.0)


def commissions(world: World) -> Floats:
    """By agency: the share of what it brings in that its contract for late debt, or for suits, promises it."""
    shares = {row[0]: row[8] for row in world.p.contracts.rows}
    late = world.p.contracts.late
    return np.array([shares[late[one[0]]] if one[0] in late else 0.0 for one in AGENCIES])


def jurisdictions(world: World, agency: int) -> Bools:
    """By place: whether the agency is licensed for the borrowers there."""
    places = AGENCIES[agency][3]
    return np.array([(place.region or place.country) in places for place in world.places])


def licensed(world: World, agency: Ints, place: Ints) -> Bools:
    """Whether each agency may work each account."""
    table = np.array([jurisdictions(world, number) for number in range(len(AGENCIES))])
    may: Bools = table[agency, place]
    return may


def tables(world: World, loan_count: int) -> Frames:
    """Agencies, licences, contracts and their prices."""
    opened = world.calendar.start.astype("datetime64[D]") - OPENED_BEFORE_DAYS
    known = np.full(len(AGENCIES), opened)
    licences = [(one[0], where) for one in AGENCIES for where in one[3]]
    return {
        "agencies": frame(
            known,
            {
                "agency_id": _column(AGENCIES, 0),
                "name": _column(AGENCIES, 1),
                "kind": _column(AGENCIES, 2),
                "opened_on": known,
            },
        ),
        "agency_licences": frame(
            np.full(len(licences), opened),
            {
                "agency_id": _column(licences, 0),
                "jurisdiction": _column(licences, 1),
                "starts_on": np.full(len(licences), opened),
            },
        ),
        **_contracts(world, opened, loan_count),
    }


def _column(rows: Sequence[Sequence[Any]], index: int) -> Texts:
    return np.array([row[index] for row in rows], dtype=object)


def currencies_of(world: World, agency: int) -> list[str]:
    """The currencies of the places that it works in."""
    may = jurisdictions(world, agency)
    return list(dict.fromkeys(place.currency for place, ok in zip(world.places, may, strict=True) if ok))


def _contracts(world: World, opened: np.datetime64, loan_count: int) -> Frames:
    numbers = {one[0]: number for number, one in enumerate(AGENCIES)}
    rows = [
        (one[0], numbers[one[1]], one[2], (one[3], one[4]), *one[5:], currency)
        for one in world.p.contracts.rows
        for currency in currencies_of(world, numbers[one[1]])
    ]
    units = {place.currency: (place.units_per_euro, place.digits) for place in world.places}
    digits = np.array([units[row[-1]][1] for row in rows])
    per_euro = np.array([units[row[-1]][0] for row in rows])
    starts = np.full(len(rows), opened)
    contract_id = np.array([f"{row[0]}-{row[-1]}" for row in rows], dtype=object)
    fee = np.rint(np.array([row[8] for row in rows]) * per_euro).astype(np.int64) * 10**digits
    commission = np.array([row[7] for row in rows])
    contracts = frame(
        starts,
        {
            "contract_id": contract_id,
            "agency_id": np.array([AGENCIES[row[1]][0] for row in rows], dtype=object),
            "starts_on": starts,
            "product": _column(rows, 2),
            "dpd_from": np.array([row[3][0] for row in rows]),
            "dpd_to": np.array([row[3][1] for row in rows], dtype=object),
            "balance_from": money(
                np.rint(np.array([row[4] for row in rows]) * per_euro).astype(np.int64) * 10**digits, digits
            ),
            "currency": _column(rows, -1),
            "capacity": np.array([int(loan_count * row[5]) + 100 for row in rows]),
            "daily_intake": np.array([row[6] for row in rows], dtype=object),
            "commission_share": share(commission),
            "fixed_cost_amount": money(fee, digits),
            "minimum_share": share(
                np.array([row[9] or 0.0 for row in rows]), np.array([row[9] is not None for row in rows])
            ),
            "recall_after_days": np.array([row[10] for row in rows]),
        },
    )
    # Dearer where the debt is old; agencies and law firms only.
    priced = np.flatnonzero(np.array([row[1] for row in rows]) >= AGENCY_NUMBERS[0])
    dearer = {0: 0.0} | world.p.contracts.dearer
    since = list(dearer)
    upto = [following - 1 for following in since[1:]] + [-1]
    age, age_to = np.tile(since, len(priced)), np.tile(upto, len(priced))
    more = np.tile(list(dearer.values()), len(priced))
    of = np.repeat(priced, len(dearer))
    terms = frame(
        starts[of],
        {
            "contract_id": contract_id[of],
            "starts_on": starts[of],
            "age_from_days": age,
            "age_to_days": age_to.astype(object),
            "commission_share": share(commission[of] + more),
            "fixed_cost_amount": money(fee[of], digits[of]),
            "direct_payment_days": np.full(len(of), 5),
            "vat_share": share(np.full(len(of), world.p.contracts.vat)),
        },
    )
    terms = terms.with_columns(pl.col("age_to_days").cast(pl.Int64).replace(-1, None))
    return {"agency_contracts": contracts, "agency_contract_terms": terms}
