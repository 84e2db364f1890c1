"""Reads a drop's files with DuckDB and streams the readable rows into PostgreSQL; never a whole table in memory.

Every value is checked here against its type in the contract, so that whatever reaches schema raw is typed. A row that
cannot be read comes back as an `Unreadable` with file, line and reason.
"""

import csv
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from psycopg import sql

from arrears.contract.servicing import Column, Table, contract
from arrears.errors import SourceError, WarehouseError
from arrears.extraction.drops import Drop, DropFile, lines_at
from arrears.extraction.sources import Source
from arrears.settings import get_settings
from arrears.warehouse.contract_tables import LOAD_COLUMNS

ROWS_A_BATCH = 50_000
MOST_UNREADABLE = 100_000
SEPARATOR = "chr(31)"  # of the hashed text: a character that no value holds

DATE = r"\d{4}-\d{2}-\d{2}"
CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
OFFSET = r"(Z|z|[+-]\d{2}(:?\d{2})?)"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One row that could not be read."""

    table: str
    file: str
    line: int | None
    reason: str
    row: dict[str, Any]
    has_key: bool


@dataclass(slots=True)
class Loaded:
    """What came of one table: rows that stand in `load.TABLE` now, and those that could not be read."""

    row_count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    delivered_columns: list[str] = field(default_factory=list)


class DropReader:
    """A DuckDB session over one drop."""

    def __init__(self, session: duckdb.DuckDBPyConnection, source: Source, drop: Drop) -> None:
        self._session = session
        self._source = source
        self._drop = drop
        self._lender_unreadable: list[Unreadable] = []
        if not source.is_contract_form:
            for name, file in drop.files.items():
                # Materialised (on disk beyond the memory limit): several SELECTs read the same file.
                session.execute(f"create table {_quote(name)} as {_scan(file)}")
                self._lender_unreadable += self._rejected(file.label, file)

    def tables(self) -> list[Table]:
        """The contract tables that this drop delivers."""
        if self._source.is_contract_form:
            return [contract()[name] for name in contract() if name in self._drop.files]
        return [table for table in contract().values() if self._source.select(table.name) is not None]

    def lender_unreadable(self) -> list[Unreadable]:
        """Malformed lines of the lender's own files, under the file's name: they belong to no contract table yet."""
        return self._lender_unreadable

    def line_count(self, name: str) -> int:
        """Rows of a lender's own file, malformed lines left out."""
        read = self._session.execute(f"select count(*) from {_quote(name)}").fetchone()
        assert read is not None
        return int(read[0])

    def load(self, connection: psycopg.Connection, table: Table) -> Loaded:
        """Streams one table into `load.TABLE`, typed, with each row's hash, file and line.

        Raises:
            SourceError: a required column is missing, or the SELECT fails; names the place.
        """
        file = self._drop.files.get(table.name)
        rows = _scan(file) if file is not None and self._source.is_contract_form else self._select(table)
        place = file.path if file is not None else self._source.folder / f"{table.name}.sql"
        loaded = Loaded()
        present = self._columns(rows, table, place, loaded)
        query = _checked(rows, table, present, self._source.time_zone)
        _create_load_table(connection, table)
        names = [*table.column_names, *(name for name, _ in LOAD_COLUMNS)]
        target = sql.SQL("copy load.{} ({}) from stdin (format csv)").format(
            sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        try:
            batches = self._session.sql(query).to_arrow_reader(ROWS_A_BATCH)
            with connection.cursor() as cursor, cursor.copy(target) as copy:
                for batch in batches:
                    reasons = batch.column("_reason")
                    if reasons.null_count < len(batch):
                        loaded.unreadable += _unreadable(table, batch.filter(pc.is_valid(reasons)))
                        batch = batch.filter(pc.is_null(reasons))
                    loaded.row_count += len(batch)
                    copy.write(_as_csv(batch.select(names)))
                    _refuse_too_many(len(loaded.unreadable), place)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise SourceError(f"{place}: {str(error).splitlines()[0]}") from error
        if file is not None and self._source.is_contract_form:
            rejected = self._rejected(table.name, file)
            loaded.unreadable += rejected
            _shift_lines(connection, table, rejected)
        return loaded

    def _select(self, table: Table) -> str:
        select = self._source.select(table.name)
        assert select is not None
        return select.strip().rstrip(";")

    def _columns(self, rows: str, table: Table, place: Path, loaded: Loaded) -> dict[str, str]:
        """Names and DuckDB types of what is delivered, after saying what is unknown or missing."""
        try:
            described = self._session.execute(f"describe {rows}").fetchall()
        except duckdb.Error as error:
            raise SourceError(f"{place}: {str(error).splitlines()[0]}") from error
        # DuckDB keeps a lender's spelling of a name (select "Name" as name …) and compares without regard to case.
        present = {str(name).lower(): str(kind) for name, kind, *_ in described}
        for name in present:
            if name not in table.column_names and name not in ("_file", "_line"):
                loaded.warnings.append(f"column {name} is not in the contract and is ignored")
        loaded.delivered_columns = [name for name in table.column_names if name in present]
        for column in table.columns:
            if column.name not in present:
                if column.required:
                    raise SourceError(f"{place}: the required column {column.name} of table {table.name} is missing.")
                loaded.warnings.append(f"column {column.name} is missing and is read as null")
        return present

    def _rejected(self, table: str, file: DropFile) -> list[Unreadable]:
        """Lines that are no row: too many fields, too few, an open quote, bytes that are not UTF-8."""
        if file.format is None:
            return []
        found = self._session.execute(
            "select min(line_byte_position), any_value(csv_line), any_value(error_type) from reject_errors"
            " where scan_id = (select max(scan_id) from reject_scans) group by line order by 1"
        ).fetchall()
        self._session.execute("truncate reject_errors")
        self._session.execute("truncate reject_scans")
        _refuse_too_many(len(found), file.path)
        rejected = []
        # DuckDB counts records, people count lines: where in the file a record begins tells its line.
        lines = lines_at(file, [int(position) - 1 for position, _, _ in found])
        for line, (_, text, kind) in zip(lines, found, strict=True):
            row = _best_reading(text or "", file)
            reason = f"{file.label}, line {line}: the line cannot be read ({str(kind).lower()})"
            rejected.append(Unreadable(table, file.label, line, reason, row, has_key=False))
        return rejected


@contextmanager
def open_reader(source: Source, drop: Drop, scratch: Path) -> Iterator[DropReader]:
    """A reader over a drop; its scratch file is removed at the end."""
    scratch.mkdir(parents=True, exist_ok=True)
    for left in scratch.glob("read-*"):  # by a process that was killed; nobody else works on this warehouse
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="read-") as folder:
        session = duckdb.connect(str(Path(folder) / "drop.duckdb"))
        try:
            session.execute("set TimeZone = 'UTC'")
            session.execute("set memory_limit = '2GB'")
            session.execute("set enable_progress_bar = false")
            session.execute(f"set temp_directory = '{folder}'")
            try:
                yield DropReader(session, source, drop)
            except duckdb.OutOfMemoryException as error:
                raise WarehouseError(f"No room to read {drop.folder}: free memory and disk under {scratch}.") from error
            except duckdb.Error as error:
                raise SourceError(f"{drop.folder}: {str(error).splitlines()[0]}") from error
        finally:
            session.close()


