with known as (
    {{ latest_known(source('servicing', 'collateral_loans')) }}
),

final as (
    select
        collateral_id,
        loan_id,
        lien_rank,
        prior_liens_amount,
        max_amount
    from known
)

select * from final
