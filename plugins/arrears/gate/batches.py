"""The batches that wait for judgement, and what of them the raw suites need to know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import psycopg
from psycopg import sql

from arrears.contract.servicing import Contract
from arrears.gate.thresholds import minor_units
from arrears.warehouse.bootstrap import kept

# All that are loaded; of a source that has none, its latest up to the date where that was rejected: the day stays shut
# until the drop, or a threshold, is another one. A batch's differences build on what was accepted before it was loaded:
# where a batch was accepted since, they would now be wrong. `until`: a later batch is known already, from that date on.
WAITING = """
with batches as (
    select
        batch_id, source, batch_date, mode, known_from, is_first, state, loaded_at,
        bool_or(state = 'loaded') over (partition by source) as has_loaded,
        max(decided_at) filter (where state = 'accepted') over (partition by source) as last_accepted_at,
        row_number() over (
            partition by source, batch_date <= %(as_of_date)s
            order by known_from desc, batch_date desc, state <> 'accepted', loaded_at desc, batch_id
        ) as place
    from ops.batches
    where state <> 'superseded'
)

select
    batch_id, source, batch_date, mode, known_from, is_first,
    (
        select min(later.known_from) from ops.batches as later
        where later.source = batches.source and later.state = 'accepted' and later.known_from > batches.known_from
    ) as until
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
    """One delivery of a source that is loaded but not accepted.

    `until` is the date from which a later batch of the source is known already; None: it is the newest.
    """

    batch_id: str
    source: str
    batch_date: date
    mode: str
    known_from: date
    is_first: bool
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """The batches that one raw gate judges together, and what is around them.

    `tables` have rows that are new or changed in these batches, `shrunk_tables` have deletions; `shrunk`: the same by
    source and table. `whole`: source and table delivered whole, so that what is not there is no more. `deleted_counts`:
    deletions by table. `deletions_beyond`: source and table of which too much would be deleted; `deletions_refused`:
    these and what refers to them.
    """

    batches: tuple[Batch, ...]
    tables: frozenset[str]
    shrunk_tables: frozenset[str]
    shrunk: frozenset[tuple[str, str]]
    whole: frozenset[tuple[str, str]]
    deleted_counts: Mapping[str, int]
    required_tables: tuple[str, ...]
    growing_tables: frozenset[str]
    keys: Mapping[str, tuple[str, ...]]
    source_count: int
    first_source: str
    minor_units: Mapping[str, int]
    deletions_beyond: frozenset[tuple[str, str]] = frozenset()
    deletions_refused: frozenset[tuple[str, str]] = frozenset()

    @property
    def batch_ids(self) -> list[str]:
        """Ids, in the order of source and date."""
        return [batch.batch_id for batch in self.batches]

    @property
    def batches_sql(self) -> str:
        """The ids as a list for SQL's `in`."""
        return sql_list(self.batch_ids)

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

    def in_force(self, table: str) -> str:
        """SQL, to stand in `from`: the versions that the batches are compared with, of all sources.

        Those are the current ones; where a late batch is judged, those known on its date.
        """
        late = [batch for batch in self.batches if batch.until is not None]
        if not late:
            return f"(select * from versions.{table} where _known_to is null)"
        day = f"date '{max(batch.known_from for batch in late)}'"
        newest = sql_list([batch.source for batch in self.batches if batch.until is None])
        # Two parts, so that each finds its rows by an index.
        return (
            f"(select * from versions.{table} where _known_to is null and (_source in {newest} or _known_from <= {day})"
            f" union all select * from versions.{table}"
            f" where _known_to > {day} and _known_from <= {day} and _source not in {newest})"
        )

    @property
    def earliest(self) -> date:
        """The first date from which any of these batches' rows are known; a first batch's before all time."""
        return (
            date.min if any(batch.is_first for batch in self.batches) else min(one.known_from for one in self.batches)
        )

    def until(self, source: str) -> str:
        """SQL of the date until which a source's batch holds; `source` is SQL that names it."""
        ends = [f" when '{one.source}' then date '{one.until}'" for one in self.batches if one.until is not None]
        return f"case {source}{''.join(ends)} else date 'infinity' end" if ends else "date 'infinity'"

    def not_whole(self, table: str) -> list[str]:
        """The sources judged whose batch does not state the table anew: what waited in quarantine still waits."""
        return sorted({batch.source for batch in self.batches if (batch.source, table) not in self.whole})

    def refusing_sources(self, table: str) -> list[str]:
        """The sources of which nothing of the table is deleted."""
        return sorted(source for source, name in self.deletions_refused if name == table)

    def refusing(self, beyond: frozenset[tuple[str, str]], tables: Contract) -> "Loaded":
        """The same, refusing the deletions of tables beyond their threshold, and of what refers to them.

        Else a loan that stays, because too many would go, would lose its schedule. A table that only grows is never
        beyond: each row that vanished alone is a finding; it may follow, for the rows that vanished with their loan.
        """
        refused = set(beyond)
        grown = True
        while grown:
            following = {
                (source, name)
                for source, name in self.shrunk - refused
                if any((source, column.references) in refused for column in tables[name].columns if column.references)
            }
            refused |= following
            grown = bool(following)
        return replace(self, deletions_refused=frozenset(refused), deletions_beyond=beyond)


