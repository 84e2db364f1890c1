"""A small mixed portfolio in contract form, day by day, for the demo and the tests.

Retail instalment loans, SME loans and project companies in five countries and four currencies; people who pay late, in
part, by debits that bounce, or not at all. Everything is drawn once for the whole life of every loan; a day's drop
shows what the lender's system knew by the end of that day. So tables with `known_at` only grow, and a longer
series of days begins with the same bytes as a shorter one.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from arrears.contract.servicing import Table, contract
from arrears.errors import UsageError
from arrears.simulation.columns import MINOR_DIGITS, Objects, as_amounts, where
from arrears.simulation.lending import Lending, lend
from arrears.simulation.places import PLACES
from arrears.simulation.recipients import work_out
from arrears.simulation.repaying import Repaying, repay

FEWEST_LOANS = 20
LONGEST_DAYS = 365
RATE_HISTORY_DAYS = 60


def write_drops(directory: Path, *, first: date, last: date, loans: int, seed: int) -> list[Path]:
    """Writes a full drop for each day into DIRECTORY/YYYY-MM-DD/TABLE.csv; the same call gives the same bytes.

    Args:
        directory: made if missing; drops of the same days are replaced, other files stay.
        first: the day around which the portfolio is built; another first day is another portfolio.
        last: included; at most a year after `first`.
        loans: 20 or more; about one in thirty is granted only after `first`.
        seed: of every draw.

    Returns:
        The days' folders in order.

    Raises:
        UsageError: a number or a date makes no portfolio.
        OSError: the folder cannot be written.
    """
    if loans < FEWEST_LOANS:
        raise UsageError(
            f"A small portfolio has at least {FEWEST_LOANS} loans, for every product to be there; {loans} is too few."
        )
    if not timedelta(0) <= last - first < timedelta(days=LONGEST_DAYS):
        raise UsageError(
            f"{first} to {last} are no series of 1 to {LONGEST_DAYS} days; give a first day and a last one after it."
        )
    lending = lend(first=first, loans=loans, seed=seed)
    repaying = repay(lending, first=first, seed=seed)
    tables = {
        "borrowers": lending.borrowers,
        "projects": lending.projects,
        "milestones": lending.milestones,
        "loan_parties": lending.loan_parties,
        "instalments": repaying.instalments,
        "transactions": repaying.transactions,
        "charges": repaying.charges,
        "forbearances": repaying.forbearances,
        "fx_rates": _rates(first, seed),
        **work_out(lending, repaying, first=first, seed=seed),
    }
    folders = []
    balances: list[pd.DataFrame] = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        folder = directory / day.isoformat()
        folder.mkdir(parents=True, exist_ok=True)
        as_of = np.datetime64(day, "D")
        shown = {name: _as_known(frame, as_of) for name, frame in tables.items()}
        shown["loans"] = _loans_on(as_of, lending, repaying)
        balances.append(_balances(as_of, lending, repaying))
        shown["servicer_balances"] = pd.concat(balances, ignore_index=True)
        for name, frame in shown.items():
            _write(folder / f"{name}.csv", frame, contract()[name])
        folders.append(folder)
    return folders


def _as_known(frame: pd.DataFrame, as_of: np.datetime64) -> pd.DataFrame:
    """The rows visible by the day; a column X that has a `_known_X` is empty before that date."""
    known = frame[frame["_visible_on"].to_numpy().astype("datetime64[D]") <= as_of].copy()
    for marker in [name for name in known.columns if name.startswith("_known_")]:
        column = marker.removeprefix("_known_")
        known[column] = known[column].where(known[marker].to_numpy().astype("datetime64[D]") <= as_of)
    return known


def _schedule_in_force(instalments: pd.DataFrame, as_of: np.datetime64) -> pd.DataFrame:
    known = _as_known(instalments, as_of)
    latest = known.groupby("_loan")["schedule_version"].transform("max")
    return known[known["schedule_version"] == latest]


def _loans_on(as_of: np.datetime64, lending: Lending, repaying: Repaying) -> pd.DataFrame:
    """The loans with the day's status: closed on the day the last claim was paid, written off, sold, else active."""
    loans, fates = lending.loans, repaying.fates
    index = np.arange(len(loans))
    booked = repaying.transactions
    booked = booked[booked["_visible_on"].to_numpy().astype("datetime64[D]") <= as_of]
    paid = (booked["_minor"] * booked["_sign"]).groupby(booked["_loan"]).sum().reindex(index, fill_value=0)
    paid_on = booked[booked["_sign"] == 1].groupby("_loan")["_visible_on"].max().reindex(index)
    schedule = _schedule_in_force(repaying.instalments, as_of).groupby("_loan")
    charges = _as_known(repaying.charges, as_of)
    owed_fees = charges[charges["waived_on"].isna()].groupby("_loan")["_minor"].sum().reindex(index, fill_value=0)
    owed = schedule["_amount"].sum().reindex(index, fill_value=0) + owed_fees
    is_closed = ((paid >= owed) & (owed > 0)).to_numpy()
    written_off_on, sold_on = (fates[name].to_numpy().astype("datetime64[D]") for name in ("written_off_on", "sold_on"))
    disbursed_on = loans["disbursed_on"].to_numpy().astype("datetime64[D]")
    conditions = [sold_on <= as_of, written_off_on <= as_of, is_closed]
    maturity_on = schedule["due_on"].max().reindex(index).to_numpy().astype("datetime64[D]")
    on = loans.assign(
        status=np.select(conditions, ["sold", "written_off", "closed"], "active"),
        status_on=np.select(
            conditions, [sold_on, written_off_on, paid_on.to_numpy().astype("datetime64[D]")], disbursed_on
        ),
        maturity_on=np.where(
            np.isnat(maturity_on), loans["maturity_on"].to_numpy().astype("datetime64[D]"), maturity_on
        ),
    )
    return _as_known(on, as_of)


