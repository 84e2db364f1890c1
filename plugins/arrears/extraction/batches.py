"""Batches: what one source delivered for one date. Loaded, judged by the raw gate, then accepted or rejected.

A batch's id comes from its source, its date, its content and the accepted batch that it follows, because what is kept
of it are the differences to that one; never from a clock or a sequence.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from arrears.contract.servicing import Table, contract
from arrears.errors import AlreadyExported, SourceError
from arrears.extraction.drops import Drop, DropFile, find_drop_folder, open_drop
from arrears.extraction.reading import DropReader, Loaded, Unreadable, open_reader
from arrears.extraction.sources import Source
from arrears.settings import get_settings

# Before all time: from when the rows of a source's first full batch are known (INTERFACE §3).
BEFORE_ALL_TIME = date(1, 1, 1)


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of ops.batches."""

    batch_id: str
    source: str
    batch_date: date
    is_first: bool
    state: str


def find(connection: psycopg.Connection, source: str, batch_date: date, state: str) -> Batch | None:
    """The batch of a source and date in a state; the newest where several are."""
    row = connection.execute(
        "select batch_id, source, batch_date, is_first, state from ops.batches"
        " where source = %s and batch_date = %s and state = %s order by loaded_at desc, batch_id limit 1",
        [source, batch_date, state],
    ).fetchone()
    return Batch(*row) if row else None


def extract(
    connection: psycopg.Connection, source: Source, drop: Path | None, as_of: date, *, run_id: str, may_replace: bool
) -> dict[str, int | str]:
    """Loads a source's drop for a date into schema raw as differences to what is known; one transaction.

    The same drop again changes nothing. Another drop for a date that is accepted supersedes it, unless the date is
    exported and `may_replace` is false.

    Returns:
        Counts, and the batch's id and state.

    Raises:
        SourceError: the drop cannot be read, breaks the contract, or is of a date before the newest accepted one.
        AlreadyExported: the date is exported from another drop.
    """
    accepted = find(connection, source.name, as_of, "accepted")
    newest = connection.execute(
        "select max(batch_date) from ops.batches where source = %s and state = 'accepted'", [source.name]
    ).fetchone()
    assert newest is not None
    try:
        content = open_drop(source, find_drop_folder(source, drop, as_of))
    except SourceError:
        if accepted is not None and drop is None:  # the drop may be gone; what was accepted of it is known for ever
            return {"batch_id": accepted.batch_id, "state": accepted.state}
        raise
    content_sha256 = _content(source, content)
    if accepted is not None:
        same = connection.execute(
            "select content_sha256 = %s from ops.batches where batch_id = %s", [content_sha256, accepted.batch_id]
        ).fetchone()
        if same == (True,):
            return {"batch_id": accepted.batch_id, "state": accepted.state}
        _refuse_other_bytes(connection, accepted, content, may_replace=may_replace)
    if newest[0] is not None and newest[0] > as_of:
        raise SourceError(
            f"Source {source.name} has delivered up to {newest[0]}; a drop of {as_of} comes too late to be taken in: "
            f"deliver its corrections with the next date."
        )
    if accepted is not None:
        supersede(connection, accepted)
    replaced = None if accepted is None else accepted.batch_id
    return _load(connection, source, content, content_sha256, as_of, run_id, replaced)


def _load_again(
    connection: psycopg.Connection, batch_id: str, run_id: str, replaced: str | None
) -> dict[str, int | str]:
    """Has a batch whose differences stand in raw already judged again."""
    connection.execute(
        "update ops.batches set state = 'loaded', decided_at = null, run_id = %s,"
        " replaces_batch_id = coalesce(%s, replaces_batch_id) where batch_id = %s",
        [run_id, replaced, batch_id],
    )
    connection.execute("delete from quarantine.rows where batch_id = %s and stage = 'raw'", [batch_id])
    connection.execute("update quarantine.rows set closed_on = null, closed_by = null where batch_id = %s", [batch_id])
    return {"batch_id": batch_id, "state": "loaded"}


