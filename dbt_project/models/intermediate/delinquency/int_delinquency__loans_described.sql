{# A loan's row at D before what is counted beside it: the columns that can be told of any date. #}
{{ config(materialized='view', access='protected') }}

with loans as (
    select * from {{ ref('int_delinquency__loans_positioned') }}
),

pauses as (
    select * from {{ ref('int_delinquency__pauses_counted') }}
),

restructured as (
    select * from {{ ref('int_delinquency__loans_restructured') }}
),

held_back as (
    select * from {{ ref('int_delinquency__loans_held_back') }}
),

buckets as (
    select * from {{ ref('delinquency_buckets') }}
),

counted as (
    select
        loans.*,
        restructured.restructured_since_on,
        held_back.held_back_reason,
        coalesce(pauses.is_paused, false) as is_paused,
        coalesce(pauses.days_paused, 0) as days_paused,
        greatest(loans.days_past_due - coalesce(pauses.days_paused, 0) - loans.grace_days, 0) as days_delinquent
    from loans
    left join pauses on loans.loan_id = pauses.loan_id
    left join restructured on loans.loan_id = restructured.loan_id
    left join held_back on loans.loan_id = held_back.loan_id
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        counted.loan_id,
        counted.borrower_id,
        counted.currency,
        counted.days_past_due,
        counted.days_delinquent,
        buckets.bucket,
        counted.oldest_unpaid_due_on,
        cast(counted.instalments_past_due as integer) as instalments_past_due,
        cast(counted.arrears_amount as numeric(20, 4)) as arrears_amount,
        cast(counted.arrears_principal_amount as numeric(20, 4)) as arrears_principal_amount,
        cast(counted.arrears_interest_amount as numeric(20, 4)) as arrears_interest_amount,
        cast(counted.arrears_fee_amount as numeric(20, 4)) as arrears_fee_amount,
        cast(counted.arrears_penalty_amount as numeric(20, 4)) as arrears_penalty_amount,
        cast(counted.outstanding_principal_amount as numeric(20, 4)) as outstanding_principal_amount,
        cast(counted.outstanding_amount as numeric(20, 4)) as outstanding_amount,
        cast(counted.credit_amount as numeric(20, 4)) as credit_amount,
        cast(counted.undrawn_amount as numeric(20, 4)) as undrawn_amount,
        counted.last_payment_on,
        counted.is_paused,
        counted.held_back_reason,
        counted.product,
        counted.governing_law,
        counted.exposure_class,
        counted.status,
        counted.schedule_version,
        buckets.bucket_rank,
        counted.disbursed_on,
        counted.restructured_since_on,
        counted.restructured_since_on is not null as is_restructured,
        counted.days_paused
    from counted
    left join buckets
        on
            counted.days_delinquent >= buckets.days_from
            and (buckets.days_to is null or counted.days_delinquent <= buckets.days_to)
)

select * from final
