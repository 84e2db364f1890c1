"""What a lender's database is asked for a contract table: one SELECT that types, checks, hashes and bounds its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import psycopg
from psycopg import sql

from arrears.contract.servicing import Table
from arrears.errors import SourceError
from arrears.extraction.database.columns import DATE, TIMESTAMP, TIMESTAMPTZ, Described, Reading, hashed, missing, read
from arrears.extraction.database.connection import source_error
from arrears.extraction.sources import Source
from arrears.settings import get_settings

SEPARATOR = "chr(31)"  # of the hashed text: a character that no value holds
COLUMNS_A_CALL = 40  # a function takes at most 100 arguments

# A local time occurs twice when clocks go back: so much earlier the reading begins where a cursor has no offset.
CLOCKS_GO_BACK = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Shape:
    """How a table is delivered: its FROM item `delivered`, its columns as they are read, its cursor
    and its business date.

    `fingerprint` is a hash of all that decides how a row comes out.
    """

    delivered: sql.Composed
    readings: Mapping[str, Reading]
    cursor: Described | None
    business_date: Described | None
    warnings: Sequence[str]
    delivered_columns: Sequence[str]
    fingerprint: str


def label(source: Source, table: Table) -> str:
    """SCHEMA.TABLE, or the name of the SELECT's file."""
    if source.select(table.name) is not None:
        return f"{table.name}.sql"
    return f"{source.database_schema}.{table.name}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a source has for a table: its FROM item `delivered`, its columns by name in lower case, its place."""

    item: sql.Composed
    columns: Mapping[str, Described]
    place: str


def delivered(session: psycopg.Connection, source: Source, table: Table, database: str) -> Delivered:
    """Asks what a source has for a table, whatever the contract says.

    Args:
        session: in the source's database.
        source: what source.yml says.
        table: the contract's.
        database: name of the database for messages.

    Raises:
        SourceError: the SELECT fails, or gives a column twice.
    """
    select = source.select(table.name)
    if select is not None:
        item = sql.SQL("(\n{}\n) as delivered").format(sql.SQL(select.rstrip().rstrip(";")))
        place = str(source.folder / f"{table.name}.sql")
    else:
        assert source.database_schema is not None
        item = sql.SQL("{} as delivered").format(sql.Identifier(source.database_schema, table.name))
        place = f"{database}, {label(source, table)}"
    described = _described(session, item, place, has_lines=select is not None)
    found = {one.name.lower(): one for one in described}
    twice = [one.name for one in described if found[one.name.lower()] is not one]
    if twice:
        raise SourceError(f"{place}: column {twice[0]} stands twice.")
    return Delivered(item, found, place)


def describe(session: psycopg.Connection, source: Source, table: Table, database: str) -> Shape:
    """Asks how a table is delivered: anew at every reading, because lenders change their systems overnight.

    Args:
        session: in the source's database.
        source: what source.yml says.
        table: the contract's.
        database: name of the database for messages.

    Raises:
        SourceError: the SELECT fails, or what it gives cannot be the contract's table.
    """
    there = delivered(session, source, table, database)
    return _shape(source, table, there.item, there.columns, there.place)


def _described(session: psycopg.Connection, delivered: sql.Composed, place: str, *, has_lines: bool) -> list[Described]:
    query = sql.SQL("select * from {} limit 0").format(delivered).as_string(session)
    try:
        # In binary, because that takes one statement and no more.
        cursor = session.execute(query.encode(), binary=True)
        result = cursor.pgresult
        assert result is not None
        kinds = [(result.ftype(index), result.fmod(index)) for index in range(result.nfields)]
        names = session.execute(
            "select format_type(kind, modifier)"
            " from unnest(%s::oid[], %s::integer[]) with ordinality as columns (kind, modifier, place) order by place",
            [[kind for kind, _ in kinds], [modifier for _, modifier in kinds]],
        ).fetchall()
    except psycopg.Error as error:
        position = error.diag.statement_position
        if position is not None and has_lines:
            place += f", line {max(1, query[: int(position)].count(chr(10)))}"
        raise source_error(error, place) from None
    return [
        Described((result.fname(index) or b"").decode(), kind, modifier, str(names[index][0]))
        for index, (kind, modifier) in enumerate(kinds)
    ]