def sql_list(values: Sequence[str]) -> str:
    """Values as a list for SQL's `in`; the empty text, which names nothing, where there are none."""
    return "(" + ", ".join("'" + value.replace("'", "''") + "'" for value in values or ("",)) + ")"


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
        "select batches.source, table_name, new_count + changed_count > 0, deleted_count > 0,"
        " is_delivered and tables.mode = 'full' and complete_from is null, deleted_count"
        " from ops.batch_tables as tables inner join ops.batches as batches on tables.batch_id = batches.batch_id"
        " where tables.batch_id = any(%s) and table_name = any(%s)",
        [ids, list(tables)],
    ).fetchall()
    # What was announced and what is there: a suite that finds nothing where rows were announced has failed.
    present = connection.execute(
        sql.SQL(" union all ").join(
            sql.SQL(
                "select batches.source, {name},"
                " exists (select 1 from raw.{table} where _batch_id = batches.batch_id and not _is_deleted),"
                " not batches.is_first"  # has none, and millions of rows to look for one in
                " and exists (select 1 from raw.{table} where _batch_id = batches.batch_id and _is_deleted)"
                " from ops.batches as batches where batches.batch_id = any(%(ids)s)"
            ).format(name=sql.Literal(name), table=sql.Identifier(name))
            for name in tables
        ),
        {"ids": ids},
    ).fetchall()
    sources = connection.execute(
        "select count(distinct source) from ops.batches where state <> 'superseded'"
    ).fetchone()
    assert sources is not None
    found = [row[:4] for row in announced] + present
    shrunk = frozenset((source, name) for source, name, _, has_deletions in found if has_deletions)
    return Loaded(
        batches=tuple(batches),
        tables=frozenset(name for _, name, has_rows, _ in found if has_rows),
        shrunk_tables=frozenset(name for _, name in shrunk),
        shrunk=shrunk,
        whole=frozenset((source, name) for source, name, _, _, is_whole, _ in announced if is_whole),
        deleted_counts=Counter(
            {name: sum(row[5] for row in announced if row[1] == name) for name in {row[1] for row in announced}}
        ),
        required_tables=tuple(table.name for table in tables.values() if table.required),
        growing_tables=frozenset(table.name for table in tables.values() if table.only_grows),
        keys={table.name: table.primary_key for table in tables.values()},
        source_count=sources[0],
        first_source=(kept(connection, "sources") or "").split(",")[0],
        minor_units=minor_units(),
    )
