"""A batch becomes known, or is taken back: its differences in raw become versions with their spans of dates."""

from collections.abc import Sequence
from datetime import date

import psycopg
from psycopg import sql

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError
from arrears.extraction import chain
from arrears.extraction.chain import Batch, Place
from arrears.extraction.differences import key_json, same_key
from arrears.ledger.recording import record_batch

# Statistics of versions are refreshed once this share of a table has changed, so that a small delta stays small.
SHARE_WORTH_ANALYSING = 0.05


def accept(connection: psycopg.Connection, batch_id: str) -> dict[str, int]:
    """Makes a loaded batch known: its differences become versions, less those that the raw gate quarantined.

    A late batch's rows hold until the next accepted batch; what was known then goes on from there.

    Returns:
        Counts of versions opened and closed.

    Raises:
        SourceError: another batch was accepted since it was loaded, so that its differences would be wrong.
    """
    batch = chain.batch(connection, batch_id)
    place = _place(connection, batch)
    counts = {"opened": 0, "closed": 0}
    changed = connection.execute(
        "select table_name from ops.batch_tables"
        " where batch_id = %s and new_count + changed_count + deleted_count > 0 order by table_name",
        [batch_id],
    ).fetchall()
    for (name,) in changed:
        table = contract()[name]
        _take_good_rows(connection, batch, table)
        if batch.is_first:
            closed, opened = _as_first(connection, batch, table)
        elif place.until is None:
            closed, opened = _on_top(connection, batch, table)
        else:
            closed, opened = _in_between(connection, batch, table, place.until)
        counts["closed"] += closed
        counts["opened"] += opened
        _analyse(connection, name, opened + closed)
    decide(connection, batch_id, "accepted")
    if place.until is not None:
        connection.execute(
            "update quarantine.rows set closed_on = greatest(%s, opened_on), closed_by = %s"
            " where batch_id = %s and closed_on is null",
            [place.until, f"delivered anew on {place.until}", batch_id],
        )
    return counts


def _place(connection: psycopg.Connection, batch: Batch) -> Place:
    """Where the batch stands now, which must be where it stood when it was loaded."""
    place = chain.place(chain.accepted(connection, batch.source), batch.known_from)
    base = None if place.base is None else place.base.batch_id
    # Laid over a superseded one: a later batch stands on that one's rows, so they are there still.
    if batch.base_batch_id != base and chain.beneath(connection, batch) is None:
        raise SourceError(
            f"Batch {batch.batch_id} was compared with {batch.base_batch_id or 'nothing'}, but {base or 'nothing'} is"
            f" what it follows now: extract {batch.batch_date} of source {batch.source} again."
        )
    return place


def _take_good_rows(connection: psycopg.Connection, batch: Batch, table: Table) -> None:
    """The batch's rows in raw whose key is not quarantined, as the view pg_temp.good."""
    any_bad = connection.execute(
        "select 1 from quarantine.rows where batch_id = %s and table_name = %s and stage = 'raw' limit 1",
        [batch.batch_id, table.name],
    ).fetchone()
    condition: sql.Composable = sql.SQL("")
    if any_bad is not None:
        condition = sql.SQL(
            """ and not exists (
                select 1 from quarantine.rows as bad
                where bad.batch_id = {batch} and bad.table_name = {name} and bad.stage = 'raw' and bad.key = {key}
            )"""
        ).format(batch=sql.Literal(batch.batch_id), name=sql.Literal(table.name), key=key_json(table, "rows"))
    connection.execute("drop view if exists pg_temp.good")
    connection.execute(
        sql.SQL("create temporary view good as select * from raw.{} as rows where rows._batch_id = {}{}").format(
            sql.Identifier(table.name), sql.Literal(batch.batch_id), condition
        )
    )


def _as_first(connection: psycopg.Connection, batch: Batch, table: Table) -> tuple[int, int]:
    """Opens all that the first batch of a source brings; its index is built once, at the end."""
    row = connection.execute("select ops.set_current_index_aside(%s)", [table.name]).fetchone()
    counts = _on_top(connection, batch, table)
    if row == (True,):
        connection.execute("select ops.put_current_index_back(%s)", [table.name])
    return counts


