{# Tracked accounts: who was in a bucket at one month end, and where these same accounts are at the next. Totals of
   buckets that are not tracked are loan_net_flow_rates. #}
with moves as (
    select * from {{ ref('int_portfolio__moves_counted') }}
),

buckets as (
    select * from {{ ref('delinquency_buckets') }}
),

totalled as (
    select
        month,
        currency,
        from_bucket,
        to_bucket,
        sum(loan_count) as loan_count,
        sum(balance_amount) as balance_amount
    from moves
    group by month, currency, from_bucket, to_bucket
),

final as (
    select
        totalled.month,
        totalled.currency,
        totalled.from_bucket,
        totalled.to_bucket,
        {{ roll_direction('from_buckets', 'to_buckets', 'totalled.to_bucket') }} as direction,
        cast(totalled.loan_count as integer) as loan_count,
        cast(totalled.balance_amount as numeric(20, 4)) as balance_amount,
        cast(totalled.loan_count / sum(totalled.loan_count) over from_same as numeric(9, 8)) as roll_share,
        cast(
            totalled.balance_amount / nullif(sum(totalled.balance_amount) over from_same, 0) as numeric(9, 8)
        ) as roll_balance_share
    from totalled
    inner join buckets as from_buckets on totalled.from_bucket = from_buckets.bucket
    left join buckets as to_buckets on totalled.to_bucket = to_buckets.bucket
    window from_same as (partition by totalled.month, totalled.currency, totalled.from_bucket)
)

select * from final
