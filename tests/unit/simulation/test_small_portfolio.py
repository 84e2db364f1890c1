"""The small portfolio of the demo: in contract form, alive, and moving forward day by day."""

import hashlib
from collections import defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from arrears.contract.servicing import Table, contract
from arrears.errors import UsageError
from arrears.simulation.small_portfolio import write_drops

FIRST = date(2026, 3, 31)
LAST = date(2026, 4, 4)


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> dict[date, dict[str, pd.DataFrame]]:
    folders = write_drops(tmp_path_factory.mktemp("drops"), first=FIRST, last=LAST, loans=400, seed=7)
    return {date.fromisoformat(folder.name): read(folder) for folder in folders}


def read(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_csv(path, dtype=str, keep_default_na=False) for path in sorted(folder.glob("*.csv"))}


def hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.csv")}


def findings(tables: dict[str, pd.DataFrame]) -> list[str]:
    """What the contract has against a drop: columns, keys, nulls, types, values, references."""
    found = [f"{name}: missing" for name, table in contract().items() if table.required and name not in tables]
    for name, frame in tables.items():
        table = contract()[name]
        if tuple(frame.columns) != table.column_names:
            found.append(f"{name}: columns")
            continue
        if frame.duplicated(list(table.primary_key)).any() or (frame[list(table.primary_key)] == "").any(axis=None):
            found.append(f"{name}: key")
        found += [f"{name}.{column}" for column in broken_columns(frame, table, tables)]
    return found


def broken_columns(frame: pd.DataFrame, table: Table, tables: dict[str, pd.DataFrame]) -> list[str]:
    patterns = {
        "date": r"\d{4}-\d\d-\d\d",
        "timestamptz": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
        "boolean": "true|false",
        "integer": r"-?\d+",
        "numeric(20,4)": r"\d+(\.\d{1,4})?",
        "numeric(14,8)": r"-?\d{1,6}(\.\d{1,8})?",
        "numeric(9,8)": r"(0|1)(\.\d{1,8})?",
        "text": r"[^\x00]+",
    }
    broken = []
    for column in table.columns:
        given = frame[column.name][frame[column.name] != ""]
        if column.required and len(given) < len(frame):
            broken.append(f"{column.name}: null")
        if not given.str.fullmatch(patterns[column.data_type]).all():
            broken.append(f"{column.name}: type")
        if column.values and not given.isin(column.values).all():
            broken.append(f"{column.name}: value")
        if column.references:
            target = contract()[column.references]
            known = tables.get(column.references, pd.DataFrame({target.primary_key[0]: []}))[target.primary_key[0]]
            if not given.isin(known).all():
                broken.append(f"{column.name}: reference")
    return broken


