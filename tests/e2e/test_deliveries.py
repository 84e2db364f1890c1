"""Deliveries that do not come every day, come late, come again, or do not come: `arrears run` over weeks of them.

One home for each story, told in the order of its tests. The lender delivers on working days; 2026-03-27 is a Friday.
L1 and L2 are late with what fell due on 1 February and 1 March; so what a day shows follows from the bookings known.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest

from arrears.settings import CHECKOUT
from tests.e2e.home import Home, a_home
from tests.portfolio import a_repayment, write_drop

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

FRIDAY = date(2026, 3, 27)
SATURDAY, SUNDAY, MONDAY, TUESDAY, WEDNESDAY = (FRIDAY + timedelta(days=n) for n in range(1, 6))
CALENDAR = "deliveries: {days: [mon, tue, wed, thu, fri], by: '05:00', may_be_stale_days: %s}\n"


@contextmanager
def a_lender(*, may_be_stale_days: int = 0) -> Iterator[Home]:
    """A home whose one source delivers on working days into dated folders."""
    with a_home() as home:
        folder = home.folder / "sources" / "contract"
        folder.mkdir(parents=True)
        text = (CHECKOUT / "sources" / "contract" / "source.yml").read_text(encoding="utf-8")
        (home.folder / "drops").mkdir()
        (folder / "source.yml").write_text(
            f"{text}drop: {home.folder / 'drops'}\n{CALENDAR % may_be_stale_days}", encoding="utf-8"
        )
        settings = {"ARREARS_SOURCES": "contract", "ARREARS_SOURCES_FOLDER": str(folder.parent)}
        yield Home(home.folder, settings)


def deliver(home: Home, *days: date, **tables: object) -> None:
    """The lender puts drops there."""
    for day in days:
        write_drop(home.folder / "drops" / day.isoformat(), **tables)


def run(home: Home, first: date, last: date | None = None, *more: object) -> "subprocess.CompletedProcess[str]":
    """Runs the DAG for a date or a range."""
    return home.arrears("run", "--as-of", first, "--to", last or first, *more)


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What an error says."""
    return done.stderr.strip().splitlines()[-1]


def manifest(home: Home, day: date) -> dict[str, Any]:
    """What a day's export says of itself."""
    found: dict[str, Any] = json.loads(home.exported(day)["manifest.json"])
    return found


def batch_dates(home: Home, day: date) -> list[str]:
    """The dates of the deliveries that a day was computed from."""
    return [batch["batch_date"] for batch in manifest(home, day)["batches"]]


def days_past_due(home: Home, day: date) -> dict[str, int]:
    """By loan, as the queue of a day says."""
    (file,) = (home.exports / day.isoformat()).glob("*/queue.csv")
    queue = pd.read_csv(file)
    return dict(zip(queue["loan_id"], queue["days_past_due"], strict=True))


class TestAWeekWithAHole:
    """Friday and Wednesday are delivered, Monday comes late, Tuesday later still."""

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls) -> Iterator[Home]:
        with a_lender() as home:
            yield home

    def test_a_weekend_goes_out_on_fridays_data_and_a_missing_day_ends_with_4(self, home: Home) -> None:
        deliver(home, FRIDAY)

        done = run(home, FRIDAY, TUESDAY)

        assert done.returncode == 4
        assert last_line(done).startswith(
            "arrears: Source contract has not delivered for 2026-03-30, due by 2026-03-31 05:00 UTC; its newest data"
            " are of 2026-03-27, 3 days older: have it delivered and run `arrears run --as-of 2026-03-30` again"
        )
        assert sorted(path.name for path in home.exports.iterdir() if path.name[0] != ".") == [
            day.isoformat() for day in (FRIDAY, SATURDAY, SUNDAY)
        ]
        # The date moves on, the data do not: on Friday L1's March instalment was due 26 days ago.
        assert [days_past_due(home, day) for day in (FRIDAY, SATURDAY, SUNDAY)] == [
            {"L1": 26, "L2": 54},
            {"L1": 27, "L2": 55},
            {"L1": 28, "L2": 56},
        ]
        assert batch_dates(home, SUNDAY) == ["2026-03-27"]

    def test_a_day_after_a_skipped_one_goes_out(self, home: Home) -> None:
        # On Tuesday the lender booked that L2 paid both instalments on Monday.
        paid = a_repayment("T2", "L2", "2026-03-30", "200.00", booked_at="2026-03-31T08:00:00Z")
        deliver(home, TUESDAY, transactions=[a_repayment(), paid])

        done = run(home, TUESDAY)

        assert done.returncode == 0, done.stderr
        assert days_past_due(home, TUESDAY) == {"L1": 30}

    def test_the_skipped_days_drop_comes_late_and_the_day_after_stays_as_it_was(self, home: Home) -> None:
        before = {day: home.exported(day) for day in (SUNDAY, TUESDAY)}
        deliver(home, MONDAY)

        done = run(home, MONDAY, TUESDAY)

        assert done.returncode == 0, done.stderr
        assert days_past_due(home, MONDAY) == {"L1": 29, "L2": 57}  # nobody knew of T2 on Monday
        assert batch_dates(home, MONDAY) == ["2026-03-27", "2026-03-30"]  # the late one is kept as its differences
        assert {day: home.exported(day) for day in (SUNDAY, TUESDAY)} == before

    def test_after_an_outage_the_days_are_caught_up_with_in_order(self, home: Home) -> None:
        """Four days lie there when the machine comes back, a weekend among them."""
        week = [WEDNESDAY + timedelta(days=n) for n in range(7)]  # up to Tuesday, 7 April
        deliver(home, *[day for day in week if day.weekday() < 5])

        done = run(home, week[0], week[-1])

        assert done.returncode == 0, done.stderr
        assert all("manifest.json" in home.exported(day) for day in week)
        # The April instalment fell due on Wednesday the 1st; L2's T2 vanished from the drops again and stays in force.
        assert days_past_due(home, week[-1])["L1"] == 37

    def test_days_before_the_first_delivery_are_computed_from_it_and_say_so(self, home: Home) -> None:
        days = [FRIDAY - timedelta(days=2), FRIDAY - timedelta(days=1)]
        before = home.exported(FRIDAY)

        done = run(home, days[0], days[-1])

        assert done.returncode == 0, done.stderr
        assert [manifest(home, day)["is_reconstructed"] for day in days] == [True, True]
        assert "is_reconstructed" not in manifest(home, FRIDAY)
        assert days_past_due(home, days[0]) == {"L1": 24, "L2": 52}
        assert home.exported(FRIDAY) == before


