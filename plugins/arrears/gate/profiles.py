"""Figures of what a batch brought, kept to compare the next deliveries with (`expectations.raw.drift`).

Of the rows that are new or changed, one query a table and in proportion to them: how many, the share of each column
that is empty, the median of each amount, the mix of each column with a closed list of values. And of the rows that are
changed, where they are many, what that does to the table as a whole: by how much more of it is empty, how much of it is
of another kind, by which factor amounts are others.
"""

from collections.abc import Mapping, Sequence
from typing import LiteralString

import psycopg
from psycopg import sql

from arrears.contract.servicing import Contract, Table
from arrears.extraction.differences import same_key
from arrears.gate import quarantine
from arrears.gate.batches import Batch, Loaded

ROW_COUNTS = """
insert into ops.batch_profiles (batch_id, table_name, metric, row_count, value)
select batch_id, table_name, 'row_count', new_count + changed_count, new_count + changed_count
from ops.batch_tables
where batch_id = %(batch)s and table_name = any(%(tables)s)
"""

# One pass for all columns; `totals` has one row, so that each figure of it is a line of its own.
COLUMNS = """
insert into ops.batch_profiles (batch_id, table_name, metric, column_name, row_count, value)
with totals as (
    select count(*) as row_count, {figures}
    from raw.{table} as rows {beside_known}
    where rows._batch_id = {batch} and not rows._is_deleted
)

select {batch}, {table_name}, figures.metric, figures.column_name, totals.row_count, figures.value
from totals
cross join lateral (values {lines}) as figures (metric, column_name, value)
where totals.row_count > 0 and figures.value is not null
"""
NULL_SHARE = "(count(*) - count(rows.{column})) / nullif(cast(count(*) as numeric), 0) as {figure}"
MEDIAN = "percentile_disc(0.5) within group (order by rows.{column}) as {figure}"

MIXES = """
insert into ops.batch_profiles (batch_id, table_name, metric, column_name, segment, row_count, value)
with kinds as (
    select kinds.column_name, kinds.segment, count(*) as kind_count
    from raw.{table} as rows
    cross join lateral (values {lines}) as kinds (column_name, segment)
    where rows._batch_id = {batch} and not rows._is_deleted and kinds.segment is not null
    group by kinds.column_name, kinds.segment
),

totalled as (
    select kinds.*, sum(kind_count) over (partition by column_name) as row_count from kinds
)

select {batch}, {table_name}, 'mix', column_name, segment, row_count, kind_count / row_count from totalled
"""

# Fewer rows than a twentieth of the table change its figures by less than anybody would be told.
ROWS_WORTH_COMPARING = 50
SHARE_WORTH_COMPARING = 20

CHANGED_NULLS = "(count(known.{column}) - count(rows.{column})) / cast({known_count} as numeric) as {figure}"
CHANGED_MEDIAN = (
    "case when count(*) * 4 >= {known_count} then"
    " percentile_disc(0.5) within group (order by rows.{column})"
    " / nullif(percentile_disc(0.5) within group (order by known.{column}), 0) end as {figure}"
)
CHANGED_MIXES = """
insert into ops.batch_profiles (batch_id, table_name, metric, column_name, row_count, value)
with kinds as (
    select kinds.column_name, kinds.segment, sum(kinds.sign) as difference
    from raw.{table} as rows {beside_known}
    cross join lateral (values {lines}) as kinds (column_name, segment, sign)
    where rows._batch_id = {batch} and not rows._is_deleted
    group by kinds.column_name, kinds.segment
)

select {batch}, {table_name}, 'changed_mix', column_name, {changed_count}, sum(abs(difference)) / 2.0 / {known_count}
from kinds
group by column_name
"""


