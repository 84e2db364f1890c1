"""The batches that wait for judgement, and what of them the raw suites need to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import psycopg
from psycopg import sql

from arrears.contract.servicing import Contract
from arrears.gate.thresholds import minor_units
from arrears.warehouse.bootstrap import kept

# All that are loaded; of a source that has none, its latest of all dates where that was rejected: the day stays shut
# until the drop, or a threshold, is another one. A batch's differences build on what was accepted before it was loaded:
# where a batch was accepted since, they would now be wrong.
WAITING = """
with batches as (
    select
        batch_id, source, batch_date, mode, state, loaded_at,
        bool_or(state = 'loaded') over (partition by source) as has_loaded,
        max(decided_at) filter (where state = 'accepted') over (partition by source) as last_accepted_at,
        row_number() over (
            partition by source
            order by batch_date desc, state <> 'accepted', loaded_at desc, batch_id
        ) as place
    from ops.batches
    where state <> 'superseded'
)

select batch_id, source, batch_date, mode
from batches
where
    batch_date <= %(as_of_date)s
    and (
        state = 'loaded'
        or (
            state = 'rejected' and place = 1 and not has_loaded
            and (last_accepted_at is null or last_accepted_at < loaded_at)
        )
    )
order by source, batch_date, batch_id
"""


MARK_OF_SOURCE = "@"


@dataclass(frozen=True, slots=True)
class Batch:
    """One delivery of a source that is loaded but not accepted."""

    batch_id: str
    source: str
    batch_date: date
    mode: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """The batches that one raw gate judges together, and what is around them.

    `tables` have rows that are new or changed in these batches, `shrunk_tables` have deletions.
    `deletions_beyond`: tables of which too much would be deleted; `deletions_refused`: these and what refers to them.
    """

    batches: tuple[Batch, ...]
    tables: frozenset[str]
    shrunk_tables: frozenset[str]
    required_tables: tuple[str, ...]
    growing_tables: frozenset[str]
    keys: Mapping[str, tuple[str, ...]]
    source_count: int
    first_source: str
    minor_units: Mapping[str, int]
    deletions_beyond: frozenset[str] = frozenset()
    deletions_refused: frozenset[str] = frozenset()

    @property
    def batch_ids(self) -> list[str]:
        """Ids, in the order of source and date."""
        return [batch.batch_id for batch in self.batches]

    @property
    def batches_sql(self) -> str:
        """The ids as a list for SQL's `in`."""
        quoted = (batch_id.replace("'", "''") for batch_id in self.batch_ids)
        return "(" + ", ".join(f"'{batch_id}'" for batch_id in quoted) + ")"

    @property
    def suffixes(self) -> dict[str, str]:
        """What each source's suites are named after: nothing for the portfolio's first source, `@SOURCE` for others.

        Results are kept by source, so that they do not depend on which sources were judged together, or how often.
        """
        return {
            batch.source: "" if batch.source == self.first_source else f"{MARK_OF_SOURCE}{batch.source}"
            for batch in self.batches
        }

    def key_of(self, table: str) -> tuple[str, ...]:
        """The primary key's columns of a contract table."""
        return self.keys[table]

    def refusing(self, beyond: frozenset[str], tables: Contract) -> "Loaded":
        """The same, refusing the deletions of tables beyond their threshold, and of what refers to them.

        Else a loan that stays, because too many would go, would lose its schedule. A table that only grows is never
        beyond: each row that vanished alone is a finding; it may follow, for the rows that vanished with their loan.
        """
        refused = set(beyond)
        grown = True
        while grown:
            following = {
                table.name
                for table in tables.values()
                if table.name in self.shrunk_tables - refused
                and any(column.references in refused for column in table.columns)
            }
            refused |= following
            grown = bool(following)
        return replace(self, deletions_refused=frozenset(refused), deletions_beyond=beyond)


# A table that gained fewer rows is read at once, whatever the planner thinks of it.
ROWS_WORTH_ANALYSING = 1_000


def analyse(connection: psycopg.Connection, loaded: Loaded) -> None:
    """Tells PostgreSQL how much the batches brought: else it takes a first drop of millions for a few rows."""
    grown = connection.execute(
        "select table_name from ops.batch_tables where batch_id = any(%s)"
        " and table_name = any(%s) and new_count + changed_count + deleted_count >= %s order by table_name",
        [loaded.batch_ids, list(loaded.keys), ROWS_WORTH_ANALYSING],
    ).fetchall()
    for (name,) in grown:
        connection.execute(sql.SQL("analyze raw.{}").format(sql.Identifier(name)))


def waiting(connection: psycopg.Connection, as_of_date: date) -> tuple[Batch, ...]:
    """The batches to judge for a date: all that are loaded, and each source's latest where it was rejected."""
    rows = connection.execute(WAITING, {"as_of_date": as_of_date}).fetchall()
    return tuple(Batch(*row) for row in rows)


def loaded(connection: psycopg.Connection, batches: Sequence[Batch], tables: Contract) -> Loaded:
    """What the raw suites need to know of the batches."""
    ids = [batch.batch_id for batch in batches]
    announced = connection.execute(
        "select table_name, sum(new_count + changed_count) > 0, sum(deleted_count) > 0 from ops.batch_tables"
        " where batch_id = any(%s) and table_name = any(%s) group by table_name",
        [ids, list(tables)],
    ).fetchall()
    # What was announced and what is there: a suite that finds nothing where rows were announced has failed.
    present = connection.execute(
        sql.SQL(" union all ").join(
            sql.SQL(
                "select {name},"
                " exists (select 1 from raw.{table} where _batch_id = any(%(ids)s) and not _is_deleted),"
                " exists (select 1 from raw.{table} where _batch_id = any(%(ids)s) and _is_deleted)"
            ).format(name=sql.Literal(name), table=sql.Identifier(name))
            for name in tables
        ),
        {"ids": ids},
    ).fetchall()
    sources = connection.execute(
        "select count(distinct source) from ops.batches where state <> 'superseded'"
    ).fetchone()
    assert sources is not None
    return Loaded(
        batches=tuple(batches),
        tables=frozenset(name for name, has_rows, _ in announced + present if has_rows),
        shrunk_tables=frozenset(name for name, _, has_deletions in announced + present if has_deletions),
        required_tables=tuple(table.name for table in tables.values() if table.required),
        growing_tables=frozenset(table.name for table in tables.values() if table.only_grows),
        keys={table.name: table.primary_key for table in tables.values()},
        source_count=sources[0],
        first_source=(kept(connection, "sources") or "").split(",")[0],
        minor_units=minor_units(),
    )
