{# Loans in collection: delinquent, not held back, and on the working day of some recipient not suppressed. #}
with loans as (
    select * from {{ ref('loan_delinquency') }}
),

borrowers as (
    select * from {{ ref('stg_servicing__borrowers') }}
),

suppressed as (
    select * from {{ ref('int_assignment__loans_suppressed') }}
),

work_days as (
    select distinct work_on from {{ ref('int_assignment__recipients') }}
),

silent as (
    select loan_id
    from suppressed
    group by loan_id
    having count(*) = (select count(*) from work_days)
),

final as (
    select
        loans.loan_id,
        loans.borrower_id,
        loans.borrower_id || '|' || loans.governing_law as group_key,
        loans.product,
        loans.currency,
        loans.governing_law,
        upper(coalesce(borrowers.region, borrowers.country)) as jurisdiction,
        loans.bucket,
        loans.days_past_due,
        loans.days_delinquent,
        loans.arrears_amount,
        coalesce(loans.outstanding_amount, loans.arrears_amount) as balance_amount
    from loans
    inner join borrowers on loans.borrower_id = borrowers.borrower_id
    left join silent on loans.loan_id = silent.loan_id
    where
        loans.days_delinquent >= 1
        and loans.held_back_reason is null
        and silent.loan_id is null
)

select * from final
