{# What is the same for every lender may come from several sources: it counts once, as it was known first. #}
with known as (
    {{ latest_known(source('servicing', 'fx_rates')) }}
),

final as (
    select distinct on (upper(currency), upper(base_currency), quoted_on)
        upper(currency) as currency,
        upper(base_currency) as base_currency,
        quoted_on,
        rate
    from known
    order by upper(currency) asc, upper(base_currency) asc, quoted_on asc, _known_from asc, _source asc
)

select * from final
