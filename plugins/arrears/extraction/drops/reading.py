"""Reads a drop's files with DuckDB and streams the readable rows into PostgreSQL; never a whole table in memory.

Every value is checked here against its type in the contract, so that whatever reaches schema raw is typed. A row that
cannot be read comes back as an `Unreadable` with file, line and reason; every line of a text is accounted for.
"""

import io
import json
import shutil
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError, WarehouseError
from arrears.extraction.delivery import Loaded, Mode, Unreadable
from arrears.extraction.drops.control_totals import Control, check_columns
from arrears.extraction.drops.folders import Drop
from arrears.extraction.drops.formats import (
    Readable,
    best_reading,
    breaks,
    literal,
    prepare,
    quote,
    refuse_too_many,
    scan,
)
from arrears.extraction.drops.row_checks import DELETED, Rules, checked
from arrears.extraction.drops.whole_files import DropFile, blank_lines, lines_at
from arrears.extraction.sources import Source
from arrears.warehouse.contract_tables import create_load_table

ROWS_A_BATCH = 50_000
HOUSEKEEPING = ("_row_hash", "_file", "_line")


@dataclass(frozen=True, slots=True)
class _Malformed:
    """Lines of a text that are no rows, and the line numbers that its rows were counted without."""

    found: list[tuple[int, str, dict[str, Any]]]  # line, reason, best reading
    skipped: list[int]

    @property
    def thresholds(self) -> list[int]:
        """Of rows counted without the skipped lines: from each of these on, one more must be added."""
        return [line - index for index, line in enumerate(self.skipped)]

    def line(self, counted: int) -> int:
        """Where a row stands, from its place among the rows."""
        return counted + bisect_right(self.thresholds, counted)


