with loans as (
    select * from {{ ref('int_delinquency__loans_described') }}
),

final as (
    select
        as_of_date,
        loan_id,
        borrower_id,
        currency,
        days_past_due,
        days_delinquent,
        bucket,
        oldest_unpaid_due_on,
        instalments_past_due,
        arrears_amount,
        arrears_principal_amount,
        arrears_interest_amount,
        arrears_fee_amount,
        arrears_penalty_amount,
        outstanding_principal_amount,
        outstanding_amount,
        credit_amount,
        undrawn_amount,
        last_payment_on,
        is_paused,
        held_back_reason,
        product,
        governing_law,
        exposure_class,
        status,
        schedule_version,
        bucket_rank,
        disbursed_on,
        restructured_since_on,
        is_restructured,
        days_paused
    from loans
)

select * from final
