"""The rules of a raw table that the servicing contract states: keys, required columns, values, shares, references."""

import great_expectations as gx
import great_expectations.expectations as gxe

from arrears.contract.servicing import Column, Table
from arrears.gate.batches import Loaded, sql_list
from expectations import rules
from expectations.rules import ExpectNoRows

ISO_4217_LIKE = "^[A-Za-z]{3}$"
SIDES = ("delivered", "other")


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """Rules on a table that has none beyond the contract."""
    return gx.ExpectationSuite(f"raw.{table.name}", expectations=expectations(table, loaded))


def expectations(table: Table, loaded: Loaded) -> list[gxe.Expectation]:
    """The contract's rules on the rows of a table that are new or changed in the loaded batches."""
    found: list[gxe.Expectation] = [rules.rows_are_due(), key_is_unique(table, loaded)]
    for column in table.columns:
        found += of_column(table, column, loaded)
    if {"starts_on", "ends_on"} <= set(table.column_names):
        found.append(ends_after_it_starts(table))
    if table.only_grows:
        found.append(known_row_stays(table, loaded))
    if loaded.source_count > 1:
        found.append(key_is_of_one_source(table, loaded))
    return found


def of_column(table: Table, column: Column, loaded: Loaded) -> list[gxe.Expectation]:
    """The rules on one column."""
    name = column.name
    found: list[gxe.Expectation] = []
    if column.required:
        meta = rules.row(f"{name}-required", f"{name} is never empty.", f"{name} is empty")
        found.append(gxe.ExpectColumnValuesToNotBeNull(column=name, meta=meta, description=meta["sentence"]))
    if column.values:
        allowed = ", ".join(column.values)
        meta = rules.row(
            f"{name}-values", f"{name} is one of {allowed}.", f"{name} is {{value}}, allowed are {allowed}"
        )
        found.append(
            gxe.ExpectColumnValuesToBeInSet(
                column=name, value_set=list(column.values), meta=meta, description=meta["sentence"]
            )
        )
    if column.is_share:
        meta = rules.row(f"{name}-share", f"{name} lies in 0..1.", f"{name} is {{value}}, a share lies in 0..1")
        found.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=name, min_value=0, max_value=1, meta=meta, description=meta["sentence"]
            )
        )
    if name in ("currency", "base_currency") or name.endswith("_currency"):
        meta = rules.row(f"{name}-code", f"{name} has three letters.", f"{name} is {{value}}, no ISO 4217 code")
        found.append(
            gxe.ExpectColumnValuesToMatchRegex(
                column=name, regex=ISO_4217_LIKE, meta=meta, description=meta["sentence"]
            )
        )
    if name == "time_zone":
        found.append(zone_is_known(table))
    if column.references:
        found.append(reference_is_known(table, column, loaded))
    return found


def ends_after_it_starts(table: Table) -> ExpectNoRows:
    """A span that ends before it starts holds on no day: a slip in either date."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, delivered.ends_on || ', it starts on ' || delivered.starts_on as detail
        from delivered
        where delivered.ends_on < delivered.starts_on
        """,
        rules.row("ends-after-start", f"Nothing in {table.name} ends before it starts.", "it ends on {value}"),
    )


def identity(table: Table, alias: str = "delivered") -> str:
    """The columns by which a finding is traced to its raw row, and its key."""
    columns = ("_batch_id", "_row_hash", *table.primary_key)
    return ", ".join(f"{alias}.{column}" for column in columns)


def key_is_unique(table: Table, loaded: Loaded) -> ExpectNoRows:
    """Rows of one key that differ are all wrong: nobody knows which is right. Identical ones never come this far.

    A delta that brings a key and says that it is deleted contradicts itself too.
    """
    key = ", ".join(table.primary_key)
    matches = " and ".join(f"delivered.{column} = twice.{column}" for column in table.primary_key)
    brought = f"select _source, {key} from delivered"
    if table.name in loaded.shrunk_tables:
        brought = f"""select _source, {key} from (
                {brought}
                union all
                select _source, {key} from raw.{table.name} where _batch_id in {loaded.batches_sql} and _is_deleted
            ) as brought"""
    return rules.no_rows(
        f"""
        with delivered as not materialized (select * from {{batch}}),
        twice as ({brought} group by _source, {key} having count(*) > 1)
        select {identity(table)}
        from delivered
        inner join twice on delivered._source = twice._source and {matches}
        """,
        rules.row("key-unique", f"{key} is the key of one row.", "the drop has another row of this key that differs"),
    )