class TestADateDeliveredAgain:
    """Before it is exported, after, with a reason, and late; then a day without a delivery that may be stale."""

    @pytest.fixture(scope="class")
    @classmethod
    def home(cls) -> Iterator[Home]:
        with a_lender(may_be_stale_days=1) as home:
            yield home

    def test_before_the_export_the_newer_drop_takes_the_place_of_the_first(self, home: Home) -> None:
        deliver(home, MONDAY)
        for step in ("extract", "gate_raw"):
            done = home.arrears("step", step, "--as-of", MONDAY)
            assert done.returncode == 0, done.stderr
        deliver(home, MONDAY, transactions=[a_repayment(amount="200.00")])

        done = run(home, MONDAY)

        assert done.returncode == 0, done.stderr
        assert days_past_due(home, MONDAY) == {"L2": 57}  # L1 paid February and March

    def test_after_the_export_another_drop_is_refused(self, home: Home) -> None:
        before = home.exported(MONDAY)
        deliver(home, MONDAY)

        done = run(home, MONDAY)

        assert done.returncode == 6
        assert "transactions.csv" in last_line(done)
        assert home.exported(MONDAY) == before

    def test_taken_in_late_it_is_known_from_the_next_day_on(self, home: Home) -> None:
        before = home.exported(MONDAY)

        done = run(home, MONDAY, MONDAY, "--late")
        assert done.returncode == 0, done.stderr
        assert home.exported(MONDAY) == before

        # Tuesday was due and is missing; Monday's data are one day old, which this source may be.
        done = run(home, TUESDAY)
        assert done.returncode == 0, done.stderr
        assert "warning: Source contract has not delivered for 2026-03-31" in done.stderr
        assert "may_be_stale_days: 1" in done.stderr
        assert home.exported(MONDAY) == before
        # What was booked as 200.00 and delivered as 100.00 is a finding: L1 is held back until somebody decides.
        assert "loans held back from the queues of 2026-03-31: 1;" in done.stderr
        assert days_past_due(home, TUESDAY) == {"L2": 58}

    def test_what_is_older_than_that_ends_with_4(self, home: Home) -> None:
        done = run(home, WEDNESDAY)

        assert done.returncode == 4
        assert "its newest data are of 2026-03-30, 2 days older" in last_line(done)

    def test_replaced_with_a_reason_the_date_goes_out_again_and_keeps_its_first_revision(self, home: Home) -> None:
        before = home.exported(MONDAY)
        later = home.exported(TUESDAY)
        deliver(home, MONDAY, transactions=[a_repayment(), a_repayment("T2", "L2")])

        done = run(home, MONDAY, MONDAY, "--replace", "the bank sent the wrong file")

        assert done.returncode == 0, done.stderr
        assert home.exported(MONDAY) != before
        kept = home.exports / ".revisions" / MONDAY.isoformat() / "1"
        assert {name: (kept / name).read_bytes() for name in before} == before
        assert home.exported(TUESDAY) == later
