with known as (
    {{ latest_known(source('servicing', 'guarantee_loans')) }}
),

final as (
    select
        guarantee_id,
        loan_id,
        max_amount
    from known
)

select * from final
