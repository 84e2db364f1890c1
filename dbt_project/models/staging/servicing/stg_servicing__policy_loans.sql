with known as (
    {{ latest_known(source('servicing', 'policy_loans')) }}
),

final as (
    select
        policy_id,
        loan_id,
        max_amount
    from known
)

select * from final
