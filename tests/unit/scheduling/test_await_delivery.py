"""The scheduler's wait for a delivery: when it does not wait, what it hands to the triggerer, and when that fires."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from arrears.errors import SourceError
from arrears.scheduling.await_delivery import AwaitDelivery, waiting_for
from arrears.scheduling.delivery_trigger import DeliveryTrigger
from arrears.settings import get_settings

# A Friday; in the test's calendar its delivery is owed by 05:00 UTC on the Saturday and waited for until 09:00.
D = date(2026, 3, 27)
BY, UNTIL = datetime(2026, 3, 28, 5, tzinfo=UTC), datetime(2026, 3, 28, 9, tzinfo=UTC)
NIGHT = datetime(2026, 3, 28, 0, 5, tzinfo=UTC)
CALENDAR = """
deliveries:
  days: [mon, tue, wed, thu, fri]
  by: "05:00"
  wait_hours: 4
"""
FILES = "description: A lender's system.\nengine: files\nmarker: _SUCCESS\n"
DATABASE = "description: A lender's system.\nengine: postgres\nschema: servicing\nconnection: LENDER_URL\n"


@pytest.fixture
def source(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes sources/core/source.yml; nothing of the source is accepted."""
    monkeypatch.setenv("ARREARS_SOURCES_FOLDER", str(home / "sources"))
    get_settings.cache_clear()
    monkeypatch.setattr("arrears.extraction.arrival.is_known", lambda source, as_of: False)
    (home / "sources" / "core").mkdir(parents=True)

    def write(text: str) -> None:
        (home / "sources" / "core" / "source.yml").write_text(text)

    return write


@pytest.fixture
def drop(home: Path) -> Path:
    """A folder for drops, with none in it."""
    folder = home / "drops"
    folder.mkdir()
    return folder


def deliver(drop: Path, day: date = D) -> None:
    """Puts a complete drop there."""
    folder = drop / day.isoformat()
    folder.mkdir()
    (folder / "loans.csv").write_text("loan_id\n")
    (folder / "_SUCCESS").touch()


def a_context(as_of: date, **params: Any) -> dict[str, Any]:
    """What Airflow tells the task of the run for a date."""
    start = datetime(as_of.year, as_of.month, as_of.day, tzinfo=UTC)
    return {
        "data_interval_start": start,
        "data_interval_end": start + timedelta(days=1),
        "logical_date": start,
        "run_id": "scheduled__1",
        "params": {"drop": None, "wait": True} | params,
    }


def test_a_delivery_that_is_not_there_is_waited_for_as_long_as_the_calendar_says(source, drop):
    source(FILES + CALENDAR)

    assert waiting_for("core", drop, D, NIGHT) == (NIGHT, UNTIL)


def test_a_delivery_that_is_there_is_not_waited_for(source, drop):
    source(FILES + CALENDAR)
    deliver(drop)

    assert waiting_for("core", drop, D, NIGHT) == "arrived"


def test_a_delivery_that_is_known_already_is_not_waited_for(source, drop, monkeypatch):
    source(FILES + CALENDAR)
    monkeypatch.setattr("arrears.extraction.arrival.is_known", lambda source, as_of: True)

    assert waiting_for("core", drop, D, NIGHT) == "arrived"


def test_on_a_day_off_and_without_a_calendar_nobody_waits(source, drop):
    source(FILES + CALENDAR)
    assert waiting_for("core", drop, D + timedelta(days=1), NIGHT + timedelta(days=1)) == "not_owed"

    source(FILES)
    assert waiting_for("core", drop, D, NIGHT) == "not_owed"


def test_after_the_wait_the_day_goes_on_to_say_what_is_missing(source, drop):
    source(FILES + CALENDAR)

    assert waiting_for("core", drop, D, UNTIL - timedelta(seconds=1)) == (UNTIL - timedelta(seconds=1), UNTIL)
    assert waiting_for("core", drop, D, UNTIL) == "given_up"


def test_a_database_is_not_looked_at_before_it_is_due(source):
    source(DATABASE + CALENDAR)

    assert waiting_for("core", None, D, NIGHT) == (BY, UNTIL)


def test_a_database_that_does_not_answer_is_asked_again_until_the_wait_is_over(source, monkeypatch):
    def away(source: Any) -> None:
        raise SourceError("The database does not answer.")

    monkeypatch.setattr("arrears.extraction.database.connection.connect", away)
    source(DATABASE + CALENDAR)
    late = BY + timedelta(hours=1)

    assert waiting_for("core", None, D, late) == (late + timedelta(minutes=2), UNTIL)
    assert waiting_for("core", None, D, UNTIL) == "given_up"


