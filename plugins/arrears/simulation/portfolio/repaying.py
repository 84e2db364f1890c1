"""How a block is repaid, month by month: who misses, who cures, what the collectors do, and how it ends.

Claims are kept by calendar month and paid oldest first, so that a month's decision sees what is unpaid and for how
long. The behaviour is documented in docs/concepts/simulator.md; the parameters are in parameters.yml.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arrears.simulation.portfolio.capacity import NO_SHOCK, Capacity
from arrears.simulation.portfolio.dice import Bools, Dates, Floats, Ints
from arrears.simulation.portfolio.lending import PERSON, TEN, Block, Schedule
from arrears.simulation.portfolio.recipients import AGENCY_NUMBERS, agency_skill, licensed
from arrears.simulation.portfolio.world import World

NEVER = np.datetime64("NaT", "D")
ACTIVE, CLOSED, WRITTEN_OFF, SOLD = range(4)
STATUSES = ("active", "closed", "written_off", "sold")
PREPAID, CALLED = 1, 2
BOOKINGS = (
    "disbursement",
    "repayment",
    "reversal",
    "waiver",
    "chargeback",
    "refund",
    "write_off",
    "recovery",
    "credit_note",
)
DISBURSEMENT, REPAYMENT, REVERSAL, WAIVER, CHARGEBACK, REFUND, WRITE_OFF, RECOVERY, CREDIT_NOTE = range(len(BOOKINGS))
CHANNELS = ("direct_debit", "transfer", "cash", "card", "agency", "court", "guarantor", "insurer", "collateral_sale")
DEBIT, TRANSFER, CASH, CARD, AGENCY, COURT, GUARANTOR, INSURER, SALE = range(len(CHANNELS))
CONTACT_CHANNELS = ("call", "sms", "email", "letter", "visit")
OUTCOMES = (
    "no_answer",
    "message_left",
    "wrong_party",
    "right_party",
    "promise",
    "refusal",
    "complaint",
    "bounced",
)
SHIFT_MONTHS = 3
ROOM = 16  # months beyond the last one for schedules that move
MOST_UNPAID_MONTHS = 400
LONG_SHIFT = 12


# Columns of the events beside loan (its place in the block) and month: days, flags, and whole numbers.
_DAYS = {"on", "booked", "due", "billed", "waived", "starts", "ends"}
_FLAGS = {"reduces", "is_penalty"}
COLUMNS = {
    "transactions": ("slot", "kind", "on", "booked", "minor", "channel", "component", "reverses", "agency", "reduces"),
    "statements": ("number", "billed", "due", "principal", "interest", "balance", "unpaid", "behind"),
    "charges": ("due", "minor", "waived", "is_penalty"),
    "contacts": ("attempt", "on", "channel", "outcome", "agency", "need"),
    "placements": ("agency", "on", "minor"),
    "recalls": ("since", "on", "reason"),
    "forbearances": ("kind", "on", "starts", "ends"),
    "suits": ("until", "minor", "on"),
    "sales": ("until",),
    "guarantors": ("minor", "on"),
    "insurers": ("minor", "on"),
    "closings": ("on",),
    "write_offs": ("on",),
    "debt_sales": ("on",),
}


def _odds(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


class Events:
    """Columns of events, gathered month by month."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))

    def add(self, table: str, **columns: Any) -> None:
        """Rows of one table; numbers stand for all of the rows of `loan`."""
        count = len(columns["loan"])
        if count:
            for name, values in columns.items():
                values = np.asarray(values)
                self._parts[table][name].append(np.broadcast_to(values, (count,)) if values.ndim == 0 else values)

    def columns(self, table: str) -> dict[str, Any]:
        """All rows of a table, in the order of months; empty arrays where nothing happened."""
        found = {}
        for name in ("loan", "month", *COLUMNS[table]):
            dtype = "datetime64[D]" if name in _DAYS else np.bool_ if name in _FLAGS else np.int64
            parts = self._parts[table].get(name, ())
            found[name] = np.concatenate(parts).astype(dtype) if len(parts) else np.zeros(0, dtype=dtype)
        return found


@dataclass(slots=True)
class History:
    """What happened to a block: one entry a loan, one row and column a loan and month, and the events."""

    events: Events
    status: Ints
    status_on: Dates
    shift_from: Ints  # the first month whose instalments moved; -1: none
    shift_by: Ints
    shift_on: Dates
    final_kind: Ints  # PREPAID or CALLED
    final_month: Ints
    final_on: Dates
    final_principal: Ints
    behind: Ints  # loan, month: months since the oldest unpaid claim, at the end of the month
    miss: Floats  # loan, month: chance to pay nothing that month, as it stands
    capacity: Floats  # borrower, month
    shock: Ints  # borrower, month
    protected_from: Dates  # borrower
    protection: Ints
    agency_from: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def repay(world: World, block: Block, plan: Schedule) -> History:
    """Plays a block through all months of the calendar."""
    return _Play(world, block, plan).run()


