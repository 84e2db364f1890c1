with known as (
    {{ latest_known(source('servicing', 'contact_points')) }}
),

final as (
    select
        contact_point_id,
        borrower_id,
        kind,
        place,
        value,
        country,
        region,
        starts_on,
        ends_on
    from known
)

select * from final
