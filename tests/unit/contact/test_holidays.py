"""Public holidays of the countries that recipients work in."""

from arrears.contact.holidays import public_holidays


def test_easter_monday_is_a_holiday_in_czechia_and_not_in_portugal() -> None:
    days = {(country, day) for country, day, _ in public_holidays(["PT", "cz"], [2026])}

    assert ("CZ", "2026-04-06") in days
    assert ("PT", "2026-04-06") not in days
    assert ("PT", "2026-04-03") in days


def test_a_country_without_a_calendar_has_no_holidays() -> None:
    assert public_holidays(["XX"], [2026]) == []


def test_rows_are_of_the_years_asked_for_in_order() -> None:
    rows = public_holidays(["DE", "AT"], [2026, 2025])

    assert rows == sorted(rows)
    assert {day[:4] for _, day, _ in rows} == {"2025", "2026"}
