"""Public holidays by country, from the package `holidays`, kept in the warehouse so that SQL can tell working days."""

from collections.abc import Iterable

import psycopg
from holidays import country_holidays, list_supported_countries


def public_holidays(countries: Iterable[str], years: Iterable[int]) -> list[tuple[str, str, str]]:
    """Rows of country (ISO 3166-1 alpha-2), date (ISO 8601) and name, sorted; nothing for a country without a calendar.

    Names are in the country's own language. Regional holidays are left out: a recipient rests only where all of its
    countries do.
    """
    supported = list_supported_countries()
    asked = sorted(set(years))
    return sorted(
        (country, day.isoformat(), name)
        for country in sorted({country.upper() for country in countries})
        if country in supported
        for day, name in country_holidays(country, years=asked, expand=False).items()
        if day.year in asked
    )


def refresh(connection: psycopg.Connection, countries: Iterable[str], years: Iterable[int]) -> int:
    """Brings ops.public_holidays to what the package says for these countries and years; gives the rows it says.

    Other countries and years stay as they are. Called again it changes nothing; the caller commits.
    """
    asked_countries, asked_years = sorted({country.upper() for country in countries}), sorted(set(years))
    rows = public_holidays(asked_countries, asked_years)
    with connection.cursor() as cursor:
        cursor.execute(
            "delete from ops.public_holidays where country = any(%s)"
            " and extract(year from holiday_on) = any(%s::integer[])"
            " and (country, holiday_on) not in ("
            " select held.country, held.holiday_on from unnest(%s::text[], %s::date[]) as held (country, holiday_on))",
            [asked_countries, asked_years, [row[0] for row in rows], [row[1] for row in rows]],
        )
        cursor.executemany(
            "insert into ops.public_holidays (country, holiday_on, name) values (%s, %s, %s)"
            " on conflict (country, holiday_on) do update set name = excluded.name"
            " where public_holidays.name <> excluded.name",
            rows,
        )
    return len(rows)
