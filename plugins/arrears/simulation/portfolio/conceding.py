"""What the lender concedes or demands: schedules that move, pauses, waived interest, loans ended before their time."""

from typing import TYPE_CHECKING

import numpy as np

from arrears.simulation.portfolio.capacity import NO_SHOCK
from arrears.simulation.portfolio.dice import Bools, Dates, Ints
from arrears.simulation.portfolio.events import ACTIVE, CALLED, NEVER, PREPAID, REPAYMENT, TRANSFER, WAIVER

if TYPE_CHECKING:
    from arrears.simulation.portfolio.repaying import Play

SHIFT_MONTHS = 3


def concede(play: "Play", month: int, owes: Bools, pays: Bools, behind: Ints, need: Ints, shock: Ints) -> None:
    """Reschedules, payment holidays, pauses, waived interest, and loans paid back early or called in."""
    block, p, history = play.block, play.p.paying, play.history
    in_shock = shock[block.owner] != NO_SHOCK
    monthly = (block.gap == 1) & ~play.is_revolving & (history.status == ACTIVE) & (block.disbursed_month < month)
    may_move = monthly & (history.shift_from < 0) & (history.final_kind == 0) & (play.sale_month < 0)
    last_day = play.world.calendar.day(month, 31)
    chance = p.reschedule_share * np.where(in_shock, 1.6, 0.7)
    moves = may_move & owes & ~pays & (behind >= 1) & (behind <= 4) & (play.draw("moves", month) < chance)
    rests = (
        may_move
        & ~moves
        & (play.claimed <= play.paid)
        & (play.draw("rests", month) < p.holiday_share * np.where(in_shock, 8, 0.5))
        & (play.life - play.paid > 3 * play.instalment)
    )
    rows = np.flatnonzero(moves)
    _shift(play, rows, np.minimum(play.oldest[rows], month), month, last_day)
    rows = np.flatnonzero(rests)
    _shift(play, rows, np.full(len(rows), month + 1), month, last_day)
    history.events.add(
        "forbearances",
        loan=np.concatenate([np.flatnonzero(moves), rows]),
        month=month,
        kind=np.concatenate([np.zeros(int(moves.sum()), dtype=np.int64), np.ones(len(rows), dtype=np.int64)]),
        on=last_day,
        starts=last_day + 1,
        ends=np.concatenate(
            [np.full(int(moves.sum()), NEVER), np.full(len(rows), play.world.calendar.day(month + 4, 1))]
        ),
    )
    rows = np.flatnonzero(owes & (behind >= 1) & (behind <= 3) & ~moves & (play.draw("pauses", month) < p.pause_share))
    start = play.world.calendar.day(month, 6)
    history.events.add(
        "forbearances",
        loan=rows,
        month=month,
        kind=2,
        on=start + np.floor(play.draw("pause/known", month)[rows] * 6).astype(np.int64),
        starts=np.full(len(rows), start),
        ends=np.full(len(rows), start + 45),
    )
    rows = np.flatnonzero(
        owes
        & ~pays
        & (behind >= 2)
        & ~play.is_revolving
        & ~moves
        & (play.draw("waived", month) < p.interest_waived_share)
    )
    interest = np.minimum(
        play.dues[rows, month] - play.principal_due[rows, month], np.maximum(0, play.claimed - play.paid)[rows]
    )
    rows, interest = rows[interest > 0], interest[interest > 0]
    play.book(rows, month, 11, WAIVER, np.full(len(rows), last_day), interest, TRANSFER, component=1, lag=0)
    play.paid[rows] += interest
    play._advance(month)
    _finish(play, month, owes, pays, behind, moves)


def _shift(play: "Play", rows: Ints, first: Ints, month: int, on: Dates) -> None:
    """Moves the instalments of a month and all later ones, so that the next falls due in three months."""
    if not len(rows):
        return
    history = play.history
    by = month + SHIFT_MONTHS - first + 1
    column = np.arange(play.width)[None, :]
    source = np.where(column >= (first + by)[:, None], column - by[:, None], column)
    is_empty = (column >= first[:, None]) & (column < (first + by)[:, None])
    for dues in (play.dues, play.principal_due):
        dues[rows] = np.where(is_empty, 0, np.take_along_axis(dues[rows], source, axis=1))
    # Fees of the months that are moved are waived on that day.
    fees = np.where(column >= first[:, None], 0, play.fees[rows])
    play.life[rows] -= (play.fees[rows] - fees).sum(axis=1)
    play.fees[rows] = fees
    history.shift_from[rows], history.shift_by[rows], history.shift_on[rows] = first, by, on
    _recount(play, rows, month)


def _recount(play: "Play", rows: Ints, month: int) -> None:
    """Adds up the claims of loans whose schedule changed, and finds the oldest unpaid month again."""
    upto = np.cumsum(play.dues[rows, : month + 1] + play.fees[rows, : month + 1], axis=1)
    play.claimed[rows] = upto[:, -1]
    place = (upto <= play.paid[rows, None]).sum(axis=1).clip(0, month)
    play.oldest[rows] = place
    play.upto_oldest[rows] = upto[np.arange(len(rows)), place]


def _finish(play: "Play", month: int, owes: Bools, pays: Bools, behind: Ints, moves: Bools) -> None:
    """Loans paid back early, and loans called in: the rest of the principal in one last instalment."""
    block, history = play.block, play.history
    may = (history.final_kind == 0) & ~play.is_revolving & (history.status == ACTIVE) & ~moves
    may &= (history.shift_on != play.world.calendar.day(month, 31)) & (block.gap < 12)
    rest = block.principal - play.principal_due[:, : month + 1].sum(axis=1)
    prepaid_share = block.of_product({name: one.prepaid_share for name, one in play.p.products.items()})
    early = may & pays & (behind == 0) & (play.claimed <= play.paid) & (month - block.disbursed_month > 5)
    early &= (play.draw("prepaid", month) < prepaid_share) & (rest > 0) & (play.claimed == play.paid)
    rows = np.flatnonzero(early)
    on = play.due_on(month)[rows] + 26
    _last_instalment(play, rows, month, PREPAID, on, rest[rows])
    booked = play.book(rows, month, 12, REPAYMENT, on, rest[rows], TRANSFER, lag=0)
    play.paid[rows] += rest[rows]
    play.paid_on[rows] = booked
    callable_ = block.is_a("consumer", "auto", "sme_term", "mortgage") & (behind >= 4) & owes & ~pays
    called = may & callable_ & (rest > 0) & (play.draw("called", month) < play.p.paying.called_share)
    rows = np.flatnonzero(called)
    _last_instalment(play, rows, month, CALLED, np.full(len(rows), play.world.calendar.day(month, 31)), rest[rows])


def _last_instalment(play: "Play", rows: Ints, month: int, kind: int, on: Dates, rest: Ints) -> None:
    history = play.history
    history.final_kind[rows], history.final_month[rows] = kind, month
    history.final_on[rows], history.final_principal[rows] = on, rest
    past = play.dues[rows, : month + 1].sum(axis=1)
    play.life[rows] = past + rest + play.fees[rows].sum(axis=1)
    play.dues[rows, month + 1 :] = 0
    play.principal_due[rows, month + 1 :] = 0
    play.dues[rows, month + 1] = rest
    play.principal_due[rows, month + 1] = rest