def _shape(source: Source, table: Table, delivered: sql.Composed, found: Mapping[str, Described], place: str) -> Shape:
    cursor = found.get(source.cursor.lower()) if source.cursor else None
    if cursor is not None:
        check_cursor(source, cursor, table, place)
    business_date = found.get(source.business_date.lower()) if source.business_date else None
    if business_date is not None and business_date.kind != DATE:
        raise SourceError(
            f"{place}: the business_date {business_date.name} of table {table.name} is of type"
            f" {business_date.type_name}; it must be a date."
        )
    known = {*table.column_names, *(one.name.lower() for one in (cursor, business_date) if one is not None)}
    warnings = [f"column {name} is not in the contract and is ignored" for name in found if name not in known]
    zones = (source.time_zone, source.time_zone or get_settings().business_time_zone)
    readings = {}
    for column in table.columns:
        if column.name in found:
            readings[column.name] = read(column, found[column.name], table, zones, place)
        elif column.required:
            raise SourceError(f"{place}: the required column {column.name} of table {table.name} is missing.")
        else:
            warnings.append(f"column {column.name} is missing and is read as null")
            readings[column.name] = missing(column)
    if source.key_prefix:
        prefix = sql.Literal(source.key_prefix)
        for name in table.prefixed_columns:
            readings[name] = readings[name].after(prefix)
    how = [
        zones,
        source.key_prefix,
        source.cursor,
        source.select(table.name) or label(source, table),
        table.primary_key,
        table.columns,
        sorted((name, one.type_name) for name, one in found.items() if name in known),
        *([source.business_date] if source.business_date else []),
    ]
    return Shape(
        delivered=delivered,
        readings=readings,
        cursor=cursor,
        business_date=business_date,
        warnings=warnings,
        delivered_columns=[name for name in table.column_names if name in found],
        fingerprint=sha256(repr(how).encode()).hexdigest(),
    )


def check_cursor(source: Source, cursor: Described, table: Table, place: str) -> None:
    """Refuses a cursor that does not say when a row was changed.

    Raises:
        SourceError: it is no timestamp, or one without a zone where source.yml names none.
    """
    if cursor.kind == TIMESTAMP and source.time_zone is None:
        raise SourceError(
            f"{place}: the cursor {cursor.name} of table {table.name} is a timestamp without time zone: say in"
            f" source.yml which time_zone it is in."
        )
    if cursor.kind not in (TIMESTAMP, TIMESTAMPTZ):
        raise SourceError(
            f"{place}: the cursor {cursor.name} of table {table.name} is of type {cursor.type_name}; only a timestamp"
            f" says when a row was changed."
        )


def rows(source: Source, table: Table, shape: Shape, since: datetime | None) -> sql.Composed:
    """SELECT of a table's columns, `_row_hash`, `_cursor_at`, and `_fault`: JSON of what is wrong with a row.

    Args:
        source: what source.yml says.
        table: the contract's.
        shape: how it is delivered.
        since: only rows whose cursor is not before it, or is null; None: all.
    """
    typed: list[sql.Composable] = []
    for column in table.columns:
        reading = shape.readings[column.name]
        typed.append(sql.SQL("{} as {}").format(reading.value, sql.Identifier(column.name)))
        if reading.raw is not None:
            typed.append(sql.SQL("cast({} as text) as {}").format(reading.raw, _raw(column.name)))
    typed.append(sql.SQL("{} as _cursor_at").format(_cursor_at(source, shape)))
    where: sql.Composable = sql.SQL("")
    if since is not None and shape.cursor is not None:
        where = sql.SQL("where {}").format(changed_since(source, shape.cursor, since))
    # What is costly to read is read once: the fence keeps the planner from putting the expressions in everywhere.
    fence = sql.SQL("offset 0" if any(reading.raw is not None for reading in shape.readings.values()) else "")
    return sql.SQL(
        "select {columns}, cast(md5({hashed}) as uuid) as _row_hash, _cursor_at, {fault} as _fault"
        " from (select {typed} from {delivered} {where} {fence}) as typed"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
        hashed=concatenated([hashed(column) for column in table.columns]),
        fault=_fault(table, shape),
        typed=sql.SQL(", ").join(typed),
        delivered=shape.delivered,
        where=where,
        fence=fence,
    )


def keys(table: Table, shape: Shape) -> sql.Composed:
    """SELECT of all primary keys that there are now; null where a value is none."""
    values = sql.SQL(", ").join(shape.readings[name].value for name in table.primary_key)
    return sql.SQL("select {} from {}").format(values, shape.delivered)


