with known as (
    {{ latest_known(source('servicing', 'agency_contract_terms')) }}
),

final as (
    select
        contract_id,
        starts_on,
        age_from_days,
        age_to_days,
        commission_share,
        fixed_cost_amount,
        direct_payment_days,
        vat_share
    from known
)

select * from final
