"""Batches: what one source delivered for one date. Loaded, judged by the raw gate, then accepted or rejected.

A batch's id comes from its source, its date, its content and the accepted batch that it is compared with, because what
is kept of it are the differences to that one; never from a clock or a sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

import psycopg

from arrears.contract.servicing import Table, contract
from arrears.errors import AlreadyExported, NotDelivered, SourceError
from arrears.extraction import chain, delivery_calendar, loading
from arrears.extraction.acceptance import abandon_loaded, accept, reject, supersede
from arrears.extraction.chain import Batch, Place
from arrears.extraction.delivery_calendar import Standing
from arrears.extraction.drops.folders import Drop, find_drop_folder, open_drop
from arrears.extraction.loading import Counts
from arrears.extraction.sources import Source
from arrears.settings import get_settings


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of an extraction: the date, and what may be done about a day that went out."""

    as_of: date
    run_id: str
    drop: Path | None = None
    may_replace: bool = False
    is_late: bool = False


def extract(
    connection: psycopg.Connection,
    source: Source,
    drop: Path | None,
    as_of: date,
    *,
    run_id: str,
    may_replace: bool = False,
    is_late: bool = False,
) -> Counts:
    """Loads what a source delivered for a date into schema raw, as differences to what is known; one transaction.

    The same drop again changes nothing. Another drop for an accepted date takes its place; one for a date that is
    exported is refused, unless it may replace it, or comes late: then it is known from the first date not exported.

    Returns:
        Counts, the batch's id and its state (`loaded`, `accepted`); without a drop the state tells why none is needed:
        `not_due`, `stale`, `reconstructed`.

    Raises:
        SourceError: the drop cannot be read, breaks the contract, or was due and is not there.
        AlreadyExported: the date is exported from other data.
    """
    request = Request(as_of, run_id, drop, may_replace, is_late)
    if source.engine == "postgres":
        return _extract_from_database(connection, source, request)
    return _extract_drop(connection, source, request)


def standing(connection: psycopg.Connection, source: Source, as_of: date) -> Standing:
    """How a source stands for a date: whether what is accepted of it suffices to run the day."""
    found = _standing(source, chain.accepted(connection, source.name), as_of)
    rejected = chain.of_date(connection, source.name, as_of, "rejected")
    if found.state == "missing" and rejected:
        return replace(
            found,
            sentence=f"Source {source.name} has delivered for {as_of}, and the raw gate rejected it (batch"
            f" {rejected[-1].batch_id}): have it delivered again.",
        )
    return found


def are_waiting(connection: psycopg.Connection) -> bool:
    """Whether any batch is loaded and not judged yet."""
    return connection.execute("select 1 from ops.batches where state = 'loaded' limit 1").fetchone() is not None


def is_reconstructed(known: Sequence[Batch], as_of: date) -> bool:
    """Whether a date lies before the first delivery of a source, and is computed from that one."""
    return bool(known) and as_of < known[0].known_from


def _standing(source: Source, known: Sequence[Batch], as_of: date) -> Standing:
    if is_reconstructed(known, as_of):
        return Standing(
            "reconstructed",
            f"{as_of} lies before the first delivery of source {source.name}, {chain.first(known).batch_date}, and is"
            f" computed from that one.",
            delivery_calendar.last_due_on(source, as_of),
            0,
        )
    newest = max((one.batch_date for one in known if one.known_from <= as_of), default=None)
    found = delivery_calendar.verdict(source, as_of, newest)
    if found.state == "missing" and source.engine == "postgres" and known and known[-1].known_from > as_of:
        # A database does not show that date any more: who waits for it waits for ever.
        after = next(one.batch_date for one in known if one.known_from > as_of)
        return replace(
            found,
            state="missing_but_fresh_enough",
            sentence=f"Source {source.name} was not read for {as_of}, and has been for {after}: the day is run on data"
            f" of {newest}, and what changed since is known from {after} on.",
        )
    return found


def _extract_drop(connection: psycopg.Connection, source: Source, request: Request) -> Counts:
    known = chain.accepted(connection, source.name)
    own = [one for one in known if one.batch_date == request.as_of]
    try:
        content = open_drop(source, find_drop_folder(source, request.drop, request.as_of))
    except SourceError as error:
        if request.drop is None and own:  # it may be gone; what was accepted of it is known for ever
            return _told(own[-1])
        if isinstance(error, NotDelivered):
            return _without_drop(source, known, request, error)
        raise
    abandon_loaded(connection, source.name)
    known = chain.accepted(connection, source.name)
    content_sha256 = _content(source, content)
    for one in known:
        # What was taken in late is not known on its date: with a reason it may be.
        is_known_then = one.known_from == request.as_of or not request.may_replace
        if one.batch_date == request.as_of and one.content_sha256 == content_sha256 and is_known_then:
            return _told(one)
    if is_reconstructed(known, request.as_of) and chain.first(known).content_sha256 == content_sha256:
        return _told(chain.first(known)) | {"state": "reconstructed"}
    place, replaced = _make_place(connection, source, request, known, content)
    _need_what_it_follows(content, place, request.as_of)
    from arrears.extraction.drops.reading import open_reader  # DuckDB and Arrow: not for who only asks how a day stands

    with open_reader(source, content, get_settings().home / "tmp") as reader:
        return loading.load(
            connection,
            source,
            reader,
            loading.Batching(request.as_of, request.run_id, place, replaced),
            content_sha256=content_sha256,
            reading_of=lambda table: _reading_sha256(source, table, content),
        )


