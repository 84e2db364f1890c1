"""Samples of a lender's PostgreSQL: read only, with a limit on rows and on time, typed as the extraction types them."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError
from arrears.extraction.database import connection as database_connection
from arrears.extraction.database import query as database_query
from arrears.extraction.database.columns import Described, Reading, read
from arrears.extraction.database.cursor import next_bound
from arrears.extraction.database.query import Delivered
from arrears.extraction.database.reading import SKEW
from arrears.extraction.sources import Source
from arrears.onboarding.report import Finding
from arrears.onboarding.sample import References, Sample, SampledColumn
from arrears.settings import get_settings

SECONDS_A_STATEMENT = 30
SESSION = f"""
set default_transaction_read_only = on;
set statement_timeout = '{SECONDS_A_STATEMENT}s';
set lock_timeout = '5s';
set timezone = 'UTC';
set datestyle = 'ISO, YMD';
"""

# A moment that no row has and no zone moves to other seconds: where a plan names it tells what the cursor is good for.
FAR = datetime(2201, 2, 3, 12, 4, 6, 789000, tzinfo=UTC)
MARK = "06.789"


@dataclass(frozen=True, slots=True)
class _Typed:
    """How a table's columns are read, and the delivered columns that cannot be."""

    readings: dict[str, tuple[Reading, Described]]
    refused: dict[str, str]