def _on_top(connection: psycopg.Connection, batch: Batch, table: Table) -> tuple[int, int]:
    """Closes what the newest batch changes and opens what it brings; gives the counts."""
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "columns": sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
        "same": same_key(table, "current", "good"),
        "batch": sql.Literal(batch.batch_id),
        "source": sql.Literal(batch.source),
    }
    closed = 0
    if not batch.is_first:
        closed = connection.execute(
            sql.SQL(
                "update versions.{table} as current set _known_to = good._known_on, _closed_by = {batch}"
                " from pg_temp.good as good"
                " where {same} and current._source = {source} and current._known_to is null"
            ).format(**names)
        ).rowcount
    opened = connection.execute(
        sql.SQL(
            "insert into versions.{table} ({columns}, _source, _batch_id, _known_from, _row_hash, _file, _line)"
            " select {columns}, _source, _batch_id, _known_on, _row_hash, _file, _line from pg_temp.good as good"
            " where not _is_deleted"
        ).format(**names)
    ).rowcount
    return closed, opened


def _in_between(connection: psycopg.Connection, batch: Batch, table: Table, until: date) -> tuple[int, int]:
    """Lays a late batch's rows between what was known before it and what is known from the next batch on.

    A version that it interrupts is cut in two: the head is closed by the batch, the tail (`_split_by`) goes on where
    the batch's row ends, and keeps how and by what it ends itself.
    """
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "columns": sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
        "key": sql.SQL(", ").join(sql.Identifier("good", name) for name in table.primary_key),
        "same": same_key(table, "current", "placed"),
        "same_good": same_key(table, "current", "good"),
        "same_end": same_key(table, "ends", "good"),
        "batch": sql.Literal(batch.batch_id),
        "source": sql.Literal(batch.source),
        "until": sql.Literal(until) + sql.SQL("::date"),
        "interrupted": sql.SQL(
            "current._source = {} and current._known_from <= placed._known_on"
            " and (current._known_to is null or current._known_to > placed._known_on)"
        ).format(sql.Literal(batch.source)),
    }
    connection.execute("drop table if exists pg_temp.placed; drop table if exists pg_temp.going_on")
    connection.execute(
        sql.SQL(
            """
            create temporary table placed on commit drop as
            with ends as (
                select {key}, good._known_on,
                    min(
                        case when current._known_from > good._known_on then current._known_from
                            else current._known_to end
                    ) as ends_on
                from pg_temp.good as good
                inner join versions.{table} as current on {same_good} and current._source = {source}
                where current._known_to is null or current._known_to > good._known_on
                group by {key}, good._known_on
            )

            select good.*, least({until}, ends.ends_on) as _ends_on
            from pg_temp.good as good
            left join ends on {same_end} and ends._known_on = good._known_on
            where good._known_on < {until}
            """
        ).format(**names)
    )
    connection.execute(
        sql.SQL(
            "create temporary table going_on on commit drop as select current.*, placed._ends_on"
            " from versions.{table} as current inner join pg_temp.placed as placed on {same} and {interrupted}"
        ).format(**names)
    )
    closed = connection.execute(
        sql.SQL(
            "update versions.{table} as current set _known_to = placed._known_on, _closed_by = {batch}"
            " from pg_temp.placed as placed where {same} and {interrupted}"
        ).format(**names)
    ).rowcount
    connection.execute(
        sql.SQL(
            "insert into versions.{table} ({columns}, _source, _batch_id, _known_from, _known_to, _row_hash,"
            " _file, _line, _closed_by, _split_by)"
            " select {columns}, _source, _batch_id, _ends_on, _known_to, _row_hash, _file, _line, _closed_by, {batch}"
            " from pg_temp.going_on"
        ).format(**names)
    )
    opened = connection.execute(
        sql.SQL(
            "insert into versions.{table} ({columns}, _source, _batch_id, _known_from, _known_to, _row_hash, _file,"
            " _line, _closed_by)"
            " select {columns}, _source, _batch_id, _known_on, _ends_on, _row_hash, _file, _line, _batch_id"
            " from pg_temp.placed where not _is_deleted"
        ).format(**names)
    ).rowcount
    return closed, opened


def _analyse(connection: psycopg.Connection, name: str, changed: int) -> None:
    row = connection.execute(
        "select reltuples from pg_class where oid = cast(%s as regclass)", [f"versions.{name}"]
    ).fetchone()
    if row is None or changed >= max(row[0], 0) * SHARE_WORTH_ANALYSING:
        connection.execute(sql.SQL("analyze versions.{}").format(sql.Identifier(name)))


