"""What the collectors did, as the books tell it: contacts, promises, placements, feedback, lawsuits, costs."""

import numpy as np
import polars as pl

from arrears.simulation.portfolio.bookings import loan_id
from arrears.simulation.portfolio.dice import Ints
from arrears.simulation.portfolio.events import CONTACT_CHANNELS, NEVER, OUTCOMES, History
from arrears.simulation.portfolio.frames import Frames, frame, ids, instants, money, revealed, texts, where
from arrears.simulation.portfolio.lending import PERSON, Block
from arrears.simulation.portfolio.people import OWN
from arrears.simulation.portfolio.recipients import (
    AGENCIES,
    AGENCY_NUMBERS,
    HARSH,
    LAW_NUMBERS,
    commissions,
    jurisdictions,
)
from arrears.simulation.portfolio.world import World

CONTACT_SECONDS = (9 * 3600, 17 * 3600)
NAMES = tuple(one[0] for one in AGENCIES)
RECALLS = ("no_payment", "cured", "written_off_or_sold")
COURTS = {"US": "Superior Court", "GB": "County Court", "DE": "Amtsgericht", "JP": "District Court"}


def collecting(world: World, block: Block, history: History) -> Frames:
    """All tables of collecting."""
    contacts, promises = _contacts(world, block, history)
    placements, feedback = _placements(world, block, history)
    cases, case_loans, limitation = _cases(world, block, history)
    return {
        "contacts": contacts,
        "promises": promises,
        "placements": placements,
        "agency_feedback": feedback,
        "legal_cases": cases,
        "legal_case_loans": case_loans,
        "limitation_events": limitation,
        "collection_costs": _costs(world, block, history),
        "suppressions": _suppressions(world, block, history),
        "credit_events": _credit_events(world, block, history),
        "agency_conflicts": _conflicts(world, block),
    }


