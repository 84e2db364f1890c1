"""How the small portfolio is repaid: on time, late, in part, by debits that bounce, or not at all."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from arrears.simulation.columns import as_amounts
from arrears.simulation.lending import MOST_INSTALMENTS, Lending

LATE_FEE = {"EUR": 800, "USD": 1_000, "CZK": 20_000, "JPY": 1_000}  # minor units
GOOD, SLOW, IRREGULAR, STOPPER = range(4)
HABIT_SHARES = (0.54, 0.17, 0.14, 0.15)
NEVER = 10_000  # days late of what is not paid at all
STRETCH_DAYS = 92  # a reschedule moves what is unpaid by about three months


@dataclass(frozen=True, slots=True)
class Repaying:
    """Schedules with their versions, bookings and concessions. Amounts that begin with `_` are whole minor units."""

    instalments: pd.DataFrame
    transactions: pd.DataFrame
    charges: pd.DataFrame
    forbearances: pd.DataFrame
    fates: pd.DataFrame


def repay(lending: Lending, *, first: date, seed: int) -> Repaying:
    """Draws what happens to every instalment, whatever day the drops end: a longer series only shows more of it."""
    rng = np.random.default_rng([seed, 2])
    loans, dues = lending.loans, lending.instalments
    fates = _fates(loans, dues, first, rng)
    paid = _payments(loans, dues, fates, rng)
    charges = _charges(loans, dues, paid, fates, rng)
    paid = _with_late_fees(paid, charges)
    return Repaying(
        instalments=_versions(loans, dues, fates),
        transactions=_bookings(loans, paid, fates, rng),
        charges=charges,
        forbearances=_forbearances(loans, fates, first, rng),
        fates=fates,
    )


def _fates(loans: pd.DataFrame, dues: pd.DataFrame, first: date, rng: np.random.Generator) -> pd.DataFrame:
    """One row per loan: its habit, after which instalment a stopper stops, when it is written off, sold or moved."""
    count, term = len(loans), loans["_term"].to_numpy()
    habit = rng.choice(4, count, p=HABIT_SHARES)
    stop = np.where(habit == STOPPER, 2 + np.floor(rng.random(count) * np.minimum(term - 3, 20)), MOST_INSTALMENTS)
    due = np.full((count, MOST_INSTALMENTS + 1), np.datetime64("NaT", "D"))
    due[dues["_loan"].to_numpy(), dues["instalment_number"].to_numpy() - 1] = (
        dues["due_on"].to_numpy().astype("datetime64[D]")
    )
    stopped_on = due[np.arange(count), stop.astype(np.int64)]
    draw = rng.random(count)
    written_off_on = np.where(draw < 0.5, stopped_on + 420, np.datetime64("NaT", "D"))
    sold_on = np.where(draw > 0.8, stopped_on + 300, np.datetime64("NaT", "D"))
    rescheduled_on = np.datetime64(first, "D") - rng.integers(-3, 100, count)
    disbursed_on = loans["disbursed_on"].to_numpy().astype("datetime64[D]")
    fits = (habit == IRREGULAR) & (disbursed_on + 150 < rescheduled_on) & (rng.random(count) < 0.2)
    return pd.DataFrame(
        {
            "habit": habit,
            "stop": stop.astype(np.int64),
            "stopped_on": stopped_on,
            "written_off_on": written_off_on,
            "sold_on": sold_on,
            "rescheduled_on": np.where(fits, rescheduled_on, np.datetime64("NaT", "D")),
        }
    )


def _payments(loans: pd.DataFrame, dues: pd.DataFrame, fates: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One row per instalment: two payments at most, with their days late, and whether a debit bounced first."""
    loan = dues["_loan"].to_numpy()
    count = len(dues)
    habit = fates["habit"].to_numpy()[loan]
    has_stopped = dues["instalment_number"].to_numpy() > fates["stop"].to_numpy()[loan]
    is_last = dues["instalment_number"].to_numpy() == loans["_term"].to_numpy()[loan]
    event, size, forgets = rng.random(count), rng.uniform(0.3, 0.8, count), rng.random(count)
    days = {
        "few": rng.integers(1, 6, count),
        "some": np.minimum(rng.geometric(0.11, count), 40),
        "many": rng.integers(20, 96, count),
    }
    is_slow = (habit == SLOW) | (habit == STOPPER)
    late = np.select(
        [(habit == GOOD) & (event > 0.955), is_slow & (event < 0.6), is_slow & (event > 0.97)],
        [days["few"], days["some"], days["many"]],
        0,
    )
    misses = (habit == IRREGULAR) & (event < 0.20)
    is_partial = ((habit == IRREGULAR) & (event > 0.82)) | (has_stopped & (event > 0.92))
    bounces = ((habit == GOOD) & (event < 0.005)) | ((habit == IRREGULAR) & (event > 0.20) & (event < 0.30))
    late = np.where(misses, np.where(forgets < 0.15, NEVER, days["many"]), late)
    late = np.where(bounces & (late == 0), days["few"] + 9, late)
    late = np.where(has_stopped & ~is_partial, NEVER, late)
    amount = dues[["principal", "interest", "fee"]].to_numpy().sum(axis=1)
    now = np.where(is_partial, np.floor(amount * size).astype(np.int64), amount)
    rest_late = np.where(has_stopped | (forgets < 0.15), NEVER, days["many"])
    # What is rescheduled is paid by the new dates.
    due_on = dues["due_on"].to_numpy().astype("datetime64[D]")
    moved = _is_moved(due_on, fates["rescheduled_on"].to_numpy().astype("datetime64[D]")[loan])
    due_on = np.where(moved, due_on + STRETCH_DAYS, due_on)
    return pd.DataFrame(
        {
            "_loan": loan,
            "number": dues["instalment_number"].to_numpy(),
            "due_on": due_on,
            "is_moved": moved,
            "amount": amount,
            "now": now,
            "late": late,
            "rest": amount - now,
            "rest_late": np.maximum(rest_late, late),
            "fee": 0,
            "bounces": bounces & ~is_last & ~moved,
        }
    )


