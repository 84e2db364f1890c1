with known as (
    {{ latest_known(source('servicing', 'limitation_events')) }}
),

final as (
    select
        limitation_event_id,
        loan_id,
        borrower_id,
        kind,
        is_written,
        occurred_on,
        ended_on
    from known
)

select * from final
