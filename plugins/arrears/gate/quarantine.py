"""Rows kept out: written with place and reason, what follows from them, and closed once a later delivery mended them.

Everything here works inside the caller's transaction and may be done again with the same outcome: a finding's id is a
hash of what was found, and what a gate found for the same batches before is replaced.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from arrears.contract.servicing import Contract, Table
from arrears.extraction.differences import key_json
from arrears.gate.batches import Loaded
from arrears.gate.checking import Found
from arrears.gate.verdict import KEYS_KEPT, Result
from arrears.settings import get_settings

# What holds for every finding of the raw gate: the row's key as text (accept() leaves rows out by it), the row as it
# stands in raw, and the loan it bears on; a row of no loan bears on all loans of its borrower.
INSERT_RAW = """
insert into quarantine.rows (
    finding_id, as_of_date, stage, source, table_name, batch_id, suite, rule, reason, severity,
    loan_id, borrower_id, key, row_data, file, line, opened_on
)
select
    found.finding_id,
    %(as_of_date)s,
    'raw',
    rows._source,
    {table_name},
    rows._batch_id,
    found.suite,
    found.rule,
    found.reason,
    found.severity,
    {loan_id},
    {borrower_id},
    {key},
    to_jsonb(rows),
    rows._file,
    rows._line,
    batches.known_from
from pg_temp.gate_found as found
inner join raw.{table} as rows
    on found.batch_id = rows._batch_id and found.key = {key} and found.row_hash is not distinct from rows._row_hash
inner join ops.batches as batches on rows._batch_id = batches.batch_id
{known}
where found.table_name = {table_name}
on conflict (finding_id) do nothing
"""

REFUSED = """
insert into quarantine.rows (
    finding_id, as_of_date, stage, source, table_name, batch_id, suite, rule, reason, severity,
    key, row_data, opened_on
)
select
    encode(sha256(convert_to(
        concat_ws(chr(31), rows._batch_id, {table_name}, 'deletions', cast({key} as text)), 'UTF8'
    )), 'hex'),
    %(as_of_date)s, 'raw', rows._source, {table_name}, rows._batch_id, {suite}, 'deletions', {reason},
    'warning', {key}, to_jsonb(rows), batches.known_from
from raw.{table} as rows
inner join ops.batches as batches on rows._batch_id = batches.batch_id
where rows._batch_id = any(%(batches)s) and rows._is_deleted and rows._source = {source}
    and not exists (
        select 1 from quarantine.rows as bad
        where bad.batch_id = rows._batch_id and bad.table_name = {table_name} and bad.stage = 'raw' and bad.key = {key}
    )
on conflict (finding_id) do nothing
"""

# Keys of a source's table that are quarantined in these batches and will not be known otherwise: not known before, and,
# where a line could not be read, not delivered by another line. Where a batch does not state the table anew, those too
# that wait since an earlier batch. A key that another source has is held whether or not that one is known: what refers
# to it means this source's row.
HELD_KEYS = """
insert into pg_temp.gate_held_keys (key_value, source, is_raw)
select findings.key ->> {parent_key}, findings.source, bool_or(findings.stage = 'raw')
from quarantine.rows as findings
where findings.batch_id = any(%(batches)s) and findings.table_name = {parent_name}
    and findings.stage in ('extract', 'raw') and findings.rule <> 'deletions'
    and findings.key ->> {parent_key} is not null
group by findings.key ->> {parent_key}, findings.source
union all
select distinct findings.key ->> {parent_key}, findings.source, false
from quarantine.rows as findings
inner join ops.batches as earlier on findings.batch_id = earlier.batch_id and earlier.state = 'accepted'
where findings.source = any({waiting_sources}) and not findings.batch_id = any(%(batches)s)
    and findings.table_name = {parent_name} and findings.closed_on is null
    and findings.stage in ('extract', 'raw') and findings.rule <> 'deletions'
    and findings.key ->> {parent_key} is not null
"""
STILL_KNOWN = """
delete from pg_temp.gate_held_keys as held
using {in_force} as known
where known.{parent_column} = held.key_value and known._source = held.source
"""
WELL_DELIVERED = """
delete from pg_temp.gate_held_keys as held
using raw.{parent} as beside
where not held.is_raw and beside.{parent_column} = held.key_value and beside._source = held.source
    and beside._batch_id = any(%(batches)s) and not beside._is_deleted
