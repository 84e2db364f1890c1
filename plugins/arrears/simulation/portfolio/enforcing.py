"""How the law and those who stand behind a loan bring money in, and how loans end."""

from typing import TYPE_CHECKING

import numpy as np

from arrears.simulation.portfolio.covers import covers, sale_value
from arrears.simulation.portfolio.dice import Bools, Ints
from arrears.simulation.portfolio.events import (
    ACTIVE,
    CLOSED,
    COURT,
    GUARANTOR,
    INSURER,
    RECOVERY,
    REPAYMENT,
    SALE,
    SOLD,
    TRANSFER,
    WRITE_OFF,
    WRITTEN_OFF,
)

if TYPE_CHECKING:
    from arrears.simulation.portfolio.repaying import Play


def enforce(play: "Play", month: int, behind: Ints, pays: Bools) -> None:
    """Suits, sales of collateral, guarantors and insurers who pay."""
    block, p, history, dice = play.block, play.p.collecting, play.history, play.dice
    stands = (history.status == ACTIVE) | (history.status == WRITTEN_OFF)
    behind_now = np.where(play.claimed > play.paid, month + 1 - play.oldest, 0)
    sues = stands & (behind_now >= 6) & (play.suit_from < 0) & (play.agency < 0) & ~play.protected[block.owner]
    large = block.principal / (block.per_euro * 10.0**block.digits) > 3000
    sues &= large & (play.draw("sues", month) < p.suit_share)
    rows = np.flatnonzero(sues)
    low, high = p.suit_months
    until = month + dice.integers("suit", low, high + 1, block.number[rows])
    play.suit_from[rows], play.suit_until[rows] = month, until
    history.events.add(
        "suits",
        loan=rows,
        month=month,
        until=until,
        minor=np.maximum(1, play.claimed - play.paid)[rows],
        on=np.full(len(rows), play.world.calendar.day(month, 20)),
    )
    kinds = [one.collateral for one in play.p.products.values()]
    secured = np.array([kind is not None for kind in kinds])[block.product]
    enforceable = block.of_product(
        {
            name: getattr(play.p.recovery, one.collateral).enforceable if one.collateral else 0
            for name, one in play.p.products.items()
        }
    )
    wait = block.of_product(
        {
            name: getattr(play.p.recovery, one.collateral).months if one.collateral else 0
            for name, one in play.p.products.items()
        }
    ).astype(np.int64)
    starts = secured & stands & (behind_now >= 6) & (play.sale_month < 0) & ~play.was_sold_off
    starts &= dice.uniform("enforceable", block.number) < enforceable
    starts &= play.draw("enforces", month) < p.sale_of_collateral_share
    rows = np.flatnonzero(starts)
    play.sale_month[rows] = month + wait[rows]
    history.events.add("sales", loan=rows, month=month, until=play.sale_month[rows])
    rows = np.flatnonzero((play.sale_month == month) & stands)
    outstanding = np.maximum(0, play.life - play.paid)
    minor = np.minimum(outstanding, sale_value(play.world, block))[rows]
    rows, minor = rows[minor > 0], minor[minor > 0]
    kind = np.where(history.status[rows] == WRITTEN_OFF, RECOVERY, REPAYMENT)
    on = np.full(len(rows), play.world.calendar.day(month, 22))
    for one in (RECOVERY, REPAYMENT):
        play.book(rows[kind == one], month, 13, one, on[kind == one], minor[kind == one], SALE, lag=1)
    play.paid[rows] += minor
    play.paid_on[rows] = on + 1
    play.was_sold_off |= play.sale_month == month
    play.sale_month[play.sale_month == month] = -1
    _cover(play, month, behind_now, stands)
    play._advance(month)


