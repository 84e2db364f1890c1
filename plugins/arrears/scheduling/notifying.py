"""Tells people by e-mail, webhook or whatever Apprise knows: a step failed, a delivery is missing, queues are late.

Off unless ARREARS_NOTIFY is set. What is told holds ids and counts, as `arrears status` shows them, and no secret.
Every parse of the DAG imports this module, so nothing heavy is imported outside of functions.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from arrears.errors import UsageError
from arrears.notification import is_on, send
from arrears.orchestration import as_of_date
from arrears.settings import get_settings

FAILURES_TOLD = 3
# Whose queues were due so long ago is repaired or made up for by somebody: nobody waits for an alarm.
ALARM_AT_MOST_AFTER = timedelta(days=2)
DAY = timedelta(days=1)


class StepFailed(BaseNotifier):  # type: ignore[misc]
    """What the failure of a task tells: which step of which date, why, and what to do."""

    def notify(self, context: Mapping[str, Any]) -> None:
        """Sends it; called once a task has failed for good."""
        if not is_on():
            return
        error = context.get("exception")
        task_id = context["task"].task_id
        try:
            day: date | None = as_of_date(context)
        except UsageError:
            day = None  # the failure's own sentence says that the run has no date
        said = str(error) if error is not None else "the log of the task says why"
        send(f"{context['dag'].dag_id} {day or context.get('run_id')}: {task_id} failed", _told(day, task_id, said))


class QueuesAreLate(BaseNotifier):  # type: ignore[misc]
    """The alarm at the hour by which queues are due."""

    async def async_notify(self, context: Mapping[str, Any]) -> None:
        """Sends it unless the run's date is exported, or is long past; called in the triggerer."""
        run = context["dag_run"]
        start = run["data_interval_start"] if isinstance(run, Mapping) else run.data_interval_start
        day = _instant(start).astimezone(get_settings().zone).date()
        await asyncio.to_thread(tell_lateness, day, datetime.now(tz=UTC))

    def notify(self, context: Mapping[str, Any]) -> None:
        """The same, where Airflow calls it outside of the triggerer."""
        asyncio.run(self.async_notify(context))


def on_failure() -> list[BaseNotifier]:
    """What a task does when it has failed for good."""
    return [StepFailed()]


def deadline() -> DeadlineAlert | None:
    """The alarm of a run, counted from its logical date, the midnight in which D begins; None where no hour is set.

    On the two days a year on which clocks are changed it is an hour early or late.
    """
    due_at = get_settings().queues_due_at
    if due_at is None or not is_on():
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
        interval=DAY + timedelta(hours=due_at.hour, minutes=due_at.minute),
        callback=AsyncCallback(QueuesAreLate),
        name="queues_due",
    )


def tell_missing_delivery(source: str, as_of: date, due_by: datetime, until: datetime) -> None:
    """Says that a delivery that is due is not there, and how long it is waited for."""
    if not is_on():
        return
    zone = get_settings().zone
    send(
        f"Delivery of {source} for {as_of} is missing",
        f"It was due by {due_by.astimezone(zone):%Y-%m-%d %H:%M} and is not there; the run of {as_of} waits for it"
        f" until {until.astimezone(zone):%Y-%m-%d %H:%M} ({zone.key}).\n"
        "Next: ask the source's owner for it; as soon as it is there the run goes on by itself.",
    )


def tell_lateness(as_of: date, now: datetime) -> bool:
    """Says that a date's queues are due and not exported; gives whether there was anything to say.

    Args:
        as_of: the business date.
        now: the moment; an alarm long after the hour is kept back.
    """
    settings = get_settings()
    due_at = settings.queues_due_at
    if due_at is None or not is_on():
        return False
    due = datetime.combine(as_of + DAY, due_at, tzinfo=settings.zone)
    if now - due > ALARM_AT_MOST_AFTER or _is_exported(as_of):
        return False
    send(
        f"Queues of {as_of} are late",
        f"They were due at {due:%H:%M} ({settings.zone.key}) and are not exported.\n"
        f"Next: `arrears status --as-of {as_of}` says how far the day is and what holds it.",
    )
    return True


def _told(day: date | None, task_id: str, said: str) -> str:
    """The failure's sentence and, where a gate blocked the day, the first rules with cause and next step."""
    lines = [said]
    if day is not None:
        lines += _failures(day, task_id)
        lines.append(f"All of it: `arrears status --as-of {day}`")
    return "\n".join(lines)


def _failures(day: date, task_id: str) -> list[str]:
    from arrears import summary

    try:
        failures = [
            one
            for one in summary.status(day).failures
            if one.is_blocking and f"gate_{one.stage}" == task_id  # what another gate found is another message
        ]
    except Exception as error:  # the database may be what failed; the message goes out all the same
        return [f"What the gate found cannot be read now ({type(error).__name__})."]
    lines = []
    for one in failures[:FAILURES_TOLD]:
        first = "; ".join(
            ", ".join(f"{name}={value}" for name, value in key.items()) for key in one.failing_keys[:FAILURES_TOLD]
        )
        lines.append(
            f"- {one.suite} {one.rule}: {one.failed_count} of {one.checked_count} rows, first {first or 'none'}"
        )
        lines.append(f"  likely cause: {one.cause}")
        lines.append(f"  next: {one.next_step}; asks: {one.owner}")
    if len(failures) > FAILURES_TOLD:
        lines.append(f"- and {len(failures) - FAILURES_TOLD} more")
    return lines


def _is_exported(as_of: date) -> bool:
    from arrears.warehouse.connections import connect

    with connect() as connection:
        row = connection.execute(
            "select 1 from ops.exports where as_of_date = %s and state in ('done', 'replaced')", [as_of]
        ).fetchone()
    return row is not None


def _instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
