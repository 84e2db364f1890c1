{# Totals of one bucket at a month end and of the next bucket a month later, whoever is in them. Into the last bucket
   nothing flows: it has no end, so it holds what came in over many months. #}
with totals as (
    select * from {{ ref('int_portfolio__balances_totalled') }}
),

flow_buckets as (
    select * from {{ ref('flow_buckets') }}
),

steps as (
    select
        earlier.bucket as from_bucket,
        later.bucket as to_bucket,
        earlier.bucket_rank as from_rank
    from flow_buckets as earlier
    inner join flow_buckets as later on earlier.bucket_rank + 1 = later.bucket_rank
    where
        later.days_to is not null
        and earlier.valid_from <= {{ as_of_date() }}
        and (earlier.valid_to is null or earlier.valid_to >= {{ as_of_date() }})
        and later.valid_from <= {{ as_of_date() }}
        and (later.valid_to is null or later.valid_to >= {{ as_of_date() }})
),

sides as (
    select
        {{ month_end('totals.month_end_on', 1) }} as month_end_on,
        totals.currency,
        totals.product,
        totals.governing_law,
        steps.from_rank,
        totals.loan_count as from_count,
        totals.balance_amount as from_amount,
        0 as to_count,
        0 as to_amount
    from totals
    inner join steps on totals.flow_rank = steps.from_rank
    where not totals.is_written_off
    union all
    select
        totals.month_end_on,
        totals.currency,
        totals.product,
        totals.governing_law,
        steps.from_rank,
        0 as from_count,
        0 as from_amount,
        totals.loan_count as to_count,
        totals.balance_amount as to_amount
    from totals
    inner join steps on totals.flow_rank = steps.from_rank + 1
    where not totals.is_written_off
),

final as (
    select
        {{ month_start('sides.month_end_on') }} as month,
        sides.currency,
        sides.product,
        sides.governing_law,
        steps.from_bucket,
        steps.to_bucket,
        steps.from_rank,
        sum(sides.from_count) as from_count,
        sum(sides.to_count) as to_count,
        cast(sum(sides.from_amount) as numeric(20, 4)) as from_amount,
        cast(sum(sides.to_amount) as numeric(20, 4)) as to_amount
    from sides
    inner join steps on sides.from_rank = steps.from_rank
    where sides.month_end_on <= {{ as_of_date() }}
    group by
        sides.month_end_on,
        sides.currency,
        sides.product,
        sides.governing_law,
        steps.from_bucket,
        steps.to_bucket,
        steps.from_rank
)

select * from final