class DatabaseSampler:
    """A session in a lender's database that looks and changes nothing."""

    def __init__(self, session: psycopg.Connection, source: Source, row_limit: int) -> None:
        self.place = database_connection.place(session)
        self._session = session
        self._source = source
        self._row_limit = row_limit

    def tables(self) -> list[str]:
        """The contract tables that it delivers."""
        there: set[str] = set()
        if self._source.database_schema is not None:
            names = list(contract())
            with self._complaining(self.place):
                rows = self._session.execute(
                    "select name from unnest(%s::text[]) as names (name)"
                    " where to_regclass(quote_ident(%s) || '.' || quote_ident(name)) is not null",
                    [names, self._source.database_schema],
                ).fetchall()
            there = {str(row[0]) for row in rows}
        return [name for name in contract() if name in there or self._source.select(name) is not None]

    def findings(self) -> list[Finding]:
        """What is to be said of the database as a whole: its clock, and what the role may see."""
        return [*self._clock(), *self._sight()]

    def sample(self, table: Table) -> Sample:
        """Rows of a table; what makes its reading fail is among the findings.

        Raises:
            SourceUnreachable: the database went away.
        """
        sample = Sample(table, self._place(table), writes_selects=self._source.select(table.name) is not None)
        try:
            there = database_query.delivered(self._session, self._source, table, self.place)
            typed = self._typed(table, there)
            sample.refused = typed.refused
            cursor = self._cursor(table, there, sample)
            known = {*table.column_names, cursor.name.lower() if cursor else ""}
            sample.unknown = [name for name in there.columns if name not in known]
            self._read(sample, there, typed, cursor)
            if cursor is not None:
                sample.findings += self._index(there, cursor)
        except SourceError as error:
            if type(error) is not SourceError:
                raise
            sample.findings.append(Finding("error", _without(sample.place, error)))
        return sample

    def find_references(self, sample: Sample, tables: Sequence[str]) -> None:
        """Looks a sample's references up in the tables that they refer to, as far as that is done in time."""
        for column in sample.table.columns:
            if column.references is None or column.name not in sample.columns:
                continue
            values = {value for value in sample.columns[column.name].values if value is not None}
            if values and column.references not in tables:
                sample.references[column.name] = References(
                    not_checked=f"the source does not deliver {column.references}"
                )
            elif values:
                sample.references[column.name] = self._look_up(contract()[column.references], sorted(values))

    def _place(self, table: Table) -> str:
        if self._source.select(table.name) is not None:
            return str(self._source.folder / f"{table.name}.sql")
        return f"{self.place}, {database_query.label(self._source, table)}"

    def _clock(self) -> list[Finding]:
        before = datetime.now(UTC)
        with self._complaining(self.place):
            row = self._session.execute("select clock_timestamp()").fetchone()
        assert row is not None
        skew = row[0] - before
        if abs(skew) <= SKEW:
            return []
        side = "ahead of" if skew > timedelta(0) else "behind"
        return [
            Finding(
                "warning",
                f"the clock of {self.place} is {abs(skew).total_seconds() / 60:.0f} minutes {side} this machine's: set"
                f" the one that is wrong",
            )
        ]

    def _sight(self) -> list[Finding]:
        if self._source.cursor is None:
            return [
                Finding("warning", "source.yml names no cursor: every table is read whole for every date"),
            ]
        overlap = timedelta(minutes=self._source.overlap_minutes)
        with self._complaining(self.place):
            weakness = next_bound(self._session, overlap).weakness
        if weakness is None:
            return []
        return [
            Finding(
                "warning",
                f"open transactions cannot be seen in {self.place} ({weakness}): a row that is committed more than"
                f" overlap_minutes ({self._source.overlap_minutes}) after its {self._source.cursor} is missed",
            )
        ]

    def _typed(self, table: Table, there: Delivered) -> _Typed:
        zones = (self._source.time_zone, self._source.time_zone or get_settings().business_time_zone)
        typed = _Typed({}, {})
        for column in table.columns:
            found = there.columns.get(column.name)
            if found is None:
                continue
            try:
                typed.readings[column.name] = (read(column, found, table, zones, there.place), found)
            except SourceError as error:
                said = str(error).removeprefix(f"{there.place}: column {column.name} of table {table.name} ")
                typed.refused[column.name] = said.rstrip(".")
        return typed

    def _cursor(self, table: Table, there: Delivered, sample: Sample) -> Described | None:
        if self._source.cursor is None:
            return None
        found = there.columns.get(self._source.cursor.lower())
        if found is None:
            said = f"it has no column {self._source.cursor}, the cursor: it is read whole for every date"
            sample.findings.append(Finding("warning", said))
            return None
        try:
            database_query.check_cursor(self._source, found, table, there.place)
        except SourceError as error:
            sample.findings.append(Finding("error", _without(there.place, error)))
        return found

    def _read(self, sample: Sample, there: Delivered, typed: _Typed, cursor: Described | None) -> None:
        if not typed.readings:
            return
        inner: list[sql.Composable] = []
        outer: list[sql.Composable] = []
        for name, (reading, _) in typed.readings.items():
            given = sql.Identifier(f"{name} as delivered")
            inner.append(sql.SQL("{} as {}").format(reading.value, sql.Identifier(name)))
            outer.append(sql.SQL("cast({} as text)").format(sql.Identifier(name)))
            if reading.raw is not None:
                inner.append(sql.SQL("cast({} as text) as {}").format(reading.raw, given))
            outer.append(given if reading.raw is not None else sql.SQL("null"))
            outer.append(sql.SQL("coalesce({}, false)").format(reading.is_bad) if reading.is_bad else sql.SQL("false"))
        if cursor is not None:
            inner.append(sql.SQL("{} as _cursor").format(sql.Identifier("delivered", cursor.name)))
            outer.append(sql.SQL("_cursor is null"))
        query = sql.SQL(
            "select {outer} from (select {inner} from (select * from {delivered} limit {limit}) as delivered offset 0)"
            " as typed"
        ).format(
            outer=sql.SQL(", ").join(outer),
            inner=sql.SQL(", ").join(inner),
            delivered=there.item,
            limit=sql.Literal(self._row_limit + 1),
        )
        rows = self._ask(query, there.place)
        sample.is_whole = len(rows) <= self._row_limit
        rows = rows[: self._row_limit]
        sample.row_count = len(rows)
        sample.columns = {
            name: _column(typed.readings[name], [row[3 * index : 3 * index + 3] for row in rows])
            for index, name in enumerate(typed.readings)
        }
        if cursor is not None:
            without = sum(row[-1] for row in rows)
            if without:
                said = (
                    f"the cursor {cursor.name} is empty in {without:,} of {len(rows):,} rows, which are read every time"
                )
                sample.findings.append(Finding("warning", said))

    def _index(self, there: Delivered, cursor: Described) -> list[Finding]:
        """Whether what changed since a moment is found by an index; told by the plan, not by names."""
        query = sql.SQL("explain (format json) select * from {} where {}").format(
            there.item, database_query.changed_since(self._source, cursor, FAR)
        )
        with self._complaining(there.place), self._session.transaction():
            self._session.execute("set local enable_seqscan = off")
            row = self._session.execute(query).fetchone()
        assert row is not None
        scanned = sorted(_filtered(row[0][0]["Plan"]))
        if not scanned:
            return []
        return [
            Finding(
                "warning",
                f"no index finds the rows whose {cursor.name} is late: every reading goes through"
                f" {' and '.join(scanned)} whole",
            )
        ]

    def _look_up(self, parent: Table, values: Sequence[str]) -> References:
        (key,) = parent.primary_key
        try:
            there = database_query.delivered(self._session, self._source, parent, self.place)
            reading, _ = self._typed(parent, there).readings[key]
            query = sql.SQL(
                "select value from unnest({}::text[]) as asked (value) except select cast({} as text) from {}"
            ).format(sql.Literal(list(values)), reading.value, there.item)
            return References(frozenset(str(row[0]) for row in self._ask(query, there.place)))
        except KeyError:
            return References(not_checked=f"{parent.name} has no {key} that can be read")
        except SourceError as error:
            if type(error) is not SourceError:
                raise
            return References(not_checked=_without(self._place(parent), error))

    def _ask(self, query: sql.Composed, place: str) -> list[tuple[Any, ...]]:
        with self._complaining(place):
            rows: list[tuple[Any, ...]] = self._session.execute(query).fetchall()
        return rows

    @contextmanager
    def _complaining(self, place: str) -> Iterator[None]:
        try:
            yield
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable) as error:
            what = error.diag.message_primary or "it was cancelled"
            raise SourceError(
                f"{place}: no answer within {SECONDS_A_STATEMENT} seconds ({what}): ask for fewer rows (--rows), or"
                f" give it an index."
            ) from None
        except psycopg.Error as error:
            raise database_connection.source_error(error, place) from None


