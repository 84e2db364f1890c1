"""Who works the small portfolio: two internal teams, two agencies, a law firm; and whom they may not call."""

from datetime import date, timedelta

import numpy as np
import pandas as pd

from arrears.simulation.columns import as_amounts, where
from arrears.simulation.lending import Lending
from arrears.simulation.repaying import Repaying

EVERYWHERE = ("DE", "FR", "CZ", "US", "US-CA", "US-NY", "US-TX", "JP")
AGENCIES = (
    ("team-early", "Early Collections Team", "internal", EVERYWHERE),
    ("team-corporate", "Corporate Workout Team", "internal", EVERYWHERE),
    ("agency-aster", "Aster Receivables", "agency", ("DE", "FR", "CZ")),
    ("agency-birch", "Birch & Partners", "agency", ("US-CA", "US-NY", "JP", "DE")),
    ("law-cedar", "Cedar Law", "law_firm", ("DE", "FR", "CZ", "US-NY")),
)
CURRENCIES = {
    "team-early": ("EUR", "CZK", "USD", "JPY"),
    "team-corporate": ("EUR", "CZK", "USD", "JPY"),
    "agency-aster": ("EUR", "CZK"),
    "agency-birch": ("USD", "JPY", "EUR"),
    "law-cedar": ("EUR", "CZK", "USD"),
}
UNITS_PER_EURO = {"EUR": 1, "CZK": 25, "USD": 1, "JPY": 160}  # of prices, so rounded
PLACED_AFTER_DAYS = 100
RECALLED_AFTER_DAYS = 180


def work_out(lending: Lending, repaying: Repaying, *, first: date, seed: int) -> dict[str, pd.DataFrame]:
    """Tables about recipients, placements, wishes and protection, as the lender's system holds them."""
    rng = np.random.default_rng([seed, 3])
    opened = np.datetime64(first, "D") - 1_100
    agencies = pd.DataFrame([row[:3] for row in AGENCIES], columns=["agency_id", "name", "kind"])
    licences = [(agency, place) for agency, _, _, places in AGENCIES for place in places]
    licence_table = pd.DataFrame(licences, columns=["agency_id", "jurisdiction"]).assign(
        starts_on=opened, _visible_on=opened
    )
    # Aster loses its Czech licence on the third day: what it holds there has to come back.
    ending = (licence_table["agency_id"] == "agency-aster") & (licence_table["jurisdiction"] == "CZ")
    licence_table["ends_on"] = np.where(
        ending, np.datetime64(first + timedelta(days=2), "D"), np.datetime64("NaT", "D")
    )
    return {
        "agencies": agencies.assign(opened_on=opened, _visible_on=opened),
        "agency_licences": licence_table,
        "agency_contracts": _contracts(len(lending.loans)).assign(starts_on=opened, _visible_on=opened),
        "agency_conflicts": _conflicts(lending, rng),
        "placements": _placements(lending, repaying, first, rng),
        "suppressions": _suppressions(lending, first, rng),
        "contact_preferences": _preferences(lending, rng),
    }


def _contracts(loan_count: int) -> pd.DataFrame:
    """A contract for each currency that its agency works in: what costs 6 euros costs 960 yen."""
    room = _room(loan_count)
    rows = []
    for name, agency_id, product, days, balance, capacity, intake, share, cost, promised, recall in (
        ("team-early", "team-early", None, (1, None), 0, loan_count + 100, None, "0", 6, None, 3650),
        ("team-sme", "team-corporate", "sme_term", (1, None), 0, loan_count + 100, None, "0", 40, None, 3650),
        ("team-spv", "team-corporate", "project_finance", (1, None), 0, loan_count + 100, None, "0", 150, None, 3650),
        ("aster-late", "agency-aster", None, (60, 720), 50, room, 5, "0.22", 4, "0.05", RECALLED_AFTER_DAYS),
        ("aster-auto", "agency-aster", "auto", (30, 359), 50, room, 5, "0.16", 4, None, RECALLED_AFTER_DAYS),
        ("birch-late", "agency-birch", None, (60, None), 50, room, 8, "0.27", 0, None, RECALLED_AFTER_DAYS),
        ("cedar-suits", "law-cedar", None, (120, None), 1_500, room, 3, "0.12", 220, None, 730),
    ):
        for currency in CURRENCIES[agency_id]:
            units = UNITS_PER_EURO[currency]
            rows.append(
                {
                    "contract_id": f"{name}-{currency}",
                    "agency_id": agency_id,
                    "product": product,
                    "dpd_from": days[0],
                    "dpd_to": days[1],
                    "balance_from": str(balance * units),
                    "currency": currency,
                    "capacity": capacity,
                    "daily_intake": intake,
                    "commission_share": share,
                    "fixed_cost_amount": str(cost * units),
                    "minimum_share": promised,
                    "recall_after_days": recall,
                }
            )
    return pd.DataFrame(rows)


def _room(loan_count: int) -> int:
    """How many accounts an agency or a law firm takes under one contract."""
    return loan_count // 50 + 3


