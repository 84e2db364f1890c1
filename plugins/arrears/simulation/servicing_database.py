"""The reference servicing database: the contract's tables as a lender's own system would keep them.

Every table has its primary key and `updated_at`, which a trigger keeps, so that a source of engine postgres can read by
it what changed. A statement that sets `updated_at` itself is believed. `business_date` is empty, and a change is then
of the day of its `updated_at`; whoever plays a lender's days says there which one it is of.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql
from psycopg.conninfo import make_conninfo

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError, UsageError
from arrears.extraction.database import connection as database_connection
from arrears.extraction.sources import Source, load_source

SOURCE = "servicing"
ENDINGS = (".csv", ".csv.gz", ".parquet")
ROWS_A_BATCH = 50_000

# As the demo's: with a month's end and a change of clocks after it.
FIRST_DAY = date(2026, 3, 28)
LOANS = 400
SEED = 7

TOUCH = """
create function {schema}.keep_cursor() returns trigger language plpgsql as $$
begin
    if new.{cursor} is not distinct from old.{cursor} then
        new.{cursor} := now();
    end if;
    return new;
end
$$
"""


def create(drop: Path | None = None, day: date = FIRST_DAY) -> dict[str, int]:
    """Makes the schema of source `servicing` in its database (and the database where there is none) and fills it.

    Args:
        drop: a folder with TABLE.csv, .csv.gz or .parquet in the form of the contract; None: a small simulated
            portfolio.
        day: of the simulated portfolio.

    Returns:
        Rows by table.

    Raises:
        UsageError: the schema is there already.
        SourceError: the drop, or the database, cannot be used.
    """
    source = load_source(SOURCE)
    if drop is not None:
        return _create(source, drop)
    from arrears.simulation.small_portfolio import write_drops

    with TemporaryDirectory(prefix="arrears-servicing-") as folder:
        (simulated,) = write_drops(Path(folder), first=day, last=day, loans=LOANS, seed=SEED)
        return _create(source, simulated)


def _create(source: Source, drop: Path) -> dict[str, int]:
    files = _files(drop)
    given = database_connection.parameters(source)
    try:
        with closing(connect_or_create(given)) as connection, connection:
            create_tables(connection, source)
            return {name: _fill(connection, source, contract()[name], file) for name, file in files.items()}
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip().splitlines()[-1]
        raise SourceError(f"{source.connection}: {said}.") from None


def connect_or_create(given: dict[str, str]) -> psycopg.Connection:
    """A connection, after making the database where the server has none of that name."""
    try:
        return psycopg.connect(make_conninfo("", **given))
    except psycopg.OperationalError as error:
        name = given.get("dbname", "")
        if f'database "{name}" does not exist' not in str(error):
            raise
    with closing(psycopg.connect(make_conninfo("", **given | {"dbname": "postgres"}), autocommit=True)) as server:
        server.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    return psycopg.connect(make_conninfo("", **given))


def create_tables(connection: psycopg.Connection, source: Source) -> None:
    """The contract's tables, empty; commits nothing.

    Raises:
        UsageError: the schema is there already.
    """
    assert source.database_schema is not None and source.cursor is not None
    schema, cursor = sql.Identifier(source.database_schema), sql.Identifier(source.cursor)
    there = connection.execute("select 1 from pg_namespace where nspname = %s", [source.database_schema]).fetchone()
    if there is not None:
        raise UsageError(
            f"The database of {source.connection} has a schema {source.database_schema} already: drop it yourself"
            f" (drop schema {source.database_schema} cascade) or name another database."
        )
    connection.execute(sql.SQL("create schema {}").format(schema))
    connection.execute(sql.SQL(TOUCH).format(schema=schema, cursor=cursor))
    for table in contract().values():
        name = sql.Identifier(source.database_schema, table.name)
        columns = [sql.SQL("{} " + one.data_type).format(sql.Identifier(one.name)) for one in table.columns]
        columns.append(sql.SQL("{} timestamptz not null default now()").format(cursor))
        if source.business_date is not None:
            columns.append(sql.SQL("{} date").format(sql.Identifier(source.business_date)))
        columns.append(sql.SQL("primary key ({})").format(sql.SQL(", ").join(map(sql.Identifier, table.primary_key))))
        connection.execute(sql.SQL("create table {} ({})").format(name, sql.SQL(", ").join(columns)))
        connection.execute(sql.SQL("comment on table {} is {}").format(name, sql.Literal(table.grain)))
        connection.execute(sql.SQL("create index on {} ({})").format(name, cursor))
        connection.execute(
            sql.SQL(
                "create trigger keep_cursor before update on {} for each row execute function {}.keep_cursor()"
            ).format(name, schema)
        )


def _files(drop: Path) -> Mapping[str, Path]:
    found = {}
    for name in contract():
        files = [drop / f"{name}{ending}" for ending in ENDINGS if (drop / f"{name}{ending}").is_file()]
        if len(files) > 1:
            raise SourceError(f"{drop}: table {name} is there twice: {' and '.join(file.name for file in files)}.")
        if files:
            found[name] = files[0]
    if not found:
        raise SourceError(f"{drop} holds no TABLE.csv, TABLE.csv.gz or TABLE.parquet of the contract.")
    return found


def _fill(connection: psycopg.Connection, source: Source, table: Table, file: Path) -> int:
    assert source.database_schema is not None
    try:
        with duckdb.connect() as session, connection.cursor() as cursor:
            session.execute("set TimeZone = 'UTC'")
            names, batches = _rows(session, table, file)
            into = sql.SQL("copy {} ({}) from stdin (format csv)").format(
                sql.Identifier(source.database_schema, table.name), sql.SQL(", ").join(map(sql.Identifier, names))
            )
            with cursor.copy(into) as copy:
                for batch in batches:
                    buffer = pa.BufferOutputStream()
                    pyarrow.csv.write_csv(batch, buffer, pyarrow.csv.WriteOptions(include_header=False))
                    copy.write(buffer.getvalue())
            return cursor.rowcount
    except duckdb.Error as error:
        raise SourceError(f"{file}: {str(error).splitlines()[0]}") from error
    except psycopg.DataError as error:
        place = (error.diag.context or "").split(":")[0]  # what follows is the value
        raise SourceError(f"{file}: a value does not have its column's type ({place}).") from None


def _rows(session: duckdb.DuckDBPyConnection, table: Table, file: Path) -> tuple[list[str], Iterator[pa.RecordBatch]]:
    """The contract's columns that a file has, and its rows as text."""
    given = str(file).replace("'", "''")
    read = f"read_parquet('{given}')"
    if file.suffix != ".parquet":
        read = f"read_csv('{given}', header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"')"
    there = session.sql(f"from {read}").columns
    names = [name for name in table.column_names if name in there]
    columns = ", ".join(f"cast({name} as varchar) as {name}" for name in names)
    return names, iter(session.sql(f"select {columns} from {read}").to_arrow_reader(ROWS_A_BATCH))  # noqa: S608
