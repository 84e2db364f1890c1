{# The roll out of current alone, whichever bucket it ends in: tracked accounts. #}
with moves as (
    select * from {{ ref('int_portfolio__moves_counted') }}
),

buckets as (
    select * from {{ ref('delinquency_buckets') }}
),

totalled as (
    select
        moves.month,
        moves.currency,
        moves.product,
        moves.governing_law,
        sum(moves.loan_count) as current_count,
        sum(moves.balance_amount) as current_amount,
        coalesce(sum(moves.loan_count) filter (where to_buckets.bucket_rank > 0), 0) as late_count,
        coalesce(sum(moves.balance_amount) filter (where to_buckets.bucket_rank > 0), 0) as late_amount
    from moves
    inner join buckets as from_buckets on moves.from_bucket = from_buckets.bucket
    left join buckets as to_buckets on moves.to_bucket = to_buckets.bucket
    where from_buckets.bucket_rank = 0
    group by moves.month, moves.currency, moves.product, moves.governing_law
),

final as (
    select
        month,
        currency,
        product,
        governing_law,
        cast(current_count as integer) as current_count,
        cast(late_count as integer) as late_count,
        cast(current_amount as numeric(20, 4)) as current_amount,
        cast(late_amount as numeric(20, 4)) as late_amount,
        cast(late_count / current_count as numeric(9, 8)) as late_share,
        cast(late_amount / nullif(current_amount, 0) as numeric(9, 8)) as late_amount_share
    from totalled
)

select * from final
