with loans as (
    select * from {{ ref('int_delinquency__loans_described') }}
),

conventions as (
    select * from {{ ref('int_delinquency__conventions_counted') }}
),

final as (
    select
        loans.as_of_date,
        loans.loan_id,
        loans.borrower_id,
        loans.currency,
        loans.days_past_due,
        loans.days_delinquent,
        loans.bucket,
        loans.oldest_unpaid_due_on,
        loans.instalments_past_due,
        loans.arrears_amount,
        loans.arrears_principal_amount,
        loans.arrears_interest_amount,
        loans.arrears_fee_amount,
        loans.arrears_penalty_amount,
        loans.outstanding_principal_amount,
        loans.outstanding_amount,
        loans.credit_amount,
        loans.undrawn_amount,
        loans.last_payment_on,
        loans.is_paused,
        loans.held_back_reason,
        loans.product,
        loans.governing_law,
        loans.exposure_class,
        loans.status,
        loans.schedule_version,
        loans.bucket_rank,
        loans.disbursed_on,
        loans.restructured_since_on,
        loans.is_restructured,
        loans.days_paused,
        conventions.dpd_convention,
        conventions.days_past_due_by_convention,
        conventions.months_past_due_by_convention,
        conventions.days_past_due_before_reschedule
    from loans
    left join conventions on loans.loan_id = conventions.loan_id
)

select * from final
