with known as (
    {{ latest_known(source('servicing', 'fx_rates')) }}
),

final as (
    select
        upper(currency) as currency,
        upper(base_currency) as base_currency,
        quoted_on,
        rate
    from known
)

select * from final
