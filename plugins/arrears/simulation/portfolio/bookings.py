"""The loan ledger as tables: loans, schedules with their versions, bookings, charges, concessions, own balances."""

import numpy as np
import polars as pl

from arrears.simulation.portfolio.dice import Bools, Dates, Floats, Ints
from arrears.simulation.portfolio.events import (
    BOOKINGS,
    CALLED,
    CHANNELS,
    CREDIT_NOTE,
    NEVER,
    RECOVERY,
    REPAYMENT,
    REVERSAL,
    STATUSES,
    History,
)
from arrears.simulation.portfolio.frames import (
    Frames,
    chained,
    days,
    frame,
    ids,
    instants,
    money,
    ratio,
    revealed,
    share,
    texts,
    where,
)
from arrears.simulation.portfolio.lending import CHANNELS as ORIGINATION_CHANNELS
from arrears.simulation.portfolio.lending import Block, Schedule
from arrears.simulation.portfolio.recipients import AGENCIES
from arrears.simulation.portfolio.world import World

COMPONENTS = ("principal", "interest", "fee", "penalty")
ORDERS = ("penalty>fee>interest>principal", "fee>interest>principal>penalty", "interest>principal>penalty>fee")
FORBEARANCES = ("term_extension", "payment_holiday", "delinquency_pause")
TOLERANCE_EUROS = 2
OPEN_SECONDS = (6 * 3600, 18 * 3600)  # one date in every business time zone from UTC-6 to UTC+5
RECONCILED_IN = 8  # one loan in so many has month-end figures of the servicing system's own


def loan_id(block: Block, rows: Ints) -> pl.Series:
    """Keys of loans."""
    return ids("L", block.number[rows])


def borrower_id(block: Block, rows: Ints) -> pl.Series:
    """Keys of the borrowers of loans."""
    return ids("B", block.b_number[block.owner[rows]])


def ledger(world: World, block: Block, plan: Schedule, history: History) -> Frames:
    """All tables of the ledger."""
    charges = _charges(block, history)
    return {
        "loans": _loans(world, block, plan, history),
        "instalments": _instalments(world, block, plan, history),
        "transactions": _transactions(world, block, history),
        "charges": charges,
        "forbearances": _forbearances(block, history),
        "servicer_balances": _balances(world, block, plan, history),
    }


def _shifted(history: History, loan: Ints, month: Ints) -> Ints:
    """The months of instalments after a loan's schedule was moved."""
    is_moved = (history.shift_from[loan] >= 0) & (month >= history.shift_from[loan])
    return month + np.where(is_moved, history.shift_by[loan], 0)


def _loans(world: World, block: Block, plan: Schedule, history: History) -> pl.DataFrame:
    """Loans with what changes in their lives: maturity, being called in, status."""
    count, calendar, dice = len(block), world.calendar, world.dice
    last = np.zeros(count, dtype=np.int64)
    np.maximum.at(last, plan.loan, plan.month)
    last = np.where(block.is_a("revolving"), block.disbursed_month + 60, last)
    moved = _shifted(history, np.arange(count), last)
    matures, matures_moved = calendar.day(last, block.due_day), calendar.day(moved, block.due_day)
    matures = np.maximum(matures, block.disbursed + 1)
    ends = {
        name: _event_days(history, event, count)
        for name, event in (("closed", "closings"), ("written_off", "write_offs"), ("sold", "debt_sales"))
    }

    def at(on: Dates, rows: Ints) -> pl.DataFrame:
        final_on, shift_on = history.final_on[rows], history.shift_on[rows]
        called = (history.final_kind[rows] == CALLED) & (final_on <= on)
        status, status_on = np.zeros(len(rows), dtype=np.int64), block.disbursed[rows].copy()
        for name in ("written_off", "sold", "closed"):
            is_so = ends[name][rows] <= on
            status = np.where(is_so, STATUSES.index(name), status)
            status_on = np.where(is_so, ends[name][rows], status_on)
        return frame(
            on,
            {
                "loan_id": loan_id(block, rows),
                "status": texts(STATUSES, status),
                "status_on": status_on,
                "called_on": np.where(called, final_on, NEVER),
                "call_reason": texts(["missed instalments"], np.zeros(len(rows), dtype=np.int64), called),
                "maturity_on": np.where(
                    final_on <= on, final_on, np.where(shift_on <= on, matures_moved[rows], matures[rows])
                ),
                "_row": rows,
            },
        )

    everybody = np.arange(count)
    stages = [at(block.disbursed, everybody)]
    for change in (history.shift_on, history.final_on, *ends.values()):
        rows = np.flatnonzero(~np.isnat(change))
        stages.append(at(change[rows], rows))
    versions = chained(pl.concat(stages), ["loan_id"])
    terms = _terms(world, block, dice)
    return versions.join(terms, on="_row", how="left", maintain_order="left").drop("_row")


