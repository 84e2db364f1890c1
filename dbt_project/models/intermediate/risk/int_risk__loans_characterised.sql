with loans as (
    select * from {{ ref('int_delinquency__loans_positioned') }}
),

lateness as (
    select * from {{ ref('int_risk__lateness_counted') }}
),

final as (
    select
        loans.loan_id,
        loans.days_past_due,
        coalesce(lateness.times_late, 0) as times_late,
        cast(
            extract(year from age({{ as_of_date() }}, loans.disbursed_on)) * 12
            + extract(month from age({{ as_of_date() }}, loans.disbursed_on)) as integer
        ) as months_on_book,
        cast(
            round((loans.due_amount - loans.unpaid_due_amount) / nullif(loans.due_amount, 0), 8) as numeric(14, 8)
        ) as paid_to_due_ratio,
        cast(
            round(loans.outstanding_principal_amount / nullif(loans.principal_amount, 0), 8) as numeric(14, 8)
        ) as balance_ratio
    from loans
    left join lateness on loans.loan_id = lateness.loan_id
)

select * from final