"""
FOLLOWING = """
insert into quarantine.rows (
    finding_id, as_of_date, stage, source, table_name, batch_id, suite, rule, reason, severity,
    loan_id, borrower_id, key, row_data, file, line, opened_on
)
select
    encode(sha256(convert_to(
        concat_ws(chr(31), rows._batch_id, {table_name}, {rule}, cast({key} as text), cast(rows._row_hash as text)),
        'UTF8'
    )), 'hex'),
    %(as_of_date)s, 'raw', rows._source, {table_name}, rows._batch_id, {suite}, {rule},
    concat({column_name}, ' ', rows.{column}, ' names a row of ', {parent_name}, ' that is quarantined itself'),
    'warning',
    {loan_id}, {borrower_id}, {key}, to_jsonb(rows), rows._file, rows._line, batches.known_from
from raw.{table} as rows
inner join pg_temp.gate_held_keys as held on rows.{column} = held.key_value and {means_it}
inner join ops.batches as batches on rows._batch_id = batches.batch_id
where rows._batch_id = any(%(batches)s) and not rows._is_deleted
    and not exists (
        select 1 from quarantine.rows as bad
        where bad.batch_id = rows._batch_id and bad.table_name = {table_name} and bad.stage = 'raw' and bad.key = {key}
    )
on conflict (finding_id) do nothing
returning source, key
"""

# Findings of earlier batches in tables that a batch states anew: what is still wrong was found again.
CLOSE = """
update quarantine.rows as findings set
    closed_on = greatest(batches.known_from, findings.opened_on),
    closed_by = batches.batch_id
from ops.batches as batches, ops.batch_tables as tables, ops.batches as earlier
where batches.batch_id = %(batch)s and tables.batch_id = batches.batch_id
    and tables.is_delivered and tables.mode = 'full' and tables.complete_from is null
    and findings.source = batches.source and findings.table_name = tables.table_name
    and findings.batch_id = earlier.batch_id {earlier}
    and findings.stage in ('extract', 'raw') and findings.batch_id <> batches.batch_id and findings.closed_on is null
"""

# Of a table of which a batch brings only what changed, findings on keys that it brings or says are deleted.
CLOSE_BROUGHT = """
update quarantine.rows as findings set
    closed_on = greatest(batches.known_from, findings.opened_on),
    closed_by = batches.batch_id
from ops.batches as batches, ops.batches as earlier
where batches.batch_id = %(batch)s and findings.source = batches.source and findings.table_name = {table_name}
    and findings.batch_id = earlier.batch_id {earlier}
    and findings.stage in ('extract', 'raw') and findings.batch_id <> batches.batch_id and findings.closed_on is null
    and (
        findings.key in (select {key} from raw.{table} as rows where rows._batch_id = %(batch)s)
        or findings.key in (
            select again.key from quarantine.rows as again
            where again.batch_id = %(batch)s and again.table_name = {table_name} and again.stage = 'extract'
        )
        or {is_stated_anew}
    )
"""

# Rows that cannot be read belong to the lender's own file where that is not in contract form; such a finding is
# closed by the next full batch of its source.
CLOSE_OUTSIDE = """
update quarantine.rows as findings set
    closed_on = greatest(batches.known_from, findings.opened_on),
    closed_by = batches.batch_id
from ops.batches as batches, ops.batches as earlier
where batches.batch_id = %(batch)s and batches.mode = 'full'
    and findings.source = batches.source and findings.stage = 'extract'
    and findings.batch_id = earlier.batch_id {earlier}
    and not findings.table_name = any(%(tables)s)
    and findings.batch_id <> batches.batch_id and findings.closed_on is null
"""
# Of a rejected batch nothing became known; what it was wrong in says nothing of the batch that is accepted after it.
CLOSE_REJECTED = """
update quarantine.rows as findings set
    closed_on = greatest(batches.known_from, findings.opened_on),
    closed_by = batches.batch_id
from ops.batches as batches, ops.batches as earlier
where batches.batch_id = %(batch)s and findings.source = batches.source
    and findings.batch_id = earlier.batch_id and earlier.state = 'rejected' {earlier}
    and findings.stage in ('extract', 'raw') and findings.batch_id <> batches.batch_id and findings.closed_on is null
