"""Rows that wait in quarantine for another row: brought again with the next delta, once they can go.

A full delivery states every row anew; a delta does not, and a booking that came a day before its loan would be lost.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import psycopg
from psycopg import sql

from arrears.contract.servicing import Contract, Table
from arrears.extraction.differences import key_json, same_key
from arrears.gate.batches import Batch, Loaded
from arrears.gate.quarantine import references_in_order

# Only rows whose every finding may be mended by other rows; of accepted batches, for of others nothing became known.
BRING = """
with brought as (
insert into raw.{table} ({columns}, _source, _batch_id, _known_on, _row_hash, _is_deleted, _file, _line)
select
    {values}, rows._source, {batch}, greatest(rows._known_on, {known_from}), rows._row_hash, rows._is_deleted,
    rows._file, rows._line
from (
    select
        findings.key,
        array_agg(findings.rule) as rules,
        (array_agg(findings.batch_id order by earlier.known_from desc, earlier.batch_date desc))[1] as batch_id,
        bool_and({is_waived}) as is_waived
    from quarantine.rows as findings
    inner join ops.batches as earlier on findings.batch_id = earlier.batch_id
    where findings.source = {source} and findings.table_name = {table_name} and findings.closed_on is null
        and findings.stage in ('extract', 'raw') and findings.batch_id <> {batch} and earlier.state = 'accepted'
    group by findings.key
    having bool_and(
        findings.stage = 'raw' and (
            findings.rule like '%-held' or findings.rule like '%-reference'
            or findings.rule in ('reversal-known', 'key-of-one-source')
            or {is_waived}
        )
    )
) as waiting
inner join raw.{table} as rows
    on waiting.batch_id = rows._batch_id and (not rows._is_deleted or waiting.is_waived) and waiting.key = {key}
where not exists (
        select 1 from raw.{table} as again where again._batch_id = {batch} and {same_again}
    )
    and not exists (
        select 1 from quarantine.rows as again
        where again.batch_id = {batch} and again.table_name = {table_name} and again.stage = 'extract'
            and again.key = waiting.key
    )
    and ({may_go})
returning _is_deleted
)

