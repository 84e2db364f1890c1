"""The chain of a source's accepted batches: the order in which they hold, and where a new delivery belongs.

Each batch is kept as its differences to another one, its base. Most follow the newest. A *late* one is of a date before
the newest: it becomes a side branch, whose rows hold from its date until the next batch's, which stated everything
anew. So a day that was skipped can be made up for, and what was known on later days does not change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import psycopg
from psycopg.rows import class_row

from arrears.errors import SourceError
from arrears.extraction.delivery import Mode


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of ops.batches; `known_from` is its date, or a later one where it came after that day went out."""

    batch_id: str
    source: str
    batch_date: date
    known_from: date
    is_first: bool
    state: str
    content_sha256: str
    base_batch_id: str | None
    replaces_batch_id: str | None
    mode: Mode
    follows: date | None
    read_until: datetime | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a delivery belongs: what it is compared with, and until when it holds (None: until a newer one)."""

    known_from: date
    base: Batch | None
    next: Batch | None = None

    @property
    def until(self) -> date | None:
        """From when the next batch is known."""
        return None if self.next is None else self.next.known_from

    @property
    def is_side_branch(self) -> bool:
        """Whether a later batch is known already."""
        return self.next is not None


COLUMNS = (
    "batch_id, source, batch_date, known_from, is_first, state, content_sha256, base_batch_id, replaces_batch_id,"
    " mode, follows, read_until, decided_at"
)


def accepted(connection: psycopg.Connection, source: str) -> list[Batch]:
    """A source's accepted batches in the order in which they hold."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(
            f"select {COLUMNS} from ops.batches where source = %s and state = 'accepted'"
            " order by known_from, batch_date, batch_id",
            [source],
        ).fetchall()


def batch(connection: psycopg.Connection, batch_id: str) -> Batch:
    """The batch of that id, which must be there."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        found = cursor.execute(f"select {COLUMNS} from ops.batches where batch_id = %s", [batch_id]).fetchone()
    assert found is not None, batch_id
    return found


def beneath(connection: psycopg.Connection, one: Batch) -> Batch | None:
    """The superseded batch of the same date that a batch is laid over, because later ones stand on its rows."""
    if one.base_batch_id is None:
        return None
    base = batch(connection, one.base_batch_id)
    return base if (base.batch_date, base.known_from) == (one.batch_date, one.known_from) else None


def of_date(connection: psycopg.Connection, source: str, batch_date: date, state: str) -> list[Batch]:
    """The batches of a source and date in a state, in the order in which they were loaded."""
    with connection.cursor(row_factory=class_row(Batch)) as cursor:
        return cursor.execute(
            f"select {COLUMNS} from ops.batches where source = %s and batch_date = %s and state = %s"
            " order by known_from, loaded_at, batch_id",
            [source, batch_date, state],
        ).fetchall()


def place(chain: Sequence[Batch], known_from: date) -> Place:
    """Where a batch that is known from a date stands in a chain of accepted ones."""
    if not chain:
        return Place(known_from, None)
    before = [one for one in chain if one.known_from <= known_from]
    later = [one for one in chain if one.known_from > known_from]
    # Before the first batch its state is known too: it counts as delivered before all time.
    return Place(known_from, before[-1] if before else first(chain), later[0] if later else None)


def first(chain: Sequence[Batch]) -> Batch:
    """The batch from which the time before all is computed; batches of earlier dates may have come since, late."""
    return next((one for one in chain if one.is_first), chain[0])


def late_place(connection: psycopg.Connection, chain: Sequence[Batch], batch_date: date) -> Place:
    """Where a delivery belongs that must not change any day that went out: after the newest one exported.

    Raises:
        SourceError: a later delivery is known already, and stated everything anew.
    """
    if chain and chain[-1].batch_date > batch_date:
        raise SourceError(
            f"A drop of {batch_date} that is taken in late would only repeat what is older than batch"
            f" {chain[-1].batch_id}, which is accepted already: deliver its corrections with the next date."
        )
    row = connection.execute("select max(as_of_date) from ops.exports where state <> 'replaced'").fetchone()
    exported = row[0] if row else None
    known_from = max([batch_date, *[one.known_from for one in chain[-1:]]])
    if exported is not None:
        known_from = max(known_from, exported + timedelta(days=1))
    return Place(known_from, chain[-1] if chain else None)


def may_be_removed(chain: Sequence[Batch], one: Batch) -> bool:
    """Whether an accepted batch can be taken back without trace: nothing was accepted on top of it since.

    On the first one, which is known before all time, stands whatever is of an earlier date too.
    """
    assert one.decided_at is not None
    return not any(
        (one.is_first or other.known_from >= one.known_from)
        and other.batch_id != one.batch_id
        and other.decided_at is not None
        and other.decided_at > one.decided_at
        for other in chain
    )