def _balances(day: np.datetime64, lending: Lending, repaying: Repaying) -> pd.DataFrame:
    """The servicing system's own arrears of running loans on a day.

    Counted apart from the pipeline: oldest claim first, all that was due before the day less all that was paid by it.
    Loans with a fee waived after it fell due are left out, because what was paid of it by then needs a replay.
    """
    loans = _loans_on(day, lending, repaying)
    charges = _as_known(repaying.charges, day)
    # A waiver known by the day: before the due date the fee never was a claim, after it the loan is left out.
    late_waived = charges[charges["waived_on"] > charges["due_on"]]["_loan"].unique()
    running = loans[(loans["status"] == "active") & ~loans.index.isin(late_waived)]
    claims = pd.concat(
        [
            _schedule_in_force(repaying.instalments, day)[["_loan", "due_on", "_amount"]],
            charges[charges["waived_on"].isna()][["_loan", "due_on", "_minor"]].rename(columns={"_minor": "_amount"}),
        ]
    ).sort_values(["_loan", "due_on"], kind="stable")
    booked = repaying.transactions
    booked = booked[
        (booked["_visible_on"].to_numpy().astype("datetime64[D]") <= day)
        & (booked["effective_on"].to_numpy().astype("datetime64[D]") <= day)
    ]
    paid = (booked["_minor"] * booked["_sign"]).groupby(booked["_loan"]).sum()
    due = claims[claims["due_on"].to_numpy().astype("datetime64[D]") < day].copy()
    due["_upto"] = due.groupby("_loan")["_amount"].cumsum()
    due["_paid"] = paid.reindex(due["_loan"]).fillna(0).to_numpy()
    total = due.groupby("_loan")["_amount"].sum().reindex(running.index, fill_value=0)
    arrears = np.maximum(0, total - paid.reindex(running.index, fill_value=0)).to_numpy().astype(np.int64)
    oldest = due[due["_upto"] > due["_paid"]].groupby("_loan")["due_on"].min().reindex(running.index)
    days = (day - oldest.to_numpy().astype("datetime64[D]")).astype("timedelta64[D]").astype(np.float64)
    digits = running["_digits"].to_numpy()
    tolerance = np.rint(running["tolerance_amount"].astype(float).to_numpy() * 10.0**digits)
    return pd.DataFrame(
        {
            "loan_id": running["loan_id"].to_numpy(),
            "balance_on": day,
            "arrears_amount": as_amounts(arrears, digits),
            "days_past_due": np.where(arrears > tolerance, days, 0).astype(np.int64),
            "_visible_on": day,
        }
    )


def _rates(first: date, seed: int) -> pd.DataFrame:
    """Euros for one unit of each other currency on working days: a random walk of 0.4 percent a day."""
    rng = np.random.default_rng([seed, 4])
    days = np.datetime64(first, "D") + np.arange(-RATE_HISTORY_DAYS, LONGEST_DAYS)
    frames = []
    for currency in [name for name in MINOR_DIGITS if name != "EUR"]:
        per_euro = next(place.units_per_euro for place in PLACES if place.currency == currency)
        rate = np.exp(np.cumsum(rng.normal(0, 0.004, len(days)))) / per_euro
        frames.append(
            pd.DataFrame(
                {
                    "currency": currency,
                    "base_currency": "EUR",
                    "quoted_on": days,
                    "rate": np.char.mod("%.8f", rate),
                    "_visible_on": days,
                }
            )[np.is_busday(days)]
        )
    return pd.concat(frames, ignore_index=True)


def _write(path: Path, frame: pd.DataFrame, table: Table) -> None:
    """Writes the contract's columns in its order and rows in the order of the key; what the frame lacks is empty."""
    shown = {
        column.name: _as_text(frame[column.name], column.data_type)
        if column.name in frame
        else np.full(len(frame), None, dtype=object)
        for column in table.columns
    }
    ordered = pd.DataFrame(shown, columns=list(table.column_names)).sort_values(list(table.primary_key), kind="stable")
    ordered.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def _as_text(values: pd.Series, data_type: str) -> Objects:
    missing = values.isna().to_numpy()
    text: Objects
    if data_type == "date":
        text = np.datetime_as_string(values.to_numpy().astype("datetime64[D]"), unit="D").astype(object)
    elif data_type == "boolean":
        text = np.array(["true" if value else "false" for value in values], dtype=object)
    elif data_type == "integer":
        # Numbers, not text: the rows are put in the order of the key, and 10 comes after 9.
        text = values.fillna(0).astype(np.int64).astype(object).to_numpy()
    else:
        text = values.astype(object).to_numpy()
    return where(~missing, text)