select count(*) filter (where not _is_deleted), count(*) filter (where _is_deleted) from brought
"""

# An operator takes the row in on this date, whatever else is known.
IS_WAIVED = """exists (
    select 1 from ops.gate_waivers as waivers
    where waivers.as_of_date = {as_of_date} and waivers.withdrawn_at is null
        and waivers.suite = findings.suite and waivers.rule = findings.rule and findings.key @> waivers.key
)"""

# What the row refers to is there now, and is not another source's row of the same key.
PARENT_IS_THERE = """(
    waiting.rules && {rules}
    and (
        exists (
            select 1 from {in_force} as known where known.{parent_key} = rows.{column}{own_known}
        )
        or exists (
            select 1 from raw.{parent} as beside
            where beside._batch_id = any({batches}) and not beside._is_deleted
                and beside.{parent_key} = rows.{column}{own_beside}
        )
    )
    and not exists (
        select 1 from quarantine.rows as clash
        where clash.source = {source} and clash.table_name = {parent_name} and clash.rule = 'key-of-one-source'
            and clash.closed_on is null and clash.key ->> {parent_key_name} = rows.{column}
            and not exists (
                select 1 from raw.{parent} as beside
                where beside._batch_id = {batch} and beside.{parent_key} = rows.{column}
            )
    )
)"""

KEY_IS_FREE = """(
    waiting.rules && array['key-of-one-source']
    and not exists (
        select 1 from versions.{table} as other
        where {same_other} and other._source <> {source}
            and (other._known_to is null or other._known_to > {known_from})
    )
)"""


def bring_again(connection: psycopg.Connection, loaded: Loaded, tables: Contract, as_of_date: date) -> int:
    """Adds to the batches the rows of earlier ones that waited for what is there now, or are waived; gives how many.

    They are judged like the rows delivered; done again, it adds nothing.
    """
    count = 0
    for batch in loaded.batches:
        names = _tables_with_findings(connection, batch)
        for table in _parents_first(tables):
            if table.name in names:
                count += _bring(connection, loaded, batch, table, tables, as_of_date)
    return count


def may_bring(connection: psycopg.Connection, batches: Sequence[Batch]) -> bool:
    """Whether anything waits that these batches may bring."""
    return any(_tables_with_findings(connection, batch) for batch in batches)


def _tables_with_findings(connection: psycopg.Connection, batch: Batch) -> set[str]:
    """Tables in which rows of the source wait, of which the batch does not state all rows anew."""
    rows = connection.execute(
        "select distinct findings.table_name from quarantine.rows as findings"
        " inner join ops.batch_tables as tables"
        " on tables.batch_id = %(batch)s and findings.table_name = tables.table_name"
        " where findings.source = %(source)s and findings.closed_on is null and findings.stage = 'raw'"
        " and findings.batch_id <> %(batch)s"
        " and not (tables.is_delivered and tables.mode = 'full' and tables.complete_from is null)",
        {"batch": batch.batch_id, "source": batch.source},
    ).fetchall()
    return set() if batch.is_first else {str(row[0]) for row in rows}


def _parents_first(tables: Contract) -> Iterator[Table]:
    """Every table that refers to another or is referred to, after those that it refers to."""
    seen: set[str] = set()
    for table, _, parent in references_in_order(tables):
        for one in (parent, table):
            if one.name not in seen:
                seen.add(one.name)
                yield one
    yield from (table for table in tables.values() if table.name not in seen)


def _bring(
    connection: psycopg.Connection, loaded: Loaded, batch: Batch, table: Table, tables: Contract, as_of_date: date
) -> int:
    given: dict[str, sql.Composable] = {
        "table": sql.Identifier(table.name),
        "table_name": sql.Literal(table.name),
        "columns": sql.SQL(", ").join(map(sql.Identifier, table.column_names)),
        "values": sql.SQL(", ").join(sql.Identifier("rows", name) for name in table.column_names),
        "source": sql.Literal(batch.source),
        "batch": sql.Literal(batch.batch_id),
        "batches": sql.Literal(loaded.batch_ids),
        "known_from": sql.Literal(batch.known_from) + sql.SQL("::date"),
        "key": key_json(table, "rows"),
        "same_again": same_key(table, "again", "rows"),
        "same_other": same_key(table, "other", "rows"),
    }
    given["is_waived"] = sql.SQL(IS_WAIVED).format(as_of_date=sql.Literal(as_of_date) + sql.SQL("::date"))
    ways = [sql.SQL("waiting.is_waived"), sql.SQL(KEY_IS_FREE).format(**given)]
    for one, column, parent in references_in_order(tables):
        if one.name == table.name:
            is_own = parent.required or parent.name == table.name
            ways.append(
                sql.SQL(PARENT_IS_THERE).format(
                    **given,
                    rules=sql.Literal([f"{column}-held", f"{column}-reference", *_rules_on(column)]),
                    column=sql.Identifier(column),
                    in_force=sql.SQL(loaded.in_force(parent.name)),
                    parent=sql.Identifier(parent.name),
                    parent_name=sql.Literal(parent.name),
                    parent_key=sql.Identifier(parent.primary_key[0]),
                    parent_key_name=sql.Literal(parent.primary_key[0]),
                    own_known=sql.SQL(" and known._source = rows._source" if is_own else ""),
                    own_beside=sql.SQL(" and beside._source = rows._source" if is_own else ""),
                )
            )
    brought = connection.execute(sql.SQL(BRING).format(**given, may_go=sql.SQL(" or ").join(ways))).fetchone()
    assert brought is not None
    if any(brought):
        connection.execute(
            "update ops.batch_tables set new_count = new_count + %s, deleted_count = deleted_count + %s"
            " where batch_id = %s and table_name = %s",
            [*brought, batch.batch_id, table.name],
        )
    return sum(brought)


def _rules_on(column: str) -> list[str]:
    return ["reversal-known"] if column == "reverses_transaction_id" else []
