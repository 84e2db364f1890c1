"""From candidates to a market and back: what is held stays, a borrower's loans go together, the rest is optimised."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import numpy as np
import pandas as pd

from arrears.assignment.linear import solver_name
from arrears.assignment.optimiser import GAP_SHARE, Market, optimise

FLOAT_PRECISION = 1e-12
UNITS = 10_000
"""Amounts are counted in whole ten-thousandths (numeric(20, 4)), so that their sums are exact."""
UNIT = Decimal(1) / UNITS


@dataclass(frozen=True, slots=True)
class Decisions:
    """Who gets what, and how good that is.

    `assignments` has a row per loan: loan_id, agency_id, contract_id, net_units (ten-thousandths of the reporting
    currency), is_new, reason; sorted by loan. Amounts are in the reporting currency.
    """

    assignments: pd.DataFrame
    objective_amount: Decimal
    upper_bound_amount: Decimal
    missed_promise_count: int
    solver: str

    @property
    def gap_share(self) -> Decimal:
        """(bound - objective) / bound; 0 where nothing could be gained."""
        if self.upper_bound_amount <= self.objective_amount:
            return Decimal(0)
        gap = (self.upper_bound_amount - self.objective_amount) / self.upper_bound_amount
        return gap.quantize(Decimal("0.00000001"), ROUND_CEILING)


def decide(candidates: pd.DataFrame, contracts: pd.DataFrame, *, gap_share: float = GAP_SHARE) -> Decisions:
    """Assigns loans to recipients so that what they are expected to bring, net of cost, is greatest.

    Args:
        candidates: a row per loan and contract that may take it: loan_id, group_key, agency_id, contract_id, net_units
            (whole ten-thousandths; rows of 0 or less say that the recipient may take the loan, and are never chosen),
            is_held (the contract that holds the loan now; at most one a loan).
        contracts: a row per contract: contract_id, agency_id, capacity and daily_intake (null: no limit), held_count
            (accounts it holds and keeps), taken_in_count (of them, given for the same working day), minimum_share (of
            its candidates; null: nothing promised).
        gap_share: how near to the proved bound is near enough.
    """
    offers = candidates.sort_values(["group_key", "agency_id", "loan_id", "contract_id"], ignore_index=True)
    contracts = contracts.sort_values("contract_id", ignore_index=True)
    kept = offers[offers["is_held"] & (offers["net_units"] > 0)]
    limits = _limits(contracts, offers, kept)
    free = _market_rows(offers, limits)
    if free.empty:  # all is held, or nothing would bring more than it costs
        held_amount = int(kept["net_units"].sum()) * UNIT
        assignments = _kept_rows(kept).sort_values("loan_id", ignore_index=True)
        return Decisions(assignments, held_amount, held_amount, int(limits["promised"].sum()), solver_name())
    market = _market(free, limits)
    plan = optimise(market, gap_share=gap_share)
    given = free.iloc[plan.chosen]

    assignments = pd.concat([_kept_rows(kept), _given_rows(free, given)], ignore_index=True)
    assignments = assignments.sort_values("loan_id", ignore_index=True)
    objective = int(assignments["net_units"].sum()) * UNIT
    # What the bound exceeds the plan by, rounded up; below the precision of floating point it is nothing.
    gap = Decimal(plan.bound - plan.value) if plan.gap_share > FLOAT_PRECISION else Decimal(0)
    bound = (objective + gap).quantize(UNIT, ROUND_CEILING)
    return Decisions(
        assignments=assignments,
        objective_amount=objective,
        upper_bound_amount=bound,
        missed_promise_count=int(np.ceil(plan.shortage.sum())),
        solver=solver_name(),
    )


def _limits(contracts: pd.DataFrame, offers: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """By contract: agency_id, room (new accounts it may be given) and promised (new accounts it must be given)."""
    limits = contracts.set_index("contract_id")
    by_capacity = (limits["capacity"].astype(float) - limits["held_count"]).fillna(np.inf)
    by_intake = (limits["daily_intake"].astype(float) - limits["taken_in_count"]).fillna(np.inf)
    room = np.minimum(by_capacity, by_intake).clip(lower=0.0)
    eligible = offers.groupby("contract_id").size().reindex(limits.index, fill_value=0)
    held = kept.groupby("contract_id").size().reindex(limits.index, fill_value=0)
    share = limits["minimum_share"].map(lambda value: Decimal(0) if pd.isna(value) else Decimal(str(value)))
    promised = [
        max(0, int((part * int(count)).to_integral_value(ROUND_CEILING)) - int(has))
        for part, count, has in zip(share, eligible, held, strict=True)
    ]
    return pd.DataFrame({"agency_id": limits["agency_id"], "room": room, "promised": np.asarray(promised, dtype=float)})


def _market_rows(offers: pd.DataFrame, limits: pd.DataFrame) -> pd.DataFrame:
    """The rows that can be chosen, with the unit they are chosen in: the group, or the loan where nobody may take all.

    Adds unit_key, loan_count (loans of the unit), and is_split (the unit is one loan of several in its group).
    """
    is_held_loan = offers["loan_id"].isin(offers.loc[offers["is_held"], "loan_id"])
    holders = offers.loc[offers["is_held"], ["group_key", "agency_id"]].drop_duplicates()
    is_worth_it = offers["loan_id"].isin(offers.loc[offers["net_units"] > 0, "loan_id"])
    rows = offers[~is_held_loan & is_worth_it].reset_index(drop=True)
    if rows.empty:
        return rows

    loans_in_group = rows.groupby("group_key")["loan_id"].nunique()
    by_taker = ["group_key", "agency_id"]
    takers = rows.groupby(by_taker, sort=True)["loan_id"].nunique().rename("taken_count").reset_index()
    wanted = rows[rows["net_units"] > 0].groupby(by_taker)["loan_id"].nunique().rename("wanted_count")
    takers = takers.merge(wanted.reset_index(), how="inner", on=by_taker)
    room = limits.groupby("agency_id")["room"].sum()
    takers["is_whole"] = (takers["taken_count"] == takers["group_key"].map(loans_in_group)) & (
        takers["wanted_count"] <= takers["agency_id"].map(room).astype(float)  # no takers: text otherwise
    )
    takers = takers.merge(holders.assign(is_holder=True), how="left", on=by_taker)
    takers["is_holder"] = takers["is_holder"].eq(True) & takers["is_whole"]
    by_group = takers.groupby("group_key")[["is_whole", "is_holder"]].any()
    # A recipient that holds one of the borrower's loans is the only one asked for the others, if it may take them all.
    takers["is_asked"] = takers["is_holder"] | (takers["is_whole"] & ~takers["group_key"].map(by_group["is_holder"]))
    takers["is_split"] = ~takers["group_key"].map(by_group["is_whole"])

    rows = rows[rows["net_units"] > 0].merge(takers[[*by_taker, "is_asked", "is_split"]], how="inner", on=by_taker)
    rows = rows[rows["is_asked"] | rows["is_split"]].copy()
    rows["unit_loan"] = rows["loan_id"].where(rows["is_split"], "")
    rows["loan_count"] = rows.groupby(["group_key", "unit_loan"])["loan_id"].transform("nunique")
    rows["is_split"] &= rows["group_key"].map(loans_in_group) > 1
    return rows.sort_values(["group_key", "unit_loan", "agency_id", "loan_id", "contract_id"], ignore_index=True)


def _market(rows: pd.DataFrame, limits: pd.DataFrame) -> Market:
    """Numbers the rows' keys in their order; values in units of the reporting currency."""
    units = (rows["group_key"] != rows["group_key"].shift()) | (rows["unit_loan"] != rows["unit_loan"].shift())
    return Market(
        group=units.cumsum().to_numpy(np.int64) - 1,
        taker=pd.factorize(rows["agency_id"], sort=True)[0].astype(np.int64),
        account=pd.factorize(rows["loan_id"], sort=True)[0].astype(np.int64),
        contract=limits.index.get_indexer(rows["contract_id"]).astype(np.int64),
        value=rows["net_units"].to_numpy(np.float64) * float(UNIT),
        weight=np.ones(len(rows)),
        room=limits["room"].to_numpy(np.float64),
        promised=limits["promised"].to_numpy(np.float64),
    )


