"""What must be true of a delivery as a whole: nothing empty, nothing lost, nothing deleted by accident."""

import great_expectations as gx

from arrears.contract.servicing import Contract
from arrears.gate.batches import Loaded
from arrears.gate.thresholds import Thresholds
from expectations import rules

DELIVERIES = """
select
    tables.batch_id as _batch_id,
    batches.source,
    batches.batch_date,
    batches.mode as delivery_mode,
    tables.mode,
    tables.complete_from,
    batches.is_first,
    tables.table_name,
    tables.is_delivered,
    tables.row_count,
    tables.duplicate_count,
    tables.new_count,
    tables.deleted_count - coalesce(vanished_together.row_count, 0) as deleted_count,
    tables.warnings,
    tables.delivered_columns,
    last_drop.batch_date as last_date,
    last_drop.row_count as last_row_count,
    last_delivery.batch_date as last_delivery_date,
    last_delivery.delivered_columns as last_delivered_columns,
    known.row_count as known_count,
    recurring.known_loan_count,
    recurring.recurring_loan_count
from ops.batch_tables as tables
inner join ops.batches as batches on tables.batch_id = batches.batch_id
left join ({vanished_together}) as vanished_together
    on tables.batch_id = vanished_together.batch_id and tables.table_name = vanished_together.table_name
left join ({known}) as known on tables.table_name = known.table_name
left join ({recurring}) as recurring on tables.table_name = 'loans' and tables.batch_id = recurring.batch_id
left join lateral (
    select earlier.batch_date, earlier_tables.row_count
    from ops.batches as earlier
    inner join ops.batch_tables as earlier_tables on earlier.batch_id = earlier_tables.batch_id
    where earlier.source = batches.source and earlier.state = 'accepted'
        and (earlier.known_from, earlier.batch_date) < (batches.known_from, batches.batch_date)
        and earlier_tables.table_name = tables.table_name and earlier_tables.is_delivered
        and earlier_tables.mode = 'full' and earlier_tables.complete_from is null
    order by earlier.known_from desc, earlier.batch_date desc
    limit 1
) as last_drop on true
left join lateral (
    select earlier.batch_date, earlier_tables.delivered_columns
    from ops.batches as earlier
    inner join ops.batch_tables as earlier_tables on earlier.batch_id = earlier_tables.batch_id
    where earlier.source = batches.source and earlier.state = 'accepted'
        and (earlier.known_from, earlier.batch_date) < (batches.known_from, batches.batch_date)
        and earlier_tables.table_name = tables.table_name and earlier_tables.is_delivered
        and cardinality(earlier_tables.delivered_columns) > 0  -- a delta of removed keys has none
    order by earlier.known_from desc, earlier.batch_date desc
    limit 1
) as last_delivery on true
where tables.batch_id in {batches} and tables.table_name in ({contract_tables})
"""


# Rows that are gone because their loan is (their borrower, where they have no loan) are not lost for themselves.
VANISHED_TOGETHER = """
select gone._batch_id as batch_id, '{table}' as table_name, count(*) as row_count
from raw.{table} as gone
inner join {in_force} as known on {same_key} and gone._source = known._source
inner join raw.{parents} as parent
    on known.{parent}_id = parent.{parent}_id and gone._batch_id = parent._batch_id and parent._is_deleted
where gone._batch_id in {batches} and gone._is_deleted{hangs}
group by gone._batch_id
"""


# How many rows are known of a table of which some are gone. A delta's cost must follow its rows: where so many are
# known that the deletions lie within the threshold, they are counted no further.
KNOWN = """
select '{table}' as table_name, count(*) as row_count
from (select 1 from {in_force} as known where known._source = '{source}' limit {most}) as counted
"""

# How many of the loans known before are in a drop that states them all: those delivered, less those that are new.
RECURRING = """
select
    tables.batch_id,
    (select count(*) from {in_force} as known where known._source = '{source}') as known_loan_count,
    tables.row_count - tables.unreadable_count - tables.duplicate_count - differing.row_count + differing.loan_count
    - differing.new_count as recurring_loan_count
from ops.batch_tables as tables
cross join (
    select
        count(*) as row_count,
        count(distinct delivered.loan_id) as loan_count,
        count(distinct delivered.loan_id) filter (where known.loan_id is null) as new_count
    from raw.loans as delivered
    left join {in_force} as known on delivered.loan_id = known.loan_id and delivered._source = known._source
    where delivered._batch_id in {batches} and not delivered._is_deleted
) as differing
where tables.batch_id in {batches} and tables.table_name = 'loans'
"""
NONE_VANISHED = (
    "select cast(null as text) as batch_id, cast(null as text) as table_name, cast(null as bigint) as row_count"
)
NONE_KNOWN = "select cast(null as text) as table_name, cast(null as bigint) as row_count"
NONE_RECURRING = (
    "select cast(null as text) as batch_id, cast(null as bigint) as known_loan_count,"
    " cast(null as bigint) as recurring_loan_count"
)