"""
# A late batch closes nothing of what was found since.
EARLIER = sql.SQL("and (earlier.known_from, earlier.batch_date) <= (batches.known_from, batches.batch_date)")


def _suite_sql(name: str) -> sql.Composable:
    """SQL of a suite's name with its source's suffix; `rows` is the alias of the row."""
    return sql.SQL("concat({}, cast(%(suffixes)s as jsonb) ->> rows._source)").format(sql.Literal(name))


def write_raw(
    connection: psycopg.Connection, as_of_date: date, loaded: Loaded, found: Sequence[Found], tables: Contract
) -> list[Result]:
    """Replaces what the raw gate found in these batches; gives the results of what follows from other findings.

    Rows that break several rules have a finding for each. A deletion that is refused names no loan: what was known
    before protects as it did.
    """
    batches = {"batches": loaded.batch_ids, "as_of_date": as_of_date, "suffixes": Jsonb(loaded.suffixes)}
    connection.execute("delete from quarantine.rows where batch_id = any(%(batches)s) and stage = 'raw'", batches)
    _copy(connection, [one for one in found if one.scope == "row"])
    for name in sorted({one.table for one in found if one.scope == "row"}):
        connection.execute(_insert(tables[name], loaded), batches)
    following: list[Result] = []
    for source, name in sorted(loaded.deletions_refused):
        table = tables[name]
        is_beyond = (source, name) in loaded.deletions_beyond
        reason = "the row is gone from the drop, and more are than may be: nothing is deleted"
        if not is_beyond:
            reason = "the row is gone from the drop, but so are too many that it refers to: nothing is deleted"
        refused = connection.execute(
            sql.SQL(REFUSED).format(
                table=sql.Identifier(name),
                table_name=sql.Literal(name),
                key=key_json(table, "rows"),
                suite=_suite_sql("raw.deliveries"),
                source=sql.Literal(source),
                reason=sql.Literal(reason),
            ),
            batches,
        ).rowcount
        if refused and not is_beyond:
            following.append(_not_deleted(name, loaded.suffixes[source], refused))
    return following + _following(connection, loaded, batches, tables)


def _not_deleted(table: str, suffix: str, count: int) -> Result:
    return Result(
        suite=f"raw.deliveries{suffix}",
        expectation="follows_from_deletions",
        rule=f"deletions {table}",
        scope="table",
        severity="warning",
        is_passed=False,
        checked_count=count,
        failed_count=count,
        sentence="Rows that refer to a table of which nothing is deleted are not deleted either.",
        failing_keys=({"found": f"{table} keeps {count} rows that are gone from the drop"},),
    )


def _copy(connection: psycopg.Connection, found: Iterable[Found]) -> None:
    connection.execute("drop table if exists pg_temp.gate_found")
    connection.execute(
        "create temporary table gate_found (finding_id text, table_name text, batch_id text, row_hash uuid, key jsonb,"
        " suite text, rule text, severity text, reason text) on commit drop"
    )
    with connection.cursor() as cursor, cursor.copy("copy pg_temp.gate_found from stdin") as copy:
        for one in found:
            batch_id, row_hash = one.identity["_batch_id"], one.identity.get("_row_hash")
            content = [batch_id, one.table, one.rule, one.key, None if row_hash is None else str(row_hash)]
            copy.write_row(
                [
                    content_hash(content),
                    one.table,
                    batch_id,
                    row_hash,
                    json.dumps(one.key),
                    one.suite,
                    one.rule,
                    one.severity,
                    one.reason,
                ]
            )
    connection.execute("analyze pg_temp.gate_found")


def content_hash(content: Sequence[object]) -> str:
    """The id of a finding: what was found, where; never when."""
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _insert(table: Table, loaded: Loaded) -> sql.Composed:
    loan_id, borrower_id, known = _bears_on(table, loaded)
    return sql.SQL(INSERT_RAW).format(
        table=sql.Identifier(table.name),
        table_name=sql.Literal(table.name),
        key=key_json(table, "rows"),
        loan_id=loan_id,
        borrower_id=borrower_id,
        known=known,
    )


def _bears_on(table: Table, loaded: Loaded) -> tuple[sql.Composable, sql.Composable, sql.Composable]:
    """SQL of the loan and the borrower that a raw row bears on, and the join they need.

    A deletion holds the key alone: what it bears on is taken from the version that was known.
    """
    columns = [column for column in ("loan_id", "borrower_id") if column in table.column_names]
    if not columns:
        return sql.SQL("cast(null as text)"), sql.SQL("cast(null as text)"), sql.SQL("")
    same = sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier("rows", column), sql.Identifier("known", column))
        for column in table.primary_key
    )
    known = sql.SQL("left join {} as known on rows._is_deleted and known._source = rows._source and {}").format(
        _in_force(loaded, table), same
    )
    values = {column: sql.SQL("coalesce(rows.{0}, known.{0})").format(sql.Identifier(column)) for column in columns}
    loan_id = values.get("loan_id", sql.SQL("cast(null as text)"))
    borrower_id = values.get("borrower_id", sql.SQL("cast(null as text)"))
    if "loan_id" in values:
        borrower_id = sql.SQL("case when {} is null then {} end").format(loan_id, borrower_id)
    return loan_id, borrower_id, known


def _in_force(loaded: Loaded, table: Table) -> sql.Composable:
    return sql.SQL(loaded.in_force(table.name))


def _following(
    connection: psycopg.Connection, loaded: Loaded, batches: Mapping[str, object], tables: Contract
) -> list[Result]:
    """Quarantines rows that refer to rows quarantined in these batches, parents before children."""
    connection.execute("drop table if exists pg_temp.gate_held_keys")
    connection.execute(
        "create temporary table gate_held_keys (key_value text, source text, is_raw boolean) on commit drop"
    )
    results = []
    for table, column, parent in references_in_order(tables):
        if table.name not in loaded.tables:
            continue
        suite, rule = f"raw.{table.name}", f"{column}-held"
        loan_id, borrower_id = _bears_on_delivered(table)
        names: dict[str, sql.Composable] = {
            "parent": sql.Identifier(parent.name),
            "in_force": _in_force(loaded, parent),
            "waiting_sources": sql.Literal(loaded.not_whole(parent.name)),
            "means_it": _means_it(parent, loaded),
            "parent_name": sql.Literal(parent.name),
            "parent_key": sql.Literal(parent.primary_key[0]),
            "parent_column": sql.Identifier(parent.primary_key[0]),
            "table": sql.Identifier(table.name),
            "table_name": sql.Literal(table.name),
            "column": sql.Identifier(column),
            "column_name": sql.Literal(column),
            "rule": sql.Literal(rule),
            "suite": _suite_sql(suite),
            "key": key_json(table, "rows"),
            "loan_id": loan_id,
            "borrower_id": borrower_id,
        }
        if not _fill_held_keys(connection, names, batches):
            continue
        rows = connection.execute(sql.SQL(FOLLOWING).format(**names), batches).fetchall()
        for source in sorted({str(row[0]) for row in rows}):
            keys = sorted((row[1] for row in rows if row[0] == source), key=json.dumps)
            results.append(
                Result(
                    suite=suite + loaded.suffixes[source],
                    expectation=f"follows_from_quarantine({column})",
                    rule=rule,
                    scope="row",
                    severity="warning",
                    is_passed=False,
                    checked_count=len(keys),
                    failed_count=len(keys),
                    sentence=f"{column} names no row that is quarantined itself; such rows wait with it.",
                    failing_keys=tuple(keys[:KEYS_KEPT]),
                )
            )
    return results


def _means_it(parent: Table, loaded: Loaded) -> sql.Composable:
    """SQL: a row means the held key of its own source; of what not every source delivers, else another's.

    That is where no source has such a row in force.
    """
    own = sql.SQL("rows._source = held.source")
    if parent.required:
        return own
    return sql.SQL("({} or not exists (select 1 from {} as known where known.{} = held.key_value))").format(
        own, _in_force(loaded, parent), sql.Identifier(parent.primary_key[0])
    )


def _fill_held_keys(
    connection: psycopg.Connection, names: Mapping[str, sql.Composable], batches: Mapping[str, object]
) -> bool:
    """Whether any key of the parent table is held; which ones stands in pg_temp.gate_held_keys."""
    connection.execute("truncate pg_temp.gate_held_keys")
    if connection.execute(sql.SQL(HELD_KEYS).format(**names), batches).rowcount == 0:
        return False
    connection.execute("analyze pg_temp.gate_held_keys")
    for left_over in (STILL_KNOWN, WELL_DELIVERED):
        connection.execute(sql.SQL(left_over).format(**names), batches)
    return connection.execute("select 1 from pg_temp.gate_held_keys limit 1").fetchone() is not None


def _bears_on_delivered(table: Table) -> tuple[sql.Composable, sql.Composable]:
    null = sql.SQL("cast(null as text)")
    has_loan, has_borrower = "loan_id" in table.column_names, "borrower_id" in table.column_names
    borrower = sql.SQL("case when rows.loan_id is null then rows.borrower_id end" if has_loan else "rows.borrower_id")
    return sql.SQL("rows.loan_id") if has_loan else null, borrower if has_borrower else null


def references_in_order(tables: Contract) -> list[tuple[Table, str, Table]]:
    """Every reference of the contract, after those of the table that it names; a reversal's to its booking last."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for column in tables[name].columns:
            if column.references and column.references != name:
                visit(column.references)
        order.append(name)

    for name in tables:
        visit(name)
    found = [
        (tables[name], column.name, tables[column.references])
        for name in order
        for column in tables[name].columns
        if column.references
    ]
    if "transactions" in tables:
        bookings = tables["transactions"]
        found.append((bookings, "reverses_transaction_id", bookings))
    return found


