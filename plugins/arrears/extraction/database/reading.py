"""Reads a lender's PostgreSQL: what changed since the last reading, streamed as binary COPY from there into load.TABLE.

All tables are read in one repeatable-read snapshot. Values are typed, checked and hashed by the lender's server in the
one pass that sends them; a row that cannot be read travels with its fault and is taken out of load.TABLE here.
"""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from hashlib import sha256

import psycopg
from psycopg import sql

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError
from arrears.extraction.database import connection as database_connection
from arrears.extraction.database import query as database_query
from arrears.extraction.database.cursor import Bound, next_bound
from arrears.extraction.database.query import Shape
from arrears.extraction.delivery import KEYS, Loaded, Mode, Unreadable
from arrears.extraction.sources import Source
from arrears.warehouse.contract_tables import create_load_table

MOST_UNREADABLE = 100_000
BLOCK_BYTES = 256 * 1024
SKEW = timedelta(minutes=5)

# Of this reading only; what the lender's administrator limits otherwise (statement_timeout) holds.
SESSION = """
set local timezone = 'UTC';
set local datestyle = 'ISO, YMD';
set local lock_timeout = '5min';
set local idle_in_transaction_session_timeout = 0
"""


class DatabaseDelivery:
    """One reading of a source's database (extraction/delivery.py says what is asked of it).

    `read_until` is where the next reading begins, and `read_until_is_seen` whether nothing can be missed by that; both
    are None for a source without a cursor.
    """

    def __init__(
        self,
        session: psycopg.Connection,
        source: Source,
        bound: Bound,
        *,
        read_since: datetime | None,
        compares_keys: bool,
    ) -> None:
        self.place = database_connection.place(session)
        self.hashes: dict[str, str] = {}
        self.read_until: datetime | None = bound.read_until if source.cursor else None
        self.read_until_is_seen: bool | None = bound.is_seen if source.cursor else None
        self._session = session
        self._source = source
        self._bound = bound
        self._read_since = read_since if source.cursor else None
        self._compares_keys = compares_keys
        self._is_first_table = True
        self._clock = self._their_clock()  # the first query of the transaction: here the snapshot is taken

    @property
    def mode(self) -> Mode:
        """A delta after the first reading, where there is a cursor."""
        return "full" if self._read_since is None else "delta"

    @property
    def after(self) -> None:
        """Nothing: what it tells is told since the reading that it is compared with."""

    def tables(self) -> list[Table]:
        """The contract tables that have a SELECT, or in a contract-form database a table of that name.

        Raises:
            SourceError: there is none, or a required one is missing from a contract-form database.
        """
        schema = self._source.database_schema
        there = self._tables_of(schema) if schema is not None else set()
        found = [one for one in contract().values() if one.name in there or self._source.select(one.name) is not None]
        if schema is None and not found:
            raise SourceError(
                f"Source {self._source.name} has no SELECT: write TABLE.sql beside source.yml, or say its schema there."
            )
        lacking = [one.name for one in contract().values() if one.required and one not in found]
        if schema is not None and lacking:
            raise SourceError(
                f"{self.place}: schema {schema} lacks the required table {lacking[0]}, or there is no such schema."
            )
        return found

    def label(self, table: Table) -> str:
        """SCHEMA.TABLE, or the name of the SELECT's file."""
        return database_query.label(self._source, table)

    def lender_unreadable(self) -> list[Unreadable]:
        """None: a database has no malformed lines."""
        return []

    def line_count(self, label: str) -> int:
        """Never asked: a database has no malformed lines."""
        raise KeyError(label)

    def describe(self, table: Table) -> Shape:
        """How a table is delivered.

        Raises:
            SourceError: its SELECT fails, or what it gives cannot be the contract's table.
        """
        return database_query.describe(self._session, self._source, table, self.place)

    def load(self, connection: psycopg.Connection, table: Table) -> Loaded:
        """Streams a table's rows since the last reading into load.TABLE, and all its keys where they are compared.

        Raises:
            SourceError: a SELECT fails, a required column is missing or has a type that says something else.
            SourceUnreachable: the database went away.
        """
        shape = self.describe(table)
        since = self._read_since if shape.cursor is not None else None
        if since is not None and self._was_read_otherwise(connection, table, shape):
            since = None
        loaded = Loaded(
            mode="full" if since is None else "delta",
            warnings=[*self._warnings(connection), *shape.warnings],
            delivered_columns=list(shape.delivered_columns),
            reading_sha256=shape.fingerprint,
        )
        _create_load_table(connection, table, self.label(table))
        query = database_query.rows(self._source, table, shape, since)
        self._stream(connection, table, query, table.name, [*table.column_names, "_row_hash", "_cursor_at", "_fault"])
        digest = [loaded.mode, *self._weigh(connection, table, shape, loaded)]
        if since is not None and self._compares_keys:
            digest += self._load_keys(connection, table, shape, loaded)
        self.hashes[self.label(table)] = sha256("\0".join(digest).encode()).hexdigest()
        return loaded

    def _was_read_otherwise(self, connection: psycopg.Connection, table: Table, shape: Shape) -> bool:
        """Whether rows that did not change would come out differently than last time, or did not come at all."""
        last = connection.execute(
            "select tables.reading_sha256 from ops.batches as batches"
            " left join ops.batch_tables as tables"
            " on batches.batch_id = tables.batch_id and tables.table_name = %s and tables.is_delivered"
            " where batches.source = %s and batches.state = 'accepted'"
            " order by batches.known_from desc, batches.batch_date desc limit 1",
            [table.name, self._source.name],
        ).fetchone()
        return last is None or last[0] != shape.fingerprint

    def _warnings(self, connection: psycopg.Connection) -> list[str]:
        """What is to be said once of the whole reading."""
        if not self._is_first_table:
            return []
        self._is_first_table = False
        ours = connection.execute("select clock_timestamp()").fetchone()
        assert ours is not None
        skew = self._their_clock() - ours[0]
        warnings = []
        if abs(skew) > SKEW:
            warnings.append(
                f"the clock of {self.place} is {abs(skew).total_seconds() / 60:.0f} minutes"
                f" {'ahead of' if skew > timedelta(0) else 'behind'} the warehouse's: set the one that is wrong"
            )
        since = self._bound.long_open_since
        if since is not None and self._source.cursor is not None:
            warnings.append(
                f"a transaction is open in {self.place} since {since:%Y-%m-%d %H:%M} UTC: all that changed since then"
                f" is read again until it ends"
            )
        return warnings

    def _their_clock(self) -> datetime:
        with self._complaining(self.place):
            row = self._session.execute("select clock_timestamp()").fetchone()
        assert row is not None
        clock: datetime = row[0]
        return clock

    def _tables_of(self, schema: str) -> set[str]:
        with self._complaining(self.place):
            rows = self._session.execute(
                "select classes.relname from pg_class as classes"
                " inner join pg_namespace as schemas on classes.relnamespace = schemas.oid"
                " where schemas.nspname = %s and classes.relkind in ('r', 'p', 'v', 'm', 'f')",
                [schema],
            ).fetchall()
        return {str(row[0]) for row in rows}

    @contextmanager
    def _complaining(self, place: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise database_connection.source_error(error, place) from None

    def _stream(
        self, connection: psycopg.Connection, table: Table, query: sql.Composed, target: str, names: Sequence[str]
    ) -> None:
        place = f"{self.place}, {self.label(table)}"
        into = sql.SQL("copy {} ({}) from stdin (format binary)").format(
            sql.Identifier("load", target), sql.SQL(", ").join(map(sql.Identifier, names))
        )
        with (
            connection.cursor() as cursor,
            cursor.copy(into) as copy,
            closing(self._blocks(query, place)) as blocks,
        ):
            for block in blocks:
                copy.write(block)

    def _blocks(self, query: sql.Composed, place: str) -> Generator[bytes]:
        copy_out = sql.SQL("copy ({}) to stdout (format binary)").format(query)
        with self._complaining(place), self._session.cursor() as cursor, cursor.copy(copy_out) as copy:
            rows: list[bytes | bytearray | memoryview] = []
            size = 0
            for row in copy:
                rows.append(row)
                size += len(row)
                if size >= BLOCK_BYTES:
                    yield b"".join(rows)
                    rows, size = [], 0
            yield b"".join(rows)

    def _weigh(self, connection: psycopg.Connection, table: Table, shape: Shape, loaded: Loaded) -> list[str]:
        """Counts what came and takes out what cannot be read; gives what the content's hash is made of."""
        row = connection.execute(
            sql.SQL(
                "select count(*), count(_fault), count(*) filter (where _cursor_at is null),"
                " count(*) filter (where _cursor_at > %s),"
                " sum(uuid_hash_extended(_row_hash, 0)), sum(uuid_hash_extended(_row_hash, 1)),"
                " sum(hashtextextended(_fault, 0))"
                " from load.{}"
            ).format(sql.Identifier(table.name)),
            [self._clock],
        ).fetchone()
        assert row is not None
        count, faults, without_cursor, ahead, *sums = row
        if faults > MOST_UNREADABLE:
            raise SourceError(
                f"{self.place}, {self.label(table)}: {faults} rows cannot be read; this is not the table it should be."
            )
        if faults:
            loaded.unreadable = self._take_out(connection, table)
        connection.execute(sql.SQL("alter table load.{} drop column _fault").format(sql.Identifier(table.name)))
        loaded.row_count = count - faults
        if shape.cursor is not None and without_cursor:
            loaded.warnings.append(
                f"{shape.cursor.name} is empty in rows (count {without_cursor}), which are therefore read every time"
            )
        if shape.cursor is not None and shape.business_date is None and ahead:
            loaded.warnings.append(
                f"{shape.cursor.name} lies in the future of the database's own clock (count of rows {ahead}): such a"
                f" row is known from that date on"
            )
        return [str(count), *map(str, sums)]

    def _take_out(self, connection: psycopg.Connection, table: Table) -> list[Unreadable]:
        rows = connection.execute(
            sql.SQL("delete from load.{} where _fault is not null returning _fault").format(sql.Identifier(table.name))
        ).fetchall()
        label, found, without_key = self.label(table), [], 0
        for text in sorted(row[0] for row in rows):
            fault = json.loads(text)
            if fault["has_key"]:
                which = ", ".join(f"{name} {fault['row'][name]}" for name in table.primary_key)
            else:
                without_key += 1
                which = f"row {without_key} of those without a whole key"
            reason = f"{label}, {which}: {fault['problem']}"
            found.append(Unreadable(table.name, label, None, reason, fault["row"], fault["has_key"]))
        return found

    def _load_keys(self, connection: psycopg.Connection, table: Table, shape: Shape, loaded: Loaded) -> list[str]:
        """All keys that the source has now; what is known and not among them is deleted."""
        name = sql.Identifier("load", table.name + KEYS)
        columns = [
            sql.SQL("{} " + table.column(one).data_type).format(sql.Identifier(one)) for one in table.primary_key
        ]
        connection.execute(sql.SQL("drop table if exists {}").format(name))
        connection.execute(sql.SQL("create unlogged table {} ({})").format(name, sql.SQL(", ").join(columns)))
        query = database_query.keys(table, shape)
        self._stream(connection, table, query, table.name + KEYS, table.primary_key)
        texts = [sql.SQL("cast({} as text)").format(sql.Identifier(one)) for one in table.primary_key]
        row = connection.execute(
            sql.SQL("select count(*), count(*) filter (where {}), sum(hashtextextended({}, 0)) from {}").format(
                sql.SQL(" or ").join(sql.SQL("{} is null").format(sql.Identifier(one)) for one in table.primary_key),
                database_query.concatenated(texts),
                name,
            )
        ).fetchone()
        assert row is not None
        count, unreadable, weight = row
        loaded.has_keys = unreadable == 0
        if unreadable:
            connection.execute(sql.SQL("drop table {}").format(name))
            loaded.warnings.append(
                f"the key of rows cannot be read (count {unreadable}), so nothing of the table is taken for deleted"
            )
        return [str(count), str(weight)]


@contextmanager
def open_database(
    source: Source, *, read_since: datetime | None, is_first: bool, compares_keys: bool
) -> Iterator[DatabaseDelivery]:
    """A reading of a source's database, in a snapshot of its own.

    Args:
        source: of engine postgres.
        read_since: `read_until` of the reading that this one follows; None: everything is read.
        is_first: nothing is known of the source yet.
        compares_keys: whether deleted rows are looked for.

    Raises:
        SourceUnreachable: the database does not answer.
        SourceError: its connection is not set, or it is no database that can be read.
    """
    with closing(database_connection.connect(source)) as session:
        try:
            bound = next_bound(session, timedelta(minutes=source.overlap_minutes))
            session.execute("begin isolation level repeatable read, read only")
            session.execute(SESSION)
        except psycopg.Error as error:
            raise database_connection.source_error(error, database_connection.place(session)) from None
        yield DatabaseDelivery(
            session,
            source,
            bound,
            read_since=None if is_first else read_since,
            compares_keys=compares_keys,
        )


def weakness(source: Source) -> str | None:
    """Why a row that is committed late could be missed in a source's database; None where it cannot.

    Raises:
        SourceError: it cannot be reached.
    """
    with closing(database_connection.connect(source)) as session:
        try:
            return next_bound(session, timedelta(minutes=source.overlap_minutes)).weakness
        except psycopg.Error as error:
            raise database_connection.source_error(error, database_connection.place(session)) from None


def _create_load_table(connection: psycopg.Connection, table: Table, label: str) -> None:
    create_load_table(connection, table, more=[("_fault", "text")])
    name = sql.Identifier("load", table.name)
    # The same for every row: not worth sending.
    connection.execute(sql.SQL("alter table {} alter column _file set default {}").format(name, sql.Literal(label)))