def _conflicts(lending: Lending, rng: np.random.Generator) -> pd.DataFrame:
    owners = lending.borrowers[lending.borrowers["borrower_id"].isin(lending.loans["borrower_id"])]
    chosen = owners.iloc[rng.choice(len(owners), size=max(2, len(owners) // 80), replace=False)]
    return pd.DataFrame(
        {
            "agency_id": rng.choice(["agency-aster", "agency-birch", "law-cedar"], len(chosen)),
            "borrower_id": chosen["borrower_id"].to_numpy(),
            "reason": "acts for the borrower in another matter",
            "_visible_on": chosen["_visible_on"].to_numpy(),
        }
    )


def _placements(lending: Lending, repaying: Repaying, first: date, rng: np.random.Generator) -> pd.DataFrame:
    """Some loans that stopped paying were placed before the first day; some came back, unpaid or written off."""
    loans, fates = lending.loans, repaying.fates
    stopped_on = fates["stopped_on"].to_numpy().astype("datetime64[D]")
    placed_on = stopped_on + PLACED_AFTER_DAYS
    (rows,) = np.nonzero((placed_on < np.datetime64(first, "D")) & (rng.random(len(loans)) < 0.6))
    country = loans["governing_law"].to_numpy()[rows]
    to_law = rng.random(len(rows)) < 0.25
    agency = np.select(
        [
            np.isin(country, ("DE", "FR", "CZ")) & to_law,
            np.isin(country, ("DE", "FR", "CZ")),
            np.isin(country, ("US-CA", "US-NY", "JP")),
        ],
        ["law-cedar", "agency-aster", "agency-birch"],
        "",
    )
    contract = np.select(
        [agency == "law-cedar", agency == "agency-aster", agency == "agency-birch"],
        ["cedar-suits", "aster-late", "birch-late"],
        "",
    )
    contract = np.char.add(np.char.add(contract, "-"), loans["currency"].to_numpy()[rows].astype(str))
    # A project or an SME stays in the house; nobody holds more than its contract has room for.
    is_retail = ~np.isin(loans["product"].to_numpy()[rows], ("project_finance", "sme_term"))
    held = pd.Series(contract).groupby(contract).cumcount().to_numpy()
    keep = (agency != "") & is_retail & (held < _room(len(loans)))
    rows, agency, contract = rows[keep], agency[keep], contract[keep]
    placed_on = placed_on[rows]
    dues = repaying.instalments[repaying.instalments["schedule_version"] == 1]
    loan = dues["_loan"].to_numpy()
    late = (dues["instalment_number"].to_numpy() > fates["stop"].to_numpy()[loan]) & (
        dues["due_on"].to_numpy().astype("datetime64[D]") < stopped_on[loan] + PLACED_AFTER_DAYS
    )
    minor = dues[late].groupby("_loan")["_amount"].sum().reindex(rows).astype(np.int64).to_numpy()
    ends = np.stack([fates[name].to_numpy().astype("datetime64[D]")[rows] for name in ("written_off_on", "sold_on")])
    gone_on = np.fmin(ends[0], ends[1])
    unpaid_on = np.where(rng.random(len(rows)) < 0.5, placed_on + RECALLED_AFTER_DAYS, np.datetime64("NaT", "D"))
    recalled_on = np.fmin(gone_on, unpaid_on)
    reason = where(~np.isnat(recalled_on), np.where(recalled_on == unpaid_on, "no_payment", "written_off_or_sold"))
    return pd.DataFrame(
        {
            "placement_id": [f"PL{i[1:]}" for i in loans["loan_id"].to_numpy()[rows]],
            "loan_id": loans["loan_id"].to_numpy()[rows],
            "agency_id": agency,
            "contract_id": contract,
            "placed_on": placed_on,
            "placed_amount": as_amounts(minor, loans["_digits"].to_numpy()[rows]),
            "recalled_on": recalled_on,
            "_known_recalled_on": recalled_on,
            "recall_reason": reason,
            "_known_recall_reason": recalled_on,
            "_visible_on": placed_on,
        }
    )


def _suppressions(lending: Lending, first: date, rng: np.random.Generator) -> pd.DataFrame:
    """One borrower in twenty-five may not be contacted, or not by every channel; some of it begins these days."""
    borrowers = lending.borrowers
    since = borrowers["_visible_on"].to_numpy().astype("datetime64[D]")
    (rows,) = np.nonzero((since < np.datetime64(first, "D") - 30) & (rng.random(len(borrowers)) < 0.04))
    kinds = (
        "vulnerable",
        "hardship",
        "cease_contact",
        "dispute",
        "bankruptcy",
        "deceased",
        "represented",
        "breathing_space",
    )
    kind = np.where((borrowers["kind"] == "person").to_numpy()[rows], rng.choice(kinds, len(rows)), "represented")
    starts_on = np.maximum(since[rows], np.datetime64(first, "D") - rng.integers(-3, 200, len(rows)))
    is_over = np.isin(kind, ("dispute", "breathing_space", "hardship"))
    return pd.DataFrame(
        {
            "suppression_id": [f"S{i[1:]}" for i in borrowers["borrower_id"].to_numpy()[rows]],
            "borrower_id": borrowers["borrower_id"].to_numpy()[rows],
            "channel": where(kind == "vulnerable", "call"),
            "kind": kind,
            "starts_on": starts_on,
            "ends_on": np.where(is_over, starts_on + 60, np.datetime64("NaT", "D")),
            "origin": "borrower",
            "_visible_on": starts_on,
        }
    )


def _preferences(lending: Lending, rng: np.random.Generator) -> pd.DataFrame:
    borrowers = lending.borrowers
    (rows,) = np.nonzero((borrowers["kind"] == "person").to_numpy() & (rng.random(len(borrowers)) < 0.06))
    since = borrowers["_visible_on"].to_numpy()[rows]
    may_call = rng.random(len(rows)) < 0.5
    return pd.DataFrame(
        {
            "borrower_id": borrowers["borrower_id"].to_numpy()[rows],
            "channel": "call",
            "place": "any",
            "is_allowed": may_call,
            "from_hour": np.where(may_call, 17, np.nan),
            "until_hour": np.where(may_call, 20, np.nan),
            "starts_on": since,
            "_visible_on": since,
        }
    )