_COLUMNS = ["loan_id", "agency_id", "contract_id", "net_units", "is_new", "reason"]


def _kept_rows(kept: pd.DataFrame) -> pd.DataFrame:
    reason = "Stays with " + kept["agency_id"].astype(str) + ", which holds the account already."
    return kept.assign(is_new=False, reason=reason)[_COLUMNS]


def _given_rows(free: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """Says of each choice what decided it: the only one allowed, the best one, or the best one with room left."""
    if given.empty:
        return given.assign(is_new=True, reason="")[_COLUMNS]
    best_by_loan = free.groupby(["group_key", "unit_loan", "agency_id", "loan_id"], sort=True)["net_units"].max()
    by_taker = best_by_loan.groupby(level=["group_key", "unit_loan", "agency_id"]).sum().rename("worth").reset_index()
    by_unit = by_taker.groupby(["group_key", "unit_loan"])
    by_taker["taker_count"] = by_unit["agency_id"].transform("size")
    best = by_taker.loc[by_unit["worth"].idxmax(), ["group_key", "unit_loan", "agency_id", "worth"]]
    chosen = given.merge(by_taker, how="left", on=["group_key", "unit_loan", "agency_id"]).merge(
        best.rename(columns={"agency_id": "best_agency_id", "worth": "best_worth"}),
        how="left",
        on=["group_key", "unit_loan"],
    )
    short = ((chosen["best_worth"] - chosen["worth"]) / UNITS).map("{:.2f}".format)
    driver = np.select(
        [chosen["taker_count"] == 1, chosen["worth"] == chosen["best_worth"]],
        [
            "The only recipient that may take it",
            "Highest expected net amount of " + chosen["taker_count"].astype(str) + " recipients that may take it",
        ],
        default="Best with the room there is: "
        + chosen["best_agency_id"].astype(str)
        + " would bring "
        + short
        + " more, but its room brings more with other accounts",
    )
    others = (chosen["loan_count"] - 1).astype(str)
    company = np.select(
        [chosen["is_split"], chosen["loan_count"] == 2, chosen["loan_count"] > 2],
        [
            "; no recipient may take all of the borrower's loans under this law",
            "; goes with the borrower's other loan under this law",
            "; goes with the borrower's " + others + " other loans under this law",
        ],
        default="",
    )
    return chosen.assign(is_new=True, reason=pd.Series(driver, dtype=object) + company + ".")[_COLUMNS]
