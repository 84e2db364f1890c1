"""One recipient's lines as CSV and as Parquet, the same bytes whenever they are rendered.

PostgreSQL puts the values into text and in order; they stream through COPY into the files, never a whole queue in
memory. CSV is RFC 4180 (UTF-8, LF, header): amounts with their currency's decimals, dates ISO 8601, instants in UTC
with their offset. A text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV
Injection): a telephone number +49… reads '+49…. Parquet holds the values themselves, typed.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from psycopg import sql

from arrears.errors import ExportError
from arrears.export.policy import Policy
from arrears.export.writing import sha256_of, synced

QUEUE, CONTACT = "collection_queue", "queue_contact_details"
LINE = ("as_of_date", "recipient_id", "loan_id", "party_borrower_id", "party_role")
IN_REPORTING_CURRENCY = ("expected_net_amount",)
ROWS_A_GROUP = 100_000
# Where a spreadsheet may see the beginning of a cell: at the start, and after what some take for the next cell or line.
# Blanks (also those of no width) and quotes before the sign do not help; a tab or a line break opens a formula itself.
BEFORE_A_SIGN = r"[\s\u0001-\u001F\u0085\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u2064\u3000\uFEFF\"'`]*"
FORMULA = rf"(^|[\t\r\n;])(?={BEFORE_A_SIGN}[=+@＝＋－＠﹢﹣﹦﹫−-])|^(?=[\t\r\n])"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a queue file: where its values stand and PostgreSQL's type of them."""

    name: str
    relation: str
    data_type: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """One file: the bytes' hash and how many lines it holds, the header not counted."""

    sha256: str
    row_count: int


@dataclass(frozen=True, slots=True)
class Relations:
    """The columns of the queue and of the contact details, with their types; `line` is what joins the two."""

    types: Mapping[str, Mapping[str, str]]
    line: tuple[str, ...]

    def of(self, kind: str, policy: Policy) -> tuple[Column, ...]:
        """The columns that a kind of recipient gets.

        Raises:
            ExportError: the policy names a column that is not there.
        """
        wanted = [(QUEUE, name) for name in policy.queue] + [(CONTACT, name) for name in policy.contact]
        for relation, name in wanted:
            if name not in self.types[relation]:
                part = "queue" if relation == QUEUE else "contact"
                raise ExportError(
                    f"recipient_columns.yml, key {kind}.{part}: {relation} has no column {name}; name one that it has."
                )
        return tuple(Column(name, relation, self.types[relation][name]) for relation, name in wanted)


def relations(connection: psycopg.Connection) -> Relations:
    """What the working schema holds.

    Raises:
        ExportError: a relation is missing, or nothing joins the two.
    """
    types: dict[str, dict[str, str]] = {}
    for name in (QUEUE, CONTACT):
        rows = connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
            [f"working.{name}"],
        ).fetchall()
        if not rows:
            raise ExportError(f"working.{name} is not there: run `arrears step build_queues` for the date first.")
        types[name] = {str(column): str(kind) for column, kind in rows}
    line = tuple(name for name in LINE if all(name in columns for columns in types.values()))
    if not {"loan_id", "party_borrower_id"} <= set(line):
        raise ExportError(f"working.{CONTACT} has no loan_id and party_borrower_id to join it to the queue by.")
    return Relations(types, line)


def write_csv(
    connection: psycopg.Connection, path: Path, columns: Sequence[Column], line: Sequence[str], recipient_id: str
) -> Rendered:
    """Writes a recipient's lines as CSV, fsynced."""
    query = _lines(columns, line, recipient_id, {column.name: _as_cell(column) for column in columns})
    copy_to = sql.SQL("copy ({}) to stdout (format csv, header true, encoding 'UTF8')").format(query)
    digest = hashlib.sha256()
    with synced(path) as file, connection.cursor() as cursor:
        with cursor.copy(copy_to) as copy:
            for chunk in copy:
                digest.update(chunk)
                file.write(chunk)
        return Rendered(digest.hexdigest(), cursor.rowcount)


