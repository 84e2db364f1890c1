with known as (
    {{ latest_known(source('servicing', 'credit_reports')) }}
),

final as (
    select
        borrower_id,
        bureau,
        reported_on,
        score,
        enquiries_6m,
        defaults_elsewhere,
        debt_elsewhere_amount,
        overdue_90_elsewhere_amount,
        upper(currency) as currency
    from known
)

select * from final
