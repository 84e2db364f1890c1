"""How a block is repaid, month by month: who misses, who cures, what the collectors do, and how it ends.

Claims are kept by calendar month and paid oldest first, so that a month's decision sees what is unpaid and for how
long. The behaviour is documented in docs/concepts/simulator.md; the parameters are in parameters.yml.
"""

import numpy as np

from arrears.simulation.portfolio.capacity import NO_SHOCK, Capacity
from arrears.simulation.portfolio.conceding import concede
from arrears.simulation.portfolio.dice import Bools, Dates, Floats, Ints
from arrears.simulation.portfolio.enforcing import after_write_off, end, enforce
from arrears.simulation.portfolio.events import (
    ACTIVE,
    AGENCY,
    CARD,
    CASH,
    CHARGEBACK,
    CLOSED,
    COURT,
    CREDIT_NOTE,
    DEBIT,
    DISBURSEMENT,
    NEVER,
    REFUND,
    REPAYMENT,
    REVERSAL,
    SOLD,
    TRANSFER,
    WRITTEN_OFF,
    Events,
    History,
)
from arrears.simulation.portfolio.hazards import FAR_BEHIND, lean_of, odds, pays_far_behind, season
from arrears.simulation.portfolio.lending import PERSON, TEN, Block, Schedule
from arrears.simulation.portfolio.treating import collect
from arrears.simulation.portfolio.world import World

ROOM = 28  # months beyond the last one, for schedules that move
MOST_UNPAID_MONTHS = 400


def repay(world: World, block: Block, plan: Schedule) -> History:
    """Plays a block through all months of the calendar."""
    return Play(world, block, plan).run()


class Play:
    """The state of a block while its months are played."""

    def __init__(self, world: World, block: Block, plan: Schedule) -> None:
        self.world, self.block, self.p, self.dice = world, block, world.p, world.dice
        count, months = len(block), world.calendar.months
        width = months + ROOM
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
        self.lean = lean_of(world, block)
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
        self.claimed_guarantee = np.zeros(count, dtype=bool)
        self.claimed_policy = np.zeros(count, dtype=bool)
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
        over = log_capacity[block.owner] - p.capacity.mean_log
        miss = odds(self.lean.miss - p.capacity.logit_per_log * over + season(self.world, month))
        cures = np.array([one.cure_shares for one in p.products.values()])[block.product]
        stage = np.clip(behind - 1, 0, 2)
        relief = collect(self, month, owes & (behind >= 1), behind, need)
        roll = np.take_along_axis(self.lean.roll, stage[:, None], axis=1)[:, 0]
        roll = odds(roll - p.capacity.roll_logit_per_log * over - relief)
        far = behind >= FAR_BEHIND
        pays_far = pays_far_behind(self.world, over, relief, behind)
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
                far & (left < p.paying.settled_share),
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
        concede(self, month, owes, pays, behind, need, shock)
        enforce(self, month, behind, pays)
        end(self, month, pays)
        after_write_off(self, month)
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
        channel = np.where(is_debit & ~bounces, DEBIT, np.where(self.draw("by", month) < 0.12, CARD, TRANSFER))
        channel = np.where(self.draw("by", month) > 0.97, CASH, channel)
        by_agency = (self.agency >= 0) & (self.draw("through", month) < 0.6)
        channel = np.where(by_agency, AGENCY, channel)
        channel = np.where((self.suit_from >= 0) & ~by_agency & (behind >= 8), COURT, channel)
        booked = self.book(
            rows,
            month,
            3,
            REPAYMENT,
            on[rows],
            amount[rows],
            channel[rows],
            agency=np.where(by_agency, self.agency, -1)[rows],
        )
        self.paid[rows] += amount[rows]
        self.paid_on = np.full(len(block), NEVER)
        self.paid_on[rows] = booked
        self._revolve(rows, month, amount)
        self._partly(month, pays & (behind == 0) & (amount < need), need - amount, on)

        doubled = np.flatnonzero(
            pays
            & (behind == 0)
            & ~self.is_revolving
            & (self.draw("doubled", month) < p.doubled_share)
            & (self.life - self.paid > need)
        )
        self.book(doubled, month, 5, REPAYMENT, on[doubled] + 1, amount[doubled], channel[doubled], lag=0)
        given_back = doubled[self.draw("refunded", month)[doubled] < p.refunded_share]
        kept = np.setdiff1d(doubled, given_back)
        self.paid[kept] += amount[kept]
        self.book(given_back, month, 6, REFUND, on[given_back] + 12, amount[given_back], TRANSFER, lag=0)
        back = np.flatnonzero(
            pays
            & (channel == CARD)
            & (self.draw("charged back", month) < p.chargeback_share * 20)
            & (behind == 0)
            & (self.life - self.paid > 0)
            & ~self.is_revolving
        )
        self.book(back, month, 7, CHARGEBACK, on[back] + 16, amount[back], CARD, component=0, lag=0)
        self._claim_more(back, month, amount[back])
        note = np.flatnonzero(
            owes
            & pays
            & (behind == 0)
            & (self.draw("credit note", month) < p.credit_note_share)
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