def _contacts(world: World, block: Block, history: History) -> tuple[pl.DataFrame, pl.DataFrame]:
    dice = world.dice
    made = history.events.columns("contacts")
    loan, month, attempt, on = made["loan"], made["month"], made["attempt"], made["on"]
    number = block.number[loan]
    seconds = dice.integers("contact at", *CONTACT_SECONDS, number, month, attempt)
    cost = np.array([world.p.collecting.cost[name] for name in CONTACT_CHANNELS])[made["channel"]]
    per_euro, digits = block.per_euro[loan], block.digits[loan]
    got = np.isin(made["outcome"], [3, 4, 5, 6])
    contacts = frame(
        on,
        {
            "contact_id": ids("K", number, (month, 3), (attempt, 1)),
            "borrower_id": ids(OWN, block.b_number[block.owner[loan]]),
            "loan_id": loan_id(block, loan),
            "agency_id": where(texts(NAMES, made["agency"].clip(0)), made["agency"] >= 0),
            "contacted_at": instants(on, seconds),
            "recorded_at": instants(on, seconds + 600),
            "channel": texts(CONTACT_CHANNELS, made["channel"]),
            "is_inbound": got & (dice.uniform("inbound", number, month, attempt) < 0.15),
            "place": texts(
                ("mobile", "home", "work"), dice.pick("contact/place", [0.6, 0.36, 0.04], number, month, attempt)
            ),
            "party": texts(
                ("debtor", "third_party"), (made["outcome"] == 2).astype(np.int64), got | (made["outcome"] == 2)
            ),
            "outcome": texts(OUTCOMES, made["outcome"]),
            "cost_amount": money(np.rint(cost * per_euro * 10.0**digits).astype(np.int64), digits),
            "cost_currency": texts([one.currency for one in world.places], block.place[loan]),
        },
    )
    rows = np.flatnonzero(made["outcome"] == OUTCOMES.index("promise"))
    days = dice.integers("promise/days", 4, 15, number[rows], month[rows], attempt[rows])
    half = dice.uniform("promise/part", number[rows], month[rows], attempt[rows]) < 0.4
    amount = np.maximum(1, np.where(half, made["need"][rows] // 2, made["need"][rows]))
    promises = frame(
        on[rows],
        {
            "promise_id": ids("PR", number[rows], (month[rows], 3), (attempt[rows], 1)),
            "loan_id": loan_id(block, loan[rows]),
            "made_on": on[rows],
            "due_on": on[rows] + days,
            "amount": money(amount, digits[rows]),
        },
    )
    return contacts, promises


def _placements(world: World, block: Block, history: History) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Placements with their recalls, and what agencies report of them: mostly true, never all of it."""
    dice, calendar, p = world.dice, world.calendar, world.p.collecting
    made, back = history.events.columns("placements"), history.events.columns("recalls")
    loan, month, agency = made["loan"], made["month"], made["agency"]
    number = block.number[loan]
    currency = [one.currency for one in world.places]
    contract = (
        texts([world.p.contracts.late.get(name, "") for name in NAMES], agency)
        + "-"
        + texts(currency, block.place[loan])
    )
    placed = frame(
        made["on"],
        {
            "placement_id": ids("PL", number, (month, 3)),
            "loan_id": loan_id(block, loan),
            "agency_id": texts(NAMES, agency),
            "contract_id": contract,
            "placed_on": made["on"],
            "placed_amount": money(made["minor"], block.digits[loan]),
        },
    )
    recalled = pl.DataFrame(
        {
            "placement_id": ids("PL", block.number[back["loan"]], (back["since"], 3)),
            "recalled_on": pl.Series(back["on"].astype("datetime64[ms]")).cast(pl.Date),
            "recall_reason": texts(RECALLS, back["reason"]),
        }
    )
    placements = revealed(
        placed.join(recalled, on="placement_id", how="left", maintain_order="left"),
        ["placement_id"],
        {"recalled_on": ["recalled_on", "recall_reason"]},
    )
    until = np.full((len(block), calendar.months), calendar.months, dtype=np.int64)
    until[back["loan"], back["since"]] = back["month"]
    ends = until[loan, month]
    parts = []
    for later in range(p.recalled_after):
        rows = np.flatnonzero((month + later < ends) & (month + later < calendar.months))
        at = month[rows] + later
        of, who = loan[rows], agency[rows]
        draw = dice.uniform("feedback", number[rows], at)
        lies = dice.uniform("feedback/lie", number[rows], at) < p.lie_share * np.where(
            who == AGENCY_NUMBERS[0], *p.feedback_lies
        )
        was_idle = draw < p.feedback_idle_share
        outcome = np.where(
            was_idle & ~lies, 0, dice.pick("feedback/outcome", list(p.feedback_outcomes.values()), number[rows], at)
        )
        action = np.where(
            was_idle & ~lies, 4, dice.pick("feedback/action", list(p.feedback_actions.values()), number[rows], at)
        )
        harsh = np.where(who == HARSH, p.harshness[0], 1.0) * np.where(action == 2, p.harshness[1], 1.0)
        complaint = dice.uniform("feedback/complaint", number[rows], at) < p.complaint_share * harsh
        on = calendar.day(at, 19)
        paid = outcome == 3
        amount = np.maximum(1, made["minor"][rows] // 8)
        parts.append(
            frame(
                on,
                {
                    "agency_id": texts(NAMES, who),
                    "feedback_id": ids("FB", number[rows], (at, 3)),
                    "loan_id": loan_id(block, of),
                    "reported_at": instants(on, np.full(len(rows), 16 * 3600)),
                    "action": texts((*p.feedback_actions, "none"), action),
                    "outcome": texts(tuple(p.feedback_outcomes), outcome),
                    "amount": money(amount, block.digits[of], paid),
                    "promised_on": np.where(outcome == 1, on + 12, NEVER),
                    "is_complaint": complaint,
                },
            )
        )
    return placements, pl.concat(parts)


def _cases(world: World, block: Block, history: History) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    dice, calendar = world.dice, world.calendar
    made = history.events.columns("suits")
    loan, until = made["loan"], made["until"]
    number, digits = block.number[loan], block.digits[loan]
    filed = made["on"]
    judged = calendar.day(until, 18)
    wins = dice.uniform("suit/wins", number) < world.p.collecting.suit_won_share
    notice, applied = judged + 30, judged + 75
    ended = applied + dice.integers("suit/enforcement", 60, 300, number)
    result = dice.pick("suit/result", list(world.p.collecting.enforcement_results.values()), number)
    first = jurisdictions(world, LAW_NUMBERS[0])
    law = np.where(first, *LAW_NUMBERS)[block.place[loan]]
    cases = frame(
        filed,
        {
            "case_id": ids("S", number),
            "agency_id": texts(NAMES, law),
            "country": texts([one.country for one in world.places], block.place[loan]),
            "court": texts(
                [COURTS.get(one.country, "Court of first instance") + f" {one.cities[0]}" for one in world.places],
                block.place[loan],
            ),
            "currency": texts([one.currency for one in world.places], block.place[loan]),
            "filed_on": filed,
            "claimed_amount": money(made["minor"], digits),
            "judgment_on": judged,
            "judgment_for_lender": wins,
            "judgment_amount": money(made["minor"], digits, wins),
            "instrument": texts(("judgment",), np.zeros(len(loan), dtype=np.int64), wins),
            "execution_notice_on": np.where(wins, notice, NEVER),
            "enforcement_applied_on": np.where(wins, applied, NEVER),
            "enforcement_ended_on": np.where(wins, ended, NEVER),
            "enforcement_result": texts(tuple(world.p.collecting.enforcement_results), result, wins),
            "dishonesty_ground": texts(
                ("able to perform and evades enforcement",), np.zeros(len(loan), dtype=np.int64), wins & (result == 3)
            ),
            "closed_on": np.where(wins, ended + 10, judged + 10),
        },
    )
    cases = revealed(
        cases,
        ["case_id"],
        {
            "judgment_on": ["judgment_on", "judgment_for_lender", "judgment_amount", "instrument"],
            "execution_notice_on": ["execution_notice_on"],
            "enforcement_applied_on": ["enforcement_applied_on"],
            "enforcement_ended_on": ["enforcement_ended_on", "enforcement_result", "dishonesty_ground"],
            "closed_on": ["closed_on"],
        },
    )
    links = frame(filed, {"case_id": ids("S", number), "loan_id": loan_id(block, loan)})
    suits = frame(
        filed,
        {
            "limitation_event_id": ids("LS", number),
            "loan_id": loan_id(block, loan),
            "borrower_id": ids(OWN, block.b_number[block.owner[loan]]),
            "kind": "suit",
            "is_written": np.full(len(loan), True),
            "occurred_on": filed,
            "ended_on": judged,
        },
    )
    suits = revealed(suits, ["limitation_event_id"], {"ended_on": ["ended_on"]})
    asked = history.events.columns("contacts")
    rows = np.flatnonzero((asked["outcome"] == OUTCOMES.index("promise")) & (asked["channel"] >= 2))
    acknowledged = frame(
        asked["on"][rows],
        {
            "limitation_event_id": ids(
                "LA", block.number[asked["loan"][rows]], (asked["month"][rows], 3), (asked["attempt"][rows], 1)
            ),
            "loan_id": loan_id(block, asked["loan"][rows]),
            "borrower_id": ids(OWN, block.b_number[block.owner[asked["loan"][rows]]]),
            "kind": "acknowledgement",
            "is_written": np.full(len(rows), True),
            "occurred_on": asked["on"][rows],
        },
    )
    return cases, links, pl.concat([suits, acknowledged], how="diagonal")


def _costs(world: World, block: Block, history: History) -> pl.DataFrame:
    """Visits, commissions of what agencies brought in, courts and lawyers, valuations."""
    currency = [one.currency for one in world.places]
    parts = []

    def cost(
        code: str,
        kind: str,
        loan: Ints,
        month: Ints,
        on: object,
        minor: Ints,
        agency: Ints | None,
        case: bool,
        back: bool,
    ) -> None:
        number = block.number[loan]
        columns = {
            "cost_id": ids(code, number, (month, 3)),
            "loan_id": loan_id(block, loan),
            "kind": kind,
            "incurred_on": on,
            "amount": money(minor.clip(1), block.digits[loan]),
            "currency": texts(currency, block.place[loan]),
            "is_recoverable": np.full(len(loan), back),
        }
        if agency is not None:
            columns["agency_id"] = texts(NAMES, agency)
        if case:
            columns["case_id"] = ids("S", number)
        parts.append(frame(on, columns))  # type: ignore[arg-type]

    def euros(amount: float, loan: Ints) -> Ints:
        return np.rint(amount * block.per_euro[loan]).astype(np.int64) * 10 ** block.digits[loan]

    booked = history.events.columns("transactions")
    rows = np.flatnonzero((booked["agency"] >= 0) & (booked["kind"] == 1))
    commission = commissions(world)[booked["agency"][rows]]
    brought = np.rint(booked["minor"][rows] * commission).astype(np.int64)
    loan, month, agency = booked["loan"][rows], booked["month"][rows], booked["agency"][rows]
    cost("KC", "commission", loan, month, booked["booked"][rows] + 5, brought, agency, False, False)
    price = world.p.collecting.costs
    suits = history.events.columns("suits")
    cost(
        "KS",
        "court",
        suits["loan"],
        suits["month"],
        suits["on"] + 3,
        euros(price["court"], suits["loan"]),
        None,
        True,
        True,
    )
    cost(
        "KL",
        "lawyer",
        suits["loan"],
        suits["month"],
        suits["on"] + 10,
        euros(price["lawyer"], suits["loan"]),
        None,
        True,
        True,
    )
    sales = history.events.columns("sales")
    cost(
        "KV",
        "valuation",
        sales["loan"],
        sales["month"],
        world.calendar.day(sales["month"], 25),
        euros(price["valuation"], sales["loan"]),
        None,
        False,
        True,
    )
    visits = history.events.columns("contacts")
    rows = np.flatnonzero((visits["channel"] == 4) & (visits["attempt"] == 0))
    cost(
        "KX",
        "contact",
        visits["loan"][rows],
        visits["month"][rows],
        visits["on"][rows],
        euros(world.p.collecting.cost["visit"], visits["loan"][rows]),
        None,
        False,
        False,
    )
    return pl.concat(parts, how="diagonal")


def _protections(world: World, block: Block, rows: Ints) -> tuple[list[str], Ints]:
    """Kinds of suppression, and which one each of these borrowers came under; firms have a lawyer or go bankrupt."""
    names = list(world.p.collecting.suppressions)
    kind = world.dice.pick("suppression", list(world.p.collecting.suppressions.values()), block.b_number[rows])
    lawyer, bankrupt = names.index("represented"), names.index("bankruptcy")
    of_firm = np.where(kind < lawyer, lawyer, bankrupt)
    return names, np.where(block.b_kind[rows] == PERSON, kind, of_firm)


def _suppressions(world: World, block: Block, history: History) -> pl.DataFrame:
    rows = np.flatnonzero(~np.isnat(history.protected_from))
    number = block.b_number[rows]
    names, kind = _protections(world, block, rows)
    starts = history.protected_from[rows]
    passes = np.isin(kind, [names.index(name) for name in ("dispute", "breathing_space", "hardship")])
    return frame(
        starts,
        {
            "suppression_id": ids("X", number),
            "borrower_id": ids(OWN, number),
            "channel": texts(("call",), np.zeros(len(rows), dtype=np.int64), kind == 0),
            "kind": texts(names, kind),
            "starts_on": starts,
            "ends_on": np.where(passes, starts + world.p.collecting.suppression_days, NEVER),
            "origin": texts(
                ("borrower", "court", "relative"),
                np.select([kind == names.index("bankruptcy"), kind == names.index("deceased")], [1, 2], 0),
            ),
        },
    )


def _credit_events(world: World, block: Block, history: History) -> pl.DataFrame:
    """Non-accrual and provisions of loans far behind, bankruptcies and deaths, defaults elsewhere that come first."""
    dice, calendar = world.dice, world.calendar
    currency = [one.currency for one in world.places]
    parts = []

    def event(
        code: str, kind: str, borrower: Ints, loan: Ints | None, on: object, found: object, minor: Ints | None = None
    ) -> None:
        columns = {
            "credit_event_id": ids(code, block.b_number[borrower] if loan is None else block.number[loan]),
            "borrower_id": ids(OWN, block.b_number[borrower]),
            "kind": kind,
            "occurred_on": on,
            "discovered_on": found,
        }
        if loan is not None:
            columns["loan_id"] = loan_id(block, loan)
        if minor is not None and loan is not None:
            columns["amount"] = money(minor, block.digits[loan])
            columns["currency"] = texts(currency, block.place[loan])
        parts.append(frame(found, columns))  # type: ignore[arg-type]

    far = history.behind >= 4
    rows = np.flatnonzero(far.any(axis=1))
    month = far[rows].argmax(axis=1)
    on = calendar.day(month, 31)
    event("EN", "non_accrual", block.owner[rows], rows, on, on + 1)
    some = dice.uniform("provision", block.number[rows]) < world.p.collecting.provision_share
    event(
        "EP",
        "specific_provision",
        block.owner[rows[some]],
        rows[some],
        on[some] + 20,
        on[some] + 25,
        block.principal[rows[some]] // 5,
    )
    protected = np.flatnonzero(~np.isnat(history.protected_from))
    names, kind = _protections(world, block, protected)
    for code, name, suppression in (
        ("EB", "bankruptcy", "bankruptcy"),
        ("ED", "death", "deceased"),
        ("EC", "court_dispute", "dispute"),
    ):
        these = protected[kind == names.index(suppression)]
        when = history.protected_from[these]
        event(code, name, these, None, when - 2, when)
    weak = history.capacity < world.p.capacity.mean_log - 1.0
    borrowers = np.flatnonzero(
        weak.any(axis=1)
        & (dice.uniform("default elsewhere", block.b_number) < world.p.collecting.default_elsewhere_share)
    )
    when = calendar.day(weak[borrowers].argmax(axis=1), 27)
    keep = when > block.b_since[borrowers]
    event("EE", "default_elsewhere", borrowers[keep], None, when[keep] - 20, when[keep])
    firms = np.flatnonzero(
        (block.b_kind != PERSON)
        & weak.any(axis=1)
        & (dice.uniform("rating cut", block.b_number) < world.p.collecting.rating_cut_share)
    )
    when = calendar.day(weak[firms].argmax(axis=1), 14)
    keep = when > block.b_since[firms]
    event("ER", "rating_cut", firms[keep], None, when[keep], when[keep] + 3)
    return pl.concat(parts, how="diagonal")


def _conflicts(world: World, block: Block) -> pl.DataFrame:
    dice = world.dice
    rows = np.flatnonzero(dice.uniform("conflict", block.b_number) < world.p.collecting.conflict_share)
    number = block.b_number[rows]
    return frame(
        block.b_since[rows],
        {
            "agency_id": texts(NAMES, dice.integers("conflict/agency", 2, len(NAMES), number)),
            "borrower_id": ids(OWN, number),
            "reason": "acts for the borrower in another matter",
        },
    )
