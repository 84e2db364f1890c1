with known as (
    {{ latest_known(source('servicing', 'collection_costs')) }}
),

final as (
    select
        cost_id,
        loan_id,
        agency_id,
        case_id,
        kind,
        incurred_on,
        amount,
        upper(currency) as currency,
        is_recoverable
    from known
)

select * from final
