"""For which dates a source owes a delivery, until when one waits for it, and whether a day may go on without.

Everything follows from `deliveries` in source.yml and the dates given; nothing here looks at a clock.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo

from holidays import list_supported_countries

from arrears.contact.holidays import public_holidays
from arrears.errors import SourceError
from arrears.extraction.sources import WEEKDAYS, Source
from arrears.settings import get_settings

DAY = timedelta(days=1)

State = Literal["delivered", "not_due", "missing_but_fresh_enough", "missing", "reconstructed"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a source stands for a date, given the newest date it delivered by then.

    Attributes:
        state: `delivered` for that very date; `not_due`: no delivery is owed for it and the last one owed is there;
            `missing_but_fresh_enough`: an owed one is missing, and source.yml lets the day go on with a warning;
            `missing`: an owed one is missing, and the day must not go on; `reconstructed`: the date lies before the
            first delivery, and is computed from that one.
        sentence: the same for a person, with what to do where something is missing; ends with a full stop.
        last_due_on: the date of the last delivery owed.
        stale_days: calendar days from the newest delivered date to that; 0 where it is there, None where the source
            has delivered nothing at all.
    """

    state: State
    sentence: str
    last_due_on: date
    stale_days: int | None

    @property
    def may_go_on(self) -> bool:
        """Whether the day may be run on what is there."""
        return self.state != "missing"


def is_due(source: Source, day: date) -> bool:
    """Whether the source owes a delivery for a business date; without a calendar it does for every one.

    Raises:
        SourceError: nobody knows the holidays of the country in source.yml.
    """
    owed = source.deliveries
    if owed is None:
        return True
    if WEEKDAYS[day.weekday()] not in owed.days:
        return False
    return owed.holidays is None or day not in _holidays(source, owed.holidays, day.year)


def last_due_on(source: Source, as_of: date) -> date:
    """The last date not after as_of for which a delivery is owed."""
    day = as_of
    while not is_due(source, day):
        day -= DAY
    return day


def due_by(source: Source, day: date) -> datetime:
    """The instant by which the delivery for a date is owed: `by`, local time, on the day after it.

    A time that the clocks leave out counts as if they had not been changed; of one that comes twice it is the first.
    """
    by = source.deliveries.by if source.deliveries else datetime.min.time()
    return datetime.combine(day + DAY, by, tzinfo=zone(source)).astimezone(UTC)


def wait_until(source: Source, day: date) -> datetime | None:
    """Until when a scheduled run waits for the delivery of a date; None: not at all, for none is owed."""
    if source.deliveries is None or not is_due(source, day):
        return None
    return due_by(source, day) + timedelta(hours=source.deliveries.wait_hours)


def zone(source: Source) -> ZoneInfo:
    """The zone of the source's clock times: its own, else the one of business dates."""
    return ZoneInfo(source.time_zone) if source.time_zone else get_settings().zone


def stale_days(source: Source, as_of: date, newest_delivered: date | None) -> int | None:
    """Calendar days from the newest delivered date to the last one owed; 0 where nothing is missing.

    None where the source has delivered nothing at all.
    """
    if newest_delivered is None:
        return None
    return max(0, (last_due_on(source, as_of) - newest_delivered).days)


def verdict(source: Source, as_of: date, newest_delivered: date | None) -> Standing:
    """How the source stands for a date for which no (other) drop is there.

    Args:
        source: the source, with its calendar.
        as_of: the business date of the run.
        newest_delivered: the newest date not after as_of for which a delivery was taken in; None: there is none.

    Raises:
        SourceError: nobody knows the holidays of the country in source.yml.
    """
    due_on = last_due_on(source, as_of)
    stale = stale_days(source, as_of, newest_delivered)
    if newest_delivered == as_of:
        return Standing("delivered", f"Source {source.name} has delivered for {as_of}.", due_on, 0)
    if stale == 0:
        return Standing(
            "not_due",
            f"Source {source.name} owes no delivery for {as_of}; the day is run on its data of {newest_delivered}.",
            due_on,
            0,
        )
    missing = f"Source {source.name} has not delivered for {due_on}{_owed(source, as_of, due_on)}"
    if stale is None:
        return Standing(
            "missing", f"{missing}, nor for any date before: {_deliver(source, as_of, due_on)}.", due_on, None
        )
    allowed = source.deliveries.may_be_stale_days if source.deliveries else 0
    old = f"its newest data are of {newest_delivered}, {stale} {'day' if stale == 1 else 'days'} older"
    if stale <= allowed:
        return Standing(
            "missing_but_fresh_enough",
            f"{missing}; {old}, and the day goes on with them (may_be_stale_days: {allowed}).",
            due_on,
            stale,
        )
    return Standing(
        "missing",
        f"{missing}; {old}: {_deliver(source, as_of, due_on)}, or let a day go on with data that old "
        f"(deliveries.may_be_stale_days in {source.folder / 'source.yml'}, now {allowed}).",
        due_on,
        stale,
    )


def _owed(source: Source, as_of: date, due_on: date) -> str:
    """By when, and why a date before the one asked for matters."""
    if source.deliveries is None:
        return ""
    last = "" if due_on == as_of else f", the last date up to {as_of} for which it owes a delivery"
    return f"{last}, due by {due_by(source, due_on).astimezone(zone(source)):%Y-%m-%d %H:%M} {zone(source).key}"


def _deliver(source: Source, as_of: date, due_on: date) -> str:
    if due_on == as_of:
        return f"have it delivered and run `arrears run --as-of {as_of}` again"
    return f"have it delivered and run `arrears run --source {source.name} --as-of {due_on} --to {as_of}`"


def _holidays(source: Source, country: str, year: int) -> frozenset[date]:
    found = _holidays_of(country.upper(), year)
    if found is None:
        raise SourceError(
            f"{source.folder / 'source.yml'}, key deliveries.holidays: no holidays are known of {country}; "
            "give a country's code (ISO 3166-1, two letters)."
        )
    return found


@cache
def _holidays_of(country: str, year: int) -> frozenset[date] | None:
    if country not in list_supported_countries():
        return None
    return frozenset(date.fromisoformat(day) for _, day, _ in public_holidays([country], [year]))
