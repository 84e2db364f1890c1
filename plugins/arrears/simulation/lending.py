"""Borrowers, loans and schedules of the small portfolio: who borrowed what, where, and when it falls due."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from arrears.simulation.columns import as_amounts, minor_digits, where
from arrears.simulation.places import PLACES, phone

# Share of the loans, median principal in euros, yearly rate, instalments to choose from, exposure class.
PRODUCTS = {
    "consumer": (0.48, 7_000, 0.089, (12, 18, 24, 36), "retail"),
    "auto": (0.20, 17_000, 0.059, (24, 36), "retail"),
    "mortgage": (0.10, 120_000, 0.035, (36,), "retail"),
    "sme_term": (0.16, 80_000, 0.067, (18, 24, 36), "sme_retail"),
    "project_finance": (0.06, 4_000_000, 0.062, (36,), "project"),
}
PRINCIPAL_STEP = {"EUR": 100, "USD": 100, "CZK": 1_000, "JPY": 10_000}
DUE_DAYS = (1, 5, 10, 15, 20, 25, 31)
MONTHLY_FEE = {"EUR": 200, "USD": 250, "CZK": 4_900, "JPY": 300}  # minor units, auto loans only
TOLERANCE = {"EUR": 200, "USD": 200, "CZK": 5_000, "JPY": 300}  # minor units
ORDERS = ("penalty>fee>interest>principal", "fee>interest>principal>penalty", "interest>principal>penalty>fee")
MOST_INSTALMENTS = 36

GIVEN_NAMES = (
    "Anna",
    "Björn",
    "Chloé",
    "Daniel",
    "Eliška",
    "Farid",
    "Grace",
    "Hiroshi",
    "Inés",
    "Jan",
    "Keiko",
    "Łukasz",
)
SURNAMES = ("Novák", "Schäfer", "O'Brien", "Dubois", "Tanaka", "Weiß", "Svobodová", "Nguyen", "García", "van den Berg")
# Names that real registers hold: with commas, quotes and characters with which a spreadsheet's formula begins.
FIRMS = (
    "Müller & Söhne",
    "+Plus Bau",
    "@telier Nord",
    'Pekárna "U Mostu"',
    "Blue Harbor, Trading",
    "Sakura Foods",
    "Atelier Zoé",
)
PROJECTS = ("Solar park", "Wind farm", "Toll bridge", "Water works", "Data centre")


@dataclass(frozen=True, slots=True)
class Lending:
    """Tables with numbers still as numbers; a column that begins with `_` is for the simulation alone.

    `_visible_on` is the first day whose drop holds the row. Amounts in `instalments` are whole minor units.
    """

    borrowers: pd.DataFrame
    loans: pd.DataFrame
    loan_parties: pd.DataFrame
    projects: pd.DataFrame
    milestones: pd.DataFrame
    instalments: pd.DataFrame


def lend(*, first: date, loans: int, seed: int) -> Lending:
    """Lends to people, companies and project companies over the three years before `first` and the weeks after it."""
    rng = np.random.default_rng([seed, 1])
    product = _products(loans, rng)
    owner, kind = _owners(product, rng)
    place = rng.choice(len(PLACES), size=len(kind), p=[p.weight for p in PLACES])
    agreed = _agree(product, place[owner], first, rng)
    instalments = _schedules(agreed)
    agreed["maturity_on"] = instalments.groupby("_loan")["due_on"].max().to_numpy()
    agreed["borrower_id"] = _ids("B", owner)

    projects, milestones = _projects(agreed, first, rng)
    agreed["project_id"] = None
    agreed.loc[projects["_loan"], "project_id"] = projects["project_id"].to_numpy()
    parties, kind, place = _parties(agreed, kind, place, owner, rng)
    return Lending(
        borrowers=_borrowers(kind, place, parties, agreed, rng),
        loans=agreed,
        loan_parties=parties,
        projects=projects,
        milestones=milestones,
        instalments=instalments,
    )


def _ids(prefix: str, numbers: npt.ArrayLike) -> npt.NDArray[np.object_]:
    return np.array([f"{prefix}{number + 1:06d}" for number in np.asarray(numbers)], dtype=object)


def _products(count: int, rng: np.random.Generator) -> npt.NDArray[np.object_]:
    """Every product at least once, else by its share."""
    shares = np.array([share for share, *_ in PRODUCTS.values()])
    upto = np.floor(np.cumsum(shares) * (count - len(shares)) + 0.5).astype(int)
    counts = np.diff(upto, prepend=0) + 1
    products = np.repeat(np.array(list(PRODUCTS), dtype=object), counts)
    rng.shuffle(products)
    return products


def _owners(product: npt.NDArray[np.object_], rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The number of each loan's borrower and the kind of each borrower; one in eight has two loans."""
    owner = np.zeros(len(product), dtype=np.int64)
    kinds: list[str] = []
    for kind, products in (
        ("person", ("consumer", "auto", "mortgage")),
        ("company", ("sme_term",)),
        ("spv", ("project_finance",)),
    ):
        (loans,) = np.nonzero(np.isin(product, products))
        count = len(loans) if kind == "spv" else len(loans) - len(loans) // 9
        again = rng.choice(count, size=len(loans) - count, replace=False)
        owner[loans] = len(kinds) + np.concatenate([np.arange(count), again])
        kinds += [kind] * count
    return owner, kinds