def test_a_run_made_by_hand_does_not_wait(source):
    source("this is no source.yml")

    assert AwaitDelivery(task_id="await_delivery", source="core").execute(a_context(D, wait=False)) == "not_waited_for"


def test_what_is_wrong_with_a_source_is_left_to_extract(source):
    source("engine: files\n")  # without the description it needs

    assert AwaitDelivery(task_id="await_delivery", source="core").execute(a_context(D)) == "faulty"


def test_the_wait_is_handed_to_the_triggerer_without_a_secret(source, drop, monkeypatch):
    from airflow.sdk.exceptions import TaskDeferred

    source(FILES + CALENDAR.replace("wait_hours: 4", "wait_hours: 72"))
    yesterday = datetime.now(tz=UTC).date() - timedelta(days=1)
    source(FILES + "deliveries: {by: '00:00', wait_hours: 72}\n")

    with pytest.raises(TaskDeferred) as deferred:
        AwaitDelivery(task_id="await_delivery", source="core").execute(a_context(yesterday, drop=str(drop)))

    path, given = deferred.value.trigger.serialize()
    assert path == "arrears.scheduling.delivery_trigger.DeliveryTrigger"
    assert set(given) == {"source", "drop", "as_of", "not_before", "until"}
    assert DeliveryTrigger(**json.loads(json.dumps(given))).serialize() == (path, given)
    # It is taken up again by a method that looks for itself.
    again = AwaitDelivery(task_id="await_delivery", source="core")
    deliver(drop, yesterday)
    resume = getattr(again, deferred.value.method_name)
    assert resume(a_context(yesterday, drop=str(drop)), event={"source": "core"}) == "arrived"


def a_trigger(drop: Path | None, *, not_before: timedelta = timedelta(), until: timedelta) -> DeliveryTrigger:
    """A trigger with its instants told from now on."""
    now = datetime.now(tz=UTC)
    return DeliveryTrigger(
        source="core",
        drop=str(drop) if drop else None,
        as_of=D.isoformat(),
        not_before=(now + not_before).isoformat(),
        until=(now + until).isoformat(),
    )


async def fires(trigger: DeliveryTrigger) -> int:
    """How often it fires before it ends."""
    return len([event async for event in trigger.run()])


def test_the_trigger_fires_once_when_the_drop_has_arrived(source, drop, monkeypatch):
    monkeypatch.setattr("arrears.scheduling.delivery_trigger.LOOK_EVERY_SECONDS", 0.05)
    source(FILES + CALENDAR)

    async def wait_and_deliver() -> tuple[bool, int]:
        waiting = asyncio.create_task(fires(a_trigger(drop, until=timedelta(minutes=5))))
        await asyncio.sleep(0.3)
        fired_too_early = waiting.done()
        deliver(drop)
        return fired_too_early, await asyncio.wait_for(waiting, timeout=10)

    assert asyncio.run(wait_and_deliver()) == (False, 1)


def test_the_trigger_fires_when_the_wait_is_over(source, drop):
    source(FILES + CALENDAR)

    assert asyncio.run(asyncio.wait_for(fires(a_trigger(drop, until=timedelta(seconds=0.3))), timeout=10)) == 1


def test_the_trigger_of_a_database_fires_at_its_time_and_does_not_connect(source, monkeypatch):
    def refuse(source: Any) -> None:
        raise AssertionError("the triggerer has no business in the lender's database")

    monkeypatch.setattr("arrears.extraction.database.connection.connect", refuse)
    source(DATABASE + CALENDAR)
    trigger = a_trigger(None, not_before=timedelta(seconds=0.3), until=timedelta(hours=1))
    began = datetime.now(tz=UTC)

    assert asyncio.run(asyncio.wait_for(fires(trigger), timeout=10)) == 1
    assert datetime.now(tz=UTC) - began >= timedelta(seconds=0.25)


def test_a_source_that_is_being_edited_does_not_end_the_wait(source, drop, monkeypatch):
    monkeypatch.setattr("arrears.scheduling.delivery_trigger.LOOK_EVERY_SECONDS", 0.05)
    source("description: [half a file")
    deliver(drop)

    async def edit() -> tuple[bool, int]:
        waiting = asyncio.create_task(fires(a_trigger(drop, until=timedelta(minutes=5))))
        await asyncio.sleep(0.3)
        fired_too_early = waiting.done()
        source(FILES + CALENDAR)
        return fired_too_early, await asyncio.wait_for(waiting, timeout=10)

    assert asyncio.run(edit()) == (False, 1)