def query(part: Loaded, thresholds: Thresholds, tables: Contract) -> str:
    """One row per contract table of one source's batch: what it brought, beside what was delivered and known before.

    `last_row_count` is that of the last accepted batch that stated the whole table. `deleted_count` leaves out rows
    that vanished together with their loan, unless not a single row may vanish.
    """
    (source,) = part.suffixes
    together, known = [], []
    for name in sorted(part.shrunk_tables):
        threshold = thresholds.of("deletions", name)
        most = int(part.deleted_counts[name] / threshold.share) + 1 if threshold.share else "all"
        known.append(
            KNOWN.replace("{table}", name)
            .replace("{in_force}", part.in_force(name))
            .replace("{source}", source)
            .replace("{most}", str(most))
        )
        if threshold.share == 0 or name in ("loans", "borrowers"):
            continue
        table = tables[name]
        same_key = " and ".join(f"gone.{column} = known.{column}" for column in table.primary_key)
        parents = [parent for parent in ("loan", "borrower") if f"{parent}_id" in table.column_names]
        for parent in parents:
            hangs = " and known.loan_id is null" if parent == "borrower" and "loan" in parents else ""
            together.append(
                VANISHED_TOGETHER.replace("{table}", name)
                .replace("{in_force}", part.in_force(name))
                .replace("{same_key}", same_key)
                .replace("{parents}", f"{parent}s")
                .replace("{parent}", parent)
                .replace("{hangs}", hangs)
            )
    vanished = (
        f"select batch_id, table_name, sum(row_count) as row_count"
        f" from ({' union all '.join(together) or NONE_VANISHED}) as parts group by batch_id, table_name"
    )
    recurring = NONE_RECURRING
    if (source, "loans") in part.whole and not any(batch.is_first for batch in part.batches):
        recurring = RECURRING.replace("{in_force}", part.in_force("loans")).replace("{source}", source)
    # A lender's own file with malformed lines stands there too.
    names = ", ".join(f"'{name}'" for name in tables)
    return (
        DELIVERIES.replace("{vanished_together}", vanished)
        .replace("{known}", " union all ".join(known) or NONE_KNOWN)
        .replace("{recurring}", recurring)
        .replace("{batches}", part.batches_sql)
        .replace("{contract_tables}", names)
    )


