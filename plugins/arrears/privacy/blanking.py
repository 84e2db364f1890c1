"""Blank personal values: which columns are personal and whose they are, in SQL that blanks them.

Personal columns are those that the contract marks. A text that was there becomes the word BLANK, so that what depends
on whether there was one (a telephone number, say) comes out as it did; a value of another type becomes null.

A row's hash is over its values, so a hash of personal values is derived from them, and somebody who guesses the values
can tell that they are right. Blanked rows get a hash of what is left, by one expression for what is stored and for
what is delivered later: an unchanged row is no difference, and a change in personal values alone is none either.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from arrears.contract.servicing import Column, Table, contract
from arrears.extraction.delivery import Unreadable

BLANK = "(erased)"
BORROWERS = "borrowers"
# What a malformed line says as a whole.
LINE = "_text"


def owners(table: Table) -> tuple[str, ...]:
    """The columns that say to which borrower a row belongs; empty for a table that holds nothing of one."""
    if table.name == BORROWERS:
        return table.primary_key
    return tuple(column.name for column in table.columns if column.references == BORROWERS)


def personal_columns(table: Table) -> tuple[Column, ...]:
    """The columns that the contract marks as personal."""
    return tuple(column for column in table.columns if column.personal)


def personal_tables() -> list[Table]:
    """The contract's tables with a personal column."""
    return [table for table in contract().values() if personal_columns(table)]


def personal_names() -> Mapping[str, bool]:
    """Names of personal columns in all tables of the contract; whether it is a text."""
    return {
        column.name: column.data_type == "text" for table in personal_tables() for column in personal_columns(table)
    }


def is_of(table: Table, alias: str, ids: sql.Composable) -> sql.Composed:
    """SQL: a row belongs to one of the borrowers whose ids are the array `ids`."""
    return sql.SQL("({})").format(
        sql.SQL(" or ").join(sql.SQL("{} = any({})").format(sql.Identifier(alias, name), ids) for name in owners(table))
    )


def _blanked(column: Column, alias: str) -> sql.Composable:
    value = sql.Identifier(alias, column.name)
    if not column.personal:
        return value
    if column.data_type == "text":
        return sql.SQL("case when {} is not null then {} end").format(value, sql.Literal(BLANK))
    return sql.SQL("cast(null as " + column.data_type + ")")


def _hash_of_blanked(table: Table, alias: str) -> sql.Composed:
    """Only what is there is hashed, under its name: a column that the contract gains changes no row's hash."""
    parts = [
        sql.SQL("{} || cast({} as text)").format(sql.Literal(f"{column.name}="), _blanked(column, alias))
        for column in table.columns
    ]
    return sql.SQL("cast(md5(concat_ws(chr(31), {})) as uuid)").format(sql.SQL(", ").join(parts))


def blank_rows(connection: psycopg.Connection, schema: str, table: Table, ids: Sequence[str]) -> int:
    """Blanks the borrowers' rows of a contract table in a schema; gives how many were not blank yet.

    The hash reads the session's formats of dates and times: connections of `arrears.warehouse` all have the same.
    """
    changes = [(column.name, _blanked(column, "rows")) for column in personal_columns(table)]
    has_hash = sql.SQL("case when rows._row_hash is not null then {} end").format(_hash_of_blanked(table, "rows"))
    changes.append(("_row_hash", has_hash))
    done = connection.execute(
        sql.SQL("update {table} as rows set {changes} where {is_of} and ({differ})").format(
            table=sql.Identifier(schema, table.name),
            changes=sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(name), new) for name, new in changes),
            is_of=is_of(table, "rows", sql.Placeholder("ids")),
            differ=sql.SQL(" or ").join(
                sql.SQL("{} is distinct from {}").format(sql.Identifier("rows", name), new) for name, new in changes
            ),
        ),
        {"ids": list(ids)},
    )
    return done.rowcount


def erased(connection: psycopg.Connection) -> list[str]:
    """The ids of all borrowers that were ever erased."""
    return [str(row[0]) for row in connection.execute("select borrower_id from ops.erasures order by 1").fetchall()]