def key_is_of_one_source(table: Table, loaded: Loaded) -> ExpectNoRows:
    """Two lenders' systems may use one numbering; then `source.yml` sets `key_prefix`.

    The row that was known first stays; of two that are new together none becomes known. Only spans that meet clash: a
    loan may move to another system once the old one has deleted it. What means the same for every lender (exchange
    rates) may be delivered by several, as long as they say the same.
    """
    key = ", ".join(table.primary_key)
    own = _same(table, "own", "delivered") + " and own._source = delivered._source"
    others = f"""
            select {", ".join(table.column_names)}, _source, _known_from, date 'infinity' as _known_to, false as is_new
            from versions.{table.name} where _known_to is null
            union all
            select {", ".join(table.column_names)}, _source, _known_from, _known_to, false
            from versions.{table.name} where _known_to > date '{loaded.earliest}'
            union all
            select {", ".join(table.column_names)}, _source, _known_on, date 'infinity', true
            from raw.{table.name} where _batch_id in {loaded.batches_sql} and not _is_deleted"""
    differs = ""
    if not table.prefixed_columns:
        content = ["({})".format(", ".join(f"{side}.{name}" for name in table.column_names)) for side in SIDES]
        differs = f"""and {" is distinct from ".join(content)}
                and (
                    other.is_new or not exists (
                        select 1 from raw.{table.name} as own
                        where own._batch_id in {loaded.batches_sql} and {_same(table, "own", "other")}
                            and own._source = other._source
                    )
                )"""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        others as ({others}
        )
        select distinct on ({identity(table)})
            {identity(table)}, delivered._source || ' and ' || other._source as detail
        from delivered
        inner join others as other
            on {_same(table, *SIDES)} and delivered._source <> other._source
                and other._known_to > delivered._known_on and other._known_from < {loaded.until("delivered._source")}
                and (not other.is_new or not exists (select 1 from {loaded.in_force(table.name)} as own where {own}))
                {differs}
        order by {identity(table)}, other._source
        """,
        rules.row(
            "key-of-one-source",
            f"No {key} comes from two sources; key_prefix in source.yml keeps them apart.",
            "the key is delivered by {value}; the row known first stays in force",
        ),
    )


def _same(table: Table, left: str, right: str) -> str:
    """SQL: two aliases stand for one key."""
    return " and ".join(f"{left}.{column} = {right}.{column}" for column in table.primary_key)


def reference_is_known(table: Table, column: Column, loaded: Loaded) -> ExpectNoRows:
    """What a row refers to is known after this batch: known now and not deleted by it, or delivered by it.

    A loan or a borrower must be the source's own, for every source delivers those: else a stray booking of one lender
    would be paid into the other's loan. A reference to a row that is quarantined itself, in these batches or, where
    they do not state its table anew, before, is no finding here: it follows from the other one (`gate.quarantine`).
    """
    assert column.references is not None
    (key,) = loaded.key_of(column.references)
    parent, name = column.references, column.name
    own = {
        alias: f" and {alias}._source = delivered._source" if parent in loaded.required_tables else ""
        for alias in ("known", "beside")
    }
    refusing = sql_list(loaded.refusing_sources(parent))
    waiting = sql_list(loaded.not_whole(parent))
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, delivered.{name} as detail
        from delivered
        where delivered.{name} is not null
        and not exists (
            select 1 from {loaded.in_force(parent)} as known
            where known.{key} = delivered.{name}{own["known"]}
                and not exists (
                    select 1 from raw.{parent} as deleted
                    where deleted._batch_id in {loaded.batches_sql} and deleted._is_deleted
                        and deleted._source = known._source and deleted._source not in {refusing}
                        and deleted.{key} = known.{key}
                )
        )
        and not exists (
            select 1 from raw.{parent} as beside
            where beside._batch_id in {loaded.batches_sql} and not beside._is_deleted
                and beside.{key} = delivered.{name}{own["beside"]}
        )
        and not exists (
            select 1 from quarantine.rows as held
            where held.table_name = '{parent}' and held.key ->> '{key}' = delivered.{name}
                and (
                    (held.batch_id in {loaded.batches_sql} and held.stage = 'extract')
                    or (
                        held.source in {waiting} and held.source = delivered._source
                        and held.stage in ('extract', 'raw') and held.closed_on is null
                        and held.rule <> 'deletions'
                        and exists (
                            select 1 from ops.batches as earlier
                            where earlier.batch_id = held.batch_id and earlier.state = 'accepted'
                        )
                    )
                )
        )
        """,
        rules.row(
            f"{name}-reference", f"{name} names a known row of {parent}.", f"{name} {{value}} is not known in {parent}"
        ),
    )


def known_row_stays(table: Table, loaded: Loaded) -> ExpectNoRows:
    """A table with known_at only grows: a row once known may not change; the version first known stays in force."""
    matches = " and ".join(f"delivered.{column} = known.{column}" for column in table.primary_key)
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)},
            (
                select string_agg(now.key, ', ' order by now.key)
                from jsonb_each(to_jsonb(delivered)) as now
                inner join jsonb_each(to_jsonb(known)) as before on now.key = before.key
                where now.value is distinct from before.value and left(now.key, 1) <> '_'
            ) as detail
        from delivered
        inner join {loaded.in_force(table.name)} as known
            on {matches} and delivered._source = known._source
        where delivered._row_hash <> known._row_hash
        """,
        rules.row(
            "known-row-stays",
            "A row once known does not change; a correction is a row of its own.",
            "the row was known before and now differs in {value}; the version first known stays in force",
            is_waivable=True,
        ),
    )


def zone_is_known(table: Table) -> ExpectNoRows:
    """A time zone that PostgreSQL knows by its IANA name."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, delivered.time_zone as detail
        from delivered
        where delivered.time_zone is not null
        and delivered.time_zone not in (select name from pg_timezone_names)
        """,
        rules.row("time_zone-iana", "time_zone is an IANA name.", "time_zone {value} is no IANA name"),
    )
