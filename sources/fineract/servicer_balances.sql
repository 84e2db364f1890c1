-- Fineract's own figures of open loans, to be compared: as its close of business left them. Read whole: it writes them
-- every night.
with final as (
    select
        cast(m_loan.id as text) as loan_id,
        coalesce(m_loan.last_closed_business_date, m_business_date.date) as balance_on,
        m_loan.principal_outstanding_derived as outstanding_principal_amount,
        m_loan.total_outstanding_derived as outstanding_amount,
        coalesce(m_loan_arrears_aging.total_overdue_derived, 0) as arrears_amount,
        coalesce(
            coalesce(m_loan.last_closed_business_date, m_business_date.date)
            - m_loan_arrears_aging.overdue_since_date_derived,
            0
        ) as days_past_due,
        -- Fineract does not know:
        null as limit_amount, null as drawn_amount, null as in_excess_since
    from m_loan
    left join m_business_date on m_business_date.type = 'BUSINESS_DATE'
    left join m_loan_arrears_aging on m_loan.id = m_loan_arrears_aging.loan_id
    where
        m_loan.disbursedon_date is not null
        and m_loan.loan_status_id >= 300
        and m_loan.loan_status_id < 400
        -- Without business dates, and before its first close of business, a loan's figures are of no known day.
        and coalesce(m_loan.last_closed_business_date, m_business_date.date) is not null
)

select * from final
