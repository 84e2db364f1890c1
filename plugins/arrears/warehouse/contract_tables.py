"""The contract's tables in the warehouse: raw (every difference), versions (what was accepted), load (on its way).

Their columns follow the dbt sources file; a column that the contract gains is added, none is ever dropped.
"""

from collections.abc import Iterable
from hashlib import sha256

import psycopg
from psycopg import sql

from arrears.contract.servicing import CONTRACT_FILE, Contract, Table

RAW_COLUMNS = (
    ("_source", "text not null"),
    ("_batch_id", "text not null"),
    ("_known_on", "date not null"),
    ("_row_hash", "uuid"),
    ("_is_deleted", "boolean not null default false"),
    ("_file", "text"),
    ("_line", "bigint"),
)
VERSION_COLUMNS = (
    ("_source", "text not null"),
    ("_batch_id", "text not null"),
    ("_known_from", "date not null"),
    ("_known_to", "date"),
    ("_row_hash", "uuid not null"),
    ("_file", "text"),
    ("_line", "bigint"),
    ("_closed_by", "text"),
    ("_split_by", "text"),
)
LOAD_COLUMNS = (
    ("_row_hash", "uuid not null"),
    ("_file", "text"),
    ("_line", "bigint"),
    ("_is_deleted", "boolean not null default false"),
    ("_cursor_at", "timestamptz"),
)

_SCHEMA_VERSION = "5"  # of this module: part of the fingerprint


def _fingerprint() -> str:
    return sha256(_SCHEMA_VERSION.encode() + CONTRACT_FILE.read_bytes()).hexdigest()


def is_current(connection: psycopg.Connection) -> bool:
    """Whether the tables were made from this contract."""
    row = connection.execute("select value from ops.portfolio where setting = 'contract_fingerprint'").fetchone()
    return row is not None and row[0] == _fingerprint()


def synchronise(connection: psycopg.Connection, tables: Contract) -> None:
    """Creates what is missing, as the current role; commits nothing."""
    for table in tables.values():
        _table(connection, "raw", table, RAW_COLUMNS)
        _table(connection, "versions", table, VERSION_COLUMNS)
        _indexes(connection, table)
        _comments(connection, table)
    connection.execute(
        "insert into ops.portfolio (setting, value) values ('contract_fingerprint', %s)"
        " on conflict (setting) do update set value = excluded.value",
        [_fingerprint()],
    )
    connection.execute(
        """
        grant select, insert, maintain on all tables in schema raw to arrears_pipeline;
        grant select, insert, update, delete, maintain on all tables in schema versions to arrears_pipeline;
        """
    )


def _table(connection: psycopg.Connection, schema: str, table: Table, more: Iterable[tuple[str, str]]) -> None:
    columns = [(column.name, column.data_type) for column in table.columns] + list(more)
    name = sql.Identifier(schema, table.name)
    connection.execute(
        sql.SQL("create table if not exists {} ({})").format(
            name, sql.SQL(", ").join(sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in columns)
        )
    )
    for column, kind in columns:
        connection.execute(
            sql.SQL("alter table {} add column if not exists {} " + kind).format(name, sql.Identifier(column))
        )


def _indexes(connection: psycopg.Connection, table: Table) -> None:
    key = sql.SQL(", ").join(map(sql.Identifier, table.primary_key))
    connection.execute(
        sql.SQL("create index if not exists {} on raw.{} (_batch_id)").format(
            sql.Identifier(f"{table.name}_batch"), sql.Identifier(table.name)
        )
    )
    # The current rows, once a source; without the source in front, so that the marts look a key up by it.
    connection.execute(
        sql.SQL("create unique index if not exists {} on versions.{} ({}, _source) where _known_to is null").format(
            sql.Identifier(f"{table.name}_current"), sql.Identifier(table.name), key
        )
    )
    connection.execute(
        sql.SQL("create index if not exists {} on versions.{} (_known_to) where _known_to is not null").format(
            sql.Identifier(f"{table.name}_closed"), sql.Identifier(table.name)
        )
    )

    if "reverses_transaction_id" in table.column_names:
        connection.execute(
            sql.SQL(
                "create index if not exists {} on versions.{} (reverses_transaction_id)"
                " where reverses_transaction_id is not null"
            ).format(sql.Identifier(f"{table.name}_reversed"), sql.Identifier(table.name))
        )
    _indexes_for_touched_loans(connection, table)


def _indexes_for_touched_loans(connection: psycopg.Connection, table: Table) -> None:
    """What the kept models look up: a loan's open rows, and which rows became known in a span of dates."""
    wanted = {"split": "(_known_from) where _split_by is not null"}
    if "loan_id" in table.column_names and table.primary_key[0] != "loan_id":
        wanted["of_loan"] = "(loan_id) where _known_to is null"
    if "loan_id" in table.column_names:
        wanted["of_loan_before"] = "(loan_id) where _known_to is not null"
    if table.known_at is not None:
        # On an expression: else every reading of what was known by a date would go through it, row by row.
        wanted["known"] = "((_known_from + 0))"
    if table.name == "transactions":
        wanted["chargebacks"] = "(loan_id) where kind = 'chargeback'"
    for name, definition in wanted.items():
        connection.execute(
            sql.SQL("create index if not exists {} on versions.{} " + definition).format(
                sql.Identifier(f"{table.name}_{name}"), sql.Identifier(table.name)
            )
        )


def _comments(connection: psycopg.Connection, table: Table) -> None:
    for schema, text in (
        ("raw", "Every difference that a batch brought, append-only. "),
        ("versions", "Accepted rows with the span of dates in which each was known. "),
    ):
        connection.execute(
            sql.SQL("comment on table {} is {}").format(
                sql.Identifier(schema, table.name), sql.Literal(text + table.grain)
            )
        )


def create_load_table(connection: psycopg.Connection, table: Table, more: Iterable[tuple[str, str]] = ()) -> None:
    """Makes `load.TABLE` anew, empty, with what an engine needs beside the contract's columns and LOAD_COLUMNS."""
    columns = [(column.name, column.data_type) for column in table.columns] + [*LOAD_COLUMNS, *more]
    name = sql.Identifier("load", table.name)
    connection.execute(sql.SQL("drop table if exists {}").format(name))
    definitions = sql.SQL(", ").join(sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in columns)
    connection.execute(sql.SQL("create unlogged table {} ({})").format(name, definitions))
