"""Whether what a source owes for a date is there to be extracted. Looks; takes nothing in."""

import logging
from datetime import date, datetime
from pathlib import Path

from arrears.errors import SourceError
from arrears.extraction import chain, delivery_calendar
from arrears.extraction.sources import Source
from arrears.warehouse.connections import connect

log = logging.getLogger(__name__)


def is_known(source: Source, as_of: date) -> bool:
    """Whether a date can be run from what is accepted already, without its delivery."""
    with connect() as connection:
        known = chain.accepted(connection, source.name)
    if any(one.batch_date == as_of for one in known):
        return True
    # Before the first delivery the past is computed from that one; a database has told of it with a later reading.
    return bool(known) and as_of < (known[-1] if source.engine == "postgres" else known[0]).known_from


def has_arrived(source: Source, drop: Path | None, as_of: date, now: datetime) -> bool:
    """Whether a delivery is there: a drop that is complete; of a database, that `by` has passed and it answers.

    What cannot be read yet (half a drop.yml, a share that is away) has not arrived.

    Args:
        source: the source.
        drop: the folder that the run was given, in place of the one in source.yml.
        as_of: the business date.
        now: the moment.
    """
    try:
        if source.engine == "files":
            from arrears.extraction.drops import folders as drops

            return drops.has_arrived(source, drop, as_of)
        from arrears.extraction.database import connection as database_connection

        if now < delivery_calendar.due_by(source, as_of):
            return False
        database_connection.connect(source).close()
        return True
    except (SourceError, OSError) as error:
        log.warning("source=%s as_of=%s %s", source.name, as_of, error)
        return False