def _content(source: Source, drop: Drop) -> str:
    """Hash of what was delivered: the files, and the SELECTs that make the contract's tables of them."""
    digest = sha256(drop.content_sha256.encode())
    digest.update((source.time_zone or "").encode())
    for name in contract():
        digest.update((source.select(name) or "").encode())
    return digest.hexdigest()


def _reading_sha256(source: Source, table: Table, files: Sequence[DropFile]) -> str:
    """Hash of all that decides how a table's rows come out: its files, its SELECT, its columns in the contract."""
    digest = sha256(repr((source.time_zone, source.select(table.name), table.primary_key, table.columns)).encode())
    for file in files:
        digest.update(f"{file.label}\0{file.sha256}".encode())
    return digest.hexdigest()


def _refuse_other_bytes(connection: psycopg.Connection, accepted: Batch, drop: Drop, *, may_replace: bool) -> None:
    exported = connection.execute(
        "select 1 from ops.exports where as_of_date = %s and state <> 'replaced'", [accepted.batch_date]
    ).fetchone()
    if exported is None or may_replace:
        return
    row = connection.execute("select files from ops.batches where batch_id = %s", [accepted.batch_id]).fetchone()
    assert row is not None
    before: dict[str, str] = row[0]
    now = drop.hashes
    differing = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    raise AlreadyExported(
        f"{accepted.batch_date} is already exported from batch {accepted.batch_id}, and this drop is another one "
        f"(other bytes in {', '.join(differing) or 'the SELECTs of the source'}), so manifest.json would differ; "
        f"nothing was changed: say --replace REASON to export the date again."
    )


def _load(
    connection: psycopg.Connection,
    source: Source,
    drop: Drop,
    content_sha256: str,
    as_of: date,
    run_id: str,
    replaced: str | None,
) -> dict[str, int | str]:
    base = connection.execute(
        "select batch_id from ops.batches where source = %s and state = 'accepted' order by batch_date desc limit 1",
        [source.name],
    ).fetchone()
    is_first = base is None
    parts = [source.name, as_of.isoformat(), content_sha256, "" if base is None else str(base[0])]
    batch_id = f"{source.name}-{as_of}-{sha256(chr(0).join(parts).encode()).hexdigest()[:12]}"
    connection.execute(
        "update ops.batches set state = 'rejected', decided_at = now()"
        " where source = %s and state = 'loaded' and batch_id <> %s",
        [source.name, batch_id],
    )
    there = connection.execute("select state from ops.batches where batch_id = %s", [batch_id]).fetchone()
    if there is not None:
        return _load_again(connection, batch_id, run_id, replaced)
    connection.execute(
        "insert into ops.batches"
        " (batch_id, source, batch_date, mode, is_first, state, content_sha256, files, drop_path, run_id,"
        " replaces_batch_id) values (%s, %s, %s, 'full', %s, 'loaded', %s, %s, %s, %s, %s)",
        [
            batch_id,
            source.name,
            as_of,
            is_first,
            content_sha256,
            Jsonb(drop.hashes),
            str(drop.folder),
            run_id,
            replaced,
        ],
    )
    batch = Batch(batch_id, source.name, as_of, is_first, "loaded")
    counts = {"rows": 0, "unreadable": 0, "new": 0, "changed": 0, "deleted": 0}
    with open_reader(source, drop, get_settings().home / "tmp") as reader:
        _keep_lender_unreadable(connection, drop, reader, batch)
        counts["unreadable"] += len(reader.lender_unreadable())
        delivered = {table.name for table in reader.tables()}
        for table in contract().values():
            if table.name in delivered:
                _load_table(connection, source, drop, reader, batch, table, counts)
            else:
                connection.execute(
                    "insert into ops.batch_tables (batch_id, table_name, is_delivered) values (%s, %s, false)",
                    [batch_id, table.name],
                )
    return {"batch_id": batch_id, "state": "loaded", **counts}