def test_every_day_fulfils_the_contract(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    assert {day: findings(tables) for day, tables in drops.items()} == {day: [] for day in drops}
    assert list(drops) == [FIRST + timedelta(days=n) for n in range(5)]


@pytest.mark.parametrize("seed", range(10))
def test_every_seed_fulfils_the_contract(tmp_path: Path, seed: int) -> None:
    (folder,) = write_drops(tmp_path, first=FIRST, last=FIRST, loans=20 + 60 * seed, seed=seed)

    assert findings(read(folder)) == []


def test_the_portfolio_is_mixed_and_every_kind_of_trouble_is_in_it(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    tables = drops[LAST]
    loans, booked = tables["loans"], tables["transactions"]

    assert set(loans["product"]) == {"consumer", "auto", "mortgage", "sme_term", "project_finance"}
    assert set(loans["currency"]) == {"EUR", "USD", "CZK", "JPY"}
    assert set(loans["status"]) == {"active", "closed", "written_off", "sold"}
    assert {"disbursement", "repayment", "reversal", "write_off", "recovery"} == set(booked["kind"])
    assert (booked["booked_at"].str[:10] > booked["effective_on"]).any()
    assert set(tables["agencies"]["kind"]) == {"internal", "agency", "law_firm"}
    assert {"charges", "forbearances", "suppressions", "placements", "agency_conflicts", "fx_rates"} <= set(tables)
    assert set(tables["instalments"]["schedule_version"]) == {"1", "2"}
    days = tables["servicer_balances"].query("balance_on == '2026-04-04'")["days_past_due"].astype(int)
    buckets = pd.cut(days, [-1, 0, 29, 59, 89, 179, 359, 9_999]).value_counts()
    assert (buckets > 0).all()
    assert 0.6 < (days == 0).mean() < 0.95


def test_principal_adds_up_in_every_version_of_every_schedule(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    tables = drops[LAST]
    instalments = tables["instalments"]
    totals: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for loan_id, version, amount in zip(
        instalments["loan_id"], instalments["schedule_version"], instalments["principal_amount"], strict=True
    ):
        totals[loan_id, version] += Decimal(amount)
    agreed = dict(zip(tables["loans"]["loan_id"], tables["loans"]["principal_amount"].map(Decimal), strict=True))

    assert {key: total for key, total in totals.items() if total != agreed[key[0]]} == {}
    assert instalments["loan_id"].isin(agreed).all()


def test_yen_have_no_cents_and_other_amounts_two_decimals(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    tables = drops[LAST]
    booked = tables["transactions"].merge(tables["loans"][["loan_id", "currency"]], on="loan_id")

    assert booked[booked["currency"] == "JPY"]["amount"].str.fullmatch(r"\d+").all()
    assert booked[booked["currency"] != "JPY"]["amount"].str.fullmatch(r"\d+\.\d\d").all()


def test_what_a_day_knew_no_later_day_forgets_or_changes(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    days = list(drops)
    for before, after in pairwise(days):
        for name, frame in drops[before].items():
            key = list(contract()[name].primary_key)
            kept = frame[key].merge(drops[after][name], on=key)
            assert len(kept) == len(frame), (name, after)
            if contract()[name].only_grows:
                assert kept[frame.columns].equals(frame.reset_index(drop=True)), (name, after)
    assert len(drops[LAST]["transactions"]) > len(drops[FIRST]["transactions"])


def test_no_booking_is_in_a_drop_before_it_was_booked(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    for day, tables in drops.items():
        assert tables["transactions"]["booked_at"].str[:10].max() <= day.isoformat()
        assert tables["loans"]["disbursed_on"].max() <= day.isoformat()


def test_a_reversal_names_a_repayment_of_the_same_loan_and_amount(drops: dict[date, dict[str, pd.DataFrame]]) -> None:
    booked = drops[LAST]["transactions"]
    reversals = booked[booked["kind"] == "reversal"]
    booked_first = booked.add_suffix("_of")
    reversed_ = reversals.merge(booked_first, left_on="reverses_transaction_id", right_on="transaction_id_of")

    assert len(reversed_) == len(reversals) > 0
    assert (reversed_["kind_of"] == "repayment").all()
    assert (reversed_["amount_of"] == reversed_["amount"]).all()
    assert (reversed_["loan_id_of"] == reversed_["loan_id"]).all()


def test_the_servicers_own_arrears_agree_with_a_count_loan_by_loan(
    drops: dict[date, dict[str, pd.DataFrame]],
) -> None:
    tables = drops[LAST]
    balances = tables["servicer_balances"].query("balance_on == '2026-04-04'")
    names = ("loans", "instalments", "charges", "transactions")
    by_loan = {name: dict(list(tables[name].groupby("loan_id"))) for name in names}

    counted = {
        loan_id: count({name: by_loan[name].get(loan_id, tables[name].head(0)) for name in by_loan}, LAST)
        for loan_id in balances["loan_id"]
    }
    stated = {
        loan_id: (Decimal(amount), int(days))
        for loan_id, amount, days in balances[["loan_id", "arrears_amount", "days_past_due"]].itertuples(index=False)
    }

    assert len(stated) > 200
    assert counted == stated


def count(of: dict[str, pd.DataFrame], day: date) -> tuple[Decimal, int]:
    """Arrears and days past due of one loan: what was paid goes to the oldest claims."""
    schedule = of["instalments"]
    schedule = schedule[schedule["schedule_version"] == schedule["schedule_version"].max()]
    claims = [
        [row.due_on, sum(map(Decimal, (row.principal_amount, row.interest_amount, row.fee_amount)))]
        for row in schedule.itertuples()
    ]
    claims += [[row.due_on, Decimal(row.amount)] for row in of["charges"].itertuples() if not row.waived_on]
    claims.sort()
    bookings = of["transactions"]
    undone = set(bookings["reverses_transaction_id"]) - {""}
    credit = Decimal(0)
    for booking in bookings.itertuples():
        if booking.kind in ("repayment", "recovery") and booking.transaction_id not in undone:
            credit += Decimal(booking.amount)
    for claim in claims:
        if claim[0] < day.isoformat():
            paid = min(credit, claim[1])
            credit -= paid
            claim[1] -= paid
    past_due = [claim for claim in claims if claim[0] < day.isoformat() and claim[1] > 0]
    arrears = sum((claim[1] for claim in past_due), Decimal(0))
    tolerance = Decimal(of["loans"]["tolerance_amount"].iloc[0])
    oldest = datetime.fromisoformat(past_due[0][0]).date() if past_due else day
    return arrears, (day - oldest).days if arrears > tolerance else 0


def test_the_same_call_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        write_drops(tmp_path / name, first=FIRST, last=FIRST, loans=40, seed=seed)

    assert hashes(tmp_path / "one") == hashes(tmp_path / "again")
    assert hashes(tmp_path / "one") != hashes(tmp_path / "other")


def test_a_longer_series_begins_like_a_shorter_one(tmp_path: Path) -> None:
    write_drops(tmp_path / "short", first=FIRST, last=FIRST, loans=40, seed=1)
    write_drops(tmp_path / "long", first=FIRST, last=FIRST + timedelta(days=30), loans=40, seed=1)

    assert hashes(tmp_path / "long" / "2026-03-31") == hashes(tmp_path / "short" / "2026-03-31")


def test_too_few_loans_or_days_the_wrong_way_round_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"at least 20 loans, .* 5 is too few"):
        write_drops(tmp_path, first=FIRST, last=FIRST, loans=5, seed=1)
    with pytest.raises(UsageError, match="2026-03-31 to 2026-03-30 are no series"):
        write_drops(tmp_path, first=FIRST, last=FIRST - timedelta(days=1), loans=40, seed=1)
