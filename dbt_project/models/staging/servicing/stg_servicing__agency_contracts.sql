with known as (
    {{ latest_known(source('servicing', 'agency_contracts')) }}
),

final as (
    select
        contract_id,
        agency_id,
        starts_on,
        ends_on,
        product,
        dpd_from,
        dpd_to,
        balance_from,
        balance_to,
        upper(currency) as currency,
        capacity,
        daily_intake,
        commission_share,
        fixed_cost_amount,
        minimum_share,
        recall_after_days
    from known
)

select * from final