def _keep_lender_unreadable(connection: psycopg.Connection, drop: Drop, reader: DropReader, batch: Batch) -> None:
    """Malformed lines of the lender's own files are quarantined and counted under the file's name."""
    _quarantine(connection, batch, reader.lender_unreadable())
    counts = Counter(row.table for row in reader.lender_unreadable())
    for name, file in drop.files.items():
        count = counts[file.label]
        if count == 0:
            continue
        connection.execute(
            "insert into ops.batch_tables"
            " (batch_id, table_name, is_delivered, file, file_sha256, row_count, unreadable_count)"
            " values (%s, %s, true, %s, %s, %s, %s)",
            [batch.batch_id, file.label, file.label, file.sha256, reader.line_count(name) + count, count],
        )


def _load_table(
    connection: psycopg.Connection,
    source: Source,
    drop: Drop,
    reader: DropReader,
    batch: Batch,
    table: Table,
    counts: dict[str, int],
) -> None:
    files = [drop.files[table.name]] if source.is_contract_form else list(drop.files.values())
    reading_sha256 = _reading_sha256(source, table, files)
    label = files[0].label if source.is_contract_form else f"{table.name}.sql"
    file_sha256 = files[0].sha256 if source.is_contract_form else reading_sha256
    row: dict[str, object] = {"file": label, "file_sha256": file_sha256, "reading_sha256": reading_sha256}
    unchanged = _as_last_time(connection, batch, table, reading_sha256)
    if unchanged is None:
        loaded = reader.load(connection, table)
        row_count = loaded.row_count
        _refuse_empty(drop, table, loaded)
        _quarantine(connection, batch, loaded.unreadable)
        duplicates = _drop_identical_duplicates(connection, table)
        # A row whose key cannot be read may be any row: then nothing of its table is taken for deleted. A malformed
        # line of a lender's own file may have been part of any table.
        may_delete = not reader.lender_unreadable() and all(row.has_key for row in loaded.unreadable)
        new, changed, deleted = _differences(connection, batch, table, loaded.unreadable, may_delete=may_delete)
        row |= {
            "row_count": row_count + len(loaded.unreadable),
            "unreadable_count": len(loaded.unreadable),
            "duplicate_count": duplicates,
            "new_count": new,
            "changed_count": changed,
            "deleted_count": deleted,
            "warnings": Jsonb(loaded.warnings),
            "delivered_columns": loaded.delivered_columns,
        }
        for name, value in (
            ("unreadable", len(loaded.unreadable)),
            ("new", new),
            ("changed", changed),
            ("deleted", deleted),
        ):
            counts[name] += value
        connection.execute(sql.SQL("drop table load.{}").format(sql.Identifier(table.name)))
    else:
        row |= unchanged
        row_count = int(str(unchanged["row_count"]))
    counts["rows"] += row_count
    columns = list(row)
    connection.execute(
        sql.SQL(
            "insert into ops.batch_tables (batch_id, table_name, is_delivered, {}) values (%s, %s, true, {})"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
        ),
        [batch.batch_id, table.name, *row.values()],
    )


def _as_last_time(
    connection: psycopg.Connection, batch: Batch, table: Table, reading_sha256: str
) -> dict[str, object] | None:
    """What is known of the table if the last accepted batch brought the same bytes and no finding is open."""
    found = connection.execute(
        """
        select last.row_count, last.warnings, last.delivered_columns
        from ops.batch_tables as last
        inner join ops.batches as batches on last.batch_id = batches.batch_id
        where batches.source = %(source)s and batches.state = 'accepted' and last.table_name = %(table)s
            and batches.batch_date = (
                select max(b.batch_date) from ops.batches as b where b.source = %(source)s and b.state = 'accepted'
            )
            and last.reading_sha256 = %(reading_sha256)s
            and not exists (
                select 1 from quarantine.rows as open
                where open.source = %(source)s and open.table_name = %(table)s and open.closed_on is null
            )
        """,
        {"source": batch.source, "table": table.name, "reading_sha256": reading_sha256},
    ).fetchone()
    if found is None:
        return None
    return {"row_count": found[0], "warnings": Jsonb(found[1]), "delivered_columns": found[2]}