def _agree(
    product: npt.NDArray[np.object_], place: npt.NDArray[np.int64], first: date, rng: np.random.Generator
) -> pd.DataFrame:
    """The loans' terms; `_principal` in minor units."""
    count = len(product)
    currency = np.array([PLACES[p].currency for p in place], dtype=object)
    digits = minor_digits(currency)
    median = np.array([PRODUCTS[p][1] for p in product]) * np.array([PLACES[p].units_per_euro for p in place])
    step = np.array([PRINCIPAL_STEP[c] for c in currency])
    units = np.maximum(1, np.rint(median * rng.lognormal(0, 0.45, count) / step)).astype(np.int64) * step
    terms = np.array([rng.choice(PRODUCTS[p][3]) for p in product], dtype=np.int64)
    # Up to a tenth past their maturity (paid off or stuck), a few granted in the three weeks after `first`.
    age = np.floor(rng.uniform(-20, terms * 30.4 * 1.1)).astype(np.int64)
    age = np.where(product == "project_finance", np.abs(age) + 60, age)
    disbursed = np.datetime64(first, "D") - age
    is_project = product == "project_finance"
    rate = np.array([PRODUCTS[p][2] for p in product]) + rng.uniform(-0.01, 0.02, count)
    is_floating = rng.random(count) < np.where(np.isin(product, ("sme_term", "project_finance")), 0.5, 0.02)
    score = rng.normal(610, 60, count).clip(350, 850)
    return pd.DataFrame(
        {
            "loan_id": _ids("L", np.arange(count)),
            "product": product,
            "currency": currency,
            "principal_amount": as_amounts(units * 10**digits, digits),
            "is_drawn_in_parts": is_project,
            "available_until": pd.Series(np.where(is_project, disbursed + 400, np.datetime64("NaT"))).to_numpy(),
            "disbursed_on": disbursed,
            "interest_rate": np.round(rate, 4),
            "rate_type": np.where(is_floating, "floating", "fixed"),
            "reference_rate": where(is_floating, "EURIBOR-3M"),
            "margin_rate": np.where(is_floating, np.round(rate - 0.025, 4), np.nan),
            "effective_rate": np.round((1 + rate / 12) ** 12 - 1, 6),
            "default_rate": np.round(rate + 0.05, 4),
            "allocation_order": rng.choice(ORDERS, count, p=[0.7, 0.2, 0.1]),
            "allocation_mode": "oldest_first",
            "grace_days": np.where(is_project, 5, rng.choice([0, 3], count, p=[0.7, 0.3])),
            "tolerance_amount": as_amounts(np.array([TOLERANCE[c] for c in currency]), digits),
            "default_after_days": np.where(is_project, 30, 90),
            "governing_law": np.array([PLACES[p].governing_law for p in place], dtype=object),
            "exposure_class": np.array([PRODUCTS[p][4] for p in product], dtype=object),
            "branch_code": rng.choice(["north", "south", "online"], count),
            "officer_id": np.char.mod("officer-%02d", rng.integers(1, 13, count)),
            "origination_channel": rng.choice(["branch", "online", "broker"], count, p=[0.4, 0.4, 0.2]),
            "score_at_origination": np.round(score, 1),
            "default_probability_at_origination": np.round(1 / (1 + np.exp((score - 380) / 70)), 6),
            "is_credit_impaired_at_origination": False,
            "is_syndicated": is_project & (rng.random(count) < 0.3),
            "is_green": (is_project & (rng.random(count) < 0.6)) | ((product == "auto") & (rng.random(count) < 0.2)),
            "_principal": units * 10**digits,
            "_digits": digits,
            "_term": terms,
            "_due_day": np.where(is_project, 31, rng.choice(DUE_DAYS, count)),
            "_visible_on": disbursed,
        }
    )


