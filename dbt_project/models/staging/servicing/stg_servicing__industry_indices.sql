with known as (
    {{ latest_known(source('servicing', 'industry_indices')) }}
),

final as (
    select
        industry_code,
        country,
        observed_on,
        value
    from known
)

select * from final