def _is_moved(due_on: npt.NDArray[np.datetime64], rescheduled_on: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
    """A reschedule moves what falls due after it and in the 45 days before it."""
    return due_on >= rescheduled_on - 45


def _charges(
    loans: pd.DataFrame, dues: pd.DataFrame, paid: pd.DataFrame, fates: pd.DataFrame, rng: np.random.Generator
) -> pd.DataFrame:
    """Late fees: raised five days after a due date that was missed, due ten days later; some are waived."""
    loan = paid["_loan"].to_numpy()
    open_days = np.where(paid["rest"] > 0, paid["rest_late"], paid["late"])
    stop = fates["stop"].to_numpy()[loan]
    draw, mercy = rng.random(len(paid)), rng.random(len(paid))
    is_charged = (
        (open_days > 15) & (draw < 0.6) & ~paid["is_moved"].to_numpy() & (paid["number"].to_numpy() <= stop + 3)
    )
    (rows,) = np.nonzero(is_charged)
    of, number = loan[rows], paid["number"].to_numpy()[rows]
    due_on = paid["due_on"].to_numpy().astype("datetime64[D]")[rows] + 15
    # Waived before it is due it never was a claim; waived later, only where nothing is being paid any more.
    waived_on = np.where(
        mercy[rows] < 0.10,
        due_on - 3,
        np.where((mercy[rows] > 0.7) & (number > stop[rows]), due_on + 30, np.datetime64("NaT", "D")),
    )
    minor = np.array([LATE_FEE[c] for c in loans["currency"]])[of]
    loan_id = loans["loan_id"].to_numpy()[of]
    return pd.DataFrame(
        {
            "charge_id": [f"C{i[1:]}-{n:02d}" for i, n in zip(loan_id, number, strict=True)],
            "loan_id": loan_id,
            "kind": "fee",
            "due_on": due_on,
            "amount": as_amounts(minor, loans["_digits"].to_numpy()[of]),
            "waived_on": waived_on,
            "_known_waived_on": waived_on,
            "_visible_on": due_on - 10,
            "_loan": of,
            "_minor": minor,
            "_row": rows,
        }
    )


def _with_late_fees(paid: pd.DataFrame, charges: pd.DataFrame) -> pd.DataFrame:
    """The last payment for an instalment brings its late fee along, unless it is waived."""
    owed = charges.loc[charges["waived_on"].isna()].set_index("_row")["_minor"]
    fee = owed.reindex(np.arange(len(paid))).fillna(0).astype(np.int64).to_numpy()
    return paid.assign(fee=fee)


def _versions(loans: pd.DataFrame, dues: pd.DataFrame, fates: pd.DataFrame) -> pd.DataFrame:
    """The original schedules, and the whole schedule again (basis gross) for the loans that were rescheduled."""
    loan = dues["_loan"].to_numpy()
    disbursed_on = loans["disbursed_on"].to_numpy().astype("datetime64[D]")[loan]
    original = dues.assign(schedule_version=1, effective_on=disbursed_on, _visible_on=disbursed_on)
    rescheduled_on = fates["rescheduled_on"].to_numpy().astype("datetime64[D]")[loan]
    due_on = dues["due_on"].to_numpy().astype("datetime64[D]")
    moved = _is_moved(due_on, rescheduled_on)
    again = dues.assign(
        schedule_version=2,
        effective_on=rescheduled_on,
        _visible_on=rescheduled_on,
        due_on=np.where(moved, due_on + STRETCH_DAYS, due_on),
    )[~np.isnat(rescheduled_on)]
    every = pd.concat([original, again], ignore_index=True)
    digits = loans["_digits"].to_numpy()[every["_loan"]]
    every["loan_id"] = loans["loan_id"].to_numpy()[every["_loan"]]
    every["_amount"] = every[["principal", "interest", "fee"]].sum(axis=1)
    for part in ("principal", "interest", "fee"):
        every[f"{part}_amount"] = as_amounts(every[part].to_numpy(), digits)
    every["penalty_amount"] = as_amounts(np.zeros(len(every), dtype=np.int64), digits)
    return every


def _bookings(loans: pd.DataFrame, paid: pd.DataFrame, fates: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Disbursements, repayments, bounced debits with their reversals, write-offs and recoveries after them."""
    due_on, number = paid["due_on"].to_numpy().astype("datetime64[D]"), paid["number"].to_numpy()
    is_whole = paid["rest"].to_numpy() == 0
    fee = paid["fee"].to_numpy()
    late, rest_late = paid["late"].to_numpy(), paid["rest_late"].to_numpy()
    # Only who is more than 15 days late owes a fee, and it is due after 15: it never comes with an earlier payment.
    payments = [
        ("a", due_on, paid["amount"].to_numpy(), paid["bounces"].to_numpy(), "direct_debit"),
        ("b", due_on + late, paid["now"].to_numpy() + np.where(is_whole, fee, 0), late < NEVER, ""),
        ("c", due_on + rest_late, paid["rest"].to_numpy() + fee, ~is_whole & (rest_late < NEVER), "transfer"),
    ]
    channel = np.where(
        late == 0, "direct_debit", rng.choice(["transfer", "cash", "card"], len(paid), p=[0.7, 0.1, 0.2])
    )
    lag = _booking_lag(len(paid), rng)
    parts = []
    for letter, effective_on, minor, happens, way in payments:
        part = pd.DataFrame(
            {
                "_loan": paid["_loan"].to_numpy(),
                "_key": [f"{n:02d}{letter}" for n in number],
                "kind": "repayment",
                "effective_on": effective_on,
                "_lag": 0 if letter == "a" else lag,
                "_minor": minor,
                "channel": way or channel,
                "_reverses": None,
            }
        )
        parts.append(part[happens & (minor > 0)])
    bounced = parts[0]
    returned = bounced.assign(
        _key=bounced["_key"].str.replace("a", "r"),
        kind="reversal",
        effective_on=bounced["effective_on"].to_numpy().astype("datetime64[D]") + rng.integers(3, 9, len(bounced)),
        _reverses=bounced["_key"],
    )
    every = pd.concat(
        [*parts, returned, _disbursements(loans), _write_offs(loans, paid, fates, rng)], ignore_index=True
    )
    every = every[_may_still_be_booked(every, fates)].reset_index(drop=True)
    return _as_transactions(every, loans, rng)


def _booking_lag(count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Days from value date to booking: mostly none, one in ten a day or two, one in fifty backdated by up to twelve."""
    draw = rng.random(count)
    return np.select([draw < 0.02, draw < 0.12], [rng.integers(3, 13, count), rng.integers(1, 3, count)], 0)


def _disbursements(loans: pd.DataFrame) -> pd.DataFrame:
    """All at once; for projects in three parts of 40, 35 and 25 percent, four and ten months apart."""
    is_project = loans["is_drawn_in_parts"].to_numpy()
    principal = loans["_principal"].to_numpy()
    first, second = principal * 2 // 5, principal * 7 // 20
    parts = [
        (0, np.where(is_project, first, principal), np.ones(len(loans), dtype=bool)),
        (120, second, is_project),
        (300, principal - first - second, is_project),
    ]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "_loan": np.arange(len(loans)),
                    "_key": f"00d{days:03d}",
                    "kind": "disbursement",
                    "effective_on": loans["disbursed_on"].to_numpy().astype("datetime64[D]") + days,
                    "_lag": 0,
                    "_minor": minor,
                    "channel": "transfer",
                    "_reverses": None,
                }
            )[happens]
            for days, minor, happens in parts
        ]
    )


