"""The scheduler's wait for a source's delivery: a sensor that hands the waiting to Airflow's triggerer.

It takes nothing of the warehouse while it waits, so that another date can be repaired meanwhile, and it never fails a
day: when the delivery is there, when none is owed, or when it was waited for long enough, the step extract goes on and
says what is wrong. Every parse of the DAG imports this module, so nothing heavy is imported outside of functions.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from airflow.sdk import BaseSensorOperator

from arrears.errors import ArrearsError
from arrears.orchestration import as_of_date
from arrears.scheduling.notifying import tell_missing_delivery

log = logging.getLogger(__name__)

# How often a database that did not answer at `by` is asked: each time is a task that starts.
ASK_DATABASE_AGAIN = timedelta(minutes=2)

Waited = Literal["arrived", "not_owed", "not_waited_for", "given_up", "faulty"]


class AwaitDelivery(BaseSensorOperator):  # type: ignore[misc]
    """Waits until a source has delivered for the run's date, at most until its source.yml says.

    Args:
        source: a source of the portfolio.
    """

    def __init__(self, *, source: str, **more: Any) -> None:
        super().__init__(**more)
        self.source = source

    def execute(self, context: Mapping[str, Any]) -> Waited:
        """Gives why it waits no longer.

        Raises:
            TaskDeferred: the delivery is waited for.
        """
        return self._look(context, is_told=False)

    def _look(self, context: Mapping[str, Any], *, is_told: bool) -> Waited:
        if not context["params"].get("wait", True):
            return "not_waited_for"
        as_of = as_of_date(context)
        drop = context["params"].get("drop")
        try:
            wait = waiting_for(self.source, Path(drop) if drop else None, as_of, datetime.now(tz=UTC))
        except ArrearsError as error:
            log.warning("source=%s as_of=%s %s", self.source, as_of, error)  # extract ends with it
            return "faulty"
        log.info("source=%s as_of=%s %s", self.source, as_of, wait)
        if isinstance(wait, str):
            return wait
        not_before, until = wait
        due_by = delivery_due(self.source, as_of)
        if datetime.now(tz=UTC) >= due_by and not is_told:
            tell_missing_delivery(self.source, as_of, due_by, until)
            is_told = True
        from airflow.sdk.exceptions import TaskDeferred

        from arrears.scheduling.delivery_trigger import DeliveryTrigger

        raise TaskDeferred(
            trigger=DeliveryTrigger(
                source=self.source,
                drop=drop,
                as_of=as_of.isoformat(),
                not_before=not_before.isoformat(),
                # It looks again at the hour at which the delivery is due, to say that it is missing.
                until=(until if is_told else min(until, due_by)).isoformat(),
            ),
            method_name="look_again",
            kwargs={"is_told": is_told},
        )

    def look_again(
        self, context: Mapping[str, Any], event: Mapping[str, Any] | None = None, *, is_told: bool = False
    ) -> Waited:
        """Called when the trigger has fired: looks itself, since what was seen elsewhere may have changed since."""
        del event
        return self._look(context, is_told=is_told)


def delivery_due(name: str, as_of: date) -> datetime:
    """The instant by which a source owes its delivery for a date."""
    from arrears.extraction import delivery_calendar
    from arrears.extraction.sources import load_source

    return delivery_calendar.due_by(load_source(name), as_of)


def waiting_for(name: str, drop: Path | None, as_of: date, now: datetime) -> Waited | tuple[datetime, datetime]:
    """Why a source's delivery is not waited for at this moment, or from when and until when to look for it.

    Args:
        name: the source.
        drop: the folder that the run was given, in place of the one in source.yml.
        as_of: the business date.
        now: the moment.

    Raises:
        ArrearsError: source.yml or the drop is wrong, or the warehouse cannot be asked.
    """
    from arrears.extraction import arrival, delivery_calendar
    from arrears.extraction.sources import load_source

    source = load_source(name)
    until = delivery_calendar.wait_until(source, as_of)
    if until is None:
        return "not_owed"
    if arrival.is_known(source, as_of) or arrival.has_arrived(source, drop, as_of, now):
        return "arrived"
    if now >= until:
        return "given_up"
    if source.engine == "files":
        return now, until
    # A database is complete at `by`, not before.
    return min(until, max(delivery_calendar.due_by(source, as_of), now + ASK_DATABASE_AGAIN)), until
