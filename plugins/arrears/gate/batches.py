"""The batches that wait for judgement, and what of them the raw suites need to know."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import psycopg
from psycopg import sql

from arrears.contract.servicing import Contract
from arrears.gate.thresholds import minor_units

# All that are loaded; of a source that has none, its latest where that was rejected: the day stays shut until the drop,
# or a threshold, is another one.
WAITING = """
with batches as (
    select
        batch_id, source, batch_date, mode, state,
        bool_or(state = 'loaded') over (partition by source) as has_loaded,
        row_number() over (
            partition by source
            order by batch_date desc, state <> 'accepted', loaded_at desc, batch_id
        ) as place
    from ops.batches
    where batch_date <= %(as_of_date)s and state <> 'superseded'
)

select batch_id, source, batch_date, mode
from batches
where state = 'loaded' or (state = 'rejected' and place = 1 and not has_loaded)
order by source, batch_date, batch_id
"""


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

    def key_of(self, table: str) -> tuple[str, ...]:
        """The primary key's columns of a contract table."""
        return self.keys[table]

    def refusing(self, beyond: frozenset[str], tables: Contract) -> "Loaded":
        """The same, refusing the deletions of tables beyond their threshold, and of what refers to them.

        Else a loan that stays, because too many would go, would lose its schedule.
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
        " and new_count + changed_count + deleted_count >= %s order by table_name",
        [loaded.batch_ids, ROWS_WORTH_ANALYSING],
    ).fetchall()
    for (name,) in grown:
        connection.execute(sql.SQL("analyze raw.{}").format(sql.Identifier(name)))


def waiting(connection: psycopg.Connection, as_of_date: date) -> tuple[Batch, ...]:
    """The batches to judge for a date: all that are loaded, and each source's latest where it was rejected."""
    rows = connection.execute(WAITING, {"as_of_date": as_of_date}).fetchall()
    return tuple(Batch(*row) for row in rows)


def loaded(connection: psycopg.Connection, batches: tuple[Batch, ...], tables: Contract) -> Loaded:
    """What the raw suites need to know of the batches."""
    ids = [batch.batch_id for batch in batches]
    announced = connection.execute(
        "select table_name, sum(new_count + changed_count) > 0, sum(deleted_count) > 0 from ops.batch_tables"
        " where batch_id = any(%s) group by table_name",
        [ids],
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
        batches=batches,
        tables=frozenset(name for name, has_rows, _ in announced + present if has_rows),
        shrunk_tables=frozenset(name for name, _, has_deletions in announced + present if has_deletions),
        required_tables=tuple(table.name for table in tables.values() if table.required),
        growing_tables=frozenset(table.name for table in tables.values() if table.only_grows),
        keys={table.name: table.primary_key for table in tables.values()},
        source_count=sources[0],
        minor_units=minor_units(),
    )
