"""The part of a sensor that runs in Airflow's triggerer: looks for a delivery now and then, at no cost to the workers.

What is kept of it in Airflow's database are the source's name, a folder, the date and two instants: no secret.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from arrears.errors import ArrearsError

log = logging.getLogger(__name__)

# A listing of a folder, perhaps over a network.
LOOK_EVERY_SECONDS = 15.0


class DeliveryTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires when a source's drop has arrived, or when it was waited for long enough.

    A database is not asked from here: at `not_before` it fires, and the task asks.

    Args:
        source: name of the source.
        drop: folder that the run was given, in place of the one in source.yml.
        as_of: business date, ISO 8601.
        not_before: instant before which nobody need look, ISO 8601.
        until: instant at which it fires in any case, ISO 8601.
    """

    def __init__(self, *, source: str, drop: str | None, as_of: str, not_before: str, until: str) -> None:
        super().__init__()
        self.source, self.drop, self.as_of = source, drop, as_of
        self.not_before, self.until = not_before, until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's path and what it is made of anew."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "source": self.source,
                "drop": self.drop,
                "as_of": self.as_of,
                "not_before": self.not_before,
                "until": self.until,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Waits, looking in a thread; fires once."""
        not_before, until = datetime.fromisoformat(self.not_before), datetime.fromisoformat(self.until)
        while (now := datetime.now(tz=UTC)) < until:
            if now >= not_before and await asyncio.to_thread(self._is_worth_a_look):
                break
            wakes_at = not_before if now < not_before else until
            # In short naps: a clock that is set, or a machine that slept, must not prolong the wait.
            await asyncio.sleep(max(0.1, min(LOOK_EVERY_SECONDS, (wakes_at - now).total_seconds())))
        yield TriggerEvent({"source": self.source, "as_of": self.as_of})

    def _is_worth_a_look(self) -> bool:
        from arrears.extraction.arrival import has_arrived
        from arrears.extraction.sources import load_source

        try:
            source = load_source(self.source)
        except ArrearsError as error:  # somebody edits source.yml at this moment, or extract will say it
            log.warning("source=%s as_of=%s %s", self.source, self.as_of, error)
            return False
        if source.engine != "files":
            return True
        return has_arrived(
            source, Path(self.drop) if self.drop else None, date.fromisoformat(self.as_of), datetime.now(tz=UTC)
        )
