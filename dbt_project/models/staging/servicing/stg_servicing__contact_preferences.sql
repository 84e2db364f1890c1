with known as (
    {{ latest_known(source('servicing', 'contact_preferences')) }}
),

final as (
    select
        borrower_id,
        channel,
        place,
        is_allowed,
        from_hour,
        until_hour,
        weekdays,
        starts_on,
        ends_on
    from known
)

select * from final
