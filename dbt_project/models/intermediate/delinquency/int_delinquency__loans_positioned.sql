{# A claim is past due once its due date is before D. Arrears up to the tolerance count as none: the amount stands, the
   days do not. A loan has a row from its disbursement until it is closed or sold. #}
{{ config(access='protected', post_hook='analyze {{ this }}') }}

with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

stated as (
    select * from {{ ref('int_delinquency__loans_stated') }}
),

balances as (
    select * from {{ ref('stg_servicing__servicer_balances') }}
),

{# A revolving balance is the servicing system's: statements tell what is due, not what is drawn. #}
revolving_balances as (
    select distinct on (balances.loan_id)
        balances.loan_id,
        balances.outstanding_principal_amount,
        balances.outstanding_amount
    from balances
    inner join loans on balances.loan_id = loans.loan_id
    where loans.product = 'revolving' and balances.balance_on <= {{ as_of_date() }}
    order by balances.loan_id asc, balances.balance_on desc
),

joined as (
    select
        loans.loan_id,
        loans.borrower_id,
        loans.product,
        loans.currency,
        loans.governing_law,
        loans.exposure_class,
        loans.disbursed_on,
        loans.grace_days,
        loans.principal_amount,
        loans.tolerance_amount,
        stated.schedule_version,
        stated.last_payment_on,
        stated.is_revolving,
        stated.is_replayed,
        stated.refused_refund_count,
        stated.arrears_amount,
        stated.arrears_principal_amount,
        stated.arrears_interest_amount,
        stated.arrears_fee_amount,
        stated.arrears_penalty_amount,
        stated.undrawn_amount,
        stated.due_amount,
        stated.unpaid_due_amount,
        stated.oldest_unpaid_due_on,
        stated.instalments_past_due,
        case when loans.status_on <= {{ as_of_date() }} then loans.status else 'active' end as status,
        stated.arrears_amount > loans.tolerance_amount as is_past_due,
        case
            when stated.is_revolving then revolving_balances.outstanding_principal_amount
            else stated.outstanding_principal_amount
        end as outstanding_principal_amount,
        case
            when stated.is_revolving then revolving_balances.outstanding_amount
            else stated.outstanding_amount
        end as outstanding_amount,
        case when stated.is_revolving then 0 else stated.standing_amount end as credit_amount
    from loans
    inner join stated on loans.loan_id = stated.loan_id
    left join revolving_balances on loans.loan_id = revolving_balances.loan_id
    where
        loans.disbursed_on <= {{ as_of_date() }}
        and not (loans.status in ('closed', 'sold') and loans.status_on <= {{ as_of_date() }})
),

final as (
    select
        loan_id,
        borrower_id,
        product,
        currency,
        governing_law,
        exposure_class,
        status,
        schedule_version,
        disbursed_on,
        case when is_past_due then oldest_unpaid_due_on end as oldest_unpaid_due_on,
        last_payment_on,
        is_revolving,
        is_replayed,
        refused_refund_count,
        grace_days,
        case when is_past_due then {{ as_of_date() }} - oldest_unpaid_due_on else 0 end as days_past_due,
        case when is_past_due then instalments_past_due else 0 end as instalments_past_due,
        principal_amount,
        tolerance_amount,
        due_amount,
        unpaid_due_amount,
        arrears_amount,
        arrears_principal_amount,
        arrears_interest_amount,
        arrears_fee_amount,
        arrears_penalty_amount,
        outstanding_principal_amount,
        outstanding_amount,
        cast(credit_amount as numeric(20, 4)) as credit_amount,
        undrawn_amount
    from joined
)

select * from final
