"""One run at a time per warehouse.

A row in `ops.run_lock` names the run that holds the warehouse from its first step to its last; an advisory lock of a
session is held while a step works and vanishes with its process. A run whose owner is dead is taken over. Scheduled
runs that find it held are served by date, the earliest first: the marts read their own past.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import psutil
import psycopg

from arrears.errors import WarehouseBusy
from arrears.warehouse.connections import connect

STEP_LOCK = 7_231_003
# Between the steps of a scheduled run nobody holds the session lock; longer than its longest retry delay it is dead.
SILENCE_SECONDS = 20 * 60
# A scheduled run that waits asks every 20 seconds, and later where the machine is busy; one that does not has ended.
WAITING_SECONDS = 3 * 60

OwnerKind = Literal["process", "dag_run"]


@dataclass(frozen=True, slots=True)
class Holder:
    """The row of the run that holds the warehouse."""

    run_id: str
    owner_kind: OwnerKind
    host: str
    pid: int
    process_started_at: float
    as_of_date: date
    taken_at: datetime
    silent_seconds: float

    @property
    def is_this_process(self) -> bool:
        """Whether this very process took it."""
        return self.pid == os.getpid() and self.host == socket.gethostname() and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether its owner still runs, as far as can be told from here."""
        if self.owner_kind == "process" and self.host == socket.gethostname():
            try:
                started_at = psutil.Process(self.pid).create_time()
            except psutil.NoSuchProcess:
                return False
            # Told in wall-clock time, which may be set; a number is not given to a new process within a minute.
            return abs(started_at - self.process_started_at) < 60
        return self.silent_seconds < SILENCE_SECONDS


def holder(connection: psycopg.Connection) -> Holder | None:
    """Who holds the warehouse; None where nobody does."""
    row = connection.execute(
        "select run_id, owner_kind, host, pid, process_started_at, as_of_date, taken_at,"
        # A clock that was set back leaves times of the future: how far off they are counts as silence too.
        " abs(cast(extract(epoch from clock_timestamp() - seen_at) as double precision)) from ops.run_lock"
    ).fetchone()
    return Holder(*row) if row else None


def take(run_id: str, as_of: date, owner_kind: OwnerKind) -> None:
    """Makes this run the holder, or says that it is seen again.

    Raises:
        WarehouseBusy: another run, whose owner lives, holds the warehouse, or (asked by a scheduled run) a scheduled
            one for an earlier date waits for it.
    """
    with connect() as connection:
        connection.execute("lock table ops.run_lock in exclusive mode")
        busy = _why_not(connection, run_id, as_of, owner_kind)
        if busy is None:
            connection.execute("delete from ops.waiting_runs where run_id = %s", [run_id])
            connection.execute("delete from ops.run_lock where run_id <> %s", [run_id])
            connection.execute(
                "insert into ops.run_lock (run_id, owner_kind, host, pid, process_started_at, as_of_date)"
                " values (%s, %s, %s, %s, %s, %s) on conflict (is_held) do update"
                " set as_of_date = excluded.as_of_date, seen_at = clock_timestamp(), owner_kind = excluded.owner_kind,"
                " host = excluded.host, pid = excluded.pid, process_started_at = excluded.process_started_at",
                [run_id, owner_kind, socket.gethostname(), os.getpid(), psutil.Process().create_time(), as_of],
            )
        elif owner_kind == "dag_run":
            connection.execute(
                "insert into ops.waiting_runs (run_id, as_of_date) values (%s, %s)"
                " on conflict (run_id) do update set seen_at = clock_timestamp()",
                [run_id, as_of],
            )
    if busy is not None:
        raise WarehouseBusy(busy)


def _why_not(connection: psycopg.Connection, run_id: str, as_of: date, owner_kind: OwnerKind) -> str | None:
    """Why a run cannot have the warehouse now; None where it can."""
    now = holder(connection)
    if now is not None and (now.run_id == run_id or now.is_this_process):
        return None
    if now is not None and (now.is_alive or _a_step_works(connection)):
        return (
            f"The run {now.run_id} for {now.as_of_date} holds the warehouse since"
            f" {now.taken_at:%Y-%m-%d %H:%M} UTC (process {now.pid} on {now.host}): wait for it,"
            f" or stop it and run again."
        )
    if owner_kind != "dag_run":
        return None
    earlier = connection.execute(
        "select run_id, as_of_date from ops.waiting_runs where as_of_date < %s and run_id <> %s"
        " and abs(extract(epoch from clock_timestamp() - seen_at)) < %s order by as_of_date, run_id limit 1",
        [as_of, run_id, WAITING_SECONDS],
    ).fetchone()
    if earlier is None:
        return None
    return f"The run {earlier[0]} for {earlier[1]} waits for the warehouse and comes first: wait for it."


def release(run_id: str) -> None:
    """Gives the warehouse back, or waits for it no longer; nothing happens where the run does neither."""
    with connect() as connection:
        connection.execute("delete from ops.run_lock where run_id = %s", [run_id])
        connection.execute("delete from ops.waiting_runs where run_id = %s", [run_id])


def release_of_process() -> None:
    """Gives back what this process holds, whichever run of its it was."""
    with connect() as connection:
        now = holder(connection)
        if now is not None and now.is_this_process:
            connection.execute("delete from ops.run_lock where run_id = %s", [now.run_id])


def _a_step_works(connection: psycopg.Connection) -> bool:
    row = connection.execute(
        "select exists (select 1 from pg_locks where locktype = 'advisory' and objid = %s and granted"
        " and database = (select oid from pg_database where datname = current_database()))",
        [STEP_LOCK],
    ).fetchone()
    return row == (True,)


@contextmanager
def step_at_work(run_id: str, as_of: date, owner_kind: OwnerKind) -> Iterator[None]:
    """Holds the warehouse for one step of a run.

    Raises:
        WarehouseBusy: another run holds it, or another step works at this moment.
    """
    take(run_id, as_of, owner_kind)
    with connect(autocommit=True) as session:
        if session.execute("select pg_try_advisory_lock(%s)", [STEP_LOCK]).fetchone() != (True,):
            raise WarehouseBusy(
                f"Another step of run {run_id} works on the warehouse at this moment: wait for it and run again."
            )
        try:
            yield
        finally:
            session.execute("update ops.run_lock set seen_at = clock_timestamp() where run_id = %s", [run_id])
            _give_step_lock_back(session)


@contextmanager
def no_run_meanwhile(doing: str) -> Iterator[None]:
    """Keeps every step out, on a warehouse of any migration: only what the first one made is read.

    Raises:
        WarehouseBusy: a run holds the warehouse.
    """
    with connect(autocommit=True) as session:
        is_free = session.execute("select pg_try_advisory_lock(%s)", [STEP_LOCK]).fetchone() == (True,)
        now = holder(session)
        if not is_free or (now is not None and now.is_alive and not now.is_this_process):
            who = f"The run {now.run_id} for {now.as_of_date}" if now is not None else "Another command"
            raise WarehouseBusy(f"{who} holds the warehouse: wait for it, or stop it, before {doing}.")
        try:
            yield
        finally:
            _give_step_lock_back(session)


def _give_step_lock_back(session: psycopg.Connection) -> None:
    """By name: the server notices a closed session a moment later, and the next step may come before that."""
    session.execute("select pg_advisory_unlock(%s)", [STEP_LOCK])
