with known as (
    {{ latest_known(source('servicing', 'agencies')) }}
),

final as (
    select
        agency_id,
        name,
        kind,
        opened_on,
        closed_on
    from known
)

select * from final
