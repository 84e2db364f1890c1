{# As loan_roll_rates, within segments. #}
with moves as (
    select * from {{ ref('int_portfolio__moves_counted') }}
),

buckets as (
    select * from {{ ref('delinquency_buckets') }}
),

final as (
    select
        moves.month,
        moves.currency,
        moves.product,
        moves.governing_law,
        moves.from_bucket,
        moves.to_bucket,
        {{ roll_direction('from_buckets', 'to_buckets', 'moves.to_bucket') }} as direction,
        cast(moves.loan_count as integer) as loan_count,
        cast(moves.balance_amount as numeric(20, 4)) as balance_amount,
        cast(moves.loan_count / sum(moves.loan_count) over from_same as numeric(9, 8)) as roll_share,
        cast(
            moves.balance_amount / nullif(sum(moves.balance_amount) over from_same, 0) as numeric(9, 8)
        ) as roll_balance_share
    from moves
    inner join buckets as from_buckets on moves.from_bucket = from_buckets.bucket
    left join buckets as to_buckets on moves.to_bucket = to_buckets.bucket
    window from_same as (
        partition by moves.month, moves.currency, moves.product, moves.governing_law, moves.from_bucket
    )
)

select * from final