def _event_days(history: History, event: str, count: int) -> Dates:
    found = np.full(count, NEVER)
    columns = history.events.columns(event)
    if len(columns["loan"]):
        found[columns["loan"]] = columns["on"]
    return found


def _terms(world: World, block: Block, dice: object) -> pl.DataFrame:
    """What never changes of a loan."""
    del dice
    draw = world.dice.uniform
    number, count = block.number, len(block)
    rows = np.arange(count)
    is_project, is_sme = block.is_a("project_finance"), block.is_a("sme_term", "trade_finance")
    laws = [place.governing_law for place in world.places]
    names = list(world.p.products)
    is_floating = draw("floating", number) < np.where(is_project | is_sme, 0.5, 0.05)
    order = world.dice.pick("order", [0.7, 0.2, 0.1], number)
    tolerance = np.rint(TOLERANCE_EUROS * block.per_euro).clip(1).astype(np.int64) * 10**block.digits
    classes = [product.exposure_class for product in world.p.products.values()]
    is_syndicated = is_project & (draw("syndicated", number) < 0.3)
    pd = 1 / (1 + np.exp((block.score - 400) / 60))
    grace = np.where(is_project, 5, np.where(draw("grace", number) < 0.3, 3, 0))
    refinances = (number % 10 > 0) & (block.owner == np.concatenate([[-1], block.owner[:-1]])) & block.is_a("consumer")
    is_secured = np.array([one.collateral is not None for one in world.p.products.values()])[block.product]
    from arrears.simulation.portfolio.covers import security_value

    covered = security_value(world, block) / np.maximum(1, block.principal)
    return pl.DataFrame(
        {
            "_row": rows,
            "borrower_id": borrower_id(block, rows),
            "project_id": where(ids("P", number), is_project),
            "product": texts(names, block.product),
            "currency": texts([place.currency for place in world.places], block.place),
            "principal_amount": money(block.principal, block.digits),
            "is_drawn_in_parts": is_project,
            "available_until": days(np.where(is_project, block.disbursed + 760, NEVER)),
            "disbursed_on": days(block.disbursed),
            "interest_rate": ratio(block.rate),
            "rate_type": texts(("fixed", "floating"), is_floating.astype(np.int64)),
            "reference_rate": texts(["EURIBOR-3M"], np.zeros(count, dtype=np.int64), is_floating),
            "margin_rate": ratio(np.maximum(0.002, block.rate - 0.021), is_floating),
            "effective_rate": ratio((1 + block.rate / 12) ** 12 - 1),
            "default_rate": ratio(block.rate + 0.05),
            "allocation_order": texts(ORDERS, order),
            "allocation_mode": texts(("oldest_first",), np.zeros(count, dtype=np.int64)),
            "grace_days": grace,
            "tolerance_amount": money(tolerance, block.digits),
            "default_after_days": np.where(is_project, 30, 90),
            "governing_law": texts(laws, block.place),
            "exposure_class": texts(classes, block.product),
            "refinances_loan_id": where(ids("L", number - 1), refinances & (draw("refinances", number) < 0.3)),
            "branch_code": ids("branch-", block.branch, digits=2),
            "officer_id": ids("officer-", block.officer, digits=2),
            "origination_channel": texts(ORIGINATION_CHANNELS, block.channel),
            "score_at_origination": ratio(block.score),
            "default_probability_at_origination": share(pd),
            "is_credit_impaired_at_origination": draw("impaired", number) < 0.002,
            "collateral_ratio_at_origination": ratio(covered, is_secured),
            "is_syndicated": is_syndicated,
            "syndicate_share": share(np.full(count, 0.4), is_syndicated),
            "is_green": (is_project & (draw("green", number) < 0.6))
            | (block.is_a("auto", "mortgage") & (draw("green", number) < 0.12)),
        }
    )


