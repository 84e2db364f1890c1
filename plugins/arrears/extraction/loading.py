"""Loads a delivery: its tables on their way into load.TABLE, then their differences to what is known into raw."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError
from arrears.extraction.chain import Batch, Place
from arrears.extraction.delivery import KEYS, Delivery, Loaded, Unreadable
from arrears.extraction.differences import Known, drop_identical_duplicates, take
from arrears.extraction.sources import Source
from arrears.privacy.blanking import blank_loaded, blank_unreadable

Counts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Batching:
    """Of which date and run a delivery becomes a batch, where it belongs, and what it replaces."""

    as_of: date
    run_id: str
    place: Place
    replaced: Batch | None

    @property
    def base_id(self) -> str | None:
        """The batch that it is compared with."""
        return None if self.place.base is None else self.place.base.batch_id

    @property
    def replaced_id(self) -> str | None:
        """The batch that it replaces."""
        return None if self.replaced is None else self.replaced.batch_id

    def batch_id(self, source: Source, content_sha256: str) -> str:
        """Source, date and a hash that also covers the content and what it is compared with."""
        parts = [source.name, self.as_of.isoformat(), content_sha256, self.base_id or ""]
        if self.place.known_from != self.as_of:
            parts.append(self.place.known_from.isoformat())
        return f"{source.name}-{self.as_of}-{sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"


@dataclass(slots=True)
class _Part:
    """One table on its way: what was loaded of it, or (None) what is known of it because nothing changed."""

    table: Table
    loaded: Loaded | None
    record: dict[str, object]


def load(
    connection: psycopg.Connection,
    source: Source,
    delivery: Delivery,
    batching: Batching,
    *,
    content_sha256: str | None = None,
    reading_of: Callable[[Table], str] | None = None,
) -> Counts:
    """Makes a batch of a delivery, in the caller's transaction.

    Args:
        connection: the warehouse.
        source: whose delivery it is.
        delivery: what the engine offers.
        batching: of which date and run, and where it belongs.
        content_sha256: hash of the content where it is known before reading; else it is told from what was loaded.
        reading_of: hash of all that decides how a table comes out; a table that read the same last time is left alone.

    Raises:
        SourceError: it cannot be read or breaks the contract.
    """
    known_id = None if content_sha256 is None else batching.batch_id(source, content_sha256)
    if known_id is not None and (again := _again(connection, known_id, batching)) is not None:
        return again
    parts = [_part(connection, source, delivery, table, batching, reading_of) for table in delivery.tables()]
    content = content_sha256 or _content(delivery.hashes)
    batch_id = known_id or batching.batch_id(source, content)
    if known_id is None and (again := _again(connection, batch_id, batching)) is not None:
        return again
    _open_batch(connection, source, delivery, batching, batch_id, content)
    place = batching.place
    known = Known(source.name, batch_id, place.known_from, place.base is None, place.is_side_branch)
    counts: Counts = {"rows": 0, "unreadable": 0, "new": 0, "changed": 0, "deleted": 0}
    _keep_lender_unreadable(connection, source, delivery, known)
    counts["unreadable"] += len(delivery.lender_unreadable())
    for part in parts:
        _take_part(connection, delivery, known, part, counts)
    delivered = {part.table.name for part in parts}
    for name in contract():
        if name not in delivered:
            connection.execute(
                "insert into ops.batch_tables (batch_id, table_name, is_delivered, mode) values (%s, %s, false, %s)",
                [batch_id, name, delivery.mode],
            )
    return {"batch_id": batch_id, "state": "loaded", **counts}


def _content(hashes: Mapping[str, str]) -> str:
    digest = sha256()
    for name, value in sorted(hashes.items()):
        digest.update(f"{name}\0{value}\n".encode())
    return digest.hexdigest()


def _again(connection: psycopg.Connection, batch_id: str, batching: Batching) -> Counts | None:
    """Has a batch whose differences stand in raw already judged again; None where it is a new one."""
    if connection.execute("select 1 from ops.batches where batch_id = %s", [batch_id]).fetchone() is None:
        return None
    connection.execute(
        "update ops.batches set state = 'loaded', decided_at = null, run_id = %s,"
        " replaces_batch_id = coalesce(%s, replaces_batch_id) where batch_id = %s",
        [batching.run_id, batching.replaced_id, batch_id],
    )
    connection.execute("delete from quarantine.rows where batch_id = %s and stage = 'raw'", [batch_id])
    connection.execute("update quarantine.rows set closed_on = null, closed_by = null where batch_id = %s", [batch_id])
    return {"batch_id": batch_id, "state": "loaded"}


def _open_batch(
    connection: psycopg.Connection, source: Source, delivery: Delivery, batching: Batching, batch_id: str, content: str
) -> None:
    connection.execute(
        "insert into ops.batches"
        " (batch_id, source, batch_date, known_from, mode, is_first, state, content_sha256, files, drop_path, run_id,"
        " base_batch_id, replaces_batch_id, follows)"
        " values (%s, %s, %s, %s, %s, %s, 'loaded', %s, %s, %s, %s, %s, %s, %s)",
        [
            batch_id,
            source.name,
            batching.as_of,
            batching.place.known_from,
            delivery.mode,
            batching.place.base is None,
            content,
            Jsonb(dict(delivery.hashes)),
            delivery.place,
            batching.run_id,
            batching.base_id,
            batching.replaced_id,
            delivery.after,
        ],
    )


def _part(
    connection: psycopg.Connection,
    source: Source,
    delivery: Delivery,
    table: Table,
    batching: Batching,
    reading_of: Callable[[Table], str] | None,
) -> _Part:
    label, file_sha256 = delivery.label(table), delivery.hashes.get(delivery.label(table))
    reading_sha256 = reading_of(table) if reading_of is not None else None
    record: dict[str, object] = {
        "file": label,
        "file_sha256": file_sha256 or reading_sha256,
        "reading_sha256": reading_sha256,
    }
    if reading_sha256 is not None and (unchanged := _as_last_time(connection, batching, table, reading_sha256)):
        return _Part(table, None, record | unchanged)
    loaded = delivery.load(connection, table)
    # Before anything is compared or kept: whose personal data were erased has none here again.
    blank_loaded(connection, table)
    loaded.unreadable = blank_unreadable(connection, loaded.unreadable, key_prefix=source.key_prefix)
    _refuse_empty(delivery, table, loaded)
    return _Part(table, loaded, record | {"row_count": loaded.row_count + len(loaded.unreadable)})


def _as_last_time(
    connection: psycopg.Connection, batching: Batching, table: Table, reading_sha256: str
) -> dict[str, object] | None:
    """What is known of the table if its base brought it in full from the same bytes and no finding is open."""
    if batching.base_id is None or batching.place.is_side_branch:
        return None
    found = connection.execute(
        """
        select last.row_count, last.warnings, last.delivered_columns, last.complete_from
        from ops.batch_tables as last
        inner join ops.batches as batches on last.batch_id = batches.batch_id
        where last.batch_id = %(base)s and last.table_name = %(table)s
            and last.reading_sha256 = %(reading_sha256)s and last.mode = 'full'
            and not exists (
                select 1 from quarantine.rows as open
                where open.source = batches.source and open.table_name = %(table)s and open.closed_on is null
            )
        """,
        {"base": batching.base_id, "table": table.name, "reading_sha256": reading_sha256},
    ).fetchone()
    if found is None:
        return None
    return {
        "row_count": found[0],
        "warnings": Jsonb(found[1]),
        "delivered_columns": found[2],
        "complete_from": found[3],
    }


def _refuse_empty(delivery: Delivery, table: Table, loaded: Loaded) -> None:
    if loaded.mode == "full" and table.required and not table.only_grows and loaded.row_count == 0:
        if loaded.unreadable:
            raise SourceError(
                f"No row of the required table {table.name} can be read; the first: {loaded.unreadable[0].reason}"
            )
        raise SourceError(f"{delivery.place}: the required table {table.name} is empty; nothing is taken in.")


def _take_part(connection: psycopg.Connection, delivery: Delivery, known: Known, part: _Part, counts: Counts) -> None:
    table, loaded, record = part.table, part.loaded, part.record
    counts["rows"] += int(str(record["row_count"]))
    if loaded is not None:
        _quarantine(connection, known, loaded.unreadable)
        duplicates, are_twice = drop_identical_duplicates(connection, table)
        # A row whose key cannot be read may be any row: then nothing of its table is taken for deleted. A malformed
        # line of a lender's own file may have been part of any table.
        may_delete = not delivery.lender_unreadable() and all(row.has_key for row in loaded.unreadable)
        new, changed, deleted = take(connection, known, table, loaded, are_twice=are_twice, may_delete=may_delete)
        for name in (table.name, *([table.name + KEYS] if loaded.has_keys else [])):
            connection.execute(sql.SQL("drop table load.{}").format(sql.Identifier(name)))
        counted = {"unreadable": len(loaded.unreadable), "new": new, "changed": changed, "deleted": deleted}
        counts.update({name: counts[name] + value for name, value in counted.items()})
        record |= {f"{name}_count": value for name, value in counted.items()} | {
            "duplicate_count": duplicates,
            "warnings": Jsonb(loaded.warnings),
            "delivered_columns": loaded.delivered_columns,
            "mode": loaded.mode,
            "complete_from": loaded.complete_from,
            "are_keys_compared": loaded.has_keys,
        }
        if loaded.reading_sha256 is not None:
            record["reading_sha256"] = loaded.reading_sha256
    columns = list(record)
    connection.execute(
        sql.SQL(
            "insert into ops.batch_tables (batch_id, table_name, is_delivered, {}) values (%s, %s, true, {})"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
        ),
        [known.batch_id, table.name, *record.values()],
    )


def _keep_lender_unreadable(connection: psycopg.Connection, source: Source, delivery: Delivery, known: Known) -> None:
    """Malformed lines of the lender's own files are quarantined and counted under the file's name."""
    unreadable = blank_unreadable(connection, delivery.lender_unreadable(), key_prefix=source.key_prefix)
    _quarantine(connection, known, unreadable)
    for label, count in sorted(Counter(row.table for row in unreadable).items()):
        connection.execute(
            "insert into ops.batch_tables"
            " (batch_id, table_name, is_delivered, file, file_sha256, row_count, unreadable_count)"
            " values (%s, %s, true, %s, %s, %s, %s)",
            [known.batch_id, label, label, delivery.hashes.get(label), delivery.line_count(label) + count, count],
        )


def _quarantine(connection: psycopg.Connection, known: Known, rows: Sequence[Unreadable]) -> None:
    """Keeps the rows that could not be read, with their place and what they would have belonged to."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            insert into quarantine.rows (
                finding_id, as_of_date, stage, source, table_name, batch_id, rule, reason, severity,
                loan_id, borrower_id, key, row_data, file, line, opened_on
            )
            values (%s, %s, 'extract', %s, %s, %s, 'unreadable', %s, 'critical', %s, %s, %s, %s, %s, %s, %s)
            on conflict (finding_id) do nothing
            """,
            [_finding(known, row) for row in rows],
        )


def _finding(known: Known, unreadable: Unreadable) -> list[object]:
    table = contract().get(unreadable.table)
    row = unreadable.row
    key = {name: row.get(name) for name in table.primary_key} if table else None
    place = json.dumps([known.batch_id, unreadable.table, unreadable.file, unreadable.line, unreadable.reason])
    # A table without loan_id bears on all loans of its borrower.
    loan_id = row.get("loan_id")
    borrower_id = None if loan_id else row.get("borrower_id")
    return [
        sha256(place.encode()).hexdigest(),
        known.known_from,
        known.source,
        unreadable.table,
        known.batch_id,
        unreadable.reason,
        loan_id,
        borrower_id,
        Jsonb(key),
        Jsonb(row),
        unreadable.file,
        unreadable.line,
        known.known_from,
    ]