class DropDelivery:
    """A drop as a delivery, read through a DuckDB session; made by `open_reader`."""

    def __init__(self, session: duckdb.DuckDBPyConnection, source: Source, drop: Drop, scratch: Path) -> None:
        self._session = session
        self._source = source
        self._drop = drop
        self._readable: dict[str, Readable] = {}
        self._lender_unreadable: list[Unreadable] = []
        for number, (name, file) in enumerate(drop.files.items()):
            self._readable[name] = prepare(file, scratch / f"copy-{number}")
        if not source.is_contract_form:
            for name in drop.files:
                self._take_lenders_file(name)
        self._tables = self._delivered()

    @property
    def session(self) -> duckdb.DuckDBPyConnection:
        """Where the lender's own files are tables of text."""
        return self._session

    @property
    def place(self) -> str:
        """The drop's folder."""
        return str(self._drop.folder)

    @property
    def mode(self) -> Mode:
        """Full, or only what changed since the drop before."""
        return self._drop.mode

    @property
    def after(self) -> date | None:
        """Of a delta: the date of the drop that it says it follows."""
        return self._drop.after

    @property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of each file."""
        return self._drop.hashes

    def tables(self) -> list[Table]:
        """The contract tables that this drop delivers."""
        return self._tables

    def label(self, table: Table) -> str:
        """The file of the table, or the SELECT that makes it."""
        return self._drop.files[table.name].label if self._source.is_contract_form else f"{table.name}.sql"

    def lender_unreadable(self) -> list[Unreadable]:
        """Malformed lines of the lender's own files, under the file's name: they belong to no contract table yet."""
        return self._lender_unreadable

    def line_count(self, label: str) -> int:
        """Rows of a lender's own file, malformed lines left out."""
        names = [name for name, file in self._drop.files.items() if file.label == label]
        return sum(self._count(f"select count(*) from {quote(name)}") for name in names)

    def load(self, connection: psycopg.Connection, table: Table) -> Loaded:
        """Streams one table into `load.TABLE`, typed, with each row's hash, file and line.

        Raises:
            SourceError: a required column is missing, the SELECT fails, a line is unaccounted for, or `drop.yml` says
                another count or total; names the place.
        """
        readable = self._readable[table.name] if self._source.is_contract_form else None
        rows = self._select(table) if readable is None else scan(readable)
        place = self._source.folder / f"{table.name}.sql" if readable is None else readable.file.path
        said = self._drop.description
        loaded = Loaded(mode=said.mode_of(table.name), complete_from=said.complete_from(table.name))
        present = self._columns(rows, table, place, loaded)
        control = Control.of(said.tables.get(table.name) if readable is not None else None)
        also = control.expressions()
        if readable is not None:
            check_columns(self._drop.folder, table.name, readable.file.label, control, present)
            if readable.file.kind == "csv" and readable.file.has_quotes:
                rows = scan(readable, counts_breaks=True)
                also["_breaks"] = "_breaks"
        marks_deleted = loaded.mode == "delta" and DELETED in present
        rules = Rules(self._source.time_zone, self._source.key_prefix or "", marks_deleted)
        query = checked(rows, table, present, rules, also)
        names = [*table.column_names, *HOUSEKEEPING, *(["_is_deleted"] if marks_deleted else [])]
        line_breaks = self._stream(connection, table, query, names, place, loaded, control)
        if readable is None:
            loaded.unreadable = [_placed(row, row.line) for row in loaded.unreadable]
        else:
            control.rows = loaded.row_count + len(loaded.unreadable)
            malformed = self._malformed(readable, control.rows, line_breaks)
            loaded.unreadable = [_placed(row, malformed.line(row.line or 0)) for row in loaded.unreadable]
            for line, reason, row in malformed.found:
                control.add_malformed(row)
                loaded.unreadable.append(self._unreadable(table, readable.file, line, reason, row))
            control.compare(self._drop.folder, said, table.name, readable.file.label)
            _shift_lines(connection, table, malformed.thresholds)
        return loaded

    def _stream(
        self,
        connection: psycopg.Connection,
        table: Table,
        query: str,
        names: Sequence[str],
        place: Path,
        loaded: Loaded,
        control: Control,
    ) -> int:
        """Copies what passes the checks, keeps the rest; gives the count of line breaks inside values, where asked."""
        create_load_table(connection, table)
        target = sql.SQL("copy load.{} ({}) from stdin (format csv)").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        line_breaks = 0
        try:
            batches = self._session.sql(query).to_arrow_reader(ROWS_A_BATCH)
            with connection.cursor() as cursor, cursor.copy(target) as copy:
                for batch in batches:
                    control.add(batch)
                    if "_breaks" in batch.schema.names:
                        line_breaks += int(pc.sum(batch.column("_breaks")).as_py() or 0)
                    problems = batch.column("_problem")
                    if problems.null_count < len(batch):
                        loaded.unreadable += self._unreadable_rows(table, batch.filter(pc.is_valid(problems)))
                        batch = batch.filter(pc.is_null(problems))
                    loaded.row_count += len(batch)
                    copy.write(_as_csv(batch.select(names)))
                    refuse_too_many(len(loaded.unreadable), place)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise SourceError(f"{place}: {_first_line(error)}") from error
        return line_breaks

    def _take_lenders_file(self, name: str) -> None:
        """Makes a table of text of one of the lender's own files, on disk beyond the memory limit."""
        readable = self._readable[name]
        file, said = readable.file, self._drop.description
        try:
            self._session.execute(f"create table {quote(name)} as {scan(readable)}")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise SourceError(f"{file.path}: {_first_line(error)}") from error
        rows = self._count(f"select count(*) from {quote(name)}")
        line_breaks = 0
        if file.kind == "csv" and file.has_quotes:
            line_breaks = self._count(f"select coalesce(sum({breaks(file)}), 0) from {quote(name)}")
        malformed = self._malformed(readable, rows, line_breaks)
        self._shift_lines(name, malformed.thresholds)
        if file.kind == "fixed_width":
            values = ", ".join(map(quote, file.header))
            self._session.execute(f"delete from {quote(name)} where coalesce({values}) is null")
        control = Control.of(said.tables.get(name))
        control.rows = self._count(f"select count(*) from {quote(name)}")
        present = self._described(quote(name))
        check_columns(self._drop.folder, name, file.label, control, present)
        if control.columns:
            columns = ", ".join(f"{expression} as {total}" for total, expression in control.expressions().items())
            for batch in self._session.sql(f"select {columns} from {quote(name)}").to_arrow_reader(ROWS_A_BATCH):
                control.add(batch)
        for line, reason, row in malformed.found:
            control.add_malformed(row)
            self._lender_unreadable.append(self._unreadable(None, file, line, reason, row))
        control.compare(self._drop.folder, said, name, file.label)

    def _shift_lines(self, name: str, thresholds: Sequence[int]) -> None:
        """As in `load.TABLE`: rows were counted without the lines that are no rows."""
        if not thresholds:
            return
        counted = pa.table({"line": list(thresholds), "skipped": list(range(1, len(thresholds) + 1))})
        self._session.register("thresholds", counted)
        self._session.execute(
            f"update {quote(name)} as rows set _line = rows._line + found.skipped"
            f" from (select delivered.rowid as number, skips.skipped from {quote(name)} as delivered"
            f" asof join (select line, max(skipped) as skipped from thresholds group by line) as skips"
            f" on delivered._line >= skips.line) as found where rows.rowid = found.number"
        )
        self._session.unregister("thresholds")

    def _delivered(self) -> list[Table]:
        if self._source.is_contract_form:
            return [contract()[name] for name in contract() if name in self._drop.files]
        tables = [table for table in contract().values() if self._source.select(table.name) is not None]
        missing = self._source.files.keys() - self._drop.files.keys()
        if missing:  # of a delta: a table is not delivered where a file that its SELECT reads is not
            tables = [table for table in tables if not self._needs(table, missing)]
            if not tables:
                raise SourceError(
                    f"{self._drop.folder}: no table can be made of its files; missing: {', '.join(sorted(missing))}."
                )
        return tables

    def _needs(self, table: Table, missing: set[str]) -> bool:
        try:
            self._described(f"({self._select(table)})")
        except duckdb.CatalogException as error:
            if any(f"name {name} does not exist" in str(error) for name in missing):
                return True
            raise SourceError(f"{self._source.folder / table.name}.sql: {_first_line(error)}") from error
        return False

    def _select(self, table: Table) -> str:
        select = self._source.select(table.name)
        assert select is not None
        return select.strip().rstrip(";")

    def _described(self, relation: str) -> dict[str, str]:
        """Names, in lower case, and DuckDB types of what a FROM item gives."""
        described = self._session.execute(f"describe select * from {relation}").fetchall()
        # DuckDB keeps a lender's spelling of a name (select "Name" as name …) and compares without regard to case.
        return {str(name).lower(): str(kind) for name, kind, *_ in described}

    def _count(self, query: str) -> int:
        row = self._session.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def _columns(self, rows: str, table: Table, place: Path, loaded: Loaded) -> dict[str, str]:
        """Names and DuckDB types of what is delivered, after saying what is unknown or missing."""
        try:
            present = self._described(f"({rows}\n)")
        except duckdb.Error as error:
            raise SourceError(f"{place}: {_first_line(error)}") from error
        known = {*table.column_names, "_file", "_line", *([DELETED] if loaded.mode == "delta" else [])}
        loaded.warnings += [f"column {name} is not in the contract and is ignored" for name in present.keys() - known]
        loaded.warnings.sort()
        missing = [column for column in table.columns if column.name not in present]
        if any(column.required for column in missing) and self._only_deletes(rows, table, loaded, present):
            return present  # for that its keys are enough: none of its columns is delivered, and none is missed
        loaded.delivered_columns = [name for name in table.column_names if name in present]
        for column in missing:
            if column.required:
                raise SourceError(f"{place}: the required column {column.name} of table {table.name} is missing.")
            loaded.warnings.append(f"column {column.name} is missing and is read as null")
        return present

    def _only_deletes(self, rows: str, table: Table, loaded: Loaded, present: Mapping[str, str]) -> bool:
        """Whether a delta's rows are there to be removed, all of them."""
        if loaded.mode == "full" or not {DELETED, *table.primary_key} <= present.keys():
            return False
        left = self._session.execute(
            f"select 1 from ({rows}\n) where not coalesce(cast({DELETED} as varchar) = 'true', false) limit 1"
        ).fetchone()
        self._forget_rejects()
        return left is None

    def _malformed(self, readable: Readable, row_count: int, line_breaks: int) -> _Malformed:
        """Lines that are no row: too many fields, too few, an open quote, bytes that are not UTF-8.

        Raises:
            SourceError: lines are left that came out neither as rows nor as such lines.
        """
        file = readable.file
        if file.kind in ("parquet", "excel"):
            return _Malformed(
                [(bad.line, f"{file.label}, line {bad.line}: {bad.told}", bad.row) for bad in readable.bad_lines], []
            )
        rejects = self._session.execute(
            "select min(line_byte_position), any_value(csv_line), any_value(error_type) from reject_errors"
            " where scan_id = (select max(scan_id) from reject_scans) group by line order by 1"
        ).fetchall()
        self._forget_rejects()
        refuse_too_many(len(rejects), file.path)
        # A record may be told from the end of the line before it on.
        texts = [(text or "").lstrip("\r\n") for _, text, _ in rejects]
        offsets = [
            int(position) - 1 + len(text or "") - len(left)
            for (position, text, _), left in zip(rejects, texts, strict=True)
        ]
        found: list[tuple[int, str, dict[str, Any]]] = []
        skipped: set[int] = set()
        # DuckDB counts records, people count lines: where in the file a record begins tells its line.
        for line, text, (_, _, kind) in zip(lines_at(readable.path, offsets), texts, rejects, strict=True):
            lines = text.removesuffix("\n").split("\n")
            skipped.update(range(line, line + len(lines)))
            # A quote that is not closed swallows the lines after it: each of them is somebody's row.
            pieces = lines if kind == "UNQUOTED VALUE" else [text]
            refuse_too_many(len(found) + len(pieces), file.path)
            for number, piece in enumerate(pieces, start=line):
                reason = f"{file.label}, line {number}: the line cannot be read ({str(kind).lower()})"
                found.append((number, reason, best_reading(piece, file)))
        told = row_count + line_breaks + (1 if file.kind == "csv" else 0)
        if file.line_count > told + len(skipped):  # blank lines are skipped without a word
            skipped.update(blank_lines(readable.path, file))
        lost = file.line_count - told - len(skipped)
        if lost:
            near = f", first look at line {found[0][0]}" if found else ""
            raise SourceError(
                f"{file.path}: {abs(lost)} of its {file.line_count} lines came out neither as rows nor as lines that"
                f" cannot be read; a quote that is never closed, or a line of many megabytes, does that{near}."
            )
        return _Malformed(found, sorted(skipped))

    def _forget_rejects(self) -> None:
        for name in ("reject_errors", "reject_scans"):  # made by the first text that is read
            if self._count(f"select count(*) from duckdb_tables() where table_name = '{name}'"):
                self._session.execute(f"truncate {name}")

    def _unreadable(
        self, table: Table | None, file: DropFile, line: int, reason: str, row: Mapping[str, Any]
    ) -> Unreadable:
        """A malformed line, of a contract table or of one of the lender's own files."""
        values = self._prefixed(table, {name: _printable(value) for name, value in row.items()})
        return Unreadable(table.name if table else file.label, file.label, line, _printable(reason), values, False)

    def _unreadable_rows(self, table: Table, rows: pa.RecordBatch) -> list[Unreadable]:
        """Rows with a value that does not fit; their reason does not tell the place yet."""
        found = []
        for row in rows.select(["_file", "_line", "_problem", "_row", "_has_key"]).to_pylist():
            values = {name: _printable(value) for name, value in json.loads(row["_row"]).items()}
            values, reason = self._prefixed(table, values), _printable(row["_problem"])
            found.append(Unreadable(table.name, row["_file"], row["_line"], reason, values, row["_has_key"]))
        return found

    def _prefixed(self, table: Table | None, row: dict[str, Any]) -> dict[str, Any]:
        """A row with the source's prefix before its keys, as it would have been loaded."""
        prefix = self._source.key_prefix
        if not prefix:
            return row
        names = ("loan_id", "borrower_id") if table is None else table.prefixed_columns
        return row | {name: f"{prefix}{row[name]}" for name in names if row.get(name)}


