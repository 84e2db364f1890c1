with known as (
    {{ latest_known(source('servicing', 'esg_events')) }}
),

final as (
    select
        esg_event_id,
        borrower_id,
        project_id,
        occurred_on,
        kind,
        severity,
        is_resolved
    from known
)

select * from final