def blank_loaded(connection: psycopg.Connection, table: Table) -> int:
    """Blanks erased borrowers' rows in `load.TABLE`; gives how many. One short query where nobody was ever erased.

    To be called after a table is loaded and before it is compared with what is known: the compared hash is set here.
    """
    if not personal_columns(table):
        return 0
    ids = erased(connection)
    return blank_rows(connection, "load", table, ids) if ids else 0


def blank_unreadable(
    connection: psycopg.Connection, rows: Sequence[Unreadable], *, key_prefix: str | None = None
) -> list[Unreadable]:
    """Rows that could not be read, those of erased borrowers blanked, in the same order.

    Args:
        connection: to the warehouse.
        rows: as an engine gives them.
        key_prefix: of the source; what could not be read may hold the lender's id without it.
    """
    ids = set(erased(connection)) if rows else set()
    if not ids:
        return list(rows)
    if key_prefix:
        ids |= {one.removeprefix(key_prefix) for one in ids if one.startswith(key_prefix)}
    found = []
    for row in rows:
        if is_unread_line(row.table, row.row):
            values = [str(value) for value in row.row.values() if value is not None]
            if any(names(value, ids) for value in values):
                row = replace(row, row=blank_line(row.row, ids), reason=scrub(row.reason, ids, values))
        elif belongs_to(contract()[row.table], row.row, ids):
            blanked, values = blank_record(contract()[row.table], row.row)
            row = replace(row, row=blanked, reason=scrub(row.reason, ids, values))
        found.append(row)
    return found


def is_unread_line(table: str, row: Mapping[str, Any]) -> bool:
    """Whether a row is a malformed line, or one of a lender's own file: any value may stand under any name."""
    return LINE in row or table not in contract()


def belongs_to(table: Table, row: Mapping[str, Any], ids: Set[str]) -> bool:
    """Whether a row, by column, belongs to one of the borrowers."""
    return any(row.get(name) in ids for name in owners(table))


def blank_line(row: Mapping[str, Any], ids: Set[str]) -> dict[str, Any]:
    """A malformed line without its values, less those that are ids: nobody knows which of the others are personal."""
    return {name: value if value is None or value in ids else BLANK for name, value in row.items()}


def blank_record(table: Table, row: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A row of a contract table with its personal columns blanked, and the texts that stood there."""
    is_text = {column.name: column.data_type == "text" for column in personal_columns(table)}
    blanked = {
        name: (BLANK if is_text[name] and value is not None else None) if name in is_text else value
        for name, value in row.items()
    }
    texts = [str(row[name]) for name in is_text if row.get(name) not in (None, BLANK)]
    # A line with its fields in the wrong order has personal values under other names, too.
    ids = (*table.primary_key, *owners(table))
    return {name: BLANK if value in texts and name not in ids else value for name, value in blanked.items()}, texts


def scrub(text: str, ids: Set[str], values: Iterable[str]) -> str:
    """A sentence without these values; what is an id, or too short to tell anybody apart, stays.

    A reason quotes what was wrong, at most 40 characters of it.
    """
    for value in sorted(set(values), key=len, reverse=True):
        if len(value) >= SHORTEST and value not in ids:
            text = text.replace(value, BLANK)
            if len(value) > QUOTED:
                text = text.replace(value[:QUOTED], BLANK)
    return text


# Shorter values tell nobody apart, and stand in many places by chance.
SHORTEST = 4
QUOTED = 40


def names(text: str, needles: Iterable[str]) -> bool:
    """Whether a text holds one of these as a word of its own: an id B1 is not in B12."""
    for needle in needles:
        start = text.find(needle)
        while start >= 0:
            end = start + len(needle)
            before, after = text[start - 1 : start], text[end : end + 1]
            if not (_goes_on(before, needle[0]) or _goes_on(after, needle[-1])):
                return True
            start = text.find(needle, start + 1)
    return False


def _goes_on(neighbour: str, edge: str) -> bool:
    # 100 is no part of 100.00, nor B1 of B1-2.
    return edge.isalnum() and neighbour != "" and (neighbour.isalnum() or neighbour in ".:-/_")
