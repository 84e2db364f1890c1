with known as (
    {{ latest_known(source('servicing', 'policy_events')) }}
),

final as (
    select
        policy_event_id,
        country,
        industry_code,
        announced_on,
        effective_on,
        impact,
        title
    from known
)

select * from final