def _instalments(world: World, block: Block, plan: Schedule, history: History) -> pl.DataFrame:
    """Version 1; the whole schedule again when it was moved; again with one last instalment when it was cut short."""
    calendar = world.calendar
    parts = []

    def version(
        loan: Ints, number: Ints, version_number: Ints | int, on: Dates, due: Dates, principal: Ints, interest: Ints
    ) -> None:
        digits = block.digits[loan]
        parts.append(
            frame(
                on,
                {
                    "loan_id": loan_id(block, loan),
                    "schedule_version": np.broadcast_to(np.asarray(version_number, dtype=np.int64), loan.shape).copy(),
                    "effective_on": on,
                    "basis": "gross",
                    "instalment_number": number.astype(np.int64),
                    "due_on": due,
                    "principal_amount": money(principal, digits),
                    "interest_amount": money(interest, digits),
                    "fee_amount": money(np.zeros(len(loan), dtype=np.int64), digits),
                    "penalty_amount": money(np.zeros(len(loan), dtype=np.int64), digits),
                },
            )
        )

    loan, month = plan.loan, plan.month
    due_day = block.due_day[loan]
    version(
        loan, plan.instalment, 1, block.disbursed[loan], calendar.day(month, due_day), plan.principal, plan.interest
    )
    moved = _shifted(history, loan, month)
    is_shifted = history.shift_from[loan] >= 0
    rows = np.flatnonzero(is_shifted)
    version(
        loan[rows],
        plan.instalment[rows],
        2,
        history.shift_on[loan[rows]],
        calendar.day(moved[rows], due_day[rows]),
        plan.principal[rows],
        plan.interest[rows],
    )
    final_version = np.where(history.shift_from >= 0, 3, 2)
    rows = np.flatnonzero((history.final_kind[loan] > 0) & (moved <= history.final_month[loan]))
    version(
        loan[rows],
        plan.instalment[rows],
        final_version[loan[rows]],
        history.final_on[loan[rows]],
        calendar.day(moved[rows], due_day[rows]),
        plan.principal[rows],
        plan.interest[rows],
    )
    kept = np.bincount(loan[rows], minlength=len(block))
    (ended,) = np.nonzero(history.final_kind > 0)
    version(
        ended,
        kept[ended] + 1,
        final_version[ended],
        history.final_on[ended],
        history.final_on[ended],
        history.final_principal[ended],
        np.zeros(len(ended), dtype=np.int64),
    )
    bills = history.events.columns("statements")
    if len(bills["loan"]):
        version(bills["loan"], bills["number"], 1, bills["billed"], bills["due"], bills["principal"], bills["interest"])
    return pl.concat(parts)


def _transactions(world: World, block: Block, history: History) -> pl.DataFrame:
    made = history.events.columns("transactions")
    loan, month, slot = made["loan"], made["month"], made["slot"]
    number = block.number[loan]
    seconds = world.dice.integers("booked at", *OPEN_SECONDS, number, month, slot)
    reverses, channel, agency = made["reverses"], made["channel"], made["agency"]
    names = [one[0] for one in AGENCIES]
    has_channel = made["kind"] != BOOKINGS.index("write_off")
    return frame(
        made["booked"],
        {
            "transaction_id": ids("T", number, (month, 3), (slot, 2)),
            "loan_id": ids("L", number),
            "kind": texts(BOOKINGS, made["kind"]),
            "effective_on": made["on"],
            "booked_at": instants(made["booked"], seconds),
            "amount": money(made["minor"], block.digits[loan]),
            "component": texts(COMPONENTS, made["component"].clip(0), made["component"] >= 0),
            "reverses_transaction_id": where(ids("T", number, (month, 3), (reverses.clip(0), 2)), reverses >= 0),
            "channel": texts(CHANNELS, channel, has_channel),
            "agency_id": texts(names, agency.clip(0), agency >= 0),
            "cleared_on": np.where(channel == CHANNELS.index("card"), made["on"] + 2, NEVER),
            "reduces_claim": made["reduces"],
        },
    )


def _charges(block: Block, history: History) -> pl.DataFrame:
    made = history.events.columns("charges")
    loan, month = made["loan"], made["month"]
    waived = made["waived"]
    # A reschedule waives the fees of the months that it moves.
    moved_on, moved_from = history.shift_on[loan], history.shift_from[loan]
    by_move = (moved_from >= 0) & (month + 1 >= moved_from) & (made["due"] - 10 <= moved_on) & np.isnat(waived)
    waived = np.where(by_move, moved_on, waived)
    rows = frame(
        made["due"] - 10,
        {
            "charge_id": ids("C", block.number[loan], (month, 3)),
            "loan_id": loan_id(block, loan),
            "kind": texts(("fee", "penalty"), made["is_penalty"].astype(np.int64)),
            "due_on": made["due"],
            "amount": money(made["minor"], block.digits[loan]),
            "waived_on": waived,
        },
    )
    return revealed(rows, ["charge_id"], {"waived_on": ["waived_on"]})


def _forbearances(block: Block, history: History) -> pl.DataFrame:
    made = history.events.columns("forbearances")
    loan, kind = made["loan"], made["kind"]
    return frame(
        made["on"],
        {
            "forbearance_id": ids("F", block.number[loan], (made["month"], 3), (kind, 1)),
            "loan_id": loan_id(block, loan),
            "kind": texts(FORBEARANCES, kind),
            "agreed_on": made["on"],
            "starts_on": made["starts"],
            "ends_on": made["ends"],
            "is_distressed": kind != 1,
            "grace_ends_on": np.where(kind == 0, made["on"] + 90, NEVER),
        },
    )


