with known as (
    {{ latest_known(source('servicing', 'insurance_policies')) }}
),

final as (
    select
        policy_id,
        insurer_name,
        cover_share,
        limit_amount,
        deductible_amount,
        upper(currency) as currency,
        starts_on,
        ends_on,
        clock_starts,
        notify_within_days,
        waiting_days,
        claim_within_days,
        notified_on,
        claimed_on,
        settled_on,
        settled_amount
    from known
)

select * from final
