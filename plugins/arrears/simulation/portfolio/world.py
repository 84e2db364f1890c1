"""What is the same for every borrower: calendar, cycle, industries with their regimes, policy, exchange rates."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from arrears.simulation.portfolio.dice import Dates, Dice, Floats, Ints
from arrears.simulation.portfolio.frames import Frames, frame, ids, ratio
from arrears.simulation.portfolio.parameters import Parameters, Surroundings

REPORTING_CURRENCY = "EUR"
PEGGED = "KWD"


@dataclass(frozen=True, slots=True)
class Place:
    """One market: where borrowers live, whose law their loans are under."""

    country: str
    region: str | None
    governing_law: str
    currency: str
    time_zone: str
    language: str
    weight: float
    units_per_euro: float
    phone: str
    legal_form: str
    cities: tuple[str, ...]
    digits: int
    step: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """Months from the first one simulated, counted from 0.

    Attributes:
        start: the first month.
        anchor: the day by which the first loans were all granted.
        last: the last day that is shown.
        months: how many months are simulated: one more than is shown, because a month's statements, and payments
            before their due date, are dated in the month before.
    """

    start: np.datetime64
    anchor: np.datetime64
    last: np.datetime64
    months: int

    @classmethod
    def of(cls, anchor: date, last: date, history_months: int) -> "Calendar":
        """A calendar with so many months of history before the anchor."""
        start = np.datetime64(anchor, "M") - history_months
        return cls(
            start=start,
            anchor=np.datetime64(anchor, "D"),
            last=np.datetime64(last, "D"),
            months=int((np.datetime64(last, "M") - start).astype(np.int64)) + 2,
        )

    @property
    def last_month(self) -> int:
        """The month of the last day."""
        return self.months - 2

    def day(self, month: Ints | int, day: Ints | int) -> Dates:
        """The day of a month, the last one where the month is shorter."""
        first = (self.start + np.asarray(month)).astype("datetime64[M]")
        length = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
        on: Dates = first.astype("datetime64[D]") + np.minimum(np.asarray(day), length) - 1
        return on

    def month_of(self, on: Dates) -> Ints:
        """The number of a date's month."""
        return (on.astype("datetime64[M]") - self.start).astype(np.int64)


@dataclass(frozen=True, slots=True)
class World:
    """The surroundings of every borrower; arrays by month, industry, country."""

    calendar: Calendar
    dice: Dice
    p: Parameters
    places: tuple[Place, ...]
    countries: tuple[str, ...]
    cycle: Floats  # by month: deviations of the macro cycle, good is positive
    industry: Floats  # by month, industry, country: log points of means
    index: Floats  # the same: the published index
    country_of_place: Ints
    frames: Frames


def make_world(calendar: Calendar, dice: Dice, p: Parameters) -> World:
    """Draws the surroundings; a longer calendar begins with the shorter one."""
    places = tuple(Place(*row, *p.currencies.rows[row[3]]) for row in p.places.rows)
    countries = tuple(dict.fromkeys(place.country for place in places))
    months = np.arange(calendar.months)
    s = p.surroundings
    cycle = _cycle(calendar, dice, s)
    log_index, frames = _industries(calendar, dice, s, countries)
    policy, strength = _policies(calendar, dice, s, countries)
    # Twelve months' change of the index, and policies, move the means of firms.
    before = np.concatenate([np.zeros((12, *log_index.shape[1:])), log_index])[: len(months)]
    industry = np.clip((log_index - before) / s.index_step, -s.index_most, s.index_most) + strength
    return World(
        calendar=calendar,
        dice=dice,
        p=p,
        places=places,
        countries=countries,
        cycle=cycle,
        industry=industry,
        index=100 * np.exp(log_index),
        country_of_place=np.array([countries.index(place.country) for place in places]),
        frames=frames | policy | {"fx_rates": _rates(calendar, dice, s, places)},
    )


def _cycle(calendar: Calendar, dice: Dice, s: Surroundings) -> Floats:
    """A wave of some years that belongs to the calendar, and what no wave explains, which belongs to the seed."""
    cycle = np.zeros(calendar.months)
    surprise = 0.0
    since = int((calendar.start - np.datetime64(s.wave_rises, "M")).astype(np.int64))
    for month in range(calendar.months):
        surprise = s.persistence * surprise + s.surprise * float(dice.normal("cycle", month)[0])
        cycle[month] = s.wave * np.sin(2 * np.pi * (since + month) / s.wave_months) + surprise
    return cycle