@contextmanager
def open_sampler(source: Source, row_limit: int) -> Iterator[DatabaseSampler]:
    """A sampler of a source's database.

    Raises:
        SourceError: it cannot be reached, or its connection is not set.
    """
    with closing(database_connection.connect(source)) as session:
        try:
            session.execute(SESSION)
        except psycopg.Error as error:
            raise database_connection.source_error(error, database_connection.place(session)) from None
        yield DatabaseSampler(session, source, row_limit)


def _without(place: str, error: SourceError) -> str:
    """What an error says, without the place that is named beside it."""
    return str(error).removeprefix(place).lstrip(",: ").rstrip(".")


def _column(how: tuple[Reading, Described], cells: Sequence[tuple[str | None, str | None, bool]]) -> SampledColumn:
    reading, found = how
    given = [raw if reading.raw is not None else value for value, raw, _ in cells]
    misfits = [is_bad or (raw is not None and value is None) for value, raw, is_bad in cells]
    return SampledColumn(
        type_name=found.type_name,
        values=[value for value, _, _ in cells],
        given=given,
        is_bad=misfits,
        complaint=reading.complaint,
    )


def _filtered(plan: dict[str, Any]) -> Iterator[str]:
    """Names of what is read whole to compare the cursor row by row."""
    filters = [text for name, text in plan.items() if name.endswith("Filter") and isinstance(text, str)]
    if any(MARK in text for text in filters):
        yield from _relations(plan)
    else:
        for below in plan.get("Plans", ()):
            yield from _filtered(below)


def _relations(plan: dict[str, Any]) -> set[str]:
    """Names of the tables that a part of a plan reads."""
    found = {plan["Relation Name"]} if "Relation Name" in plan else set()
    return found.union(*(_relations(below) for below in plan.get("Plans", ())))
