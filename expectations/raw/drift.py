"""What a delivery brought, in figures, beside what the source's last good deliveries brought.

The figures are kept by batch (`ops.batch_profiles`, written by `arrears.gate.profiles`): of the rows that are new or
changed, so that a full drop and a delta are measured alike. A source's first batch brings everything at once and is
neither judged nor compared with.
"""

import great_expectations as gx

from arrears.gate.batches import Loaded, sql_list
from arrears.gate.thresholds import Thresholds
from expectations import drift

MEASURES = (
    "row_count_low",
    "row_count_high",
    "null_share",
    "median",
    "mix",
    "changed_null_share",
    "changed_median",
    "changed_mix",
)
IDENTITY = ("_batch_id", "table_name", "column_name")

# The figures of a day with fewer rows say nothing by themselves.
ROWS_OF_A_DAY = 20

COMPARED = """
with own as (
    select profiles.*, batches.source, batches.batch_date, batches.known_from
    from ops.batch_profiles as profiles
    inner join ops.batches as batches on profiles.batch_id = batches.batch_id
    where profiles.batch_id in {batches} and not batches.is_first
),

days as (
    select own.batch_id, own.batch_date as judged_on, earlier.batch_id as earlier_id, earlier.batch_date
    from (select distinct batch_id, source, batch_date, known_from from own) as own
    inner join ops.batches as earlier
        on own.source = earlier.source and earlier.state = 'accepted' and not earlier.is_first
            and earlier.batch_date >= own.batch_date - {days_back}
            and (earlier.known_from, earlier.batch_date) < (own.known_from, own.batch_date)
),

before as (
    select days.batch_id as judged_id, days.judged_on, days.batch_date, profiles.*
    from days
    inner join ops.batch_profiles as profiles on days.earlier_id = profiles.batch_id
),

row_counts as (
    select
        own.batch_id, own.table_name, own.value,
        count(*) as day_count,
        max(before.value) as highest,
        count(*) filter (where extract(isodow from before.batch_date) = extract(isodow from own.batch_date))
            as weekday_count,
        min(before.value) filter (where extract(isodow from before.batch_date) = extract(isodow from own.batch_date))
            as weekday_lowest,
        exists (select 1 from ops.public_holidays as holidays where holidays.holiday_on = own.batch_date) as is_holiday
    from own
    inner join before
        on own.batch_id = before.judged_id and own.table_name = before.table_name and before.metric = 'row_count'
    where own.metric = 'row_count'
    group by own.batch_id, own.table_name, own.value, own.batch_date
),

null_shares as (
    select
        own.batch_id, own.table_name, own.column_name, own.value, own.row_count,
        count(*) as day_count,
        sum(before.value * before.row_count) / sum(before.row_count) as pooled,
        max(before.value) filter (where before.row_count >= {rows_of_a_day}) as highest
    from own
    inner join before
        on own.batch_id = before.judged_id and own.table_name = before.table_name
            and own.column_name = before.column_name and before.metric = 'null_share'
    where own.metric = 'null_share'
    group by own.batch_id, own.table_name, own.column_name, own.value, own.row_count
),

medians as (
    select
        own.batch_id, own.table_name, own.column_name, own.value, own.row_count,
        count(*) as day_count,
        min(before.value) as lowest,
        max(before.value) as highest
    from own
    inner join before
        on own.batch_id = before.judged_id and own.table_name = before.table_name
            and own.column_name = before.column_name and before.metric = 'median'
            and before.row_count >= {rows_of_a_day}
    where own.metric = 'median'
    group by own.batch_id, own.table_name, own.column_name, own.value, own.row_count
),

mixes_before as (
    select
        kinds.judged_id, kinds.table_name, kinds.column_name, kinds.segment, totals.day_count,
        sum(kinds.value * kinds.row_count) / totals.row_count as pooled
    from before as kinds
    inner join (
        select judged_id, table_name, column_name, count(*) as day_count, sum(row_count) as row_count
        from (
            select distinct judged_id, batch_id, table_name, column_name, row_count from before where metric = 'mix'
        ) as by_day
        group by judged_id, table_name, column_name
    ) as totals
        on kinds.judged_id = totals.judged_id and kinds.table_name = totals.table_name
            and kinds.column_name = totals.column_name
    where kinds.metric = 'mix'
    group by kinds.judged_id, kinds.table_name, kinds.column_name, kinds.segment, totals.day_count, totals.row_count
),

mixes_of_days as (
    select columns.judged_id, columns.table_name, columns.column_name, max(columns.distance) as highest
    from (
        select
            pooled.judged_id, pooled.table_name, pooled.column_name, days.batch_id,
            sum(abs(coalesce(kinds.value, 0) - pooled.pooled)) / 2 as distance
        from mixes_before as pooled
        inner join (
            select distinct judged_id, batch_id, table_name, column_name
            from before where metric = 'mix' and row_count >= {rows_of_a_day}
        ) as days
            on pooled.judged_id = days.judged_id and pooled.table_name = days.table_name
                and pooled.column_name = days.column_name
        left join before as kinds
            on days.judged_id = kinds.judged_id and days.batch_id = kinds.batch_id
                and days.table_name = kinds.table_name and days.column_name = kinds.column_name
                and pooled.segment = kinds.segment and kinds.metric = 'mix'
        group by pooled.judged_id, pooled.table_name, pooled.column_name, days.batch_id
    ) as columns
    group by columns.judged_id, columns.table_name, columns.column_name
),

mixes as (
    select
        own.batch_id, own.table_name, own.column_name, own.row_count,
        max(own.day_count) as day_count,
        count(*) as kind_count,
        sum(abs(coalesce(kinds.value, 0) - coalesce(before.pooled, 0))) / 2 as value
    from (
        select columns.*, segments.segment, segments.day_count
        from (
            select distinct batch_id, table_name, column_name, row_count from own where metric = 'mix'
        ) as columns
        inner join (
            select judged_id, table_name, column_name, segment, day_count from mixes_before
            union
            select own.batch_id, own.table_name, own.column_name, own.segment, days.day_count
            from own
            inner join (
                select judged_id, table_name, column_name, max(day_count) as day_count
                from mixes_before group by judged_id, table_name, column_name
            ) as days
                on own.batch_id = days.judged_id and own.table_name = days.table_name
                    and own.column_name = days.column_name
            where own.metric = 'mix'
        ) as segments
            on columns.batch_id = segments.judged_id and columns.table_name = segments.table_name
                and columns.column_name = segments.column_name
    ) as own
    left join own as kinds
        on own.batch_id = kinds.batch_id and own.table_name = kinds.table_name and own.column_name = kinds.column_name
            and own.segment = kinds.segment and kinds.metric = 'mix'
    left join mixes_before as before
        on own.batch_id = before.judged_id and own.table_name = before.table_name
            and own.column_name = before.column_name and own.segment = before.segment
    group by own.batch_id, own.table_name, own.column_name, own.row_count
)

select
    batch_id as _batch_id, 'row_count_low' as measure, table_name, '' as column_name,
    value as observed_value, cast(value as bigint) as row_count,
    weekday_count as day_count, weekday_lowest as lowest, weekday_lowest as highest,
    0.0 as allowance
from row_counts
where not is_holiday
union all
select batch_id, 'row_count_high', table_name, '', value, cast(value as bigint), day_count, highest, highest, 0.0
from row_counts
union all
select batch_id, 'null_share', table_name, column_name, value, row_count, day_count,
    pooled, greatest(pooled, highest),
    3 * sqrt(pooled * (1 - pooled) / row_count)
from null_shares
union all
select batch_id, 'median', table_name, column_name, value, row_count, day_count, lowest, highest, 0.0
from medians
union all
select
    mixes.batch_id, 'mix', mixes.table_name, mixes.column_name, mixes.value, mixes.row_count, mixes.day_count,
    0, coalesce(usual.highest, 0),
    sqrt(cast(mixes.kind_count as numeric) / mixes.row_count)
from mixes
left join mixes_of_days as usual
    on mixes.batch_id = usual.judged_id and mixes.table_name = usual.table_name
        and mixes.column_name = usual.column_name
union all
select
    batch_id, metric, table_name, column_name, value, row_count, 1,
    case metric when 'changed_median' then 1 else 0 end, case metric when 'changed_median' then 1 else 0 end, 0.0
from own
where metric in ('changed_null_share', 'changed_median', 'changed_mix')
"""


def suite(thresholds: Thresholds) -> gx.ExpectationSuite:
    """Rules on the figures of a source's batches; a day without anything to compare with passes."""
    return gx.ExpectationSuite("raw.drift", expectations=drift.expectations(MEASURES, thresholds, IDENTITY))


def query(part: Loaded, thresholds: Thresholds) -> str:
    """One row per measure of one source's batches, beside those of its last good ones."""
    compared = COMPARED.format(
        batches=sql_list(part.batch_ids),
        days_back=drift.days_back(MEASURES, thresholds),
        rows_of_a_day=ROWS_OF_A_DAY,
    )
    return f"select * from ({compared}) as compared"  # Great Expectations takes no query that begins otherwise