@contextmanager
def open_reader(source: Source, drop: Drop, scratch: Path) -> Iterator[DropDelivery]:
    """A drop, ready to be loaded; its scratch files are removed at the end.

    Raises:
        SourceError: a file of it cannot be read, or is another than `drop.yml` says.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.glob("read-*"):  # by a process that was killed; nobody else works on this warehouse
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="read-") as folder:
        session = duckdb.connect(str(Path(folder) / "drop.duckdb"))
        try:
            session.execute("set TimeZone = 'UTC'")
            session.execute("set memory_limit = '2GB'")
            session.execute("set enable_progress_bar = false")
            session.execute(f"set temp_directory = {literal(folder)}")
            try:
                yield DropDelivery(session, source, drop, Path(folder))
            except duckdb.OutOfMemoryException as error:
                raise WarehouseError(f"No room to read {drop.folder}: free memory and disk under {scratch}.") from error
            except duckdb.Error as error:
                raise SourceError(f"{drop.folder}: {_first_line(error)}") from error
        finally:
            session.close()


def _as_csv(batch: pa.RecordBatch) -> bytes:
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(
        batch, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed", batch_size=ROWS_A_BATCH)
    )
    return buffer.getvalue()


def _printable(text: Any) -> Any:
    """PostgreSQL keeps no NUL byte in a text."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(text, str) else text


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _placed(row: Unreadable, line: int | None) -> Unreadable:
    """A row whose reason says where it stands."""
    place = ", ".join(part for part in (row.file, None if line is None else f"line {line}") if part)
    return replace(row, line=line, reason=f"{place}: {row.reason}" if place else row.reason)


def _shift_lines(connection: psycopg.Connection, table: Table, thresholds: Sequence[int]) -> None:
    """Rows were counted without the lines that are no rows: add those that stand before each."""
    if thresholds:
        connection.execute(
            sql.SQL("update load.{} set _line = _line + width_bucket(_line, %s::bigint[]) where _line >= %s").format(
                sql.Identifier(table.name)
            ),
            [list(thresholds), thresholds[0]],
        )