def _told(batch: Batch) -> Counts:
    return {"batch_id": batch.batch_id, "state": batch.state}


def _without_drop(source: Source, known: Sequence[Batch], request: Request, missing: NotDelivered) -> Counts:
    """What becomes of a date for which there is no drop."""
    if is_reconstructed(known, request.as_of):
        return _told(chain.first(known)) | {"state": "reconstructed"}
    if source.deliveries is None:
        raise missing
    found = _standing(source, known, request.as_of)
    if not found.may_go_on:
        raise SourceError(found.sentence) from missing
    state = "not_due" if found.state == "not_due" else "stale"
    return {"state": state, "warning": found.sentence} if state == "stale" else {"state": state}


def _make_place(
    connection: psycopg.Connection, source: Source, request: Request, known: Sequence[Batch], content: Drop
) -> tuple[Place, Batch | None]:
    """Where a drop belongs, after taking back what it replaces; gives the replaced batch too."""
    as_of = request.as_of
    place = chain.place(known, as_of)
    exported = _exported(connection, as_of, place.until)
    if exported and request.is_late:
        place = chain.late_place(connection, known, as_of)
        replaced = next((one for one in known if (one.batch_date, one.known_from) == (as_of, place.known_from)), None)
        if replaced is not None:
            supersede(connection, replaced)
            place = chain.place(chain.accepted(connection, source.name), place.known_from)
        return place, replaced
    replaced = next((one for one in known if (one.batch_date, one.known_from) == (as_of, as_of)), None)
    if exported and not request.may_replace:
        may_be_late = not known or known[-1].batch_date <= as_of
        _refuse_other_bytes(connection, as_of, exported[0], replaced, content, may_be_late=may_be_late)
    _need_that_the_next_states_it(connection, place, as_of)
    if replaced is None:
        return place, None
    is_removed = supersede(connection, replaced)
    place = chain.place(chain.accepted(connection, source.name), as_of)
    beneath = chain.beneath(connection, replaced) if is_removed else replaced
    if beneath is None:
        return place, replaced
    if content.mode == "delta":
        raise SourceError(
            f"{content.folder}: batch {beneath.batch_id} of {as_of} has later ones on top of it, and a delta cannot"
            f" take its place: deliver {as_of} in full, or the corrections with the next date."
        )
    return Place(as_of, beneath, place.next), replaced


def _exported(connection: psycopg.Connection, first: date, until: date | None) -> list[date]:
    """The dates that went out and that a drop of the first of them would change: those up to the next batch."""
    rows = connection.execute(
        "select distinct as_of_date from ops.exports"
        " where state <> 'replaced' and as_of_date >= %(first)s"
        " and (cast(%(until)s as date) is null or as_of_date < %(until)s) order by as_of_date",
        {"first": first, "until": until},
    ).fetchall()
    return [row[0] for row in rows]


def _need_that_the_next_states_it(connection: psycopg.Connection, place: Place, as_of: date) -> None:
    """A drop between others holds until the next: that one must not be a delta which builds on the date's own state."""
    if place.next is None or (place.next.follows is not None and place.next.follows < as_of):
        return
    is_delta = connection.execute(
        "select 1 from ops.batch_tables where batch_id = %s and is_delivered and mode = 'delta' limit 1",
        [place.next.batch_id],
    ).fetchone()
    if is_delta is not None:
        since = f"since {place.next.follows}" if place.next.follows else "without saying since when"
        raise SourceError(
            f"The drop of {as_of} comes before batch {place.next.batch_id}, which is a delta and tells changes {since}:"
            f" what is new in this drop would be lost again on {place.until}; deliver it with the next date."
        )


