{# Totals, not accounts: what is in the next bucket may have come from anywhere, so a ratio can exceed 1. Rates of
   tracked accounts are loan_roll_rates. #}
with flows as (
    select * from {{ ref('int_portfolio__flows_totalled') }}
),

totalled as (
    select
        month,
        currency,
        from_bucket,
        to_bucket,
        from_rank,
        sum(from_count) as from_count,
        sum(to_count) as to_count,
        sum(from_amount) as from_amount,
        sum(to_amount) as to_amount
    from flows
    group by month, currency, from_bucket, to_bucket, from_rank
),

final as (
    select
        month,
        currency,
        from_bucket,
        to_bucket,
        cast(from_count as integer) as from_count,
        cast(to_count as integer) as to_count,
        cast(from_amount as numeric(20, 4)) as from_amount,
        cast(to_amount as numeric(20, 4)) as to_amount,
        cast(to_amount / nullif(greatest(from_amount, 0), 0) as numeric(28, 8)) as net_flow_ratio
    from totalled
)

select * from final
