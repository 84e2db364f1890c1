with known as (
    {{ latest_known(source('servicing', 'placements')) }}
),

final as (
    select
        placement_id,
        loan_id,
        agency_id,
        contract_id,
        placed_on,
        placed_amount,
        recalled_on,
        recall_reason
    from known
)

select * from final
