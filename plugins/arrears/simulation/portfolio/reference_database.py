"""The reference servicing database, filled by the simulator and moved on day by day as a lender's own system would be.

What a day changes is inserted, updated or deleted. As in any system, `updated_at` is the database's own clock when the
row was written, whatever day is played, so that a reader by cursor misses nothing; `business_date` is the day on which
the row's version came into the books. Which portfolio it is stands in schema `simulation`, so that the next day can be
simulated from the database alone.
"""

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta

import polars as pl
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError, UsageError
from arrears.extraction.database import connection as database_connection
from arrears.extraction.sources import Source, load_source
from arrears.simulation.portfolio.drops import TIMESTAMP
from arrears.simulation.portfolio.frames import DELETED, FROM, Frames, delta_of, full_on, in_contract_form
from arrears.simulation.portfolio.simulate import (
    Portfolio,
    Report,
    blocks,
    common_tables,
    progress,
    tables_of,
    world_of,
)
from arrears.simulation.servicing_database import SOURCE, connect_or_create, create_tables

MARK = "simulation"
MOST_DAYS = 366


@contextmanager
def _open(url: str | None) -> Iterator[tuple[psycopg.Connection, Source]]:
    """The database of a URL, else of the source's environment variable; one transaction."""
    source = load_source(SOURCE)
    if url is None:
        given = database_connection.parameters(source)
    else:
        try:
            given = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        except psycopg.ProgrammingError as error:
            raise UsageError(f"--postgres is no connection URL: {' '.join(str(error).split())}.") from None
    try:
        with closing(connect_or_create(given)) as connection, connection:
            yield connection, source
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).strip().splitlines()[-1]
        raise SourceError(f"{source.connection if url is None else '--postgres'}: {said}.") from None


def fill(url: str | None, portfolio: Portfolio, day: date, report: Report) -> dict[str, int]:
    """Makes the schema of source `servicing` and fills it with what stood in the books at the end of a day.

    Raises:
        UsageError: the schema is there already.
        SourceError: the database cannot be used.
    """
    portfolio.check()
    counts: dict[str, int] = dict.fromkeys(contract(), 0)
    with _open(url) as (connection, source):
        create_tables(connection, source)
        for frames in _frames(portfolio, day, report):
            for name, rows in frames.items():
                shown = full_on(rows, day)
                counts[name] += _copy(connection, source, contract()[name], shown, _identifier(source, name))
        connection.execute(f"create schema {MARK}")
        connection.execute(f"create table {MARK}.portfolio (loans int, months int, seed bigint, anchor date, day date)")
        connection.execute(
            f"insert into {MARK}.portfolio values (%s, %s, %s, %s, %s)",  # noqa: S608
            [portfolio.loans, portfolio.months, portfolio.seed, portfolio.anchor, day],
        )
    return counts


def advance(url: str | None, days: int, report: Report) -> tuple[date, dict[str, int]]:
    """Moves the database on by some days; gives the new day and the rows changed by table.

    Raises:
        UsageError: the number of days makes no sense, or the database was not filled by the simulator.
        SourceError: the database cannot be used.
    """
    if not 1 <= days <= MOST_DAYS:
        raise UsageError(f"--days {days}: between 1 and {MOST_DAYS}.")
    counts: dict[str, int] = {}
    with _open(url) as (connection, source):
        if connection.execute("select to_regclass(%s)", [f"{MARK}.portfolio"]).fetchone() == (None,):
            raise UsageError(
                "This database was not filled by `arrears simulate --postgres URL`; nothing says how it goes on."
            )
        found = connection.execute(
            f"select loans, months, seed, anchor, day from {MARK}.portfolio for update"  # noqa: S608
        ).fetchone()
        assert found is not None
        portfolio, known = Portfolio(*found[:4]), found[4]
        new = [known + timedelta(days=number + 1) for number in range(days)]
        for frames in _frames(portfolio, new[-1], report):
            for name, rows in frames.items():
                for day in new:
                    changed = delta_of(rows, contract()[name], day)
                    if len(changed):
                        _apply(connection, source, contract()[name], changed)
                        counts[name] = counts.get(name, 0) + len(changed)
        connection.execute(f"update {MARK}.portfolio set day = %s", [new[-1]])  # noqa: S608
    return new[-1], counts


def _frames(portfolio: Portfolio, last: date, report: Report) -> Iterator[Frames]:
    world = world_of(portfolio, last)
    yield common_tables(world, portfolio)
    done, told = 0, progress(world, portfolio, report)
    for block in blocks(world, portfolio):
        yield tables_of(world, block)[0]
        done += len(block)
        told(done)


def _identifier(source: Source, table: str) -> sql.Identifier:
    assert source.database_schema is not None
    return sql.Identifier(source.database_schema, table)


def _business_date(source: Source) -> str:
    if source.business_date is None:
        raise UsageError(
            f"Source {source.name} names no business_date, so days other than today's could not be told apart: put"
            f" `business_date: business_date` into its source.yml."
        )
    return source.business_date


def _copy(
    connection: psycopg.Connection, source: Source, table: Table, rows: pl.DataFrame, into: sql.Composable
) -> int:
    written = in_contract_form(rows, table).with_columns(rows[FROM].alias(_business_date(source)))
    written = written.drop(DELETED, strict=False)
    buffer = io.BytesIO()
    written.write_csv(buffer, include_header=False, datetime_format=TIMESTAMP)
    names = sql.SQL(", ").join(map(sql.Identifier, written.columns))
    with connection.cursor() as cursor:
        with cursor.copy(sql.SQL("copy {} ({}) from stdin (format csv)").format(into, names)) as copy:
            copy.write(buffer.getvalue())
        return cursor.rowcount


def _apply(connection: psycopg.Connection, source: Source, table: Table, rows: pl.DataFrame) -> None:
    """Inserts, updates and deletes what a day changed; a trigger sets `updated_at`."""
    name = _identifier(source, table.name)
    staged = sql.Identifier("arriving")
    new = rows.filter(~pl.col(DELETED))
    if len(new):
        connection.execute(
            sql.SQL("create temp table {} (like {} including defaults) on commit drop").format(staged, name)
        )
        _copy(connection, source, table, new, staged)
        key = sql.SQL(", ").join(map(sql.Identifier, table.primary_key))
        written = [*table.column_names, _business_date(source)]
        others = [one for one in written if one not in table.primary_key]
        sets = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(one)) for one in others)
        connection.execute(
            sql.SQL("insert into {0} ({1}) select {1} from {2} on conflict ({3}) do update set {4}").format(
                name, sql.SQL(", ").join(map(sql.Identifier, written)), staged, key, sets
            )
        )
        connection.execute(sql.SQL("drop table {}").format(staged))
    gone = rows.filter(pl.col(DELETED)).select(table.primary_key).rows()
    if gone:
        same = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(one)) for one in table.primary_key)
        with connection.cursor() as cursor:
            cursor.executemany(sql.SQL("delete from {} where {}").format(name, same), gone)