def close_mended(connection: psycopg.Connection, batch_id: str, tables: Contract) -> int:
    """Closes the findings of earlier batches that a batch mends; gives how many.

    In tables that it states anew, that is all of them: what is still wrong was found again in this batch and is a
    finding of its own. Of a delta only the keys that it brings are judged anew, so only their findings are closed; of a
    table complete from a date, those of rows known since then too. A late batch closes none: it holds only until the
    next one, and what was found stays found there.
    """
    late = connection.execute(
        "select 1 from ops.batches as later inner join ops.batches as batch on later.source = batch.source"
        " where batch.batch_id = %s and later.state = 'accepted' and later.known_from > batch.known_from limit 1",
        [batch_id],
    ).fetchone()
    if late is not None:
        return 0
    given = {"batch": batch_id, "tables": list(tables)}
    closed = connection.execute(sql.SQL(CLOSE).format(earlier=EARLIER), given).rowcount
    closed += connection.execute(sql.SQL(CLOSE_REJECTED).format(earlier=EARLIER), given).rowcount
    closed += connection.execute(sql.SQL(CLOSE_OUTSIDE).format(earlier=EARLIER), given).rowcount
    partly = connection.execute(
        "select parts.table_name, parts.complete_from from ops.batch_tables as parts"
        " inner join ops.batches as batches on parts.batch_id = batches.batch_id"
        " where parts.batch_id = %(batch)s and parts.table_name = any(%(tables)s)"
        " and (parts.mode = 'delta' or parts.complete_from is not null or not parts.is_delivered) and exists ("
        " select 1 from quarantine.rows as open where open.source = batches.source"
        " and open.table_name = parts.table_name and open.closed_on is null and open.batch_id <> batches.batch_id)"
        " order by parts.table_name",
        given,
    ).fetchall()
    for name, complete_from in partly:
        table = tables[name]
        closed += connection.execute(
            sql.SQL(CLOSE_BROUGHT).format(
                table=sql.Identifier(name),
                table_name=sql.Literal(name),
                key=key_json(table, "rows"),
                earlier=EARLIER,
                is_stated_anew=_is_stated_anew(table, complete_from),
            ),
            given,
        ).rowcount
    return closed