def suite(loaded: Loaded, thresholds: Thresholds) -> gx.ExpectationSuite:
    """Rules on the delivered files of the loaded batches."""
    # A lender's first day may have no booking yet; a table that only grows never becomes empty again.
    required = ", ".join(f"'{name}'" for name in loaded.required_tables if name not in loaded.growing_tables)
    growing = ", ".join(f"'{name}'" for name in loaded.required_tables if name in loaded.growing_tables)
    key = "delivered._batch_id, delivered.table_name"
    return gx.ExpectationSuite(
        "raw.deliveries",
        expectations=[
            rules.rows_are_due("The batch says what it brought."),
            rules.no_rows(
                f"""
                with delivered as (select * from {{batch}})
                select {key}, delivered.table_name || ' has no rows' as detail
                from delivered
                where delivered.row_count = 0 and delivered.mode = 'full' and delivered.complete_from is null
                    and (delivered.is_delivered or delivered.delivery_mode = 'full')
                    and (
                        delivered.table_name in ({required})
                        or (delivered.table_name in ({growing}) and delivered.last_row_count > 0)
                    )
                """,
                rules.table("required-not-empty", "Every required table has rows."),
            ),
            rules.no_rows(
                f"""
                with delivered as (select * from {{batch}})
                select {key},
                    delivered.table_name || ' has ' || delivered.row_count || ' rows, ' || delivered.last_row_count
                    || ' in the last drop of ' || delivered.last_date as detail
                from delivered
                left join ({thresholds.sql("row_count_fall")}) as threshold
                    on threshold.table_name = delivered.table_name
                left join ({thresholds.sql("row_count_fall")}) as usual on usual.table_name = '*'
                where delivered.mode = 'full' and delivered.is_delivered and delivered.complete_from is null
                    and delivered.last_row_count - delivered.row_count
                    > delivered.last_row_count * coalesce(threshold.share, usual.share)
                    and delivered.last_row_count - delivered.row_count
                    >= coalesce(threshold.minimum_count, usual.minimum_count)
                """,
                rules.table(
                    "row-count-fall",
                    "No table falls beyond its threshold against the last full drop.",
                    is_waivable=True,
                ),
            ),
            rules.no_rows(
                f"""
                with delivered as (select * from {{batch}})
                select {key},
                    delivered.table_name || ' is missing, it was delivered on ' || delivered.last_delivery_date
                    || '; nothing of it is deleted' as detail
                from delivered
                where delivered.delivery_mode = 'full' and not delivered.is_delivered
                    and delivered.last_delivery_date is not null
                """,
                rules.table("table-missing", "A table once delivered is in every later full drop."),
                severity="warning",
            ),
            rules.no_rows(
                refused_deletions(loaded, thresholds),
                rules.table("deletions", "Deletions of a table stay within its threshold.", is_waivable=True),
                severity="warning",
            ),
            rules.no_rows(
                f"""
                with delivered as (select * from {{batch}})
                select {key}, delivered.table_name || ': ' || (delivered.warnings ->> 0) as detail
                from delivered
                where jsonb_array_length(delivered.warnings) > 0
                """,
                rules.table("columns", "The columns delivered are those of the contract."),
                severity="warning",
            ),
            _columns_stay(),
            _rows_are_there_once(thresholds),
            _table_moves(),
            _rates_are_fresh(loaded),
            _amounts_are_in_the_loans_currency(),
            _known_loans_recur(thresholds),
        ],
    )


def _amounts_are_in_the_loans_currency() -> rules.ExpectNoRows:
    """A file that states a currency where the contract has none may hold several; nobody reads which."""
    return rules.no_rows(
        """
        with delivered as (select * from {batch})
        select delivered._batch_id, delivered.table_name,
            delivered.table_name || ' has a column currency, which is ignored: its amounts are taken for amounts in the'
            || ' loan''s currency; convert others in the source''s SQL' as detail
        from delivered
        where delivered.warnings @> to_jsonb(cast('column currency is not in the contract and is ignored' as text))
        """,
        rules.table("currency-of-the-loan", "Amounts of a loan are in its currency, and no file says otherwise."),
        severity="warning",
    )


def _columns_stay() -> rules.ExpectNoRows:
    """A column that was never delivered is null and only reported; one that was would be emptied in every row."""
    return rules.no_rows(
        """
        with delivered as (select * from {batch})
        select delivered._batch_id, delivered.table_name,
            delivered.table_name || ' lacks column ' || string_agg(missing.name, ', ' order by missing.name)
            || ', which was there on ' || delivered.last_delivery_date as detail
        from delivered
        cross join lateral unnest(delivered.last_delivered_columns) as missing (name)
        where delivered.is_delivered and missing.name <> all (delivered.delivered_columns)
            and cardinality(delivered.delivered_columns) > 0
        group by delivered._batch_id, delivered.table_name, delivered.last_delivery_date
        """,
        rules.table("columns-stay", "A column once delivered is in every later drop of its table.", is_waivable=True),
    )


def _rows_are_there_once(thresholds: Thresholds) -> rules.ExpectNoRows:
    """A row that is there twice, the same, counts once; a whole file of them was put together wrongly."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.table_name,
            delivered.table_name || ' has ' || delivered.duplicate_count || ' of ' || delivered.row_count
            || ' rows twice, the same; each counts once' as detail
        from delivered
        left join ({thresholds.sql("row_findings")}) as threshold on threshold.table_name = delivered.table_name
        left join ({thresholds.sql("row_findings")}) as usual on usual.table_name = '*'
        where delivered.duplicate_count > delivered.row_count * coalesce(threshold.share, usual.share)
            and delivered.duplicate_count >= coalesce(threshold.minimum_count, usual.minimum_count)
        """,
        rules.table("rows-once", "No file has its rows twice."),
        severity="warning",
    )


# A file that did not move is yesterday's copy where it moved, by so many rows, in each of the last drops: a week of
# them, so that a lender who books on working days is not told of every Sunday.
DROPS_COMPARED = 7
FEWEST_ROWS_MOVED = 5


