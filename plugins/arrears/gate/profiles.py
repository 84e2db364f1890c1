"""Figures of what a batch brought, kept to compare the next deliveries with (`expectations.raw.drift`).

Of the rows that are new or changed, one query a table and in proportion to them: how many, the share of each column
that is empty, the median of each amount, the mix of each column with a closed list of values.
"""

import psycopg
from psycopg import sql

from arrears.contract.servicing import Contract, Table
from arrears.gate.batches import Loaded

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
    from raw.{table} as rows
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


def write(connection: psycopg.Connection, loaded: Loaded, tables: Contract) -> None:
    """Replaces the figures of the batches that are judged; those of a source's first batch are not kept."""
    for batch in loaded.batches:
        connection.execute("delete from ops.batch_profiles where batch_id = %s", [batch.batch_id])
        if batch.is_first:
            continue
        connection.execute(ROW_COUNTS, {"batch": batch.batch_id, "tables": list(tables)})
        brought = connection.execute(
            "select table_name from ops.batch_tables where batch_id = %s and new_count + changed_count > 0",
            [batch.batch_id],
        ).fetchall()
        for (name,) in brought:
            if name in tables:
                _write_table(connection, batch.batch_id, tables[name])


def _write_table(connection: psycopg.Connection, batch_id: str, table: Table) -> None:
    given: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "table_name": sql.Literal(table.name),
        "batch": sql.Literal(batch_id),
    }
    measured = [
        ("null_share", column.name, NULL_SHARE)
        for column in table.columns
        if not column.required and column.name not in table.primary_key
    ] + [("median", name, MEDIAN) for name in _amounts(table)]
    if measured:
        figures = {(metric, name): sql.Identifier(f"{metric}_{name}") for metric, name, _ in measured}
        connection.execute(
            sql.SQL(COLUMNS).format(
                **given,
                figures=sql.SQL(", ").join(
                    sql.SQL(text).format(column=sql.Identifier(name), figure=figures[metric, name])
                    for metric, name, text in measured
                ),
                lines=sql.SQL(", ").join(
                    sql.SQL("({}, {}, totals.{})").format(sql.Literal(metric), sql.Literal(name), figure)
                    for (metric, name), figure in figures.items()
                ),
            )
        )
    kinds = [column.name for column in table.columns if column.values]
    if kinds:
        lines = [sql.SQL("({}, rows.{})").format(sql.Literal(name), sql.Identifier(name)) for name in kinds]
        connection.execute(sql.SQL(MIXES).format(**given, lines=sql.SQL(", ").join(lines)))


def _amounts(table: Table) -> list[str]:
    """The columns of money; amounts of a row may be in any currency, but not in another one every day."""
    return [
        column.name
        for column in table.columns
        if column.data_type.startswith("numeric") and (column.name == "amount" or column.name.endswith("_amount"))
    ]
