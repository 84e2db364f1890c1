"""What Airflow must know of the day: its date, and which faults are not tried again."""

import sys
import types
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from arrears import errors, orchestration
from arrears.orchestration import as_of_date, run_step
from arrears.settings import get_settings

PRAGUE = "Europe/Prague"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(name: str) -> None:
        monkeypatch.setenv("ARREARS_BUSINESS_TIME_ZONE", name)
        get_settings.cache_clear()

    yield use
    monkeypatch.undo()
    get_settings.cache_clear()


def a_run(start: datetime, end: datetime, logical: datetime | None, **params: Any) -> dict[str, Any]:
    """The part of Airflow's context that a step needs."""
    return {
        "data_interval_start": start,
        "data_interval_end": end,
        "logical_date": logical,
        "run_id": "manual__1",
        "params": {"source": None, "drop": None, "replace": None, "late": False, "wait": True} | params,
    }


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


MARCH_31 = (utc(2026, 3, 31), utc(2026, 4, 1))


def test_a_scheduled_run_has_the_date_of_its_interval():
    assert as_of_date(a_run(*MARCH_31, logical=utc(2026, 3, 31))) == date(2026, 3, 31)


def test_a_run_made_by_hand_at_the_next_noon_has_the_date_of_its_interval():
    assert as_of_date(a_run(*MARCH_31, logical=utc(2026, 4, 1, 12))) == date(2026, 3, 31)


def test_the_date_is_that_of_the_business_time_zone(zone):
    zone(PRAGUE)
    # Midnight in Prague on 1 July is 22:00 UTC on 30 June.
    run = a_run(utc(2026, 6, 30, 22), utc(2026, 7, 1, 22), logical=utc(2026, 6, 30, 22))

    assert as_of_date(run) == date(2026, 7, 1)


def test_a_run_without_an_interval_is_refused():
    run = a_run(*MARCH_31, logical=None) | {"data_interval_start": None, "data_interval_end": None}

    with pytest.raises(errors.UsageError, match="manual__1 has no data interval"):
        as_of_date(run)


def test_a_run_whose_interval_is_not_that_of_its_logical_date_is_refused():
    with pytest.raises(errors.UsageError, match="logical date 1998-12-31T00:00:00"):
        as_of_date(a_run(*MARCH_31, logical=utc(1998, 12, 31)))


@pytest.mark.parametrize(
    "name", ["UTC", PRAGUE, "America/Santiago", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago"]
)
def test_noon_of_the_next_day_gives_every_day_of_a_year(name, zone):
    from airflow.timetables.interval import CronDataIntervalTimetable
    from pendulum import instance

    from arrears.scheduling.run_days import noon_after

    zone(name)
    midnight = CronDataIntervalTimetable("0 0 * * *", timezone=name)
    wrong = []
    for n in range(366):
        day = date(2026, 1, 1) + timedelta(days=n)
        logical = noon_after(day, ZoneInfo(name))
        interval = midnight.infer_manual_data_interval(run_after=instance(logical))
        found = as_of_date(a_run(interval.start, interval.end, logical))
        if found != day:
            wrong.append((day, found))

    assert wrong == []  # Santiago among them, where the clocks go forward at midnight: 6 September begins at 01:00


def steps_that(answer: Any, monkeypatch: pytest.MonkeyPatch, *, owner_kind: str = "dag_run") -> list[tuple[Any, ...]]:
    """Puts a module `arrears.steps` in place whose run gives or raises the answer; gives the calls it gets."""
    calls: list[tuple[Any, ...]] = []

    def run(name: str, as_of: date, **more: Any) -> Any:
        calls.append((name, as_of, more))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    module = types.ModuleType("arrears.steps")
    module.run = run  # type: ignore[attr-defined]
    module.owner_kind = owner_kind  # type: ignore[attr-defined]
    module.record_busy = lambda *what: calls.append(("busy", *what))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "arrears.steps", module)
    monkeypatch.setattr("arrears.steps", module, raising=False)
    return calls


def test_a_step_gets_the_date_and_the_parameters_of_its_run(monkeypatch):
    calls = steps_that({"rows": 3}, monkeypatch)

    run = a_run(*MARCH_31, utc(2026, 4, 1, 12), source="berka", drop="/drops/1", replace="mended")
    assert run_step("gate_raw", run) == {"rows": 3}
    assert calls == [
        (
            "gate_raw",
            date(2026, 3, 31),
            {
                "run_id": "manual__1",
                "source": "berka",
                "drop": Path("/drops/1"),
                "replace": "mended",
                "is_late": False,
            },
        )
    ]