class _Play:
    """The state of a block while its months are played."""

    def __init__(self, world: World, block: Block, plan: Schedule) -> None:
        self.world, self.block, self.p, self.dice = world, block, world.p, world.dice
        count, months = len(block), world.calendar.months
        width = months + ROOM + LONG_SHIFT
        self.width, self.months = width, months
        self.dues = np.zeros((count, width), dtype=np.int64)  # instalments by month
        self.principal_due = np.zeros((count, width), dtype=np.int64)
        shown = plan.month < width
        np.add.at(self.dues, (plan.loan[shown], plan.month[shown]), (plan.principal + plan.interest)[shown])
        np.add.at(self.principal_due, (plan.loan[shown], plan.month[shown]), plan.principal[shown])
        self.fees = np.zeros((count, width), dtype=np.int64)  # charges and chargebacks by month
        self.life = np.bincount(plan.loan, plan.principal + plan.interest, count).astype(np.int64)
        self.instalment = np.zeros(count, dtype=np.int64)
        np.maximum.at(self.instalment, plan.loan, plan.principal + plan.interest)
        self.paid = np.zeros(count, dtype=np.int64)
        self.claimed = np.zeros(count, dtype=np.int64)  # all claims up to the month
        self.oldest = np.zeros(count, dtype=np.int64)  # month of the oldest unpaid claim
        self.upto_oldest = np.zeros(count, dtype=np.int64)  # claims up to and with that month
        self.is_revolving = block.is_a("revolving")
        self.is_retail = np.isin(block.b_kind[block.owner], [PERSON])
        self.balance = np.zeros(count, dtype=np.int64)  # revolving
        self.statements = np.zeros(count, dtype=np.int64)
        self.usual_use = 0.15 + 0.75 * self.dice.uniform("use", block.number)
        self.pays_all = self.dice.uniform("transactor", block.number) < 0.35
        self.recent = np.zeros(count)  # contacts of the last months
        self.agency = np.full(count, -1, dtype=np.int64)
        self.agency_since = np.zeros(count, dtype=np.int64)
        self.suit_from = np.full(count, -1, dtype=np.int64)
        self.suit_until = np.full(count, -1, dtype=np.int64)
        self.sale_month = np.full(count, -1, dtype=np.int64)
        self.was_sold_off = np.zeros(count, dtype=bool)
        self.written = np.zeros(count, dtype=np.int64)
        self.written_month = np.zeros(count, dtype=np.int64)
        self.claimed_cover = np.zeros(count, dtype=bool)
        self.total_month = world.calendar.months
        borrowers = len(block.b_number)
        self.protected = np.zeros(borrowers, dtype=bool)
        self.history = History(
            events=Events(),
            status=np.zeros(count, dtype=np.int64),
            status_on=block.disbursed.copy(),
            shift_from=np.full(count, -1, dtype=np.int64),
            shift_by=np.zeros(count, dtype=np.int64),
            shift_on=np.full(count, NEVER),
            final_kind=np.zeros(count, dtype=np.int64),
            final_month=np.full(count, -1, dtype=np.int64),
            final_on=np.full(count, NEVER),
            final_principal=np.zeros(count, dtype=np.int64),
            behind=np.zeros((count, months), dtype=np.int16),
            miss=np.zeros((count, months), dtype=np.float32),
            capacity=np.zeros((borrowers, months), dtype=np.float32),
            shock=np.full((borrowers, months), NO_SHOCK, dtype=np.int8),
            protected_from=np.full(borrowers, NEVER),
            protection=np.zeros(borrowers, dtype=np.int64),
        )

    # -- draws and bookings ---------------------------------------------------------------------------------------

    def draw(self, what: str, month: int) -> Floats:
        """A uniform number for each loan."""
        return self.dice.uniform(what, self.block.number, month)

    def due_on(self, month: int) -> Dates:
        """The day of each loan on which something may fall due in a month."""
        return self.world.calendar.day(month, self.block.due_day)

    def book(
        self,
        rows: Ints,
        month: int,
        slot: int,
        kind: int,
        on: Dates,
        minor: Ints,
        channel: Ints | int,
        *,
        component: int = -1,
        reverses: int = -1,
        agency: Ints | int = -1,
        lag: Ints | int | None = None,
        reduces: bool = True,
    ) -> Dates:
        """Bookings of a month, one a loan and slot; gives the days on which they are booked."""
        number = self.block.number[rows]
        if lag is None:
            late = self.dice.uniform("lag", number, month, slot)
            far = self.dice.integers("lag/days", 3, 13, number, month, slot)
            near = self.dice.integers("lag/near", 1, 3, number, month, slot)
            share = self.p.paying.backdated_share
            lag = np.where(late < share, far, np.where(late < 0.12, near, 0))
        booked = on + np.asarray(lag, dtype=np.int64)
        self.history.events.add(
            "transactions",
            loan=rows,
            month=month,
            slot=slot,
            kind=kind,
            on=on,
            booked=booked,
            minor=minor,
            channel=channel,
            component=component,
            reverses=reverses,
            agency=agency,
            reduces=reduces,
        )
        return booked

    # -- the months -----------------------------------------------------------------------------------------------

    def run(self) -> History:
        """All months in order."""
        capacity = Capacity(self.world, self.block)
        for month in range(self.months):
            self._draw_down(month)
            log_capacity = capacity.step(month, self._group_in_default(month))
            self.history.capacity[:, month] = log_capacity
            self.history.shock[:, month] = capacity.shock
            self._protect(month, capacity.shock)
            self._month(month, log_capacity, capacity.shock)
        return self.history

    def _group_in_default(self, month: int) -> Floats:
        """By borrower: the share of the other firms of its group that are three months behind or written off."""
        block, count = self.block, len(self.block.b_number)
        if month == 0:
            return np.zeros(count)
        is_bad = (self.history.behind[:, month - 1] >= 3) | (self.history.status == WRITTEN_OFF)
        bad = np.zeros(count)
        np.maximum.at(bad, block.owner, is_bad.astype(np.float64))
        tens = (block.b_number // TEN) - (block.b_number[0] // TEN)
        place = np.where(block.b_group >= 0, tens + 1, 0)
        size = np.bincount(place, minlength=int(place.max()) + 1)[place]
        whole = np.bincount(place, bad, minlength=int(place.max()) + 1)[place]
        return np.where((place > 0) & (size > 1), (whole - bad) / np.maximum(1, size - 1), 0.0)

    def _protect(self, month: int, shock: Ints) -> None:
        """Borrowers who come under protection: hardship, bankruptcy, death, a dispute and so on."""
        block, p = self.block, self.p.collecting
        chance = np.where(shock == NO_SHOCK, p.protected_share, p.protected_shock_share)
        begins = ~self.protected & (self.dice.uniform("protected", block.b_number, month) < chance)
        begins &= block.b_since < self.world.calendar.day(month, 1)
        self.protected |= begins
        on = self.world.calendar.day(month, self.dice.integers("protected/day", 2, 27, block.b_number, month))
        self.history.protected_from = np.where(begins, on, self.history.protected_from)

    def _draw_down(self, month: int) -> None:
        """Disbursements: at once; for projects in eight quarterly parts; revolving by use (with the statements)."""
        block = self.block
        first = block.disbursed_month == month
        is_project = block.is_a("project_finance")
        rows = np.flatnonzero(first & ~self.is_revolving & ~is_project)
        self.book(rows, month, 0, DISBURSEMENT, block.disbursed[rows], block.principal[rows], TRANSFER, lag=0)
        rows = np.flatnonzero(first & self.is_revolving)
        use = np.rint(block.principal[rows] * self.usual_use[rows] * 0.6).astype(np.int64).clip(1)
        self.balance[rows] = use
        self.book(rows, month, 0, DISBURSEMENT, block.disbursed[rows], use, CARD, lag=0)
        since = month - block.disbursed_month
        rows = np.flatnonzero(is_project & (since >= 0) & (since < 24) & (since % 3 == 0))
        part = block.principal[rows] // 8
        last = block.principal[rows] - 7 * part
        on = np.where(since[rows] == 0, block.disbursed[rows], self.world.calendar.day(month, 12))
        self.book(rows, month, 0, DISBURSEMENT, on, np.where(since[rows] == 21, last, part), TRANSFER, lag=0)

    def _bill(self, month: int) -> None:
        """Statements of revolving loans, 25 days before they fall due: interest and two percent of the balance."""
        block, status = self.block, self.history.status
        is_billed = self.is_revolving & (block.disbursed_month < month) & (status == ACTIVE) & (self.balance > 0)
        due_on = self.due_on(month)
        is_billed &= due_on - 25 > block.disbursed
        rows = np.flatnonzero(is_billed)
        floor = np.rint(15 * block.per_euro[rows] * 10.0 ** block.digits[rows]).astype(np.int64)
        principal = np.minimum(self.balance[rows], np.maximum(floor, self.balance[rows] // 50))
        interest = np.rint(self.balance[rows] * block.rate[rows] / 12).astype(np.int64)
        self.statements[rows] += 1
        self.dues[rows, month] = principal + interest
        self.principal_due[rows, month] = principal
        unpaid = np.maximum(0, self.claimed[rows] - self.paid[rows])
        self.history.events.add(
            "statements",
            loan=rows,
            month=month,
            number=self.statements[rows],
            billed=due_on[rows] - 25,
            due=due_on[rows],
            principal=principal,
            interest=interest,
            balance=self.balance[rows],
            unpaid=unpaid,
            behind=np.where(self.claimed > self.paid, month - self.oldest, 0)[rows],
        )

    def _month(self, month: int, log_capacity: Floats, shock: Ints) -> None:
        block, p, history = self.block, self.p, self.history
        self._bill(month)
        was_unpaid = self.claimed > self.paid
        # The pointer to the oldest unpaid claim moves on, month by month, as far as it has been paid.
        self.claimed += self.dues[:, month] + self.fees[:, month]
        self._advance(month)
        is_open = (block.disbursed_month < month) & (history.status == ACTIVE)
        need = self.claimed - self.paid
        behind = np.where(was_unpaid & (need > 0), month - self.oldest, 0)
        owes = is_open & (need > 0)
        own = log_capacity[block.owner]
        mean = p.capacity.mean_log
        lean = (
            block.lean
            + p.capacity.forgetful_logit * block.b_forgetful[block.owner]
            + p.capacity.strategic_logit * block.b_strategic[block.owner]
        )
        calendar_month = int((self.world.calendar.start + month).astype(np.int64)) % 12
        season = p.capacity.december if calendar_month == 11 else p.capacity.tax_refund if calendar_month in (2, 3) else 0
        miss = _odds(
            block.of_product({name: one.miss_logit for name, one in p.products.items()})
            - p.capacity.logit_per_log * (own - mean)
            + lean
            + season
        )
        rolls = np.array([one.roll_logits for one in p.products.values()])[block.product]
        cures = np.array([one.cure_shares for one in p.products.values()])[block.product]
        stage = np.clip(behind - 1, 0, 2)
        roll_logit = (
            np.take_along_axis(rolls, stage[:, None], axis=1)[:, 0]
            - p.capacity.roll_logit_per_log * (own - mean)
            + p.capacity.strategic_logit * block.b_strategic[block.owner]
            - 0.6 * block.b_forgetful[block.owner] * (behind == 1)
        )
        relief = self._collect(month, owes & (behind >= 1), behind, need)
        roll = _odds(roll_logit - relief)
        far = behind >= 5
        pays_far = np.clip(
            p.paying.default_payment_share * np.exp(0.5 * (own - mean) + 0.8 * relief - p.paying.default_payment_decay * (behind - 5)), 0, 0.8
        )
        nothing = np.where(behind == 0, miss, np.where(far, 1 - pays_far, roll))
        history.miss[:, month] = np.where(is_open, nothing, 0)
        draw = self.draw("pays", month)
        pays = owes & (draw >= nothing)
        left = (draw - nothing) / np.maximum(1e-9, 1 - nothing)  # uniform among those who pay

        instalment = np.where(self.dues[:, month] > 0, self.dues[:, month], np.minimum(self.instalment, need))
        cure = np.take_along_axis(cures, stage[:, None], axis=1)[:, 0]
        size = self.draw("size", month)
        amount = np.select(
            [
                behind == 0,
                far & (left < 0.05),
                far,
                left < cure,
                left < cure + (1 - cure) * 0.75,
            ],
            [
                np.where(left < p.paying.partial_share, need * (0.3 + 0.5 * size), need),
                need,
                instalment * p.paying.default_payment_size * (0.2 + 1.3 * size),
                need,
                instalment,
            ],
            instalment * (0.3 + 0.6 * size),
        )
        amount = np.where(pays, np.clip(np.rint(amount), 1, np.maximum(need, 1)), 0).astype(np.int64)
        pays &= amount > 0
        self._pay(month, pays, owes, behind, need, amount)
        self._use_limits(month, amount)
        self._charge(month, owes & ~pays & (behind <= 2))
        self._advance(month)
        self._concede(month, owes, pays, behind, need, shock)
        self._enforce(month, behind, pays)
        self._end(month, pays)
        self._after_write_off(month)
        unpaid = (self.claimed > self.paid) & (history.status != CLOSED) & (history.status != SOLD)
        history.behind[:, month] = np.where(unpaid & (block.disbursed_month < month), month + 1 - self.oldest, 0)

    def _advance(self, month: int) -> None:
        """Moves the oldest unpaid month on while all that was claimed up to it is paid."""
        rows = np.flatnonzero((self.oldest < month) & (self.upto_oldest <= self.paid) & (self.claimed > 0))
        for _ in range(MOST_UNPAID_MONTHS):
            if not len(rows):
                return
            self.oldest[rows] += 1
            at = self.oldest[rows]
            self.upto_oldest[rows] += self.dues[rows, at] + self.fees[rows, at]
            rows = rows[(self.oldest[rows] < month) & (self.upto_oldest[rows] <= self.paid[rows])]

    def _pay(self, month: int, pays: Bools, owes: Bools, behind: Ints, need: Ints, amount: Ints) -> None:
        """Books what is paid: by debit or transfer, early or late, doubled, bounced, charged back."""
        block, p = self.block, self.p.paying
        due_on, when = self.due_on(month), self.draw("when", month)
        has_due = self.dues[:, month] > 0
        is_debit = block.b_debit[block.owner] & (behind == 0) & has_due
        forgetful = block.b_forgetful[block.owner]
        late_share = np.where(forgetful, p.forgetful_late_share, p.late_share)
        late = np.minimum(1 + np.floor(-np.log(self.draw("late", month)) * 7), 24).astype(np.int64)
        lag = np.select(
            [behind > 0, is_debit, when < p.early_share, when > 1 - late_share],
            [np.floor(when * 22).astype(np.int64) - 6, 0, -1 - np.floor(when * 80).astype(np.int64), late],
            0,
        )
        # A card's payment before its due date would reduce the balance and leave the minimum unpaid.
        lag = np.where(self.is_revolving, np.maximum(lag, 0), lag)
        # Nobody pays before the loan is there.
        on = np.maximum(due_on + lag, block.disbursed + 1)
        bounces = (is_debit & owes & ~pays & (when < p.bounced_of_missed)) | (
            is_debit & pays & (self.draw("bounced", month) < p.bounced_of_paid)
        )
        rows = np.flatnonzero(bounces & owes)
        self.book(rows, month, 1, REPAYMENT, due_on[rows], need[rows], DEBIT, lag=0)
        back = 2 + np.floor(when[rows] * 3.9).astype(np.int64)
        self.book(rows, month, 2, REVERSAL, due_on[rows] + back, need[rows], DEBIT, reverses=1, lag=0)
        on = np.where(bounces, due_on + 7 + np.floor(when * 10).astype(np.int64), on)

        rows = np.flatnonzero(pays)
        channel = np.where(
            is_debit & ~bounces, DEBIT, np.where(self.draw("by", month) < 0.12, CARD, TRANSFER)
        )
        channel = np.where(self.draw("by", month) > 0.97, CASH, channel)
        by_agency = (self.agency >= 0) & (self.draw("through", month) < 0.6)
        channel = np.where(by_agency, AGENCY, channel)
        channel = np.where((self.suit_from >= 0) & ~by_agency & (behind >= 8), COURT, channel)
        booked = self.book(
            rows, month, 3, REPAYMENT, on[rows], amount[rows], channel[rows], agency=np.where(by_agency, self.agency, -1)[rows]
        )
        self.paid[rows] += amount[rows]
        self.paid_on = np.full(len(block), NEVER)
        self.paid_on[rows] = booked
        self._revolve(rows, month, amount)
        self._partly(month, pays & (behind == 0) & (amount < need), need - amount, on)

        doubled = np.flatnonzero(
            pays & (behind == 0) & ~self.is_revolving & (self.draw("doubled", month) < p.doubled_share)
            & (self.life - self.paid > need)
        )
        self.book(doubled, month, 5, REPAYMENT, on[doubled] + 1, amount[doubled], channel[doubled], lag=0)
        given_back = doubled[self.draw("refunded", month)[doubled] < p.refunded_share]
        kept = np.setdiff1d(doubled, given_back)
        self.paid[kept] += amount[kept]
        self.book(given_back, month, 6, REFUND, on[given_back] + 12, amount[given_back], TRANSFER, lag=0)
        back = np.flatnonzero(
            pays & (channel == CARD) & (self.draw("charged back", month) < p.chargeback_share * 20) & (behind == 0)
            & (self.life - self.paid > 0) & ~self.is_revolving
        )
        self.book(back, month, 7, CHARGEBACK, on[back] + 16, amount[back], CARD, component=0, lag=0)
        self._claim_more(back, month, amount[back])
        note = np.flatnonzero(
            is_open_credit(owes, pays, behind) & (self.draw("credit note", month) < p.credit_note_share)
            & (self.life - self.paid > 2 * need)
        )
        small = np.maximum(1, self.instalment[note] // 50)
        self.book(note, month, 8, CREDIT_NOTE, due_on[note] + 3, small, TRANSFER, lag=0)
        self.paid[note] += small

    def _partly(self, month: int, partly: Bools, rest: Ints, on: Dates) -> None:
        """Three in five who paid a part bring the rest some weeks later."""
        rows = np.flatnonzero(partly & (self.draw("rest", month) < 0.6))
        later = on[rows] + 4 + np.floor(self.draw("rest/days", month)[rows] * 12).astype(np.int64)
        booked = self.book(rows, month, 4, REPAYMENT, later, rest[rows], TRANSFER)
        self.paid[rows] += rest[rows]
        self.paid_on[rows] = np.fmax(self.paid_on[rows], booked)

    def _revolve(self, rows: Ints, month: int, amount: Ints) -> None:
        """What a revolving loan's payment leaves of the balance."""
        rows = rows[self.is_revolving[rows]]
        share = np.minimum(1, self.principal_due[rows, month] / np.maximum(1, self.dues[rows, month]))
        down = np.rint(amount[rows] * share).astype(np.int64)
        self.balance[rows] = np.maximum(0, self.balance[rows] - down)

    def _use_limits(self, month: int, amount: Ints) -> None:
        """Purchases of the month, as one booking; whoever pays all does so a week after the due date."""
        block = self.block
        is_on = self.is_revolving & (self.history.status == ACTIVE) & (block.disbursed_month < month)
        is_good = is_on & (self.claimed <= self.paid)
        rows = np.flatnonzero(is_good & self.pays_all & (self.balance > 0) & (amount > 0))
        self.book(rows, month, 9, REPAYMENT, self.due_on(month)[rows] + 1, self.balance[rows], TRANSFER, lag=0)
        # Beyond the claims a payment reduces the balance and stands for no later claim.
        self.balance[rows] = 0
        wish = self.usual_use * block.principal * (0.8 + 0.4 * self.draw("spend", month))
        spend = np.minimum(np.maximum(0, np.rint(wish - self.balance)), block.principal - self.balance).astype(np.int64)
        rows = np.flatnonzero(is_good & (spend > 0) & (self.draw("spends", month) < 0.85))
        self.book(rows, month, 10, DISBURSEMENT, self.due_on(month)[rows] + 2, spend[rows], CARD, lag=0)
        self.balance[rows] += spend[rows]

    def _claim_more(self, rows: Ints, month: int, minor: Ints) -> None:
        """A charge, or a payment charged back, is due in the next month."""
        self.fees[rows, month + 1] += minor
        self.life[rows] += minor

    def _charge(self, month: int, missed: Bools) -> None:
        """Late fees: raised five days after the due date, due ten days later; some waived before they are due."""
        block, p = self.block, self.p.paying
        rows = np.flatnonzero(missed & (self.dues[:, month] > 0) & (self.draw("fee", month) < p.fee_share))
        minor = np.rint(p.fee * block.per_euro[rows]).clip(1).astype(np.int64) * 10 ** block.digits[rows]
        due = self.due_on(month)[rows] + 15
        is_waived = self.draw("fee/waived", month)[rows] < p.fee_waived_share
        is_penalty = ~self.is_retail[rows]
        self.history.events.add(
            "charges",
            loan=rows,
            month=month,
            due=due,
            minor=minor,
            waived=np.where(is_waived, due - 3, NEVER),
            is_penalty=is_penalty,
        )
        self._claim_more(rows[~is_waived], month, minor[~is_waived])

    # -- what the lender does -------------------------------------------------------------------------------------

    def _collect(self, month: int, late: Bools, behind: Ints, need: Ints) -> Floats:
        """Contacts, placements; gives what they take off the logit of paying nothing."""
        block, p, dice = self.block, self.p.collecting, self.dice
        relief = np.zeros(len(block))
        self.recent *= 0.6
        may = late & ~self.protected[block.owner]
        reach = np.array([p.reach[name] for name in CONTACT_CHANNELS])
        effect = np.array([p.effect[name] for name in CONTACT_CHANNELS])
        attempts = np.array(p.attempts)[np.clip(behind - 1, 0, len(p.attempts) - 1)]
        answers = np.clip(0.6 + 0.25 * dice.normal("answers", block.b_number), 0.1, 1.3)[block.owner]
        for attempt in range(max(p.attempts)):
            rows = np.flatnonzero(may & (attempt < attempts))
            number = block.number[rows]
            style = np.array([[0.3, 0.4, 0.2, 0.1, 0], [0.45, 0.15, 0.15, 0.22, 0.03], [0.4, 0.05, 0.1, 0.33, 0.12]])
            upto = np.cumsum(style[np.clip(behind[rows] - 1, 0, 2)], axis=1)
            how = (dice.uniform("how", number, month, attempt)[:, None] >= upto).sum(axis=1).clip(0, 4)
            got = dice.uniform("reached", number, month, attempt) < reach[how] * answers[rows]
            said = dice.uniform("said", number, month, attempt)
            tired = np.maximum(0.0, 1 - p.fatigue * self.recent[rows])
            promise = got & (said < p.promise_share * tired)
            complaint = got & (said > 1 - p.complaint_share * (1 + 2 * (how == 4) + self.recent[rows] / 3))
            outcome = np.select(
                [complaint, promise, got & (said > 0.82), got],
                [6, 4, 5, 3],
                np.where(np.isin(how, (1, 2)), np.where(said < 0.93, 1, 7), np.where(said < 0.3, 1, np.where(said < 0.34, 2, 0))),
            )
            # Whoever means to pay says so; others promise as well, so a promise is a weak sign.
            relief[rows] += np.where(got & ~complaint, effect[how] * tired, 0.0)
            self.recent[rows] += got
            on = self.world.calendar.day(month, 2 + 3 * attempt + dice.integers("contact day", 0, 3, number, month, attempt))
            self.history.events.add(
                "contacts",
                loan=rows,
                month=month,
                attempt=attempt,
                on=np.maximum(on, block.disbursed[rows] + 1),
                channel=how,
                outcome=outcome,
                agency=self.agency[rows],
                need=need[rows],
            )
        held = self.agency >= 0
        years = (month - self.agency_since) / 12
        skill = agency_skill(self.dice, self.agency, block.product)
        relief += np.where(held & late, p.agency_effect * skill * (1 + p.agency_learning * years), 0.0)
        relief += np.where((self.suit_from >= 0) & (month <= self.suit_until + 12), p.suit_effect, 0.0)
        self._place(month, late, behind, need)
        return relief

    def _place(self, month: int, late: Bools, behind: Ints, need: Ints) -> None:
        """Accounts go to agencies, come back after some months or once they are cured, some are sued for."""
        block, p = self.block, self.p.collecting
        since = month - self.agency_since
        is_over = (self.agency >= 0) & (~late | (since >= p.recalled_after))
        rows = np.flatnonzero(is_over)
        self.history.events.add(
            "recalls",
            loan=rows,
            month=month,
            since=self.agency_since[rows],
            on=self.world.calendar.day(month, 3),
            reason=np.where(self.history.status[rows] == WRITTEN_OFF, 2, np.where(late[rows], 0, 1)),
        )
        self.agency[rows] = -1
        may = late & self.is_retail & (behind >= 3) & (behind < 20) & (self.agency < 0) & ~self.protected[block.owner]
        may &= (self.suit_from < 0) & (since > 1)
        rows = np.flatnonzero(may & (self.draw("placed", month) < p.placed_share))
        chosen = self.dice.integers("agency", 0, 97, block.number[rows], month) % len(AGENCY_NUMBERS)
        agency = np.array(AGENCY_NUMBERS)[chosen]
        fits = licensed(self.world, agency, block.place[rows])
        rows, agency = rows[fits], agency[fits]
        self.agency[rows], self.agency_since[rows] = agency, month
        self.history.events.add(
            "placements",
            loan=rows,
            month=month,
            agency=agency,
            on=self.world.calendar.day(month, 5),
            minor=need[rows],
        )

    def _concede(
        self, month: int, owes: Bools, pays: Bools, behind: Ints, need: Ints, shock: Ints
    ) -> None:
        """Reschedules, payment holidays, pauses, waived interest, and loans paid back early or called in."""
        block, p, history = self.block, self.p.paying, self.history
        in_shock = shock[block.owner] != NO_SHOCK
        monthly = (block.gap == 1) & ~self.is_revolving & (history.status == ACTIVE) & (block.disbursed_month < month)
        may_move = monthly & (history.shift_from < 0) & (history.final_kind == 0) & (self.sale_month < 0)
        last_day = self.world.calendar.day(month, 31)
        chance = p.reschedule_share * np.where(in_shock, 1.6, 0.7)
        moves = may_move & owes & ~pays & (behind >= 1) & (behind <= 4) & (self.draw("moves", month) < chance)
        rests = (
            may_move
            & ~moves
            & (self.claimed <= self.paid)
            & (self.draw("rests", month) < p.holiday_share * np.where(in_shock, 8, 0.5))
            & (self.life - self.paid > 3 * self.instalment)
        )
        rows = np.flatnonzero(moves)
        self._shift(rows, np.minimum(self.oldest[rows], month), month, last_day)
        rows = np.flatnonzero(rests)
        self._shift(rows, np.full(len(rows), month + 1), month, last_day)
        history.events.add(
            "forbearances",
            loan=np.concatenate([np.flatnonzero(moves), rows]),
            month=month,
            kind=np.concatenate([np.zeros(int(moves.sum()), dtype=np.int64), np.ones(len(rows), dtype=np.int64)]),
            on=last_day,
            starts=last_day + 1,
            ends=np.concatenate([np.full(int(moves.sum()), NEVER), np.full(len(rows), self.world.calendar.day(month + 4, 1))]),
        )
        rows = np.flatnonzero(owes & (behind >= 1) & (behind <= 3) & ~moves & (self.draw("pauses", month) < p.pause_share))
        start = self.world.calendar.day(month, 6)
        history.events.add(
            "forbearances",
            loan=rows,
            month=month,
            kind=2,
            on=start + np.floor(self.draw("pause/known", month)[rows] * 6).astype(np.int64),
            starts=np.full(len(rows), start),
            ends=np.full(len(rows), start + 45),
        )
        rows = np.flatnonzero(
            owes & ~pays & (behind >= 2) & ~self.is_revolving & ~moves & (self.draw("waived", month) < p.interest_waived_share)
        )
        interest = np.minimum(
            self.dues[rows, month] - self.principal_due[rows, month], np.maximum(0, self.claimed - self.paid)[rows]
        )
        rows, interest = rows[interest > 0], interest[interest > 0]
        self.book(rows, month, 11, WAIVER, np.full(len(rows), last_day), interest, TRANSFER, component=1, lag=0)
        self.paid[rows] += interest
        self._advance(month)
        self._finish(month, owes, pays, behind, moves)

    def _shift(self, rows: Ints, first: Ints, month: int, on: np.datetime64) -> None:
        """Moves the instalments of a month and all later ones, so that the next falls due in three months."""
        if not len(rows):
            return
        history = self.history
        by = month + SHIFT_MONTHS - first + 1
        column = np.arange(self.width)[None, :]
        source = np.where(column >= (first + by)[:, None], column - by[:, None], column)
        is_empty = (column >= first[:, None]) & (column < (first + by)[:, None])
        for dues in (self.dues, self.principal_due):
            dues[rows] = np.where(is_empty, 0, np.take_along_axis(dues[rows], source, axis=1))
        # Fees of the months that are moved are waived on that day.
        fees = np.where(column >= first[:, None], 0, self.fees[rows])
        self.life[rows] -= (self.fees[rows] - fees).sum(axis=1)
        self.fees[rows] = fees
        history.shift_from[rows], history.shift_by[rows], history.shift_on[rows] = first, by, on
        self._recount(rows, month)

    def _recount(self, rows: Ints, month: int) -> None:
        """Adds up the claims of loans whose schedule changed, and finds the oldest unpaid month again."""
        upto = np.cumsum(self.dues[rows, : month + 1] + self.fees[rows, : month + 1], axis=1)
        self.claimed[rows] = upto[:, -1]
        place = (upto <= self.paid[rows, None]).sum(axis=1).clip(0, month)
        self.oldest[rows] = place
        self.upto_oldest[rows] = upto[np.arange(len(rows)), place]

    def _finish(self, month: int, owes: Bools, pays: Bools, behind: Ints, moves: Bools) -> None:
        """Loans paid back early, and loans called in: the rest of the principal in one last instalment."""
        block, history = self.block, self.history
        may = (history.final_kind == 0) & ~self.is_revolving & (history.status == ACTIVE) & ~moves
        may &= (history.shift_on != self.world.calendar.day(month, 31)) & (block.gap < 12)
        rest = block.principal - self.principal_due[:, : month + 1].sum(axis=1)
        prepaid_share = block.of_product({name: one.prepaid_share for name, one in self.p.products.items()})
        early = may & pays & (behind == 0) & (self.claimed <= self.paid) & (month - block.disbursed_month > 5)
        early &= (self.draw("prepaid", month) < prepaid_share) & (rest > 0) & (self.claimed == self.paid)
        rows = np.flatnonzero(early)
        on = self.due_on(month)[rows] + 26
        self._last_instalment(rows, month, PREPAID, on, rest[rows])
        booked = self.book(rows, month, 12, REPAYMENT, on, rest[rows], TRANSFER, lag=0)
        self.paid[rows] += rest[rows]
        self.paid_on[rows] = booked
        callable_ = block.is_a("consumer", "auto", "sme_term", "mortgage") & (behind >= 4) & owes & ~pays
        called = may & callable_ & (rest > 0) & (self.draw("called", month) < self.p.paying.called_share)
        rows = np.flatnonzero(called)
        self._last_instalment(rows, month, CALLED, np.full(len(rows), self.world.calendar.day(month, 31)), rest[rows])

    def _last_instalment(self, rows: Ints, month: int, kind: int, on: Dates, rest: Ints) -> None:
        history = self.history
        history.final_kind[rows], history.final_month[rows] = kind, month
        history.final_on[rows], history.final_principal[rows] = on, rest
        past = self.dues[rows, : month + 1].sum(axis=1)
        self.life[rows] = past + rest + self.fees[rows].sum(axis=1)
        self.dues[rows, month + 1 :] = 0
        self.principal_due[rows, month + 1 :] = 0
        self.dues[rows, month + 1] = rest
        self.principal_due[rows, month + 1] = rest

    def _enforce(self, month: int, behind: Ints, pays: Bools) -> None:
        """Suits, sales of collateral, guarantors and insurers who pay."""
        block, p, history, dice = self.block, self.p.collecting, self.history, self.dice
        stands = (history.status == ACTIVE) | (history.status == WRITTEN_OFF)
        behind_now = np.where(self.claimed > self.paid, month + 1 - self.oldest, 0)
        sues = stands & (behind_now >= 6) & (self.suit_from < 0) & (self.agency < 0) & ~self.protected[block.owner]
        large = block.principal / (block.per_euro * 10.0**block.digits) > 3000
        sues &= large & (self.draw("sues", month) < p.suit_share)
        rows = np.flatnonzero(sues)
        low, high = p.suit_months
        until = month + dice.integers("suit", low, high + 1, block.number[rows])
        self.suit_from[rows], self.suit_until[rows] = month, until
        history.events.add(
            "suits",
            loan=rows,
            month=month,
            until=until,
            minor=np.maximum(1, self.claimed - self.paid)[rows],
            on=np.full(len(rows), self.world.calendar.day(month, 20)),
        )
        kinds = [one.collateral for one in self.p.products.values()]
        secured = np.array([kind is not None for kind in kinds])[block.product]
        enforceable = block.of_product(
            {name: getattr(self.p.recovery, one.collateral).enforceable if one.collateral else 0 for name, one in self.p.products.items()}
        )
        wait = block.of_product(
            {name: getattr(self.p.recovery, one.collateral).months if one.collateral else 0 for name, one in self.p.products.items()}
        ).astype(np.int64)
        starts = secured & stands & (behind_now >= 6) & (self.sale_month < 0) & ~self.was_sold_off
        starts &= dice.uniform("enforceable", block.number) < enforceable
        starts &= self.draw("enforces", month) < p.sale_of_collateral_share
        rows = np.flatnonzero(starts)
        self.sale_month[rows] = month + wait[rows]
        history.events.add("sales", loan=rows, month=month, until=self.sale_month[rows])
        rows = np.flatnonzero((self.sale_month == month) & stands)
        outstanding = np.maximum(0, self.life - self.paid)
        minor = np.minimum(outstanding, sale_value(self.world, block))[rows]
        rows, minor = rows[minor > 0], minor[minor > 0]
        kind = np.where(history.status[rows] == WRITTEN_OFF, RECOVERY, REPAYMENT)
        on = np.full(len(rows), self.world.calendar.day(month, 22))
        for one in (RECOVERY, REPAYMENT):
            self.book(rows[kind == one], month, 13, one, on[kind == one], minor[kind == one], SALE, lag=1)
        self.paid[rows] += minor
        self.paid_on[rows] = on + 1
        self.was_sold_off |= self.sale_month == month
        self.sale_month[self.sale_month == month] = -1
        self._covers(month, behind_now, stands)
        self._advance(month)

    def _covers(self, month: int, behind: Ints, stands: Bools) -> None:
        """A guarantor pays what is due, once; an insurer pays the lender, and the debt stays."""
        block = self.block
        has_guarantee, has_policy = covers(self.world, block)
        may = stands & (behind >= 4) & ~self.claimed_cover & (self.draw("covers", month) < 0.10)
        rows = np.flatnonzero(may & has_guarantee)
        due = np.maximum(0, self.claimed - self.paid)[rows]
        minor = np.maximum(1, due * 6 // 10)
        on = np.full(len(rows), self.world.calendar.day(month, 24))
        self.book(rows, month, 14, REPAYMENT, on, minor, GUARANTOR, lag=0)
        self.paid[rows] += minor
        self.claimed_cover[rows] = True
        self.history.events.add("guarantors", loan=rows, month=month, minor=minor, on=on)
        rows = np.flatnonzero(may & has_policy & ~has_guarantee)
        minor = np.maximum(1, np.maximum(0, self.claimed - self.paid)[rows] * 85 // 100)
        on = np.full(len(rows), self.world.calendar.day(month, 26))
        self.book(rows, month, 15, REPAYMENT, on, minor, INSURER, lag=0, reduces=False)
        self.claimed_cover[rows] = True
        self.history.events.add("insurers", loan=rows, month=month, minor=minor, on=on)

    def _end(self, month: int, pays: Bools) -> None:
        """Loans that are paid off, written off or sold."""
        block, history = self.block, self.history
        last_day = self.world.calendar.day(month, 31)
        stands = (history.status == ACTIVE) | (history.status == WRITTEN_OFF)
        is_paid = stands & ~self.is_revolving & (self.life <= self.paid) & (block.disbursed_month < month)
        rows = np.flatnonzero(is_paid & ~np.isnat(self.paid_on))
        history.status[rows] = CLOSED
        history.status_on[rows] = self.paid_on[rows]
        self.history.events.add("closings", loan=rows, month=month, on=self.paid_on[rows])
        after = block.of_product({name: one.write_off_after for name, one in self.p.products.items()})
        behind = np.where(self.claimed > self.paid, month + 1 - self.oldest, 0)
        quiet = (history.status == ACTIVE) & ~pays & np.isnat(self.paid_on) & (behind >= after) & (self.sale_month < 0)
        draw = self.draw("ends", month)
        off = block.of_product({name: one.write_off_share for name, one in self.p.products.items()})
        sale = block.of_product({name: one.sale_share for name, one in self.p.products.items()})
        rows = np.flatnonzero(quiet & (draw < off))
        minor = np.maximum(1, np.where(self.is_revolving, self.balance + self.claimed - self.paid, self.life - self.paid))
        self.book(rows, month, 16, WRITE_OFF, np.full(len(rows), last_day), minor[rows], TRANSFER, lag=0)
        history.status[rows] = WRITTEN_OFF
        history.status_on[rows] = last_day
        self.written[rows], self.written_month[rows] = minor[rows], month
        rows = np.flatnonzero(quiet & (draw > 1 - sale))
        history.status[rows] = SOLD
        history.status_on[rows] = last_day
        gone = np.flatnonzero((history.status == SOLD) & (self.agency >= 0))
        self.history.events.add(
            "recalls", loan=gone, month=month, since=self.agency_since[gone], on=last_day, reason=2
        )
        self.agency[gone] = -1
        self.history.events.add("write_offs", loan=np.flatnonzero(quiet & (draw < off)), month=month, on=last_day)
        self.history.events.add("debt_sales", loan=rows, month=month, on=last_day)

    def _after_write_off(self, month: int) -> None:
        """Recoveries: the older the write-off, the fewer."""
        p = self.p.paying
        age = month - self.written_month
        chance = p.recovery_share * np.exp(-p.recovery_decay * age)
        pays = (self.history.status == WRITTEN_OFF) & (age > 0) & (self.draw("recovers", month) < chance)
        pays &= (self.life - self.paid > 0) | self.is_revolving
        rows = np.flatnonzero(pays)
        size = p.recovery_size * np.exp(0.8 * self.dice.normal("recovers/size", self.block.number[rows], month))
        minor = np.clip(np.rint(self.written[rows] * size), 1, np.maximum(1, self.written[rows] // 3)).astype(np.int64)
        left = np.where(self.is_revolving[rows], minor, np.maximum(1, self.life[rows] - self.paid[rows]))
        minor = np.minimum(minor, left)
        day = self.world.calendar.day(month, 2 + np.floor(self.draw("recovers/day", month)[rows] * 24).astype(np.int64))
        by_court = self.suit_from[rows] >= 0
        self.book(rows, month, 17, RECOVERY, day, minor, np.where(by_court, COURT, TRANSFER), lag=0)
        self.paid[rows] += minor


def is_open_credit(owes: Bools, pays: Bools, behind: Ints) -> Bools:
    """Whom the lender grants a goodwill credit: whoever pays and is not behind."""
    return owes & pays & (behind == 0)


def covers(world: World, block: Block) -> tuple[Bools, Bools]:
    """Loans with a guarantee, and loans with a credit insurance policy."""
    draw = world.dice.uniform("cover", block.number)
    is_project, is_sme, is_trade = (block.is_a(name) for name in ("project_finance", "sme_term", "trade_finance"))
    guarantee = (is_project & (draw < 0.8)) | (is_sme & (draw < 0.45))
    policy = (is_trade & (draw < 0.5)) | (is_project & (draw > 0.5)) | (is_sme & (draw > 0.93))
    return guarantee, policy


def security_value(world: World, block: Block) -> Ints:
    """Value of what secures each loan, when it was lent; 0 where nothing does."""
    value = np.zeros(len(block))
    for index, product in enumerate(world.p.products.values()):
        if product.collateral is not None:
            one = getattr(world.p.recovery, product.collateral)
            drawn = one.value * np.exp(one.value_spread * world.dice.normal("security", block.number))
            value = np.where(block.product == index, drawn, value)
    return np.rint(block.principal * value).astype(np.int64)


def sale_value(world: World, block: Block) -> Ints:
    """What a forced sale of it brings, after haircut."""
    left = np.zeros(len(block))
    for index, product in enumerate(world.p.products.values()):
        if product.collateral is not None:
            one = getattr(world.p.recovery, product.collateral)
            haircut = one.haircut + one.haircut_spread * world.dice.normal("haircut", block.number)
            left = np.where(block.product == index, 1 - np.clip(haircut, 0.02, 0.95), left)
    return np.rint(security_value(world, block) * left).astype(np.int64)