def _scan(file: DropFile) -> str:
    """A SELECT of a file's rows, `_file` and `_line` beside them."""
    label = _literal(file.label)
    if file.format is None:
        return (
            f"select *, {label} as _file, row_number() over () as _line from read_parquet({_literal(str(file.path))})"
        )
    columns = ", ".join(f"{_literal(name)}: 'varchar'" for name in file.header)
    options = {
        "columns": f"{{{columns}}}",
        "header": "true",
        "auto_detect": "false",
        "delim": _literal(file.format.delimiter),
        "quote": _literal(file.format.quote),
        "escape": _literal(file.format.quote),
        "encoding": _literal(file.format.encoding),
        "nullstr": "''",
        "strict_mode": "true",
        "store_rejects": "true",
        "rejects_limit": str(MOST_UNREADABLE + 1),
        "max_line_size": str(8 * 1024**2),
        "buffer_size": str(64 * 1024**2),
    }
    settings = ", ".join(f"{name} = {value}" for name, value in options.items())
    read = f"read_csv({_literal(str(file.path))}, {settings})"
    if not file.has_quotes:
        return f"select *, {label} as _file, 1 + row_number() over () as _line from {read}"
    breaks = " + ".join(
        f"coalesce(length({_quote(name)}) - length(replace({_quote(name)}, chr(10), '')), 0)" for name in file.header
    )
    running = "rows between unbounded preceding and current row"
    return (
        f"select * exclude (_breaks), 1 + row_number() over () + sum(_breaks) over ({running}) - _breaks as _line"
        f" from (select *, {label} as _file, {breaks} as _breaks from {read})"
    )