def reject(connection: psycopg.Connection, batch_id: str) -> None:
    """Marks a batch that the raw gate blocked; nothing of it becomes known, and what it was to replace holds again."""
    decide(connection, batch_id, "rejected")
    batch = chain.batch(connection, batch_id)
    if batch.replaces_batch_id is None:
        return
    replaced = chain.batch(connection, batch.replaces_batch_id)
    if replaced.state != "superseded":
        return
    is_beneath = batch.base_batch_id == replaced.batch_id  # its rows were never taken away
    until = _next(chain.accepted(connection, replaced.source), replaced) if is_beneath else None
    connection.execute(
        "update quarantine.rows set closed_on = %s, closed_by = %s where batch_id = %s and closed_by = %s",
        [until, f"delivered anew on {until}" if until else None, replaced.batch_id, _superseded(replaced)],
    )
    if not is_beneath:
        accept(connection, replaced.batch_id)
        return
    if until is not None:
        connection.execute(
            "update quarantine.rows set opened_on = %s where batch_id = %s and opened_on = %s",
            [replaced.known_from, replaced.batch_id, until],
        )
    _set_state(connection, replaced.batch_id, "accepted")


def abandon_loaded(connection: psycopg.Connection, source: str) -> None:
    """Rejects what was loaded and never judged, because its run was killed; what it was to replace holds again."""
    for (batch_id,) in connection.execute(
        "select batch_id from ops.batches where source = %s and state = 'loaded' order by loaded_at, batch_id", [source]
    ).fetchall():
        reject(connection, batch_id)
        connection.execute(
            "update quarantine.rows set closed_on = opened_on, closed_by = %s"
            " where batch_id = %s and closed_on is null",
            [f"rejected {batch_id}", batch_id],
        )


def _superseded(batch: Batch) -> str:
    return f"superseded {batch.batch_id}"


def _next(known: Sequence[Batch], batch: Batch) -> date | None:
    """From when the batch that stands on another one is known; None where only earlier ones do, on the first."""
    return min((one.known_from for one in known if one.known_from > batch.known_from), default=None)


def supersede(connection: psycopg.Connection, batch: Batch) -> bool:
    """Takes an accepted batch back, because its date is delivered again.

    What it opened is removed and what it closed goes on, unless later batches stand on it: then it stays as what the
    new delivery is compared with, which holds from its date until the next batch.

    Returns:
        Whether it was removed.
    """
    known = chain.accepted(connection, batch.source)
    is_removed = chain.may_be_removed(known, batch)
    until = None if is_removed else _next(known, batch)
    if is_removed:
        for table in contract().values():
            _remove(connection, batch, table)
        connection.execute(
            "update quarantine.rows set closed_on = null, closed_by = null where closed_by = %s", [batch.batch_id]
        )
    if until is None:
        connection.execute(
            "update quarantine.rows set closed_on = opened_on, closed_by = %s"
            " where batch_id = %s and closed_on is null",
            [_superseded(batch), batch.batch_id],
        )
    else:
        # What it found wrong no longer holds on its own date; it does where the next batch still stands on it.
        connection.execute(
            "update quarantine.rows set closed_on = opened_on, closed_by = %s where batch_id = %s and closed_on <= %s",
            [_superseded(batch), batch.batch_id, until],
        )
        connection.execute(
            "update quarantine.rows set opened_on = %(until)s"
            " where batch_id = %(batch)s and (closed_on is null or closed_on > %(until)s)",
            {"batch": batch.batch_id, "until": until},
        )
    _set_state(connection, batch.batch_id, "superseded")
    return is_removed


def _remove(connection: psycopg.Connection, batch: Batch, table: Table) -> None:
    brought = sql.SQL("select exists (select 1 from raw.{} where _batch_id = %s)").format(sql.Identifier(table.name))
    if connection.execute(brought, [batch.batch_id]).fetchone() == (False,):
        return
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "same": same_key(table, "head", "tail"),
        "batch": sql.Literal(batch.batch_id),
    }
    for statement in (
        "delete from versions.{table} where _batch_id = {batch}",
        # Tails go before their heads are whole again: of one key there is one current row at most.
        "drop table if exists pg_temp.tails",
        "create temporary table tails on commit drop as select * from versions.{table} where _split_by = {batch}",
        "delete from versions.{table} where _split_by = {batch}",
        "update versions.{table} as head set _known_to = tail._known_to, _closed_by = tail._closed_by"
        " from pg_temp.tails as tail where {same} and head._source = tail._source and head._closed_by = {batch}",
        "update versions.{table} set _known_to = null, _closed_by = null where _closed_by = {batch}",
    ):
        connection.execute(sql.SQL(statement).format(**names))


def _set_state(connection: psycopg.Connection, batch_id: str, state: str) -> None:
    """Changes a batch's state and not when it was decided: what was accepted since still stands on it."""
    connection.execute("update ops.batches set state = %s where batch_id = %s", [state, batch_id])
    record_batch(connection, batch_id)


def decide(connection: psycopg.Connection, batch_id: str, state: str) -> None:
    """Records what became of a batch."""
    connection.execute("update ops.batches set state = %s, decided_at = now() where batch_id = %s", [state, batch_id])
    record_batch(connection, batch_id)