def _industries(calendar: Calendar, dice: Dice, s: Surroundings, countries: tuple[str, ...]) -> tuple[Floats, Frames]:
    """Indices with regimes by industry and country; the month's value is published ten days after it."""
    shape = (len(s.industries), len(countries))
    industry, country = np.indices(shape)
    upto = np.cumsum(np.array(s.regime_changes), axis=1)
    regime = np.ones(shape, dtype=np.int64)
    value = np.zeros(shape)
    values = np.zeros((calendar.months, *shape))
    for month in range(calendar.months):
        draw = dice.uniform("regime", industry, country, month)
        regime = (draw[..., None] >= upto[regime]).sum(axis=2).clip(0, 2)
        noise = dice.normal("index", industry, country, month)
        value = value + np.array(s.regime_drift)[regime] + np.array(s.regime_spread)[regime] * noise
        values[month] = value
    month, one, other = (each.ravel() for each in np.indices(values.shape))
    observed = calendar.day(month, 31)
    return values, {
        "industry_indices": frame(
            observed + 10,
            {
                "industry_code": np.array(s.codes, dtype=object)[one],
                "country": np.array(countries, dtype=object)[other],
                "observed_on": observed,
                "value": ratio(100 * np.exp(values.ravel())),
            },
        )
    }


def _policies(calendar: Calendar, dice: Dice, s: Surroundings, countries: tuple[str, ...]) -> tuple[Frames, Floats]:
    """Changes of policy by country and industry; their effect begins months later and fades in two years."""
    month, country = (each.ravel() for each in np.indices((calendar.months, len(countries))))
    happens = dice.uniform("policy", month, country) < s.policy_hazard
    # Each country has had one early on, so that a short history has some too.
    happens |= month == 1 + country % 3
    month, country = month[happens], country[happens]
    kind = dice.integers("policy/kind", 0, len(s.policies), month, country)
    industry = dice.integers("policy/industry", 0, len(s.industries), month, country)
    delay = dice.integers("policy/delay", *s.policy_delay, month, country)
    impact = np.array(list(s.policies.values()))[kind]
    announced = calendar.day(month, 3 + kind)
    strength = np.zeros((calendar.months, len(s.industries), len(countries)))
    for m, c, i, d, size in zip(month, country, industry, delay, impact, strict=True):
        later = np.arange(max(0, calendar.months - m - d))
        strength[m + d :, i, c] += size * np.exp(-later / 12)
    return {
        "policy_events": frame(
            announced,
            {
                "policy_event_id": ids("PE", month, (country, 2), digits=3),
                "country": np.array(countries, dtype=object)[country],
                "industry_code": np.array(s.codes, dtype=object)[industry],
                "announced_on": announced,
                "effective_on": calendar.day(month + delay, 1),
                "impact": ratio(impact),
                "title": np.array(list(s.policies), dtype=object)[kind],
            },
        )
    }, strength


def _rates(calendar: Calendar, dice: Dice, s: Surroundings, places: tuple[Place, ...]) -> pl.DataFrame:
    """Euros for one unit of each other currency on working days: a random walk."""
    first = calendar.start.astype("datetime64[D]") - 10
    days = np.arange(first, calendar.last + 1)
    rows = []
    for number, currency in enumerate(dict.fromkeys(place.currency for place in places)):
        if currency == REPORTING_CURRENCY:
            continue
        per_euro = next(place.units_per_euro for place in places if place.currency == currency)
        step = s.pegged_rate_step if currency == PEGGED else s.rate_step
        rate = np.exp(np.cumsum(step * dice.normal("fx", number, np.arange(len(days))))) / per_euro
        quoted = np.is_busday(days)
        rows.append((np.full(int(quoted.sum()), currency, dtype=object), days[quoted], rate[quoted]))
    names, on, rate = (np.concatenate(each) for each in zip(*rows, strict=True))
    return frame(on, {"currency": names, "base_currency": REPORTING_CURRENCY, "quoted_on": on, "rate": ratio(rate)})