def _schedules(loans: pd.DataFrame) -> pd.DataFrame:
    """Annuities: one row per loan and instalment, each part in whole minor units, the principal adding up exactly."""
    count, term = len(loans), loans["_term"].to_numpy()
    rate = loans["interest_rate"].to_numpy() / 12
    balance = loans["_principal"].to_numpy().copy()
    payment = np.rint(balance * rate / (1 - (1 + rate) ** -term)).astype(np.int64)
    principal = np.zeros((count, MOST_INSTALMENTS), dtype=np.int64)
    interest = np.zeros_like(principal)
    for column in range(MOST_INSTALMENTS):
        interest[:, column] = np.rint(balance * rate).astype(np.int64)
        repaid = np.minimum(balance, payment - interest[:, column])
        principal[:, column] = np.where(column == term - 1, balance, repaid)
        balance = balance - principal[:, column]
    loan, k = np.nonzero(np.arange(MOST_INSTALMENTS) < term[:, None])
    month = loans["disbursed_on"].to_numpy().astype("datetime64[M]")[loan] + k + 1
    month_length = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    due_on = month.astype("datetime64[D]") + np.minimum(loans["_due_day"].to_numpy()[loan], month_length) - 1
    fee = np.array([MONTHLY_FEE[c] for c in loans["currency"]]) * (loans["product"] == "auto").to_numpy()
    return pd.DataFrame(
        {
            "_loan": loan,
            "instalment_number": k + 1,
            "due_on": due_on,
            "principal": principal[loan, k],
            "interest": interest[loan, k],
            "fee": fee[loan],
        }
    )


