"""What collectors do to an account in a month, and what it takes off the log odds of paying nothing."""

from typing import TYPE_CHECKING

import numpy as np

from arrears.simulation.portfolio.dice import Bools, Floats, Ints
from arrears.simulation.portfolio.events import (
    BOUNCED,
    COMPLAINT,
    CONTACT_CHANNELS,
    EMAIL,
    MESSAGE_LEFT,
    NO_ANSWER,
    PROMISE,
    REFUSAL,
    RIGHT_PARTY,
    SMS,
    VISIT,
    WRITTEN_OFF,
    WRONG_PARTY,
)
from arrears.simulation.portfolio.hazards import answers as answers_of
from arrears.simulation.portfolio.recipients import AGENCY_NUMBERS, agency_skill, licensed

if TYPE_CHECKING:
    from arrears.simulation.portfolio.repaying import Play


def collect(play: "Play", month: int, late: Bools, behind: Ints, need: Ints) -> Floats:
    """Contacts, placements; gives what they take off the logit of paying nothing."""
    block, p, dice = play.block, play.p.collecting, play.dice
    relief = np.zeros(len(block))
    play.recent *= 0.6
    may = late & ~play.protected[block.owner]
    reach = np.array([p.reach[name] for name in CONTACT_CHANNELS])
    effect = np.array([p.effect[name] for name in CONTACT_CHANNELS])
    attempts = np.array(p.attempts)[np.clip(behind - 1, 0, len(p.attempts) - 1)]
    answers = answers_of(play.world, block)[block.owner]
    for attempt in range(max(p.attempts)):
        rows = np.flatnonzero(may & (attempt < attempts))
        number = block.number[rows]
        style = np.array(p.channels)
        upto = np.cumsum(style[np.clip(behind[rows] - 1, 0, len(style) - 1)], axis=1)
        how = (dice.uniform("how", number, month, attempt)[:, None] >= upto).sum(axis=1).clip(0, 4)
        got = dice.uniform("reached", number, month, attempt) < reach[how] * answers[rows]
        said = dice.uniform("said", number, month, attempt)
        tired = np.maximum(0.0, 1 - p.fatigue * play.recent[rows])
        promise = got & (said < p.promise_share * tired)
        complaint = got & (said > 1 - p.complaint_share * (1 + 2 * (how == VISIT) + play.recent[rows] / 3))
        is_written = np.isin(how, (SMS, EMAIL))
        unanswered = np.select(
            [is_written & (said < 0.93), is_written, said < 0.3, said < 0.34],
            [MESSAGE_LEFT, BOUNCED, MESSAGE_LEFT, WRONG_PARTY],
            NO_ANSWER,
        )
        outcome = np.select(
            [complaint, promise, got & (said > 0.82), got], [COMPLAINT, PROMISE, REFUSAL, RIGHT_PARTY], unanswered
        )
        # Whoever means to pay promises, others too: a promise is a weak sign.
        relief[rows] += np.where(got & ~complaint, effect[how] * tired, 0.0) + p.promise_effect * promise
        play.recent[rows] += got
        on = play.world.calendar.day(
            month, 2 + 3 * attempt + dice.integers("contact day", 0, 3, number, month, attempt)
        )
        play.history.events.add(
            "contacts",
            loan=rows,
            month=month,
            attempt=attempt,
            on=np.maximum(on, block.disbursed[rows] + 1),
            channel=how,
            outcome=outcome,
            agency=play.agency[rows],
            need=need[rows],
        )
    held = play.agency >= 0
    years = (month - play.agency_since) / 12
    skill = agency_skill(play.world, play.agency, block.product)
    relief += np.where(held & late, p.agency_effect * skill * (1 + p.agency_learning * years), 0.0)
    relief += np.where((play.suit_from >= 0) & (month <= play.suit_until + 12), p.suit_effect, 0.0)
    _place(play, month, late, behind, need)
    return relief


def _place(play: "Play", month: int, late: Bools, behind: Ints, need: Ints) -> None:
    """Accounts go to agencies, come back after some months or once they are cured, some are sued for."""
    block, p = play.block, play.p.collecting
    since = month - play.agency_since
    is_over = (play.agency >= 0) & (~late | (since >= p.recalled_after))
    rows = np.flatnonzero(is_over)
    play.history.events.add(
        "recalls",
        loan=rows,
        month=month,
        since=play.agency_since[rows],
        on=play.world.calendar.day(month, 3),
        reason=np.where(play.history.status[rows] == WRITTEN_OFF, 2, np.where(late[rows], 0, 1)),
    )
    play.agency[rows] = -1
    may = late & play.is_retail & (behind >= 3) & (behind < 20) & (play.agency < 0) & ~play.protected[block.owner]
    may &= (play.suit_from < 0) & (since > 1)
    rows = np.flatnonzero(may & (play.draw("placed", month) < p.placed_share))
    chosen = play.dice.integers("agency", 0, 97, block.number[rows], month) % len(AGENCY_NUMBERS)
    agency = np.array(AGENCY_NUMBERS)[chosen]
    fits = licensed(play.world, agency, block.place[rows])
    rows, agency = rows[fits], agency[fits]
    play.agency[rows], play.agency_since[rows] = agency, month
    play.history.events.add(
        "placements",
        loan=rows,
        month=month,
        agency=agency,
        on=play.world.calendar.day(month, 5),
        minor=need[rows],
    )