def concatenated(parts: Sequence[sql.Composable]) -> sql.Composed:
    """SQL of texts put one after another with the separator, nulls left out."""
    calls = [
        sql.SQL("concat_ws(" + SEPARATOR + ", {})").format(sql.SQL(", ").join(parts[start : start + COLUMNS_A_CALL]))
        for start in range(0, len(parts), COLUMNS_A_CALL)
    ]
    if len(calls) == 1:
        return calls[0]
    return concatenated([sql.SQL("nullif({}, '')").format(one) for one in calls])


def _cursor_at(source: Source, shape: Shape) -> sql.Composed:
    """SQL of when a row was changed: in the lender's books where it says so, else by its clock."""
    if shape.business_date is None:
        return _changed_at(source, shape)
    # At noon, which no change of clocks skips or repeats.
    return sql.SQL("coalesce(case when isfinite({0}) then timezone({1}, {0} + interval '12 hours') end, {2})").format(
        sql.Identifier("delivered", shape.business_date.name),
        sql.Literal(get_settings().business_time_zone),
        _changed_at(source, shape),
    )


def _changed_at(source: Source, shape: Shape) -> sql.Composed:
    if shape.cursor is None:
        return sql.SQL("cast(null as timestamptz)").format()
    given: sql.Composable = sql.Identifier("delivered", shape.cursor.name)
    if shape.cursor.kind == TIMESTAMP:
        given = sql.SQL("timezone({}, {})").format(sql.Literal(source.time_zone), given)
    # An infinite time says nothing of when the row is known from.
    return sql.SQL("case when isfinite({0}) then {0} end").format(given)


def changed_since(source: Source, cursor: Described, moment: datetime) -> sql.Composed:
    """Condition on `delivered`: the row was changed at the moment or later, or does not say when."""
    bound = sql.SQL("cast({} as timestamptz)").format(sql.Literal(moment.isoformat()))
    if cursor.kind == TIMESTAMP:  # compared as it is stored, so that its index serves
        bound = sql.SQL("timezone({}, cast({} as timestamptz))").format(
            sql.Literal(source.time_zone), sql.Literal((moment - CLOCKS_GO_BACK).isoformat())
        )
    return sql.SQL("{0} >= {1} or {0} is null").format(sql.Identifier("delivered", cursor.name), bound)


def _raw(name: str) -> sql.Identifier:
    return sql.Identifier(f"{name} as delivered")


def _fault(table: Table, shape: Shape) -> sql.Composed:
    """SQL of what is wrong with a row; null where nothing is.

    A personal value is in the row's copy, which goes into quarantine, never in the words.
    """
    faults: list[tuple[sql.Composable, sql.Composable]] = []
    row: dict[str, sql.Composable] = {}
    for column in table.columns:
        reading, name = shape.readings[column.name], sql.Identifier(column.name)
        shown: sql.Composable = sql.SQL("cast({} as text)").format(name)
        conditions: list[sql.Composable] = []
        if reading.raw is not None:
            conditions.append(sql.SQL("({} is not null and {} is null)").format(_raw(column.name), name))
            shown = sql.SQL("coalesce({}, {})").format(shown, _raw(column.name))
        if reading.is_bad is not None:
            conditions.append(sql.SQL("({})").format(reading.is_bad))
        if conditions:
            words: sql.Composable = sql.Literal(f"column {column.name} {reading.complaint}")
            if not column.personal:
                words = sql.SQL("{} || ': ' || left({}, 40)").format(words, shown)
            faults.append((sql.SQL(" or ").join(conditions), words))
        if column.name in table.primary_key:
            is_empty = sql.SQL("{} is null").format(name)
            faults.append((is_empty, sql.Literal(f"column {column.name} of the key is empty")))
        if column.name in shape.delivered_columns:
            row[column.name] = shown
    return sql.SQL(
        "case when {any} then cast(json_build_object('problem', case {problems} end,"
        " 'row', json_object(array[{names}], array[{values}]), 'has_key', {has_key}) as text) end"
    ).format(
        any=sql.SQL(" or ").join(condition for condition, _ in faults),
        problems=sql.SQL(" ").join(sql.SQL("when {} then {}").format(*fault) for fault in faults),
        names=sql.SQL(", ").join(map(sql.Literal, row)),
        values=sql.SQL(", ").join(row.values()),
        has_key=sql.SQL(" and ").join(
            sql.SQL("{} is not null").format(sql.Identifier(one)) for one in table.primary_key
        ),
    )
