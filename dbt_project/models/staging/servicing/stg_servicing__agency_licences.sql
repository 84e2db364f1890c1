with known as (
    {{ latest_known(source('servicing', 'agency_licences')) }}
),

final as (
    select
        agency_id,
        jurisdiction,
        starts_on,
        ends_on
    from known
)

select * from final
