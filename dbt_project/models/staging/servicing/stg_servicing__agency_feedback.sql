with known as (
    {{ latest_known(source('servicing', 'agency_feedback')) }}
),

final as (
    select
        agency_id,
        feedback_id,
        loan_id,
        reported_at,
        action,
        outcome,
        amount,
        promised_on,
        is_complaint
    from known
)

select * from final
