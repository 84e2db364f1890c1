{# Paying the oldest claim first, the state at D follows from two sums, what fell due and what was credited, in
   whatever order they came. Where it does not, the loan is replayed booking by booking. #}
with loans as (
    select * from {{ ref('int_delinquency__loans_selected') }}
),

claims as (
    select * from {{ ref('int_delinquency__claims_totalled') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_totalled') }}
),

revolving as (
    select * from {{ ref('int_delinquency__revolving_credits_used') }}
),

totalled as (
    select
        loans.loan_id,
        loans.is_revolving,
        loans.allocation_mode,
        bookings.last_payment_on,
        coalesce(claims.lapsed_count, 0) as lapsed_count,
        coalesce(bookings.waiver_count, 0) as waiver_count,
        coalesce(bookings.refund_count, 0) as refund_count,
        coalesce(claims.due_amount, 0) as due_amount,
        coalesce(claims.coming_principal_amount, 0) as coming_principal_amount,
        coalesce(claims.scheduled_principal_amount, 0) as scheduled_principal_amount,
        coalesce(bookings.credited_amount, 0) as credited_amount,
        coalesce(bookings.disbursed_amount, 0) as disbursed_amount,
        case
            when loans.is_revolving then coalesce(revolving.used_amount, 0)
            else least(coalesce(claims.due_amount, 0), coalesce(bookings.credited_amount, 0))
        end as used_amount
    from loans
    left join claims on loans.loan_id = claims.loan_id
    left join bookings on loans.loan_id = bookings.loan_id
    left join revolving on loans.loan_id = revolving.loan_id
),

final as (
    select
        loan_id,
        last_payment_on,
        waiver_count > 0
        or refund_count > 0
        or (lapsed_count > 0 and credited_amount > 0)
        or (allocation_mode = 'component_first' and used_amount > 0 and used_amount < due_amount)
            as is_replayed_by_booking,
        cast(due_amount as numeric(20, 4)) as due_amount,
        cast(coming_principal_amount as numeric(20, 4)) as coming_principal_amount,
        cast(scheduled_principal_amount as numeric(20, 4)) as scheduled_principal_amount,
        cast(credited_amount as numeric(20, 4)) as credited_amount,
        cast(disbursed_amount as numeric(20, 4)) as disbursed_amount,
        cast(used_amount as numeric(20, 4)) as used_amount,
        cast(
            case when is_revolving then 0 else credited_amount - used_amount end as numeric(20, 4)
        ) as standing_credit_amount
    from totalled
)

select * from final