def _balances(world: World, block: Block, plan: Schedule, history: History) -> pl.DataFrame:
    """Revolving: with every statement. Others: one loan in eight at month ends, counted apart from the pipeline."""
    bills = history.events.columns("statements")
    parts = []
    if len(bills["loan"]):
        loan = bills["loan"]
        digits = block.digits[loan]
        limit = block.principal[loan]
        parts.append(
            frame(
                bills["billed"],
                {
                    "loan_id": loan_id(block, loan),
                    "balance_on": bills["billed"],
                    "outstanding_principal_amount": money(bills["balance"], digits),
                    "outstanding_amount": money(bills["balance"] + bills["interest"], digits),
                    "limit_amount": money(limit, digits),
                    "drawn_amount": money(bills["balance"], digits),
                },
            )
        )
    parts += _month_ends(world, block, plan, history)
    return pl.concat(parts, how="diagonal")


def _month_ends(world: World, block: Block, plan: Schedule, history: History) -> list[pl.DataFrame]:
    """Oldest claim first: all that was due before the day less all that was paid and booked by it."""
    count = len(block)
    chosen: Bools = (block.number % RECONCILED_IN == 0) & ~block.is_a("revolving") & (history.shift_from < 0)
    chosen &= history.final_kind == 0
    made, charges = history.events.columns("transactions"), history.events.columns("charges")
    odd = ~np.isin(made["kind"], [BOOKINGS.index("disbursement"), REPAYMENT, REVERSAL, CREDIT_NOTE, RECOVERY])
    odd |= ~made["reduces"]
    chosen[made["loan"][odd]] = False
    if len(charges["loan"]):
        chosen[charges["loan"][~np.isnat(charges["waived"])]] = False
    keep = chosen[plan.loan]
    loan = plan.loan[keep]
    due, minor = world.calendar.day(plan.month[keep], block.due_day[loan]), (plan.principal + plan.interest)[keep]
    if len(charges["loan"]):
        keep = chosen[charges["loan"]]
        loan = np.concatenate([loan, charges["loan"][keep]])
        due = np.concatenate([due, charges["due"][keep]])
        minor = np.concatenate([minor, charges["minor"][keep]])
    order = np.lexsort((due, loan))
    loan, due, minor = loan[order], due[order], minor[order]
    cumulated = np.cumsum(minor)
    before = np.zeros(count, dtype=np.int64)
    first = np.flatnonzero(np.diff(loan, prepend=-1) > 0)
    before[loan[first]] = cumulated[first] - minor[first]
    cumulated -= before[loan]
    credit = np.select(
        [np.isin(made["kind"], [REPAYMENT, CREDIT_NOTE, RECOVERY]), made["kind"] == REVERSAL], [1, -1], 0
    )
    paying = chosen[made["loan"]] & (credit != 0)
    of, on, booked = made["loan"][paying], made["on"][paying], made["booked"][paying]
    signed = (credit * made["minor"])[paying]
    # A reversal takes back its booking whatever its own value date: from the day on which it is booked.
    counts_from = np.where(credit[paying] < 0, booked, np.maximum(on, booked))
    parts = []
    digits = block.digits
    tolerance = np.rint(TOLERANCE_EUROS * block.per_euro).clip(1).astype(np.int64) * 10**digits
    ends = {
        name: _event_days(history, event, count)
        for name, event in (("closed", "closings"), ("off", "write_offs"), ("sold", "debt_sales"))
    }
    gone_on = np.fmin(np.fmin(ends["closed"], ends["off"]), ends["sold"])
    for month in range(world.calendar.months):
        day = world.calendar.day(month, 31)
        is_live = chosen & (block.disbursed < day) & ~(gone_on <= day)
        paid = np.bincount(of[counts_from <= day], signed[counts_from <= day].astype(np.float64), count)
        paid = np.rint(paid).astype(np.int64)
        claimed = np.zeros(count, dtype=np.int64)
        past = due < day
        np.maximum.at(claimed, loan[past], cumulated[past])
        open_ = past & (cumulated > paid[loan])
        oldest = np.full(count, np.datetime64("9999-01-01", "D"))
        np.minimum.at(oldest, loan[open_], due[open_])
        arrears = np.maximum(0, claimed - paid)
        late: Floats = np.where(arrears > tolerance, (day - oldest).astype(np.int64), 0)
        rows = np.flatnonzero(is_live)
        on_day = np.full(len(rows), day)
        parts.append(
            frame(
                on_day,
                {
                    "loan_id": loan_id(block, rows),
                    "balance_on": on_day,
                    "arrears_amount": money(arrears[rows], digits[rows]),
                    "days_past_due": late[rows].astype(np.int64),
                },
            )
        )
    return parts
