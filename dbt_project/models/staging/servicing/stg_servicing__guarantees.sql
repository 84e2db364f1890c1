with known as (
    {{ latest_known(source('servicing', 'guarantees')) }}
),

final as (
    select
        guarantee_id,
        guarantor_id,
        guarantor_name,
        guarantor_kind,
        liability,
        cover_share,
        limit_amount,
        upper(currency) as currency,
        starts_on,
        ends_on,
        clock_starts,
        demand_after_days,
        demand_within_days,
        claimed_on,
        settled_on,
        settled_amount
    from known
)

select * from final