def _is_stated_anew(table: Table, complete_from: date | None) -> sql.Composable:
    """SQL: the finding's row was known on or after the date from which the table is complete.

    A deletion holds the key alone: when its row was known, its version says. Where nobody can tell, it was before.
    """
    if complete_from is None or table.known_at is None:
        return sql.SQL("false")
    column = table.column(table.known_at)
    zone = sql.Literal(get_settings().business_time_zone)

    def day(value: sql.Composable) -> sql.Composable:
        if column.data_type != "timestamptz":
            return sql.SQL("cast({} as date)").format(value)
        return sql.SQL("cast(cast({} as timestamptz) at time zone {} as date)").format(value, zone)

    told = sql.SQL("findings.row_data ->> {}").format(sql.Literal(column.name))
    same = sql.SQL(" and ").join(
        sql.SQL("known.{} = cast(findings.key ->> {} as {})").format(
            sql.Identifier(key), sql.Literal(key), sql.SQL(table.column(key).data_type)
        )
        for key in table.primary_key
    )
    return sql.SQL(
        """
        case
            when findings.stage = 'raw' and {told} is null then exists (
                select 1 from versions.{table} as known
                where {same} and known._source = findings.source and known._known_to is null
                    and coalesce({day_known}, known._known_from) >= {complete_from}
            )
            when pg_input_is_valid({told}, {kind}) then {day_told} >= {complete_from}
            else false
        end
        """
    ).format(
        told=told,
        table=sql.Identifier(table.name),
        same=same,
        day_known=day(sql.Identifier("known", column.name)),
        complete_from=sql.SQL("{}::date").format(sql.Literal(complete_from)),
        kind=sql.Literal(column.data_type),
        day_told=day(told),
    )


