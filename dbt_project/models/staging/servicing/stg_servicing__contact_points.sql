{# An erased contact point is no way to reach anybody. #}
with known as (
    {{ latest_known(source('servicing', 'contact_points')) }}
),

erasures as (
    select * from {{ source('ops', 'erasures') }}
    where blank_from <= {{ as_of_date() }}
),

final as (
    select
        known.contact_point_id,
        known.borrower_id,
        known.kind,
        known.place,
        known.value,
        known.country,
        known.region,
        known.starts_on,
        known.ends_on
    from known
    left join erasures on known.borrower_id = erasures.borrower_id
    where erasures.borrower_id is null
)

select * from final