def _write_offs(loans: pd.DataFrame, paid: pd.DataFrame, fates: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The write-off booking (all that is scheduled from the stop on) and, for some, one recovery two months later."""
    (rows,) = np.nonzero(fates["written_off_on"].notna().to_numpy())
    stop = fates["stop"].to_numpy()
    unpaid = paid.loc[paid["number"].to_numpy() > stop[paid["_loan"]]].groupby("_loan")["amount"].sum()
    minor = unpaid.reindex(rows).fillna(1).astype(np.int64).to_numpy()
    on = fates["written_off_on"].to_numpy().astype("datetime64[D]")[rows]
    common = {"_loan": rows, "_lag": 0, "_reverses": None}
    write_offs = pd.DataFrame(
        {"_key": "98w", "kind": "write_off", "effective_on": on, "_minor": minor, "channel": None} | common
    )
    recovered = pd.DataFrame(
        {"_key": "99v", "kind": "recovery", "effective_on": on + 60, "_minor": minor // 8, "channel": "transfer"}
        | common
    )
    chosen = (rng.random(len(rows)) < 0.7) & (minor // 8 > 0)
    return pd.concat([write_offs, recovered[chosen]])


def _may_still_be_booked(bookings: pd.DataFrame, fates: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Nothing is booked on a loan once it is sold; after a write-off only recoveries are."""
    loan = bookings["_loan"].to_numpy()
    on = bookings["effective_on"].to_numpy().astype("datetime64[D]") + bookings["_lag"].to_numpy().astype(np.int64)
    written_off_on, sold_on = (
        fates[name].to_numpy().astype("datetime64[D]")[loan] for name in ("written_off_on", "sold_on")
    )
    is_after = bookings["kind"].isin(("write_off", "recovery")).to_numpy()
    may: npt.NDArray[np.bool_] = ~(on >= sold_on) & (is_after | ~(on >= written_off_on))
    return may


def _as_transactions(bookings: pd.DataFrame, loans: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    loan = bookings["_loan"].to_numpy()
    loan_id = loans["loan_id"].to_numpy()[loan]
    effective_on = bookings["effective_on"].to_numpy().astype("datetime64[D]")
    booked_on = effective_on + bookings["_lag"].to_numpy().astype(np.int64)
    # Between 06:00 and 18:00 UTC: the same date in every business time zone from UTC-6 to UTC+5.
    booked_at = booked_on.astype("datetime64[s]") + rng.integers(6 * 3600, 18 * 3600, len(bookings))
    prefix = np.char.add(np.char.add("T", np.array([i[1:] for i in loan_id], dtype=str)), "-")
    reverses = bookings["_reverses"].to_numpy()
    keys = bookings["_key"].to_numpy()
    return pd.DataFrame(
        {
            "transaction_id": [p + k for p, k in zip(prefix, keys, strict=True)],
            "loan_id": loan_id,
            "kind": bookings["kind"].to_numpy(),
            "effective_on": effective_on,
            "booked_at": np.char.add(np.datetime_as_string(booked_at, unit="s"), "+00:00"),
            "amount": as_amounts(bookings["_minor"].to_numpy().astype(np.int64), loans["_digits"].to_numpy()[loan]),
            "reverses_transaction_id": [p + k if k else None for p, k in zip(prefix, reverses, strict=True)],
            "channel": bookings["channel"].to_numpy(),
            "reduces_claim": True,
            "_visible_on": booked_on,
            "_loan": loan,
            "_minor": bookings["_minor"].to_numpy().astype(np.int64),
            "_sign": np.select(
                [bookings["kind"].isin(("repayment", "recovery")), bookings["kind"] == "reversal"], [1, -1], 0
            ),
        }
    )


def _forbearances(loans: pd.DataFrame, fates: pd.DataFrame, first: date, rng: np.random.Generator) -> pd.DataFrame:
    """Pauses of the count of days (some become known days after they begin) and the reschedules as term extensions."""
    count = len(loans)
    disbursed_on = loans["disbursed_on"].to_numpy().astype("datetime64[D]")
    starts_on = np.datetime64(first, "D") - rng.integers(-4, 60, count)
    told_on = starts_on + rng.integers(0, 6, count)
    is_paused = (rng.random(count) < 0.12) & (fates["habit"].to_numpy() >= IRREGULAR) & (disbursed_on + 60 < starts_on)
    (rows,) = np.nonzero(is_paused)
    pauses = pd.DataFrame(
        {
            "forbearance_id": [f"F{i[1:]}-pause" for i in loans["loan_id"].to_numpy()[rows]],
            "loan_id": loans["loan_id"].to_numpy()[rows],
            "kind": "delinquency_pause",
            "agreed_on": told_on[rows],
            "starts_on": starts_on[rows],
            "ends_on": starts_on[rows] + 45,
            "is_distressed": False,
            "_visible_on": told_on[rows],
        }
    )
    rescheduled_on = fates["rescheduled_on"].to_numpy().astype("datetime64[D]")
    (rows,) = np.nonzero(~np.isnat(rescheduled_on))
    extensions = pd.DataFrame(
        {
            "forbearance_id": [f"F{i[1:]}-extension" for i in loans["loan_id"].to_numpy()[rows]],
            "loan_id": loans["loan_id"].to_numpy()[rows],
            "kind": "term_extension",
            "agreed_on": rescheduled_on[rows],
            "starts_on": rescheduled_on[rows],
            "ends_on": np.datetime64("NaT", "D"),
            "is_distressed": True,
            "_visible_on": rescheduled_on[rows],
        }
    )
    return pd.concat([pauses, extensions], ignore_index=True)
