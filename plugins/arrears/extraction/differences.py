"""What a delivery changes: rows of load.TABLE that differ from what is known go into raw, with what is gone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import psycopg
from psycopg import sql

from arrears.contract.servicing import Table
from arrears.extraction.delivery import KEYS, Loaded, Unreadable
from arrears.settings import get_settings

# Before all time: from when the rows of a source's first full batch are known (INTERFACE §3).
BEFORE_ALL_TIME = date(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch is compared with: its source's rows known on a date, or the current ones."""

    source: str
    batch_id: str
    known_from: date
    is_first: bool
    is_side_branch: bool

    def state(self) -> sql.Composable:
        """SQL of the state that the batch changes; `current` is the alias of its row."""
        if not self.is_side_branch:
            return sql.SQL("current._source = {} and current._known_to is null").format(sql.Literal(self.source))
        return sql.SQL(
            "current._source = {0} and current._known_from <= {1}"
            " and (current._known_to is null or current._known_to > {1})"
        ).format(sql.Literal(self.source), sql.Literal(self.known_from))


def same_key(table: Table, left: str, right: str) -> sql.Composable:
    """SQL: two aliases stand for rows of the same primary key."""
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, name), sql.Identifier(right, name)) for name in table.primary_key
    )


def key_json(table: Table, alias: str) -> sql.Composable:
    """SQL of a row's key: its primary key's columns as text, and nothing else."""
    pairs = sql.SQL(", ").join(
        sql.SQL("{}, cast({} as text)").format(sql.Literal(name), sql.Identifier(alias, name))
        for name in table.primary_key
    )
    return sql.SQL("jsonb_build_object({})").format(pairs)


def _booked_on(table: Table, known_at: str, alias: str) -> sql.Composable:
    """SQL of the business date on which the lender's system learned of a row; null where it does not say."""
    value = sql.Identifier(alias, known_at)
    if table.column(known_at).data_type != "timestamptz":
        return value
    zone = sql.Literal(get_settings().business_time_zone)
    return sql.SQL("cast({} at time zone {} as date)").format(value, zone)


def known_on(table: Table, known: Known) -> sql.Composable:
    """SQL of the date from which a row is known (INTERFACE §3); aliases `rows` and, but for a first batch, `current`.

    Never before the version that it replaces: where a booking was known from a later date on (a clock that ran ahead),
    its correction is known from then.
    """
    zone = sql.Literal(get_settings().business_time_zone)
    dates: list[sql.Composable] = [
        sql.Literal(BEFORE_ALL_TIME if known.is_first else known.known_from) + sql.SQL("::date")
    ]
    if table.known_at is not None:
        dates.append(_booked_on(table, table.known_at, "rows"))
    if not known.is_first:
        dates.append(sql.SQL("cast(rows._cursor_at at time zone {} as date)").format(zone))
        dates.append(sql.SQL("current._known_from"))
    return sql.SQL("greatest({})").format(sql.SQL(", ").join(dates))  # nulls do not count


def drop_identical_duplicates(connection: psycopg.Connection, table: Table) -> tuple[int, bool]:
    """Rows delivered twice to the letter count once: the first line stays.

    Returns:
        How many were dropped, and whether keys remain that stand there twice with differing content: these are in
        pg_temp.keys_twice.
    """
    key = sql.SQL(", ").join(map(sql.Identifier, table.primary_key))
    name = sql.Identifier(table.name)
    connection.execute("drop table if exists pg_temp.keys_twice")
    found = connection.execute(
        sql.SQL(
            "create temporary table keys_twice on commit drop as"
            " select {key} from load.{table} group by {key} having count(*) > 1"
        ).format(key=key, table=name)
    )
    if found.rowcount == 0:
        return 0, False
    connection.execute("analyze pg_temp.keys_twice")
    done = connection.execute(
        sql.SQL(
            """
            with doubled as (
                select {key}, _row_hash, _is_deleted, min(ctid) as first_ctid
                from load.{table} as rows
                where exists (select 1 from pg_temp.keys_twice as twice where {same_twice})
                group by {key}, _row_hash, _is_deleted
            )
            delete from load.{table} as rows using doubled
            where {same} and rows._row_hash = doubled._row_hash and rows._is_deleted = doubled._is_deleted
                and rows.ctid <> doubled.first_ctid
            """
        ).format(
            key=key,
            table=name,
            same=same_key(table, "rows", "doubled"),
            same_twice=same_key(table, "rows", "twice"),
        )
    )
    connection.execute(
        sql.SQL(
            """
            with once as (
                select {key}
                from load.{table} as rows
                where exists (select 1 from pg_temp.keys_twice as twice where {same_twice})
                group by {key}
                having count(*) = 1
            )
            delete from pg_temp.keys_twice as twice using once where {same_once}
            """
        ).format(
            key=key,
            table=name,
            same_twice=same_key(table, "rows", "twice"),
            same_once=same_key(table, "twice", "once"),
        )
    )
    left = connection.execute("select exists (select 1 from pg_temp.keys_twice)").fetchone()
    return done.rowcount, left == (True,)


