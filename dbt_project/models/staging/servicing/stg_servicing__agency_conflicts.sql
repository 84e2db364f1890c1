with known as (
    {{ latest_known(source('servicing', 'agency_conflicts')) }}
),

final as (
    select
        agency_id,
        borrower_id,
        reason
    from known
)

select * from final
