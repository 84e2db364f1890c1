"""Until when a reading of a database is complete, and so where the next one begins.

A row carries the time at which its transaction began (`now()`), but is seen only once that transaction is over: whoever
goes on reading from the latest time seen misses every row that was committed late. What is asked instead, before the
snapshot is taken, is which transactions are open: whatever this reading does not see yet carries the start of one of
them, or a later time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

# A transaction shows a moment after its start was taken from the clock; clocks are set back a little now and then, and
# an application that writes its own time differs a little from its database.
MARGIN = timedelta(minutes=1)
LONG_OPEN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the next reading begins.

    `weakness` says why open transactions could not be seen, so that an overlap was guessed; None where they were seen.
    """

    read_until: datetime
    weakness: str | None
    long_open_since: datetime | None

    @property
    def is_seen(self) -> bool:
        """Whether nothing can be missed, however long a transaction was open."""
        return self.weakness is None


def next_bound(connection: psycopg.Connection, overlap: timedelta) -> Bound:
    """Asks a database's clock and its open transactions; call it before the snapshot is taken.

    Args:
        connection: in autocommit, because within a transaction the list of the others stands still.
        overlap: taken off where the open transactions cannot be seen.
    """
    clock = connection.execute("select clock_timestamp()").fetchone()
    assert clock is not None
    row = connection.execute(
        """
        select
            min(coalesce(xact_start, case when state = 'active' then query_start end)),
            coalesce(bool_or(state = 'disabled'), false),
            coalesce(bool_or(backend_type like 'logical replication%'), false),
            pg_has_role(current_user, 'pg_read_all_stats', 'usage'),
            current_setting('track_activities') = 'on',
            pg_is_in_recovery(),
            case when pg_is_in_recovery() then pg_last_xact_replay_timestamp() end,
            (select min(prepared) from pg_prepared_xacts where database = current_database()),
            current_user
        from pg_stat_activity
        where datname = current_database()
            and pid <> pg_backend_pid()
            and backend_type not in ('autovacuum worker', 'walsender')
        """
    ).fetchone()
    assert row is not None
    oldest, is_hidden, is_subscriber, may_see, is_tracked, is_standby, replayed, prepared, user = row
    weakness = None
    if is_standby:
        weakness = "it is a standby, on which the transactions of its primary do not show"
    elif not may_see:
        weakness = f"its role {user} may not see the transactions of others: grant it pg_read_all_stats"
    elif is_hidden or not is_tracked:
        weakness = "track_activities is off"
    elif prepared is not None:
        weakness = "a prepared transaction is open, which does not tell when it began"
    elif is_subscriber:
        weakness = "it is a subscriber of logical replication, whose rows carry the times of another database"
    until = min(moment for moment in (clock[0], oldest, prepared, replayed) if moment is not None)
    return Bound(
        read_until=until - (MARGIN if weakness is None else max(MARGIN, overlap)),
        weakness=weakness,
        long_open_since=oldest if oldest is not None and clock[0] - oldest > LONG_OPEN else None,
    )
