"""Where else a person's values stand: texts, logs and pages that no erasure may rewrite, but must name."""

import html
import json
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from arrears.contract.servicing import Column, Table, contract
from arrears.privacy.blanking import personal_columns

# What databases, dbt and the gates answered is kept in them, as sentences.
RECORDS = ("batch_tables", "gate_results", "model_runs", "step_runs")
# The database's own files, and what is a delivery, an export or scratch: each is dealt with, or told of, by itself.
NOT_SEARCHED = ("postgres", "exports", "drops", "tmp")


def mentions_in_tables(connection: psycopg.Connection, values: Iterable[str]) -> list[str]:
    """Columns of schema raw that are not personal by the contract, and records of the pipeline's own, that hold one of
    the values, with how many rows do."""
    found = []
    given = {"values": sorted(values)}
    for table in contract().values():
        columns = [column.name for column in table.columns if _may_hold_anything(table, column)]
        if not columns:
            continue
        counts = sql.SQL(", ").join(
            sql.SQL("count(*) filter (where {})").format(_holds_value(sql.Identifier("rows", name))) for name in columns
        )
        row = connection.execute(
            sql.SQL("select {} from raw.{} as rows").format(counts, sql.Identifier(table.name)),
            given,
        ).fetchone()
        assert row is not None
        found += [f"raw.{table.name}.{name}: rows {n}" for name, n in zip(columns, row, strict=True) if n]
    for name in RECORDS:
        row = connection.execute(
            sql.SQL("select count(*) from ops.{} as rows where {}").format(
                sql.Identifier(name), _holds_value(sql.SQL("cast(rows as text)"))
            ),
            given,
        ).fetchone()
        if row and row[0]:
            found.append(f"ops.{name}: rows {row[0]}")
    return found


def _holds_value(text: sql.Composable) -> sql.Composed:
    return sql.SQL(
        "exists (select 1 from unnest(%(values)s::text[]) as needles (needle) where position(needle in {}) > 0)"
    ).format(text)


def _may_hold_anything(table: Table, column: Column) -> bool:
    """Free texts; in a table with personal columns any text, because a lender may confuse its columns."""
    if column.data_type != "text" or column.personal or column.values:
        return False
    is_id = column.name.endswith("_id") or column.name in table.primary_key
    return bool(personal_columns(table)) or not (is_id or column.name.endswith("currency"))


def mentions(home: Path, values: Iterable[str], *, apart_from: Iterable[Path] = ()) -> list[str]:
    """Files below the home, and the database server's logs, that hold one of the values; paths relative to it."""
    needles = sorted({form.encode() for value in values for form in _forms(value)})
    if not needles:
        return []
    skipped = {folder.resolve() for folder in apart_from}
    return [file.relative_to(home).as_posix() for file in _files(home, skipped) if _holds(file, needles)]


def _forms(value: str) -> tuple[str, ...]:
    """A value as text, JSON and HTML write it."""
    return value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], html.escape(value)


def _files(home: Path, skipped: set[Path]) -> Iterator[Path]:
    yield from sorted((home / "postgres").glob("*.log"))
    for top in sorted(home.glob("*")):
        if top.name in NOT_SEARCHED:
            continue
        if top.is_file() and not top.is_symlink():
            yield top
        for folder_name, folders, names in os.walk(top):
            folder = Path(folder_name)
            folders[:] = sorted(name for name in folders if (folder / name).resolve() not in skipped)
            yield from (folder / name for name in sorted(names) if not (folder / name).is_symlink())


def _holds(file: Path, needles: Iterable[bytes]) -> bool:
    if not file.is_file() or file.stat().st_size == 0:
        return False
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(needle) >= 0 for needle in needles)