def take(
    connection: psycopg.Connection, known: Known, table: Table, loaded: Loaded, *, are_twice: bool, may_delete: bool
) -> tuple[int, int, int]:
    """Inserts into raw what differs from what is known; gives the counts of new, changed and deleted rows."""
    connection.execute(sql.SQL("analyze load.{}").format(sql.Identifier(table.name)))
    new, changed = _new_and_changed(connection, known, table, loaded, are_twice=are_twice)
    if known.is_first:
        return new, changed, 0
    deleted = _said_to_be_deleted(connection, known, table)
    if may_delete and (loaded.mode == "full" or loaded.has_keys):
        deleted += _missing(connection, known, table, loaded)
    if loaded.mode == "delta" and _has_open_findings(connection, known.source, table.name):
        _gone_from_quarantine(connection, known, table, has_keys=may_delete and loaded.has_keys)
    return new, changed, deleted


def _new_and_changed(
    connection: psycopg.Connection, known: Known, table: Table, loaded: Loaded, *, are_twice: bool
) -> tuple[int, int]:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "columns": columns,
        "values": sql.SQL(", ").join(sql.Identifier("rows", name) for name in table.column_names),
        "known_on": known_on(table, known),
        "into": sql.SQL(
            "insert into raw.{} ({}, _source, _batch_id, _known_on, _row_hash, _is_deleted, _file, _line)"
        ).format(sql.Identifier(table.name), columns),
    }
    given = {"source": known.source, "batch": known.batch_id, "table": table.name}
    if known.is_first:
        done = connection.execute(
            sql.SQL(
                "{into} select {values}, %(source)s, %(batch)s, {known_on}, rows._row_hash, false, rows._file,"
                " rows._line from load.{table} as rows where not rows._is_deleted"
            ).format(**names),
            given,
        )
        return done.rowcount, 0
    # Not known, or known otherwise.
    differs: list[sql.Composable] = [sql.SQL("current._row_hash is distinct from rows._row_hash")]
    if are_twice:
        differs.append(
            sql.SQL("exists (select 1 from pg_temp.keys_twice as twice where {})").format(
                same_key(table, "rows", "twice")
            )
        )
    if loaded.mode == "delta" and _has_open_findings(connection, known.source, table.name):
        # Brought again, it may be mended, even where it reads now as the version in force does.
        differs.append(
            sql.SQL(
                "exists (select 1 from quarantine.rows as open where open.source = %(source)s"
                " and open.table_name = %(table)s and open.closed_on is null and open.key = {})"
            ).format(key_json(table, "rows"))
        )
    row = connection.execute(
        sql.SQL(
            """
            with compared as (
                select rows.*, {known_on} as _known_on,
                    current._row_hash is not null as _is_known,
                    current._row_hash is distinct from rows._row_hash as _is_other
                from load.{table} as rows
                left join versions.{table} as current on {same} and {state}
                where not rows._is_deleted and ({differs})
            ),
            inserted as (
                {into}
                select {columns}, %(source)s, %(batch)s, _known_on, _row_hash, false, _file, _line from compared
            )
            select count(*) filter (where not _is_known), count(*) filter (where _is_known and _is_other) from compared
            """
        ).format(
            **names,
            same=same_key(table, "rows", "current"),
            state=known.state(),
            differs=sql.SQL(" or ").join(differs),
        ),
        given,
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _has_open_findings(connection: psycopg.Connection, source: str, table: str) -> bool:
    row = connection.execute(
        "select exists (select 1 from quarantine.rows where source = %s and table_name = %s and closed_on is null)",
        [source, table],
    ).fetchone()
    return row == (True,)


def _said_to_be_deleted(connection: psycopg.Connection, known: Known, table: Table) -> int:
    """A delta's rows that remove their key, where it is known."""
    return _tombstones(
        connection,
        known,
        table,
        sql.SQL("exists (select 1 from load.{} as rows where rows._is_deleted and {})").format(
            sql.Identifier(table.name), same_key(table, "rows", "current")
        ),
    )


def _missing(connection: psycopg.Connection, known: Known, table: Table, loaded: Loaded) -> int:
    """What is known and no longer there is deleted from the batch's date on; a row that cannot be read is not."""
    there = sql.Identifier("load", table.name + KEYS if loaded.has_keys else table.name)
    condition: sql.Composable = sql.SQL("not exists (select 1 from {} as rows where {})").format(
        there, same_key(table, "rows", "current")
    )
    if loaded.unreadable:
        condition += sql.SQL(" and not {} = any({}::jsonb[])").format(
            key_json(table, "current"), sql.Literal(unreadable_keys(table, loaded.unreadable))
        )
    if loaded.complete_from is not None and table.known_at is not None:
        # Known from its booking; without one from the batch that brought it.
        condition += sql.SQL(" and coalesce({}, current._known_from) >= {}").format(
            _booked_on(table, table.known_at, "current"), sql.Literal(loaded.complete_from)
        )
    return _tombstones(connection, known, table, condition)


def _gone_from_quarantine(connection: psycopg.Connection, known: Known, table: Table, *, has_keys: bool) -> None:
    """Tombstones of rows that were never known but kept out: gone, they hold nobody back any more.

    They count as no deletions, because nothing known is lost.
    """
    gone: sql.Composable = sql.SQL(
        "exists (select 1 from load.{} as rows where rows._is_deleted and {} = open.key)"
    ).format(sql.Identifier(table.name), key_json(table, "rows"))
    if has_keys:
        gone = sql.SQL("({} or not exists (select 1 from {} as rows where {} = open.key))").format(
            gone, sql.Identifier("load", table.name + KEYS), key_json(table, "rows")
        )
    is_a_key = sql.SQL(" and ").join(
        sql.SQL("pg_input_is_valid(open.key ->> {}, {})").format(
            sql.Literal(name), sql.Literal(table.column(name).data_type)
        )
        for name in table.primary_key
    )
    connection.execute(
        sql.SQL(
            """
            with gone as materialized (
                select distinct open.key
                from quarantine.rows as open
                where open.source = {source} and open.table_name = {name} and open.closed_on is null
                    and open.batch_id <> {batch} and {is_a_key} and {gone}
            ),
            rows as materialized (
                select (jsonb_populate_record(cast(null as raw.{table}), gone.key)).* from gone
            )
            insert into raw.{table} ({key}, _source, _batch_id, _known_on, _is_deleted)
            select {row_key}, {source}, {batch}, {date}, true
            from rows
            where not exists (select 1 from versions.{table} as current where {same} and {state})
            """
        ).format(
            source=sql.Literal(known.source),
            name=sql.Literal(table.name),
            table=sql.Identifier(table.name),
            batch=sql.Literal(known.batch_id),
            date=sql.Literal(known.known_from) + sql.SQL("::date"),
            key=sql.SQL(", ").join(map(sql.Identifier, table.primary_key)),
            row_key=sql.SQL(", ").join(sql.Identifier("rows", name) for name in table.primary_key),
            same=same_key(table, "rows", "current"),
            state=known.state(),
            is_a_key=is_a_key,
            gone=gone,
        )
    )


def unreadable_keys(table: Table, unreadable: Sequence[Unreadable]) -> list[str]:
    """The keys of rows that cannot be read, as JSON text."""
    return [json.dumps({name: str(row.row.get(name)) for name in table.primary_key}) for row in unreadable]


def _tombstones(connection: psycopg.Connection, known: Known, table: Table, condition: sql.Composable) -> int:
    done = connection.execute(
        sql.SQL(
            """
            insert into raw.{table} ({key}, _source, _batch_id, _known_on, _is_deleted)
            select {current_key}, {source}, {batch}, greatest({date}, current._known_from), true
            from versions.{table} as current
            where {state} and {condition}
            """
        ).format(
            table=sql.Identifier(table.name),
            key=sql.SQL(", ").join(map(sql.Identifier, table.primary_key)),
            current_key=sql.SQL(", ").join(sql.Identifier("current", name) for name in table.primary_key),
            source=sql.Literal(known.source),
            batch=sql.Literal(known.batch_id),
            date=sql.Literal(known.known_from) + sql.SQL("::date"),
            state=known.state(),
            condition=condition,
        )
    )
    return done.rowcount
