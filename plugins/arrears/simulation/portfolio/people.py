"""Borrowers, further parties and how to reach them."""

import numpy as np
import polars as pl

from arrears.simulation.portfolio.bookings import loan_id
from arrears.simulation.portfolio.covers import covers
from arrears.simulation.portfolio.dice import Dates, Ints
from arrears.simulation.portfolio.events import NEVER
from arrears.simulation.portfolio.frames import Frames, frame, ids, money, texts, where
from arrears.simulation.portfolio.lending import COMPANY, KINDS, PERSON, SPV, Block
from arrears.simulation.portfolio.world import World

GIVEN_NAMES = (
    "Anna", "Björn", "Chloé", "Daniel", "Eliška", "Farid", "Grace", "Hiroshi", "Inés", "Jan", "Keiko", "Łukasz",
    "Maryam", "Niamh", "Oluwaseun", "Priya",
)  # fmt: skip
SURNAMES = (
    "Novák", "Schäfer", "O'Brien", "Dubois", "Tanaka", "Weiß", "Svobodová", "Nguyen", "García", "van den Berg",
    "Al-Sabah", "Sharma", "Wang", "Smith-Jones",
)  # fmt: skip
# Names that real registers hold: with commas, quotes and characters with which a spreadsheet's formula begins.
FIRMS = (
    "Müller & Söhne", "+Plus Bau", "@telier Nord", 'Pekárna "U Mostu"', "Blue Harbor, Trading", "Sakura Foods",
    "Atelier Zoé", "Gulf Dates", "Pune Castings", "-Minus Logistik",
)  # fmt: skip
PARTY, OWN = "C", "B"


def party_rows(world: World, block: Block) -> tuple[Ints, Ints]:
    """The loans that have a further party, and its role: 0 co-borrower, 1 guarantor, 2 sponsor, 3 director."""
    draw = world.dice.uniform("party", block.number)
    guarantee, _ = covers(world, block)
    is_project = block.is_a("project_finance")
    joint = block.is_a("mortgage") & (draw < 0.35) | block.is_a("consumer", "auto") & (draw < 0.06)
    director = block.is_a("sme_term") & ~guarantee & (draw > 0.85)
    role = np.select([is_project, guarantee, director, joint], [2, 1, 3, 0], -1)
    (rows,) = np.nonzero(role >= 0)
    return rows, role[rows]


def people(world: World, block: Block) -> Frames:
    """Borrowers with the parties of their loans, their contact points and wishes."""
    rows, role = party_rows(world, block)
    kind = np.where(role == 2, COMPANY, PERSON)
    own = _borrowers(
        world, OWN, block.b_number, block.b_kind, block.b_place, block.b_industry, block.b_group, block.b_since
    )
    others = _borrowers(
        world, PARTY, block.number[rows], kind, block.place[rows], block.b_industry[block.owner[rows]],
        np.full(len(rows), -1), block.disbursed[rows],
    )  # fmt: skip
    starts = block.disbursed[rows]
    return {
        "borrowers": pl.concat([own, others]),
        "loan_parties": frame(
            starts,
            {
                "loan_id": loan_id(block, rows),
                "borrower_id": ids(PARTY, block.number[rows]),
                "role": texts(("co_borrower", "guarantor", "sponsor", "director"), role),
                "starts_on": starts,
            },
        ),
        "contact_points": _contact_points(world, block),
        "contact_preferences": _preferences(world, block),
    }


