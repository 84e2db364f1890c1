with known as (
    {{ latest_known(source('servicing', 'fund_uses')) }}
),

final as (
    select
        fund_use_id,
        loan_id,
        project_id,
        used_on,
        purpose,
        payee,
        payee_is_related,
        amount,
        upper(currency) as currency,
        is_documented
    from known
)

select * from final
