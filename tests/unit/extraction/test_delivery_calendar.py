"""For which dates a source owes a delivery, until when one waits for it, and whether a day may go on without."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrears.errors import SourceError
from arrears.extraction.delivery_calendar import due_by, is_due, last_due_on, stale_days, verdict, wait_until
from arrears.extraction.sources import WEEKDAYS, Source

WORKING_DAYS = ("mon", "tue", "wed", "thu", "fri")
DAY = timedelta(days=1)


def a_source(time_zone: str | None = "Europe/Prague", **deliveries: Any) -> Source:
    """A source of files, with a calendar where anything of it is given."""
    return Source.model_validate(
        {
            "name": "core",
            "folder": Path("/sources/core"),
            "description": "A lender's system.",
            "engine": "files",
            "time_zone": time_zone,
            "deliveries": deliveries or None,
        }
    )


def on(year: int, month: int, day: int) -> date:
    return date(year, month, day)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


# 2026: Friday 3 April is Good Friday, Monday 6 April is Easter Monday; both are public holidays in Czechia.
THURSDAY, FRIDAY, SATURDAY, SUNDAY, MONDAY, TUESDAY = (on(2026, 4, day) for day in (2, 3, 4, 5, 6, 7))


def test_without_a_calendar_every_date_owes_a_delivery():
    assert all(is_due(a_source(), FRIDAY + n * DAY) for n in range(7))


def test_only_the_days_named_owe_one():
    source = a_source(days=WORKING_DAYS)

    assert [is_due(source, day) for day in (FRIDAY, SATURDAY, SUNDAY, MONDAY)] == [True, False, False, True]


def test_none_is_owed_on_a_public_holiday_of_the_country():
    source = a_source(days=WORKING_DAYS, holidays="CZ")

    owed = [is_due(source, day) for day in (THURSDAY, FRIDAY, SATURDAY, SUNDAY, MONDAY, TUESDAY)]
    assert owed == [True, False, False, False, False, True]
    assert last_due_on(source, MONDAY) == THURSDAY
    # New Year's Day is one too, and the Monday after it is none.
    assert last_due_on(source, on(2027, 1, 3)) == on(2026, 12, 31)


def test_a_country_without_a_calendar_is_named_with_its_key():
    with pytest.raises(SourceError, match=r"source\.yml, key deliveries\.holidays: no holidays are known of XX"):
        is_due(a_source(holidays="XX"), THURSDAY)


def test_a_delivery_is_owed_by_local_time_on_the_day_after():
    source = a_source(days=WORKING_DAYS, by="05:00", wait_hours=4)

    # Prague is two hours ahead of UTC in April.
    assert due_by(source, THURSDAY) == utc(2026, 4, 3, 3)
    assert wait_until(source, THURSDAY) == utc(2026, 4, 3, 7)


def test_without_a_zone_of_its_own_the_time_is_that_of_business_dates(monkeypatch):
    from arrears.settings import get_settings

    monkeypatch.setenv("ARREARS_BUSINESS_TIME_ZONE", "Asia/Kolkata")  # five and a half hours ahead
    get_settings.cache_clear()
    try:
        assert due_by(a_source(time_zone=None, by="05:00"), THURSDAY) == utc(2026, 4, 2, 23, 30)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


def test_in_the_night_of_summer_time_the_wait_is_as_long_as_it_says():
    # On 29 March 2026 the clocks of Prague go from 02:00 to 03:00. 01:30 is 00:30 UTC, four hours later 04:30 UTC.
    source = a_source(by="01:30", wait_hours=4)

    assert due_by(source, on(2026, 3, 28)) == utc(2026, 3, 29, 0, 30)
    assert wait_until(source, on(2026, 3, 28)) == utc(2026, 3, 29, 4, 30)
    # 05:00 of that day is an hour earlier in UTC than the day before.
    assert due_by(a_source(by="05:00"), on(2026, 3, 27)) == utc(2026, 3, 28, 4)
    assert due_by(a_source(by="05:00"), on(2026, 3, 28)) == utc(2026, 3, 29, 3)


def test_a_time_that_the_clocks_leave_out_counts_as_before_the_change():
    assert due_by(a_source(by="02:30"), on(2026, 3, 28)) == utc(2026, 3, 29, 1, 30)  # shown as 03:30


def test_of_a_time_that_comes_twice_the_first_counts():
    # On 25 October 2026 the clocks of Prague go from 03:00 back to 02:00: 02:30 is 00:30 and 01:30 UTC.
    assert due_by(a_source(by="02:30"), on(2026, 10, 24)) == utc(2026, 10, 25, 0, 30)


def test_nobody_waits_where_nothing_is_owed_or_no_calendar_says_how_long():
    assert wait_until(a_source(days=WORKING_DAYS, wait_hours=4), SATURDAY) is None
    assert wait_until(a_source(), SATURDAY) is None


def test_a_weekend_is_run_on_fridays_data():
    source = a_source(days=WORKING_DAYS)

    for day in (SATURDAY, SUNDAY):
        found = verdict(source, day, FRIDAY)
        assert (found.state, found.may_go_on, found.stale_days) == ("not_due", True, 0)
        assert found.sentence == (f"Source core owes no delivery for {day}; the day is run on its data of 2026-04-03.")


def test_a_weekend_is_not_run_when_fridays_data_are_missing():
    found = verdict(a_source(days=WORKING_DAYS, by="05:00"), SUNDAY, THURSDAY)

    assert (found.state, found.may_go_on, found.last_due_on, found.stale_days) == ("missing", False, FRIDAY, 1)
    assert found.sentence == (
        "Source core has not delivered for 2026-04-03, the last date up to 2026-04-05 for which it owes a delivery,"
        " due by 2026-04-04 05:00 Europe/Prague; its newest data are of 2026-04-02, 1 day older: have it delivered and"
        " run `arrears run --source core --as-of 2026-04-03 --to 2026-04-05`, or let a day go on with data that old"
        " (deliveries.may_be_stale_days in /sources/core/source.yml, now 0)."
    )


def test_a_missing_delivery_ends_the_day_and_says_by_when_it_was_due():
    found = verdict(a_source(by="05:00"), TUESDAY, FRIDAY)

    assert found.state == "missing"
    assert found.stale_days == 4  # calendar days, the weekend among them
    assert found.sentence.startswith(
        "Source core has not delivered for 2026-04-07, due by 2026-04-08 05:00 Europe/Prague; its newest data are of"
        " 2026-04-03, 4 days older: have it delivered and run `arrears run --as-of 2026-04-07` again, or "
    )


def test_data_as_old_as_the_calendar_allows_do_with_a_warning_and_older_ones_do_not():
    source = a_source(by="05:00", may_be_stale_days=1)

    found = verdict(source, FRIDAY, THURSDAY)
    assert (found.state, found.may_go_on) == ("missing_but_fresh_enough", True)
    assert found.sentence == (
        "Source core has not delivered for 2026-04-03, due by 2026-04-04 05:00 Europe/Prague; its newest data are of"
        " 2026-04-02, 1 day older, and the day goes on with them (may_be_stale_days: 1)."
    )
    assert verdict(source, SATURDAY, THURSDAY).state == "missing"


def test_a_source_that_never_delivered_is_missing_even_on_a_day_off():
    found = verdict(a_source(days=WORKING_DAYS, may_be_stale_days=30), SATURDAY, None)

    assert (found.state, found.stale_days) == ("missing", None)
    assert "nor for any date before" in found.sentence


def test_without_a_calendar_no_time_is_claimed():
    assert verdict(a_source(), FRIDAY, THURSDAY).sentence.startswith(
        "Source core has not delivered for 2026-04-03; its newest data are of 2026-04-02"
    )


def test_the_date_itself_delivered_is_delivered():
    assert verdict(a_source(days=WORKING_DAYS), SATURDAY, SATURDAY).state == "delivered"


dates = st.dates(on(2020, 1, 1), on(2030, 12, 31))
calendars = st.fixed_dictionaries(
    {
        "days": st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True),
        "holidays": st.sampled_from([None, "CZ", "DE", "IN"]),
        "by": st.times(max_value=time(23, 59)),
        "wait_hours": st.integers(0, 72),
        "may_be_stale_days": st.integers(0, 10),
    }
)
zones = st.sampled_from(["Europe/Prague", "America/Santiago", "Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])


@given(calendars, dates)
def test_the_last_due_date_is_due_and_none_after_it_is(calendar, day):
    source = a_source(**calendar)
    last = last_due_on(source, day)

    assert last <= day
    assert is_due(source, last)
    assert not any(is_due(source, last + n * DAY) for n in range(1, (day - last).days + 1))


@given(calendars, zones, dates)
def test_the_wait_ends_after_the_date_and_never_before_it_is_due(calendar, zone, day):
    source = a_source(zone, **calendar)
    until = wait_until(source, day)

    assert (until is not None) == is_due(source, day)
    if until is not None:
        assert until - due_by(source, day) == timedelta(hours=calendar["wait_hours"])
        # At or after midnight at the end of the date, in the source's own zone.
        assert due_by(source, day).astimezone(until.tzinfo) >= datetime.combine(
            day + DAY, time(), tzinfo=ZoneInfo(zone)
        )


@given(calendars, dates, st.integers(0, 40))
def test_newer_data_never_stand_worse(calendar, day, age):
    source = a_source(**calendar)
    order = ["missing", "missing_but_fresh_enough", "not_due", "delivered"]

    older, newer = (verdict(source, day, day - n * DAY) for n in (age + 1, age))

    assert order.index(older.state) <= order.index(newer.state)
    assert (stale_days(source, day, day - age * DAY) or 0) <= age
    assert older.sentence.endswith(".")


@given(calendars, dates, st.integers(0, 40))
def test_a_day_goes_on_only_on_data_no_older_than_allowed(calendar, day, age):
    source = a_source(**calendar)
    found = verdict(source, day, day - age * DAY)

    last_due = last_due_on(source, day)
    assert found.may_go_on == ((last_due - (day - age * DAY)).days <= calendar["may_be_stale_days"])