def _cover(play: "Play", month: int, behind: Ints, stands: Bools) -> None:
    """A guarantor pays what is due, once; an insurer pays the lender, and the debt stays."""
    block = play.block
    has_guarantee, has_policy = covers(play.world, block)
    may = stands & (behind >= 4)
    asks = play.draw("guarantor", month) < 0.10
    rows = np.flatnonzero(may & has_guarantee & ~play.claimed_guarantee & asks)
    due = np.maximum(0, play.claimed - play.paid)[rows]
    minor = np.maximum(1, due * 6 // 10)
    on = np.full(len(rows), play.world.calendar.day(month, 24))
    play.book(rows, month, 14, REPAYMENT, on, minor, GUARANTOR, lag=0)
    play.paid[rows] += minor
    play.claimed_guarantee[rows] = True
    play.history.events.add("guarantors", loan=rows, month=month, minor=minor, on=on)
    asks = play.draw("insurer", month) < 0.10
    rows = np.flatnonzero(may & has_policy & ~play.claimed_policy & asks & (play.claimed > play.paid))
    minor = np.maximum(1, np.maximum(0, play.claimed - play.paid)[rows] * 85 // 100)
    on = np.full(len(rows), play.world.calendar.day(month, 26))
    play.book(rows, month, 15, REPAYMENT, on, minor, INSURER, lag=0, reduces=False)
    play.claimed_policy[rows] = True
    play.history.events.add("insurers", loan=rows, month=month, minor=minor, on=on)


def end(play: "Play", month: int, pays: Bools) -> None:
    """Loans that are paid off, written off or sold."""
    block, history = play.block, play.history
    last_day = play.world.calendar.day(month, 31)
    stands = (history.status == ACTIVE) | (history.status == WRITTEN_OFF)
    is_paid = stands & ~play.is_revolving & (play.life <= play.paid) & (block.disbursed_month < month)
    rows = np.flatnonzero(is_paid & ~np.isnat(play.paid_on))
    history.status[rows] = CLOSED
    history.status_on[rows] = play.paid_on[rows]
    play.history.events.add("closings", loan=rows, month=month, on=play.paid_on[rows])
    after = block.of_product({name: one.write_off_after for name, one in play.p.products.items()})
    behind = np.where(play.claimed > play.paid, month + 1 - play.oldest, 0)
    quiet = (history.status == ACTIVE) & ~pays & np.isnat(play.paid_on) & (behind >= after) & (play.sale_month < 0)
    draw = play.draw("ends", month)
    off = block.of_product({name: one.write_off_share for name, one in play.p.products.items()})
    sale = block.of_product({name: one.sale_share for name, one in play.p.products.items()})
    rows = np.flatnonzero(quiet & (draw < off))
    minor = np.maximum(1, np.where(play.is_revolving, play.balance + play.claimed - play.paid, play.life - play.paid))
    play.book(rows, month, 16, WRITE_OFF, np.full(len(rows), last_day), minor[rows], TRANSFER, lag=0)
    history.status[rows] = WRITTEN_OFF
    history.status_on[rows] = last_day
    play.written[rows], play.written_month[rows] = minor[rows], month
    rows = np.flatnonzero(quiet & (draw > 1 - sale))
    history.status[rows] = SOLD
    history.status_on[rows] = last_day
    gone = np.flatnonzero((history.status == SOLD) & (play.agency >= 0))
    play.history.events.add("recalls", loan=gone, month=month, since=play.agency_since[gone], on=last_day, reason=2)
    play.agency[gone] = -1
    play.history.events.add("write_offs", loan=np.flatnonzero(quiet & (draw < off)), month=month, on=last_day)
    play.history.events.add("debt_sales", loan=rows, month=month, on=last_day)


def after_write_off(play: "Play", month: int) -> None:
    """Recoveries: the older the write-off, the fewer."""
    p = play.p.paying
    age = month - play.written_month
    chance = p.recovery_share * np.exp(-p.recovery_decay * age)
    pays = (play.history.status == WRITTEN_OFF) & (age > 0) & (play.draw("recovers", month) < chance)
    pays &= (play.life - play.paid > 0) | play.is_revolving
    rows = np.flatnonzero(pays)
    size = p.recovery_size * np.exp(0.8 * play.dice.normal("recovers/size", play.block.number[rows], month))
    minor = np.clip(np.rint(play.written[rows] * size), 1, np.maximum(1, play.written[rows] // 3)).astype(np.int64)
    left = np.where(play.is_revolving[rows], minor, np.maximum(1, play.life[rows] - play.paid[rows]))
    minor = np.minimum(minor, left)
    day = play.world.calendar.day(month, 2 + np.floor(play.draw("recovers/day", month)[rows] * 24).astype(np.int64))
    by_court = play.suit_from[rows] >= 0
    play.book(rows, month, 17, RECOVERY, day, minor, np.where(by_court, COURT, TRANSFER), lag=0)
    play.paid[rows] += minor