def held_shares(connection: psycopg.Connection, loaded: Loaded) -> list[tuple[str, str, int, int]]:
    """Batch, table, rows with a finding of their own (unreadable ones included), rows delivered.

    A lender's own file with malformed lines is one of the tables. Rows that only follow from another finding,
    deletions, and keys of two sources (`clashes`) count no row as wrong. Where nobody counted the rows delivered, all
    are wrong.
    """
    return connection.execute(
        """
        with wrong as (
            select batch_id, table_name, count(distinct (key, file, line)) as row_count
            from quarantine.rows
            where batch_id = any(%s) and stage in ('extract', 'raw')
                and rule not in ('deletions', 'key-of-one-source') and rule not like '%%-held'
            group by batch_id, table_name
        )

        select wrong.batch_id, wrong.table_name, wrong.row_count, coalesce(tables.row_count, wrong.row_count)
        from wrong
        left join ops.batch_tables as tables
            on wrong.batch_id = tables.batch_id and wrong.table_name = tables.table_name
        order by wrong.batch_id, wrong.table_name
        """,
        [loaded.batch_ids],
    ).fetchall()


@dataclass(frozen=True, slots=True)
class Clash:
    """The rows of one batch and table whose key another source has; `first` says of a few which and whose."""

    batch_id: str
    source: str
    table: str
    row_count: int
    delivered_count: int
    first: tuple[str, ...]


def clashes(connection: psycopg.Connection, loaded: Loaded) -> list[Clash]:
    """Where keys of these batches are another source's too, counted by key."""
    rows = connection.execute(
        """
        select
            found.batch_id,
            found.source,
            found.table_name,
            count(distinct found.key),
            coalesce(max(tables.row_count), 0),
            (array_agg(found.reason order by cast(found.key as text)))[:%(kept)s],
            (array_agg(found.key order by cast(found.key as text)))[:%(kept)s]
        from quarantine.rows as found
        left join ops.batch_tables as tables
            on found.batch_id = tables.batch_id and found.table_name = tables.table_name
        where found.batch_id = any(%(batches)s) and found.stage = 'raw' and found.rule = 'key-of-one-source'
        group by found.batch_id, found.source, found.table_name
        order by found.batch_id, found.table_name
        """,
        {"batches": loaded.batch_ids, "kept": KEYS_KEPT},
    ).fetchall()
    return [
        Clash(batch_id, source, table, row_count, delivered, tuple(map(_told, reasons, keys)))
        for batch_id, source, table, row_count, delivered, reasons, keys in rows
    ]


def _told(reason: str, key: Mapping[str, str]) -> str:
    """As "delivered by north and south: loan_id=L1"."""
    said = reason.removeprefix("the key is ").partition(";")[0]
    return f"{said}: {', '.join(f'{name}={value}' for name, value in key.items())}"


def known_count(connection: psycopg.Connection, loaded: Loaded, source: str, table: str, most: int) -> int:
    """How many rows of a source's table are in force, counted up to `most`."""
    row = connection.execute(
        sql.SQL("select count(*) from (select 1 from {} as known where known._source = %s limit %s) as counted").format(
            sql.SQL(loaded.in_force(table))
        ),
        [source, most],
    ).fetchone()
    assert row is not None
    return int(row[0])