def write_parquet(
    connection: psycopg.Connection, path: Path, columns: Sequence[Column], line: Sequence[str], recipient_id: str
) -> Rendered:
    """Writes a recipient's lines as Parquet, fsynced; row groups have a fixed size: chunking leaves no trace."""
    schema = pa.schema([pa.field(column.name, _arrow_type(column)) for column in columns])
    query = _lines(columns, line, recipient_id, {column.name: _as_value(column) for column in columns})
    copy_to = sql.SQL("copy ({}) to stdout (format csv, encoding 'UTF8')").format(query)
    row_count = 0
    with (
        synced(path) as file,
        connection.cursor() as cursor,
        cursor.copy(copy_to) as copy,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for group in _groups(_batches(_Stream(copy), schema), schema):
            writer.write_table(group, row_group_size=ROWS_A_GROUP)
            row_count += len(group)
    return Rendered(sha256_of(path), row_count)


def _lines(
    columns: Sequence[Column], line: Sequence[str], recipient_id: str, expressions: Mapping[str, sql.Composable]
) -> sql.Composed:
    """The SELECT of a recipient's lines in the queue's order; contact details are joined in if they are asked for."""
    selected = sql.SQL(", ").join(
        sql.SQL("{} as {}").format(expressions[column.name], sql.Identifier(column.name)) for column in columns
    )
    join: sql.Composable = sql.SQL("")
    if any(column.relation == CONTACT for column in columns):
        join = sql.SQL("left join working.{} using ({}) ").format(
            sql.Identifier(CONTACT), sql.SQL(", ").join(map(sql.Identifier, line))
        )
    return sql.SQL(
        "select {selected} from working.{queue} {join}"
        "left join seeds.currency_minor_units as units on {queue}.currency = units.currency "
        "left join seeds.currency_minor_units as reporting_units on reporting_units.currency "
        "= (select value from ops.portfolio where setting = 'reporting_currency') "
        "where {queue}.recipient_id = {recipient} "
        'order by {queue}.rank, {queue}.loan_id collate "C", {queue}.party_borrower_id collate "C"'
    ).format(selected=selected, queue=sql.Identifier(QUEUE), join=join, recipient=sql.Literal(recipient_id))


def _source(column: Column) -> sql.Identifier:
    return sql.Identifier(column.relation, column.name)


def _as_cell(column: Column) -> sql.Composable:
    """A value as the CSV shows it."""
    value, kind = _source(column), column.data_type
    if kind.startswith("numeric"):
        if column.name.endswith("_amount"):
            units = "reporting_units" if column.name in IN_REPORTING_CURRENCY else "units"
            return sql.SQL("round({}, coalesce({}, 2))").format(value, sql.Identifier(units, "minor_units"))
        return value
    if kind in ("integer", "bigint", "smallint"):
        return value
    if kind == "boolean":
        return sql.SQL("case when {0} then 'true' when not {0} then 'false' end").format(value)
    if kind == "date":
        return sql.SQL("to_char({}, 'YYYY-MM-DD')").format(value)
    if kind == "timestamp with time zone":
        return sql.SQL("to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"')").format(value)
    return sql.SQL("regexp_replace(cast({} as text), {}, {}, 'g')").format(
        value, sql.Literal(FORMULA), sql.Literal(r"\1'")
    )


def _as_value(column: Column) -> sql.Composable:
    """A value as Arrow's CSV reader takes it back."""
    value, kind = _source(column), column.data_type
    if kind == "boolean":
        return sql.SQL("case when {0} then 'true' when not {0} then 'false' end").format(value)
    if kind == "timestamp with time zone":
        return sql.SQL("to_char({} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").format(value)
    return value


def _arrow_type(column: Column) -> pa.DataType:
    kind = column.data_type
    if kind.startswith("numeric("):
        precision, scale = kind.removeprefix("numeric(").rstrip(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    plain = {
        "integer": pa.int32(),
        "smallint": pa.int32(),
        "bigint": pa.int64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    }
    return plain.get(kind, pa.string())


class _Stream(io.RawIOBase):
    """COPY's chunks as a file to read."""

    def __init__(self, copy: psycopg.Copy) -> None:
        super().__init__()
        self._chunks = iter(copy)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _batches(stream: io.RawIOBase, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    buffered = io.BufferedReader(stream, 1 << 20)
    if not buffered.peek(1):
        return
    reader = pyarrow.csv.open_csv(
        buffered,
        read_options=pyarrow.csv.ReadOptions(column_names=schema.names, block_size=1 << 24),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )
    yield from reader


def _groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of exactly ROWS_A_GROUP rows, the last one of what is left."""
    waiting = schema.empty_table()
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch], schema)])
        while len(waiting) >= ROWS_A_GROUP:
            yield waiting.slice(0, ROWS_A_GROUP).combine_chunks()
            waiting = waiting.slice(ROWS_A_GROUP)
    if len(waiting):
        yield waiting.combine_chunks()
