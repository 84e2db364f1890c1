"""The little that Airflow must know of the day: its date, its limits, and how a step's fault ends a task.

Every parse of the DAG imports this, so nothing heavy may be imported here: the step's own code loads in the task.
Airflow is not imported either, because who prepares its environment needs these names before that.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from arrears.errors import NOT_WORTH_RETRYING, UNREACHABLE, UsageError, WarehouseBusy
from arrears.settings import get_settings

BUSINESS_TIME_ZONE = get_settings().business_time_zone

DAG_ID = "collections_daily"

# One slot: whatever the executor could do at once, the steps of a warehouse come one after another.
POOL = "warehouse"
POOL_SLOTS = 1
# Looking for deliveries, and bringing exports to their recipients, takes nothing of the warehouse.
DELIVERIES_POOL = "deliveries"
DELIVERIES_POOL_SLOTS = 16

# Several, because one that waits for its delivery must not keep another date from being repaired; the warehouse itself
# takes one run at a time, from extract to export_queues.
MAX_ACTIVE_RUNS = 16

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "collections",
    "pool": POOL,
    "weight_rule": "upstream",  # a run that has begun ends before another begins
    "retries": 3,  # faults of the machine only: run_step fails data faults at once
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=15),
    "execution_timeout": timedelta(hours=2),
}

# A recipient's server may be away for a night: tried again after 5, 10, 20, 40 minutes and then every hour.
DELIVER_ARGS: Mapping[str, Any] = {
    "pool": DELIVERIES_POOL,
    "retries": 10,
    "retry_delay": timedelta(minutes=5),
    "max_retry_delay": timedelta(hours=1),
}

# The steps of a day in their order; each is a task of the DAG and a function of arrears.steps.
STEPS = (
    "extract",
    "gate_raw",
    "build_marts",
    "gate_marts",
    "assign_agencies",
    "build_queues",
    "gate_queues",
    "publish",
    "export_queues",
)

# Several times what a million loans need: a step that takes longer hangs.
TIME_LIMITS: Mapping[str, timedelta] = {
    "list_sources": timedelta(minutes=10),
    "await_delivery": timedelta(minutes=10),
    "extract": timedelta(hours=3),
    "gate_raw": timedelta(hours=1),
    "build_marts": timedelta(hours=3),
    "gate_marts": timedelta(hours=1),
    "assign_agencies": timedelta(hours=1),
    "build_queues": timedelta(hours=1),
    "gate_queues": timedelta(hours=1),
    "publish": timedelta(hours=1),
    "export_queues": timedelta(hours=1),
    "deliver": timedelta(hours=3),
}

# The parameters of a run that are text, and what they mean; each is null when it is not given.
PARAMS: Mapping[str, str] = {
    "source": "Only this source is extracted; null: all sources of the portfolio.",
    "drop": "Folder with the drop of a file source, as the workers see it; null: where its source.yml says.",
    "replace": "Why an exported date may be exported again with other bytes; null: it may not.",
}

# Those that are yes or no, with what they are when not given.
FLAGS: Mapping[str, tuple[bool, str]] = {
    "late": (False, "The drop of an exported date is known only from the first date after the newest exported one."),
    "wait": (True, "A missing delivery is waited for as long as its source.yml says; false: not at all."),
}

# A scheduled step that finds another run at work asks again after this time, which is no try of its retries.
ASK_AGAIN = timedelta(seconds=20)
# One that was put off for so long fails: whoever holds the warehouse for that time hangs.
PUT_OFF_AT_MOST = timedelta(hours=12)

# A run made by hand has the interval that ends at the last midnight before its logical date; days last up to 25 hours.
LONGEST_DAY = timedelta(hours=26)


def as_of_date(context: Mapping[str, Any]) -> date:
    """The business date of a run: that of its data interval, from midnight to midnight in the business time zone.

    Raises:
        UsageError: the run has no interval, or its logical date belongs to another one.
    """
    start: datetime | None = context.get("data_interval_start")
    end: datetime | None = context.get("data_interval_end")
    if start is None or end is None:
        raise UsageError(
            f"Run {context.get('run_id')} has no data interval, so no date: trigger it with a logical date, "
            "noon of the day after the date wanted."
        )
    # Asked of the last instant, not of the start: where clocks go forward at midnight (Santiago, Cairo), Airflow gives
    # a run made by hand the right end but an empty interval.
    found = (end - timedelta(microseconds=1)).astimezone(get_settings().zone).date()
    logical: datetime | None = context.get("logical_date")
    # `airflow dags trigger --logical-date` takes the interval of the day it is typed on, whatever date was typed.
    if logical is not None and logical != start and not end <= logical < end + LONGEST_DAY:
        raise UsageError(
            f"Run {context.get('run_id')} has logical date {logical.isoformat()} but the interval of {found}: "
            "use `arrears run --as-of DATE`, or the UI's trigger form, which takes the interval from the logical date."
        )
    return found


def run_step(name: str, context: Mapping[str, Any], *, source: str | None = None) -> Any:
    """Runs one step of the day for a task; gives its counts, or names of sources for `list_sources`.

    Args:
        name: the step.
        context: Airflow's context of the task.
        source: the source of a mapped task; the run's own parameter otherwise.

    Raises:
        AirflowFailException: a fault that trying again does not mend; its cause is the step's own error.
        AirflowRescheduleException: another run holds the warehouse; the scheduler begins the task anew in a while.
    """
    params = context["params"]
    drop = params.get("drop")
    try:
        day = as_of_date(context)
        from arrears import steps

        return steps.run(
            name,
            day,
            run_id=context["run_id"],
            source=source or params.get("source"),
            drop=Path(drop) if drop else None,
            replace=params.get("replace"),
            is_late=bool(params.get("late")),
        )
    except UNREACHABLE:  # the one fault of others that may pass by itself
        _give_back_after_last_try(context)
        raise
    except NOT_WORTH_RETRYING as fault:
        from airflow.sdk.exceptions import AirflowFailException

        raise AirflowFailException(str(fault)) from fault
    except WarehouseBusy as busy:
        _put_off(context, busy)
        _give_back_after_last_try(context)
        raise
    except Exception:
        _give_back_after_last_try(context)
        raise


def _put_off(context: Mapping[str, Any], busy: WarehouseBusy) -> None:
    """Has the scheduler begin the task again later; returns where nobody would, or where it was put off for too long.

    Raises:
        AirflowRescheduleException: the task is to begin again.
    """
    from arrears import steps

    if steps.owner_kind != "dag_run":  # in one process whoever waits for it can try again
        return
    now = datetime.now(tz=UTC)
    since: datetime | None = context["ti"].get_first_reschedule_date(context)
    if since is not None and now - since > PUT_OFF_AT_MOST:
        steps.record_busy(context["task"].task_id, as_of_date(context), context["run_id"], busy)
        return
    import logging

    from airflow.sdk.exceptions import AirflowRescheduleException

    logging.getLogger(__name__).info("waiting=warehouse %s", busy)
    raise AirflowRescheduleException(now + ASK_AGAIN) from busy


def _give_back_after_last_try(context: Mapping[str, Any]) -> None:
    instance = context["ti"]
    if instance.try_number > instance.max_tries:  # the run is over: whoever repairs it need not wait
        give_back(context)


def give_back(context: Mapping[str, Any]) -> None:
    """Ends a run's hold of the warehouse, if it has one: what a failed run does, however its tasks ended."""
    from arrears.warehouse import run_lock

    run_lock.release(context["run_id"])