def write(connection: psycopg.Connection, loaded: Loaded, tables: Contract) -> None:
    """Replaces the figures of the batches that are judged; those of a source's first batch are not kept."""
    for batch in loaded.batches:
        connection.execute("delete from ops.batch_profiles where batch_id = %s", [batch.batch_id])
        if batch.is_first:
            continue
        connection.execute(ROW_COUNTS, {"batch": batch.batch_id, "tables": list(tables)})
        brought = connection.execute(
            "select table_name, changed_count from ops.batch_tables"
            " where batch_id = %s and table_name = any(%s) and new_count + changed_count > 0 order by table_name",
            [batch.batch_id, list(tables)],
        ).fetchall()
        for name, changed_count in brought:
            _write_table(connection, batch.batch_id, tables[name])
            if changed_count >= ROWS_WORTH_COMPARING and not tables[name].only_grows:
                _write_changes(connection, loaded, batch, tables[name], changed_count)


def _write_table(connection: psycopg.Connection, batch_id: str, table: Table) -> None:
    given = _named(batch_id, table) | {"beside_known": sql.SQL("")}
    measured = [("null_share", name, NULL_SHARE) for name in _optional(table)]
    measured += [("median", name, MEDIAN) for name in _amounts(table)]
    _write(connection, given, measured, table, MIXES, "({0}, rows.{1})")


def _write_changes(
    connection: psycopg.Connection, loaded: Loaded, batch: Batch, table: Table, changed_count: int
) -> None:
    most = changed_count * SHARE_WORTH_COMPARING
    known_count = quarantine.known_count(connection, loaded, batch.source, table.name, most)
    if known_count == 0 or known_count >= most:
        return
    given = _named(batch.batch_id, table) | {
        "beside_known": sql.SQL("inner join {} as known on {} and rows._source = known._source").format(
            sql.SQL(loaded.in_force(table.name)), same_key(table, "rows", "known")
        ),
        "known_count": sql.Literal(known_count),
        "changed_count": sql.Literal(changed_count),
    }
    measured = [("changed_null_share", name, CHANGED_NULLS) for name in _optional(table)]
    measured += [("changed_median", name, CHANGED_MEDIAN) for name in _amounts(table)]
    _write(connection, given, measured, table, CHANGED_MIXES, "({0}, rows.{1}, 1), ({0}, known.{1}, -1)")


def _named(batch_id: str, table: Table) -> dict[str, sql.Composable]:
    return {
        "table": sql.Identifier(table.name),
        "table_name": sql.Literal(table.name),
        "batch": sql.Literal(batch_id),
    }


def _write(
    connection: psycopg.Connection,
    given: Mapping[str, sql.Composable],
    measured: Sequence[tuple[str, str, str]],
    table: Table,
    mixes: LiteralString,
    line_of_kind: LiteralString,
) -> None:
    """Writes the figures of columns (metric, column, SQL of each), and those of the columns with a list of values."""
    if measured:
        figures = {(metric, name): sql.Identifier(f"{metric}_{name}") for metric, name, _ in measured}
        query = sql.SQL(COLUMNS).format(
            **given,
            figures=sql.SQL(", ").join(
                sql.SQL(text).format(**given, column=sql.Identifier(name), figure=figures[metric, name])
                for metric, name, text in measured
            ),
            lines=sql.SQL(", ").join(
                sql.SQL("({}, {}, totals.{})").format(sql.Literal(metric), sql.Literal(name), figure)
                for (metric, name), figure in figures.items()
            ),
        )
        connection.execute(query)
    kinds = [column.name for column in table.columns if column.values]
    if kinds:
        lines = sql.SQL(", ").join(
            sql.SQL(line_of_kind).format(sql.Literal(name), sql.Identifier(name)) for name in kinds
        )
        connection.execute(sql.SQL(mixes).format(**given, lines=lines))


def _optional(table: Table) -> list[str]:
    """The columns that may be empty."""
    return [column.name for column in table.columns if not column.required and column.name not in table.primary_key]


def _amounts(table: Table) -> list[str]:
    """The columns of money; amounts of a row may be in any currency, but not in another one every day."""
    return [
        column.name
        for column in table.columns
        if column.data_type.startswith("numeric") and (column.name == "amount" or column.name.endswith("_amount"))
    ]