def _refuse_empty(drop: Drop, table: Table, loaded: Loaded) -> None:
    if table.required and not table.only_grows and loaded.row_count == 0:
        if loaded.unreadable:
            raise SourceError(
                f"No row of the required table {table.name} can be read; the first: {loaded.unreadable[0].reason}"
            )
        raise SourceError(f"{drop.folder}: the required table {table.name} is empty; an empty drop is not taken in.")


def _quarantine(connection: psycopg.Connection, batch: Batch, rows: Sequence[Unreadable]) -> None:
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
            [_finding(batch, row) for row in rows],
        )


def _finding(batch: Batch, unreadable: Unreadable) -> list[object]:
    table = contract().get(unreadable.table)
    row = unreadable.row
    key = {name: row.get(name) for name in table.primary_key} if table else None
    place = json.dumps([batch.batch_id, unreadable.table, unreadable.file, unreadable.line, unreadable.reason])
    # A table without loan_id bears on all loans of its borrower.
    loan_id = row.get("loan_id")
    borrower_id = None if loan_id else row.get("borrower_id")
    return [
        sha256(place.encode()).hexdigest(),
        batch.batch_date,
        batch.source,
        unreadable.table,
        batch.batch_id,
        unreadable.reason,
        loan_id,
        borrower_id,
        Jsonb(key),
        Jsonb(row),
        unreadable.file,
        unreadable.line,
        batch.batch_date,
    ]


def _drop_identical_duplicates(connection: psycopg.Connection, table: Table) -> int:
    """Rows delivered twice to the letter count once: the first line stays."""
    key = sql.SQL(", ").join(map(sql.Identifier, table.primary_key))
    done = connection.execute(
        sql.SQL(
            """
            with doubled as (
                select {key}, _row_hash, min(ctid) as first_ctid
                from load.{table}
                group by {key}, _row_hash
                having count(*) > 1
            )
            delete from load.{table} as rows using doubled
            where {same} and rows._row_hash = doubled._row_hash and rows.ctid <> doubled.first_ctid
            """
        ).format(key=key, table=sql.Identifier(table.name), same=_same_key(table, "rows", "doubled"))
    )
    return done.rowcount


def _same_key(table: Table, left: str, right: str) -> sql.Composable:
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(left, name), sql.Identifier(right, name)) for name in table.primary_key
    )


def known_on(table: Table, batch: Batch) -> sql.Composable:
    """SQL of the date from which a row of this batch is known (INTERFACE §3); `rows` is the alias of its row."""
    since = sql.Literal(BEFORE_ALL_TIME if batch.is_first else batch.batch_date) + sql.SQL("::date")
    if table.known_at is None:
        return since
    known_at: sql.Composable = sql.Identifier("rows", table.known_at)
    if table.column(table.known_at).data_type == "timestamptz":
        zone = sql.Literal(get_settings().business_time_zone)
        known_at = sql.SQL("cast({} at time zone {} as date)").format(known_at, zone)
    return sql.SQL("greatest({}, {})").format(since, known_at)  # null: as the batch