def _borrowers(
    world: World, prefix: str, number: Ints, kind: Ints, place: Ints, industry: Ints, group: Ints, since: Dates
) -> pl.DataFrame:
    dice, places = world.dice, world.places
    salt = prefix + "/"
    is_person = kind == PERSON
    given, surname, firm = (
        dice.integers(salt + what, 0, len(names), number)
        for what, names in (("given", GIVEN_NAMES), ("surname", SURNAMES), ("firm", FIRMS))
    )
    forms = texts([one.legal_form for one in places], place)
    person = texts(GIVEN_NAMES, given) + " " + texts(SURNAMES, surname)
    company = texts(FIRMS, firm) + " " + forms
    spv = "Project Company " + pl.Series(number).cast(pl.String) + " " + forms
    name = person.zip_with(pl.Series(is_person), spv.zip_with(pl.Series(kind == SPV), company))
    digits = np.array([one.digits for one in places])[place]
    per_euro = np.array([one.units_per_euro for one in places])[place]
    income = (
        np.rint(2_600 * np.exp(0.38 * dice.normal(salt + "income", number)) * per_euro).astype(np.int64) * 10**digits
    )
    expense = np.rint(income * (0.45 + 0.2 * dice.uniform(salt + "expense", number))).astype(np.int64)
    expense = expense // 10**digits * 10**digits
    born = np.datetime64("1952-01-01", "D") + dice.integers(salt + "born", 0, 19_500, number)
    founded = np.datetime64("1998-01-01", "D") + dice.integers(salt + "founded", 0, 8_000, number)
    has_zone = dice.uniform(salt + "zone", number) >= 0.03
    cities = pl.Series([one.cities[0] for one in places]).gather(pl.Series(place))
    second = pl.Series([one.cities[-1] for one in places]).gather(pl.Series(place))
    city = cities.zip_with(pl.Series(number % 2 == 0), second)
    width = np.array([100 if one.country == "US" else 1000 for one in places])[place]
    base = np.array([100 if one.country == "US" else 0 for one in places])[place]
    starts = pl.Series([one.phone.split("{")[0] for one in places]).gather(pl.Series(place))
    longer = np.array([4 if ":04d" in one.phone else 3 for one in places])[place]
    local = pl.Series(base + number % width).cast(pl.String)
    phone = starts + local.str.zfill(4).zip_with(pl.Series(longer == 4), local.str.zfill(3))
    return frame(
        since,
        {
            "borrower_id": ids(prefix, number),
            "kind": texts(KINDS, kind),
            "name": name,
            "born_on": np.where(is_person, born, founded),
            "country": texts([one.country for one in places], place),
            "region": texts([one.region for one in places], place),
            "time_zone": texts([one.time_zone for one in places], place, has_zone),
            "language": texts([one.language for one in places], place),
            "group_id": where(ids("G", group.clip(0)), group >= 0),
            "industry_code": texts(world.p.surroundings.codes, industry, ~is_person),
            "income_amount": money(income, digits, is_person),
            "expense_amount": money(expense, digits, is_person),
            "income_currency": texts([one.currency for one in places], place, is_person),
            "phone": phone,
            "email": ids(prefix.lower(), number) + "@mail.example",
            "street": "Example Street " + pl.Series(1 + number % 180).cast(pl.String),
            "city": city,
            "postcode": pl.Series(10_000 + 37 * number % 89_999).cast(pl.String),
            "legal_form": where(forms, ~is_person),
            "national_id": ids("ID-" + prefix, number),
            "national_id_source": texts(("national register",), np.zeros(len(number), dtype=np.int64)),
            "lei": where(ids("9999SIM" + prefix, number, digits=12), kind != PERSON),
        },
    )


def _contact_points(world: World, block: Block) -> pl.DataFrame:
    """A second telephone or an address at work for one in seven; some are taken off the books again."""
    dice, number = world.dice, block.b_number
    (rows,) = np.nonzero(dice.uniform("point", number) < 0.15)
    number = number[rows]
    kind = dice.pick("point/kind", [0.7, 0.2, 0.1], number)
    since = block.b_since[rows] + dice.integers("point/since", 0, 200, number)
    ends = np.where(dice.uniform("point/ends", number) < 0.04, since + 240 + number % 200, NEVER)
    value = ("+9990077" + pl.Series(number % 10_000).cast(pl.String).str.zfill(4)).to_list()
    values = [
        phone if one == 0 else f"second{n}@mail.example" if one == 1 else f"Works Road {1 + n % 90}"
        for phone, one, n in zip(value, kind, number, strict=True)
    ]
    return frame(
        since,
        {
            "contact_point_id": ids("CP", number),
            "borrower_id": ids(OWN, number),
            "kind": texts(("phone", "email", "address"), kind),
            "place": texts(("mobile", "other", "work"), kind),
            "value": pl.Series(values, dtype=pl.String),
            "country": texts([one.country for one in world.places], block.b_place[rows]),
            "region": texts([one.region for one in world.places], block.b_place[rows]),
            "starts_on": since,
        },
        ends,
    )


def _preferences(world: World, block: Block) -> pl.DataFrame:
    dice = world.dice
    (rows,) = np.nonzero((block.b_kind == PERSON) & (dice.uniform("wish", block.b_number) < 0.06))
    number, since = block.b_number[rows], block.b_since[rows]
    may_call = dice.uniform("wish/allowed", number) < 0.5
    return frame(
        since,
        {
            "borrower_id": ids(OWN, number),
            "channel": texts(
                ("call", "sms", "email", "visit"), dice.pick("wish/channel", [0.6, 0.15, 0.1, 0.15], number)
            ),
            "place": "any",
            "is_allowed": may_call,
            "from_hour": pl.Series(np.where(may_call, 17, -1)).replace(-1, None),
            "until_hour": pl.Series(np.where(may_call, 20, -1)).replace(-1, None),
            "starts_on": since,
        },
    )
