{# As loan_net_flow_rates, within segments. #}
with flows as (
    select * from {{ ref('int_portfolio__flows_totalled') }}
),

final as (
    select
        month,
        currency,
        product,
        governing_law,
        from_bucket,
        to_bucket,
        cast(from_count as integer) as from_count,
        cast(to_count as integer) as to_count,
        cast(from_amount as numeric(20, 4)) as from_amount,
        cast(to_amount as numeric(20, 4)) as to_amount,
        cast(to_amount / nullif(greatest(from_amount, 0), 0) as numeric(28, 8)) as net_flow_ratio
    from flows
)

select * from final