def _differences(
    connection: psycopg.Connection, batch: Batch, table: Table, unreadable: Sequence[Unreadable], *, may_delete: bool
) -> tuple[int, int, int]:
    """Inserts into raw what differs from the current versions; gives the counts of new, changed and deleted rows."""
    names: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "key": sql.SQL(", ").join(map(sql.Identifier, table.primary_key)),
        "columns": sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
        "values": sql.SQL(", ").join(sql.Identifier("rows", name) for name in table.column_names),
        "same": _same_key(table, "rows", "current"),
        "same_twice": _same_key(table, "rows", "twice"),
        "known_on": known_on(table, batch),
        "first_key": sql.Identifier("current", table.primary_key[0]),
    }
    given = {"source": batch.source, "batch": batch.batch_id}
    row = connection.execute(
        sql.SQL(
            """
            with twice as materialized (
                select {key} from load.{table} group by {key} having count(*) > 1
            ),
            inserted as (
                insert into raw.{table} ({columns}, _source, _batch_id, _known_on, _row_hash, _is_deleted, _file, _line)
                select {values}, %(source)s, %(batch)s, {known_on}, rows._row_hash, false, rows._file, rows._line
                from load.{table} as rows
                left join versions.{table} as current
                    on {same} and current._source = %(source)s and current._known_to is null
                where {first_key} is null
                    or current._row_hash <> rows._row_hash
                    or exists (select 1 from twice where {same_twice})
                returning 1
            )
            select
                (select count(*) from inserted),
                (
                    select count(*) from load.{table} as rows
                    inner join versions.{table} as current
                        on {same} and current._source = %(source)s and current._known_to is null
                    where current._row_hash <> rows._row_hash
                )
            """
        ).format(**names),
        given,
    ).fetchone()
    assert row is not None
    inserted, changed = int(row[0]), int(row[1])
    deleted = _tombstones(connection, batch, table, unreadable) if may_delete else 0
    return inserted - changed, changed, deleted


def _tombstones(connection: psycopg.Connection, batch: Batch, table: Table, unreadable: Sequence[Unreadable]) -> int:
    """A current row that a full drop no longer holds is deleted from its date on; one that cannot be read is not."""
    if batch.is_first:
        return 0
    keys = [Jsonb({name: str(row.row.get(name)) for name in table.primary_key}) for row in unreadable]
    key_json = sql.SQL(", ").join(
        sql.SQL("{}, {}::text").format(sql.Literal(name), sql.Identifier("current", name)) for name in table.primary_key
    )
    done = connection.execute(
        sql.SQL(
            """
            insert into raw.{table} ({key}, _source, _batch_id, _known_on, _is_deleted)
            select {current_key}, %(source)s, %(batch)s, %(date)s, true
            from versions.{table} as current
            where current._source = %(source)s and current._known_to is null
                and not exists (select 1 from load.{table} as rows where {same})
                and not jsonb_build_object({key_json}) = any (%(unreadable)s::jsonb[])
            """
        ).format(
            table=sql.Identifier(table.name),
            key=sql.SQL(", ").join(map(sql.Identifier, table.primary_key)),
            current_key=sql.SQL(", ").join(sql.Identifier("current", name) for name in table.primary_key),
            same=_same_key(table, "rows", "current"),
            key_json=key_json,
        ),
        {"source": batch.source, "batch": batch.batch_id, "date": batch.batch_date, "unreadable": keys},
    )
    return done.rowcount


def accept(connection: psycopg.Connection, batch_id: str) -> dict[str, int]:
    """Makes a loaded batch known: its differences become versions, less those that the raw gate quarantined.

    Returns:
        Counts of versions opened and closed.
    """
    batch = _batch(connection, batch_id)
    later = connection.execute(
        "select batch_id from ops.batches where source = %s and state = 'accepted' and batch_date >= %s limit 1",
        [batch.source, batch.batch_date],
    ).fetchone()
    if later is not None:
        raise SourceError(
            f"Batch {batch_id} cannot be taken in: {later[0]} of the same source is accepted already and holds the "
            f"newer state; deliver the corrections with the next date."
        )
    counts = {"opened": 0, "closed": 0}
    changed = connection.execute(
        "select table_name from ops.batch_tables"
        " where batch_id = %s and new_count + changed_count + deleted_count > 0 order by table_name",
        [batch_id],
    ).fetchall()
    for (name,) in changed:
        table = contract()[name]
        given = {"batch": batch_id, "source": batch.source, "table": name}
        names: dict[str, sql.Composable] = {
            "table": sql.Identifier(name),
            "good": _good_rows(connection, batch_id, table),
            "same": _same_key(table, "current", "good"),
            "columns": sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
        }
        counts["closed"] += connection.execute(
            sql.SQL(
                """
                update versions.{table} as current set _known_to = good._known_on, _closed_by = %(batch)s
                from {good} as good
                where {same} and current._source = %(source)s and current._known_to is null
                """
            ).format(**names),
            given,
        ).rowcount
        counts["opened"] += connection.execute(
            sql.SQL(
                """
                insert into versions.{table} ({columns}, _source, _batch_id, _known_from, _row_hash, _file, _line)
                select {columns}, _source, _batch_id, _known_on, _row_hash, _file, _line
                from {good} as good
                where not _is_deleted
                """
            ).format(**names),
            given,
        ).rowcount
        connection.execute(sql.SQL("analyze versions.{}").format(sql.Identifier(name)))
    _decide(connection, batch_id, "accepted")
    return counts