def _checked(rows: str, table: Table, present: dict[str, str], time_zone: str | None) -> str:
    """A SELECT of typed values as text, `_row_hash`, `_file`, `_line`, `_reason` and `_row` of those with a reason."""
    text, values, problems, final = [], [], [], []
    for column in table.columns:
        name = _quote(column.name)
        if column.name in present:
            text.append(f"{_as_text(name, present[column.name], column)} as {name}")
        else:
            text.append(f"cast(null as varchar) as {name}")
        value, complaint = _reading(name, column, time_zone)
        values.append(f"{value} as {_quote('v_' + column.name)}")
        shown = "''" if column.personal else f"': ' || left({name}, 40)"
        problems.append(
            f"case when {name} is not null and {_quote('v_' + column.name)} is null"
            f" then 'column {column.name} {complaint}' || {shown} end"
        )
        if column.name in table.primary_key:
            problems.append(f"case when {name} is null then 'column {column.name} of the key is empty' end")
        final.append(f"{_quote('v_' + column.name)} as {name}")
    where_from = [name if name in present else f"null as {name}" for name in ("_file", "_line")]
    # Only what is there is hashed, under its name: a column that the contract gains changes no row's hash.
    hashed = ", ".join(f"'{column.name}=' || {_quote('v_' + column.name)}" for column in table.columns)
    has_key = " and ".join(f"{_quote('v_' + name)} is not null" for name in table.primary_key)
    row = ", ".join(
        f"{_literal(column.name)}: {_quote(column.name)}" for column in table.columns if column.name in present
    )
    return f"""
        with delivered as ({rows}),
        texts as (select {", ".join(text)}, {", ".join(where_from)} from delivered),
        typed as (select *, {", ".join(values)} from texts),
        judged as (select *, coalesce({", ".join(problems)}) as _problem from typed)
        select
            {", ".join(final)},
            md5(concat_ws({SEPARATOR}, {hashed})) as _row_hash,
            cast(_file as varchar) as _file,
            cast(_line as bigint) as _line,
            case when _problem is not null
                then concat_ws(', ', _file, 'line ' || _line) || ': ' || _problem end as _reason,
            case when _problem is not null then cast(to_json({{{row}}}) as varchar) end as _row,
            {has_key} as _has_key
        from judged
    """


def _as_text(name: str, kind: str, column: Column) -> str:
    if kind in ("FLOAT", "DOUBLE") and column.data_type.startswith("numeric"):
        precision, scale = _precision(column)
        # What is no number of that size (infinite, say) keeps its own text and is refused by it.
        number = f"try_cast(round({name}, {scale}) as decimal({precision}, {scale}))"
        return f"coalesce(cast({number} as varchar), cast({name} as varchar))"
    return f"nullif(cast({name} as varchar), '')"


def _precision(column: Column) -> tuple[int, int]:
    precision, scale = column.data_type.removeprefix("numeric(").rstrip(")").split(",")
    return int(precision), int(scale)


def _reading(name: str, column: Column, time_zone: str | None) -> tuple[str, str]:
    """DuckDB's expression that reads a text as the column's type (null where it is none), and the complaint."""
    kind = column.data_type
    if kind == "text":
        return f"case when not regexp_matches({name}, '[\\x00\\x1e\\x1f]') then {name} end", "holds a control character"
    if kind == "date":
        is_date = f"regexp_full_match({name}, '{DATE}') and {name} >= '0001'"
        return f"case when {is_date} then cast(try_cast({name} as date) as varchar) end", "is no date YYYY-MM-DD"
    if kind == "integer":
        return (
            f"case when regexp_full_match({name}, '[+-]?\\d+') then cast(try_cast({name} as integer) as varchar) end",
            ("is no whole number"),
        )
    if kind == "boolean":
        return f"case when {name} in ('true', 'false') then {name} end", "is neither true nor false"
    if kind == "timestamptz":
        return _reading_of_instant(name, time_zone)
    precision, scale = _precision(column)
    shape = f"[+-]?\\d{{1,{precision - scale}}}(\\.\\d{{1,{scale}}}0*)?"
    return (
        f"case when regexp_full_match({name}, '{shape}')"
        f" then cast(try_cast({name} as decimal({precision}, {scale})) as varchar) end",
        f"is no number with at most {scale} decimals",
    )


