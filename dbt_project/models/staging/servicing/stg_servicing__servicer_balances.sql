with known as (
    {{ latest_known(source('servicing', 'servicer_balances')) }}
),

final as (
    select
        loan_id,
        balance_on,
        outstanding_principal_amount,
        outstanding_amount,
        arrears_amount,
        days_past_due,
        limit_amount,
        drawn_amount,
        in_excess_since
    from known
)

select * from final