def test_a_mapped_step_gets_its_own_source(monkeypatch):
    calls = steps_that({}, monkeypatch)

    run_step("extract", a_run(*MARCH_31, utc(2026, 4, 1, 12)), source="fineract")

    assert calls[0][2]["source"] == "fineract"
    assert calls[0][2]["drop"] is None


@pytest.mark.parametrize("fault", [errors.GateBlocked, errors.SourceError, errors.UsageError, errors.AlreadyExported])
def test_a_fault_of_the_data_is_not_tried_again(fault, monkeypatch):
    from airflow.sdk.exceptions import AirflowFailException

    steps_that(fault("Rule raw-01 fails for loan 17."), monkeypatch)

    with pytest.raises(AirflowFailException, match="Rule raw-01 fails for loan 17") as failed:
        run_step("gate_raw", a_run(*MARCH_31, utc(2026, 4, 1, 12)))
    assert isinstance(failed.value.__cause__, fault)


@pytest.mark.parametrize("fault", [errors.WarehouseError, errors.TransformError, errors.SourceUnreachable])
def test_a_fault_of_the_machine_is_left_to_airflows_retries(fault, monkeypatch):
    steps_that(fault("The warehouse is away."), monkeypatch)

    with pytest.raises(fault):
        run_step("publish", a_run(*MARCH_31, utc(2026, 4, 1, 12)) | {"ti": a_try(1, retries=3)})


@pytest.mark.parametrize(("try_number", "is_released"), [(1, False), (3, False), (4, True)])
def test_the_last_try_that_fails_gives_the_warehouse_back(try_number, is_released, monkeypatch):
    released = []
    monkeypatch.setattr("arrears.warehouse.run_lock.release", released.append)
    steps_that(errors.TransformError("A model failed."), monkeypatch)
    run = a_run(*MARCH_31, utc(2026, 4, 1, 12)) | {"ti": a_try(try_number, retries=3)}

    with pytest.raises(errors.TransformError):
        run_step("build_marts", run)

    assert released == ([run["run_id"]] if is_released else [])


BUSY = errors.WarehouseBusy("The run other for 2026-03-30 holds the warehouse.")


class PutOff(SimpleNamespace):
    """A task's instance that was put off first at a moment; None: never."""

    def get_first_reschedule_date(self, context):
        return self.since


def test_a_task_that_finds_another_run_at_work_is_put_off_without_using_up_a_try(monkeypatch):
    from airflow.sdk.exceptions import AirflowRescheduleException

    calls = steps_that(BUSY, monkeypatch)
    released = []
    monkeypatch.setattr("arrears.warehouse.run_lock.release", released.append)
    # Even on its last try: it has not begun.
    instance = PutOff(try_number=4, max_tries=3, since=datetime.now(tz=UTC) - timedelta(hours=11))

    with pytest.raises(AirflowRescheduleException) as put_off:
        run_step("extract", a_run(*MARCH_31, utc(2026, 4, 1, 12)) | {"ti": instance})

    assert timedelta(0) < put_off.value.reschedule_date - datetime.now(tz=UTC) <= orchestration.ASK_AGAIN
    assert [call[0] for call in calls] == ["extract"]
    assert released == []


def test_a_task_that_was_put_off_for_half_a_day_fails_and_says_who_is_at_work(monkeypatch):
    calls = steps_that(BUSY, monkeypatch)
    instance = PutOff(try_number=1, max_tries=3, since=datetime.now(tz=UTC) - timedelta(hours=12, minutes=1))
    run = a_run(*MARCH_31, utc(2026, 4, 1, 12)) | {"ti": instance, "task": SimpleNamespace(task_id="extract")}

    with pytest.raises(errors.WarehouseBusy, match="The run other"):
        run_step("extract", run)

    assert calls[-1] == ("busy", "extract", date(2026, 3, 31), "manual__1", BUSY)


def test_in_one_process_a_busy_warehouse_ends_the_run_at_once(monkeypatch):
    steps_that(BUSY, monkeypatch, owner_kind="process")
    instance = PutOff(try_number=1, max_tries=3, since=None)

    with pytest.raises(errors.WarehouseBusy):
        run_step("extract", a_run(*MARCH_31, utc(2026, 4, 1, 12)) | {"ti": instance})


def a_try(number, *, retries):
    """What Airflow says of a task's tries: the first is 1, and max_tries are those after it."""
    return SimpleNamespace(try_number=number, max_tries=retries)


def test_every_task_retries_and_ends_and_takes_the_one_slot():
    assert orchestration.DEFAULT_ARGS["retries"] > 0
    assert orchestration.DEFAULT_ARGS["execution_timeout"] > timedelta(0)
    assert orchestration.DEFAULT_ARGS["pool"] == orchestration.POOL