def _refuse_other_bytes(
    connection: psycopg.Connection,
    as_of: date,
    exported: date,
    accepted: Batch | None,
    content: Drop,
    *,
    may_be_late: bool,
) -> None:
    if accepted is None:
        told = f"without a drop of {as_of}, and now there is one"
    else:
        row = connection.execute("select files from ops.batches where batch_id = %s", [accepted.batch_id]).fetchone()
        assert row is not None
        before: Mapping[str, str] = row[0]
        now = content.hashes
        differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        told = (
            f"and this drop is another one than that of batch {accepted.batch_id}"
            f" (other bytes in {', '.join(differing) or 'the SELECTs of the source'})"
        )
    late = ", or --late to have the drop known from the next date on" if may_be_late else ""
    raise AlreadyExported(
        f"{exported} is already exported {told}, so manifest.json would differ; nothing was changed: say --replace"
        f" REASON to take the drop in and export the date again{late}."
    )


def _need_what_it_follows(content: Drop, place: Place, as_of: date) -> None:
    """A delta changes what is known: there must be something, up to the date that it says it follows."""
    if content.mode == "full":
        partial = sorted(name for name in contract() if content.description.mode_of(name) == "delta")
        if partial and place.base is None:
            raise SourceError(
                f"{content.folder / 'drop.yml'}, key tables.{partial[0]}.mode: the delta follows nothing, for no full"
                f" drop is known before it: deliver {partial[0]} in full."
            )
        return
    where = f"{content.folder / 'drop.yml'}, key after"
    if place.base is None or place.base.batch_date > as_of:
        raise SourceError(
            f"{where}: the delta of {as_of} follows nothing, for no full drop is known before it: deliver a full one."
        )
    if content.after is not None and content.after > place.base.batch_date:
        raise SourceError(
            f"{where}: the delta of {as_of} follows the drop of {content.after}, but the last one known is of"
            f" {place.base.batch_date}: deliver what lies between them first."
        )


def _extract_from_database(connection: psycopg.Connection, source: Source, request: Request) -> Counts:
    from arrears.extraction.database.reading import open_database

    known = chain.accepted(connection, source.name)
    as_of = request.as_of
    own = [one for one in known if one.batch_date == as_of]
    if own:  # never read again: the database does not show that date any more
        return _told(own[-1])
    if known and known[-1].known_from > as_of:
        return _told(known[-1]) | ({"state": "reconstructed"} if is_reconstructed(known, as_of) else {})
    place = chain.place(known, as_of)
    for one in reversed(chain.of_date(connection, source.name, as_of, "loaded")):
        if one.base_batch_id == (place.base.batch_id if place.base else None):
            return _told(one)  # read by a run that was interrupted before it was judged
    abandon_loaded(connection, source.name)
    with open_database(
        source,
        read_since=place.base.read_until if place.base else None,
        is_first=place.base is None,
        compares_keys=_keys_are_due(connection, source, as_of),
    ) as database:
        counts = loading.load(
            connection, source, database, loading.Batching(as_of, request.run_id, place, replaced=None)
        )
        connection.execute(
            "update ops.batches set read_until = %s, read_until_is_seen = %s where batch_id = %s",
            [database.read_until, database.read_until_is_seen, counts["batch_id"]],
        )
    return counts


def _keys_are_due(connection: psycopg.Connection, source: Source, as_of: date) -> bool:
    """Whether deleted rows are looked for this time, as often as source.yml says."""
    if source.deletions_every_days is None:
        return False
    row = connection.execute(
        "select max(batches.batch_date) from ops.batches as batches"
        " inner join ops.batch_tables as tables on batches.batch_id = tables.batch_id"
        " where batches.source = %s and batches.state = 'accepted'"
        " and (tables.are_keys_compared or batches.is_first)",
        [source.name],
    ).fetchone()
    last = row[0] if row else None
    return last is None or as_of >= last + timedelta(days=source.deletions_every_days)


def _content(source: Source, drop: Drop) -> str:
    """Hash of what was delivered: the files, and the SELECTs that make the contract's tables of them."""
    digest = sha256(drop.content_sha256.encode())
    digest.update((source.time_zone or "").encode())
    for name in contract():
        digest.update((source.select(name) or "").encode())
    if source.key_prefix:
        digest.update(source.key_prefix.encode())
    return digest.hexdigest()


def _reading_sha256(source: Source, table: Table, drop: Drop) -> str:
    """Hash of all that decides how a table's rows come out: its files, its SELECT, its columns in the contract."""
    how = (source.time_zone, source.key_prefix, source.select(table.name), table.primary_key, table.columns)
    digest = sha256(repr(how).encode())
    files = [drop.files[table.name]] if source.is_contract_form else list(drop.files.values())
    for file in files:
        digest.update(f"{file.label}\0{file.sha256}".encode())
    digest.update(drop.reading_of(table.name).encode())
    return digest.hexdigest()


__all__ = ["accept", "are_waiting", "chain", "extract", "is_reconstructed", "reject", "standing", "supersede"]