def _projects(loans: pd.DataFrame, first: date, rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A project for each project loan, with four milestones of which some slip."""
    (rows,) = np.nonzero((loans["product"] == "project_finance").to_numpy())
    of = loans.iloc[rows]
    started = of["disbursed_on"].to_numpy().astype("datetime64[D]")
    planned = started + 540
    delay = np.where(rng.random(len(rows)) < 0.4, rng.integers(20, 160, len(rows)), 0)
    kind = rng.integers(0, len(PROJECTS), len(rows))
    budget = (of["_principal"].to_numpy() * 5) // 4
    digits = of["_digits"].to_numpy()
    place = {p.governing_law: p for p in PLACES}
    completed = planned + delay
    projects = pd.DataFrame(
        {
            "project_id": _ids("P", np.arange(len(rows))),
            "borrower_id": of["borrower_id"].to_numpy(),
            "name": [f"{PROJECTS[k]} {number + 1}" for number, k in enumerate(kind)],
            "industry_code": np.array(["D3510", "D3510", "F4210", "E3600", "J6311"], dtype=object)[kind],
            "country": [place[law].country for law in of["governing_law"]],
            "currency": of["currency"].to_numpy(),
            "budget_amount": as_amounts(budget, digits),
            "started_on": started,
            "completion_planned_on": planned,
            "long_stop_on": planned + 180,
            "completed_on": completed,
            "_known_completed_on": completed,
            "environmental_category": np.array(["B", "B", "A", "B", "C"], dtype=object)[kind],
            "is_green": of["is_green"].to_numpy(),
            "_visible_on": started,
            "_loan": rows,
        }
    )
    steps = ("Permits", "Foundations", "Installation", "Commissioning")
    share = np.arange(1, 5) / 4
    planned_on = (started[:, None] + np.floor(540 * share).astype(np.int64)).ravel()
    achieved_on = planned_on + np.floor(delay[:, None] * share).astype(np.int64).ravel()
    milestones = pd.DataFrame(
        {
            "project_id": np.repeat(projects["project_id"].to_numpy(), 4),
            "milestone_number": np.tile(np.arange(1, 5), len(rows)),
            "name": np.tile(np.array(steps, dtype=object), len(rows)),
            "planned_on": planned_on,
            "forecast_on": achieved_on,
            "_known_forecast_on": np.maximum(planned_on - 60, np.repeat(started, 4)),
            "achieved_on": achieved_on,
            "_known_achieved_on": achieved_on,
            "weight": 0.25,
            "_visible_on": np.repeat(started, 4),
        }
    )
    return projects, milestones


def _parties(
    loans: pd.DataFrame,
    kind: list[str],
    place: npt.NDArray[np.int64],
    owner: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, list[str], npt.NDArray[np.int64]]:
    """Co-borrowers of some people, a guarantor of every second company, a sponsor of every project company."""
    product = loans["product"].to_numpy()
    chance = np.select([product == "project_finance", product == "sme_term"], [1.0, 0.5], 0.08)
    (rows,) = np.nonzero(rng.random(len(loans)) < chance)
    of = product[rows]
    role = np.select([of == "project_finance", of == "sme_term"], ["sponsor", "guarantor"], "co_borrower")
    kinds = kind + ["company" if r == "sponsor" else "person" for r in role]
    places = np.concatenate([place, place[owner[rows]]])
    starts_on = loans["disbursed_on"].to_numpy()[rows]
    parties = pd.DataFrame(
        {
            "loan_id": loans["loan_id"].to_numpy()[rows],
            "borrower_id": _ids("B", len(kind) + np.arange(len(rows))),
            "role": role,
            "starts_on": starts_on,
            "_visible_on": starts_on,
        }
    )
    return parties, kinds, places


def _borrowers(
    kinds: list[str],
    places: npt.NDArray[np.int64],
    parties: pd.DataFrame,
    loans: pd.DataFrame,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Names, places and ways to reach them; a borrower is in the drops from the day of the first loan."""
    count = len(kinds)
    kind = np.array(kinds, dtype=object)
    borrower_id = _ids("B", np.arange(count))
    given, surname, firm = (rng.integers(0, len(names), count) for names in (GIVEN_NAMES, SURNAMES, FIRMS))
    is_person = kind == "person"
    of = [PLACES[p] for p in places]
    names = np.select(
        [is_person, kind == "spv"],
        [
            [f"{GIVEN_NAMES[g]} {SURNAMES[s]}" for g, s in zip(given, surname, strict=True)],
            [f"Project Company {n + 1} {p.legal_form}" for n, p in enumerate(of)],
        ],
        [f"{FIRMS[f]} {p.legal_form}" for f, p in zip(firm, of, strict=True)],
    )
    since = pd.concat([loans[["borrower_id", "_visible_on"]], parties[["borrower_id", "_visible_on"]]])
    visible_on = since.groupby("borrower_id")["_visible_on"].min().reindex(borrower_id).to_numpy()
    monthly = np.rint(2_400 * rng.lognormal(0, 0.35, count) * np.array([p.units_per_euro for p in of])).astype(np.int64)
    digits = minor_digits(np.array([p.currency for p in of], dtype=object))
    income, expense = (as_amounts(amount * 10**digits, digits) for amount in (monthly, monthly * 6 // 10))
    born_on = np.datetime64("1955-01-01", "D") + rng.integers(0, 17_000, count)
    has_zone = rng.random(count) >= 0.03
    return pd.DataFrame(
        {
            "borrower_id": borrower_id,
            "kind": kind,
            "name": names,
            "born_on": np.where(is_person, born_on, np.datetime64("2012-01-01", "D") + rng.integers(0, 3_000, count)),
            "country": [p.country for p in of],
            "region": [p.region for p in of],
            "time_zone": where(has_zone, [p.time_zone for p in of]),
            "language": [p.language for p in of],
            "group_id": None,
            "industry_code": where(~is_person, rng.choice(["C1071", "F4100", "G4711", "D3510"], count)),
            "income_amount": where(is_person, income),
            "expense_amount": where(is_person, expense),
            "income_currency": where(is_person, [p.currency for p in of]),
            "phone": [phone(p, n) for n, p in enumerate(of)],
            "email": [f"borrower{n + 1}@mail.example" for n in range(count)],
            "street": [f"Example Street {1 + n % 180}" for n in range(count)],
            "city": [p.cities[n % len(p.cities)] for n, p in enumerate(of)],
            "postcode": [f"{10_000 + 37 * n % 89_999}" for n in range(count)],
            "legal_form": where(~is_person, [p.legal_form for p in of]),
            "_visible_on": visible_on,
        }
    )