def _reading_of_instant(name: str, time_zone: str | None) -> tuple[str, str]:
    # A date alone is the end of that day: in the source's zone, else as business dates are.
    zone_of_days = _literal(time_zone or get_settings().business_time_zone)
    cases = [
        f"when regexp_full_match({name}, '{DATE}[T ]{CLOCK} ?{OFFSET}') then try_cast({name} as timestamptz)",
        f"when regexp_full_match({name}, '{DATE}') then timezone({zone_of_days}, try_cast({name} as timestamp)"
        f" + interval 1 day - interval 1 microsecond)",
    ]
    complaint = "is no instant with an offset (source.yml names no time_zone)"
    if time_zone is not None:
        complaint = "is no instant YYYY-MM-DD HH:MM:SS"
        local = f"timezone({_literal(time_zone)}, try_cast({name} as timestamp))"
        cases.append(f"when regexp_full_match({name}, '{DATE}[T ]{CLOCK}') then {local}")
    instant = f"(case {' '.join(cases)} end)"
    return f"strftime(timezone('UTC', {instant}), '%Y-%m-%d %H:%M:%S.%f+00')", complaint


def _create_load_table(connection: psycopg.Connection, table: Table) -> None:
    columns = [(column.name, column.data_type) for column in table.columns] + list(LOAD_COLUMNS)
    name = sql.Identifier("load", table.name)
    connection.execute(sql.SQL("drop table if exists {}").format(name))
    definitions = sql.SQL(", ").join(sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in columns)
    connection.execute(sql.SQL("create unlogged table {} ({})").format(name, definitions))


def _as_csv(batch: pa.RecordBatch) -> bytes:
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(
        batch, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed", batch_size=ROWS_A_BATCH)
    )
    return buffer.getvalue()


def _unreadable(table: Table, rows: pa.RecordBatch) -> list[Unreadable]:
    found = []
    for row in rows.select(["_file", "_line", "_reason", "_row", "_has_key"]).to_pylist():
        values = {name: _printable(value) for name, value in json.loads(row["_row"]).items()}
        reason = _printable(row["_reason"])
        found.append(Unreadable(table.name, row["_file"], row["_line"], reason, values, row["_has_key"]))
    return found


def _printable(text: Any) -> Any:
    """PostgreSQL keeps no NUL byte in a text."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if isinstance(text, str) else text


def _best_reading(text: str, file: DropFile) -> dict[str, Any]:
    """What can be guessed of a malformed line: good enough to hold a loan back, not to load it."""
    assert file.format is not None
    try:
        fields = next(
            csv.reader([text.rstrip("\r\n")], delimiter=file.format.delimiter, quotechar=file.format.quote), []
        )
    except csv.Error:
        fields = []
    values = {"_text": text} | dict(zip(file.header, fields, strict=False))
    return {name: _printable(value) for name, value in values.items()}


def _shift_lines(connection: psycopg.Connection, table: Table, rejected: list[Unreadable]) -> None:
    """Rows were counted without the rejected lines: add those that stand before each."""
    lines = sorted(row.line for row in rejected if row.line is not None)
    if lines:
        thresholds = [line - index for index, line in enumerate(lines)]
        connection.execute(
            sql.SQL(
                "update load.{} set _line = _line +"
                " (select count(*) from unnest(%s::bigint[]) as rejected (line) where line <= _line) where _line >= %s"
            ).format(sql.Identifier(table.name)),
            [thresholds, thresholds[0]],
        )


def _refuse_too_many(count: int, place: Path) -> None:
    if count > MOST_UNREADABLE:
        raise SourceError(
            f"{place}: more than {MOST_UNREADABLE} rows cannot be read; this is not the file it should be."
        )


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
