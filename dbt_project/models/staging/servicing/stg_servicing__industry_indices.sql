{# What is the same for every lender may come from several sources: it counts once, as it was known first. #}
with known as (
    {{ latest_known(source('servicing', 'industry_indices')) }}
),

final as (
    select distinct on (industry_code, country, observed_on)
        industry_code,
        country,
        observed_on,
        value
    from known
    order by industry_code asc, country asc, observed_on asc, _known_from asc, _source asc
)

select * from final