def _good_rows(connection: psycopg.Connection, batch_id: str, table: Table) -> sql.Composable:
    """The batch's rows in raw whose key is not quarantined, as a FROM item."""
    any_bad = connection.execute(
        "select 1 from quarantine.rows where batch_id = %s and table_name = %s and stage = 'raw' limit 1",
        [batch_id, table.name],
    ).fetchone()
    condition: sql.Composable = sql.SQL("")
    if any_bad is not None:
        key_json = sql.SQL(", ").join(
            sql.SQL("{}, {}::text").format(sql.Literal(name), sql.Identifier("rows", name))
            for name in table.primary_key
        )
        condition = sql.SQL(
            """ and not exists (
                select 1 from quarantine.rows as bad
                where bad.batch_id = %(batch)s and bad.table_name = %(table)s and bad.stage = 'raw'
                    and bad.key = jsonb_build_object({})
            )"""
        ).format(key_json)
    return sql.SQL("(select * from raw.{} as rows where rows._batch_id = %(batch)s{})").format(
        sql.Identifier(table.name), condition
    )


def reject(connection: psycopg.Connection, batch_id: str) -> None:
    """Marks a batch that the raw gate blocked; nothing of it becomes known, and what it was to replace holds again."""
    _decide(connection, batch_id, "rejected")
    replaced = connection.execute(
        "select old.batch_id from ops.batches as new"
        " inner join ops.batches as old on new.replaces_batch_id = old.batch_id"
        " where new.batch_id = %s and old.state = 'superseded'",
        [batch_id],
    ).fetchone()
    if replaced is not None:
        connection.execute(
            "update quarantine.rows set closed_on = null, closed_by = null where batch_id = %s and closed_by = %s",
            [replaced[0], f"superseded {replaced[0]}"],
        )
        accept(connection, str(replaced[0]))


def _decide(connection: psycopg.Connection, batch_id: str, state: str) -> None:
    connection.execute("update ops.batches set state = %s, decided_at = now() where batch_id = %s", [state, batch_id])


def _batch(connection: psycopg.Connection, batch_id: str) -> Batch:
    row = connection.execute(
        "select batch_id, source, batch_date, is_first, state from ops.batches where batch_id = %s", [batch_id]
    ).fetchone()
    assert row is not None, batch_id
    return Batch(*row)


def supersede(connection: psycopg.Connection, batch: Batch) -> None:
    """Takes a source's newest accepted batch back: what it opened is removed, what it closed is current again."""
    for table in contract():
        name = sql.Identifier(table)
        connection.execute(sql.SQL("delete from versions.{} where _batch_id = %s").format(name), [batch.batch_id])
        connection.execute(
            sql.SQL("update versions.{} set _known_to = null, _closed_by = null where _closed_by = %s").format(name),
            [batch.batch_id],
        )
    connection.execute(
        "update quarantine.rows set closed_on = null, closed_by = null where closed_by = %s", [batch.batch_id]
    )
    connection.execute(
        "update quarantine.rows set closed_on = opened_on, closed_by = %s where batch_id = %s and closed_on is null",
        [f"superseded {batch.batch_id}", batch.batch_id],
    )
    _decide(connection, batch.batch_id, "superseded")
