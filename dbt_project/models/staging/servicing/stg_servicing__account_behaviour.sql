with known as (
    {{ latest_known(source('servicing', 'account_behaviour')) }}
),

final as (
    select
        borrower_id,
        month,
        upper(currency) as currency,
        turnover_amount,
        returned_debits,
        peak_limit_use
    from known
)

select * from final
