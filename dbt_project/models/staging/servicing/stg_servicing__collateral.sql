with known as (
    {{ latest_known(source('servicing', 'collateral')) }}
),

final as (
    select
        collateral_id,
        kind,
        property_type,
        country,
        street,
        city,
        postcode,
        upper(currency) as currency,
        enforcement_status,
        released_on
    from known
)

select * from final