def _table_moves() -> rules.ExpectNoRows:
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.table_name,
            delivered.table_name || ' has no new row, and had {FEWEST_ROWS_MOVED} and more in each of the last'
            || ' {DROPS_COMPARED} drops: the file may be an old one' as detail
        from delivered
        inner join ops.batches as batches on delivered._batch_id = batches.batch_id
        where delivered.table_name = 'transactions' and delivered.new_count = 0 and not delivered.is_first
            and (
                select count(*) filter (where earlier.new_count >= {FEWEST_ROWS_MOVED})
                from (
                    select tables.new_count
                    from ops.batches as others
                    inner join ops.batch_tables as tables
                        on others.batch_id = tables.batch_id and tables.table_name = delivered.table_name
                    where others.source = delivered.source and others.state = 'accepted' and not others.is_first
                        and (others.known_from, others.batch_date) < (batches.known_from, batches.batch_date)
                    order by others.known_from desc, others.batch_date desc
                    limit {DROPS_COMPARED}
                ) as earlier
            ) = {DROPS_COMPARED}
        """,
        rules.table("table-moves", "Bookings go on, where they did in every drop of a week."),
        severity="warning",
    )


# Markets close for long weekends; a feed that stopped is silent for longer.
DAYS_WITHOUT_A_RATE = 10


def _rates_are_fresh(loaded: Loaded) -> rules.ExpectNoRows:
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        quotes as (
            select max(known.quoted_on) as quoted_on
            from {loaded.in_force("fx_rates")} as known
            where not exists (
                select 1 from raw.fx_rates as gone
                where gone._batch_id in {loaded.batches_sql} and gone._is_deleted and gone._source = known._source
                    and gone.currency = known.currency and gone.base_currency = known.base_currency
                    and gone.quoted_on = known.quoted_on
            )
            union all
            select max(quoted_on) from raw.fx_rates where _batch_id in {loaded.batches_sql} and not _is_deleted
        ),
        newest as (select max(quoted_on) as quoted_on from quotes)
        select delivered._batch_id, delivered.table_name,
            'the newest exchange rate is of ' || newest.quoted_on || ', older than {DAYS_WITHOUT_A_RATE} days' as detail
        from delivered
        cross join newest
        where delivered.table_name = 'fx_rates' and delivered.last_delivery_date is not null
            and delivered.batch_date - newest.quoted_on > {DAYS_WITHOUT_A_RATE}
        """,
        rules.table("rates-fresh", f"Exchange rates are no older than {DAYS_WITHOUT_A_RATE} days."),
        severity="warning",
    )


def _known_loans_recur(thresholds: Thresholds) -> rules.ExpectNoRows:
    """A drop of another lender's system would otherwise come in as new loans beside those that stay."""
    missing = "delivered.known_loan_count - delivered.recurring_loan_count"
    threshold = thresholds.of("known_loans_missing", "loans")
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.table_name,
            'the drop looks like another lender''s: ' || delivered.recurring_loan_count || ' of '
            || delivered.known_loan_count || ' known loans are in it' as detail
        from delivered
        where {missing} >= {threshold.minimum_count} and {missing} > delivered.known_loan_count * {threshold.share}
        """,
        rules.table(
            "known-loans-recur", "The loans known before are in every drop that states them all.", is_waivable=True
        ),
    )


def refused_deletions(loaded: Loaded, thresholds: Thresholds) -> str:
    """SQL of the deliveries whose deletions lie beyond the threshold: nothing of those tables is deleted.

    It is the same for rows missing from a full drop, keys gone from a database, and rows that a delta says are deleted:
    whatever emptied a table by mistake may tell so in any of these ways. A table that only grows has no such threshold:
    every row that vanishes from it holds its loan back.
    """
    growing = ", ".join(f"'{name}'" for name in sorted(loaded.growing_tables))
    return f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.table_name,
            delivered.table_name || ' lacks ' || delivered.deleted_count
            || ' known rows of ' || delivered.known_count
            || '; nothing of it is deleted' as detail
        from delivered
        left join ({thresholds.sql("deletions")}) as threshold on threshold.table_name = delivered.table_name
        left join ({thresholds.sql("deletions")}) as usual on usual.table_name = '*'
        where delivered.table_name not in ({growing})
            and delivered.deleted_count > coalesce(delivered.known_count, 0) * coalesce(threshold.share, usual.share)
            and delivered.deleted_count >= coalesce(threshold.minimum_count, usual.minimum_count)
    """
