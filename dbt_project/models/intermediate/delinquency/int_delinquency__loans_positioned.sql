{# A claim is past due once its due date is before D. Arrears up to the tolerance count as none: the amount stands,
   the days do not. #}
{{ config(access='protected') }}

with loans as (
    select * from {{ ref('int_delinquency__loans_selected') }}
),

totals as (
    select * from {{ ref('int_delinquency__loans_totalled') }}
),

claims_unpaid as (
    select * from {{ ref('int_delinquency__claims_unpaid') }}
),

replayed as (
    select * from {{ ref('int_delinquency__claims_replayed') }}
),

balances as (
    select * from {{ ref('stg_servicing__servicer_balances') }}
),

unpaid as (
    select
        loan_id,
        min(due_on) filter (where due_on < {{ as_of_date() }}) as oldest_unpaid_due_on,
        count(*) filter (where due_on < {{ as_of_date() }} and claim_kind = 'instalment') as instalments_past_due,
        sum(unpaid_amount) filter (where due_on < {{ as_of_date() }}) as arrears_amount,
        sum(unpaid_principal_amount) filter (where due_on < {{ as_of_date() }}) as arrears_principal_amount,
        sum(unpaid_interest_amount) filter (where due_on < {{ as_of_date() }}) as arrears_interest_amount,
        sum(unpaid_fee_amount) filter (where due_on < {{ as_of_date() }}) as arrears_fee_amount,
        sum(unpaid_penalty_amount) filter (where due_on < {{ as_of_date() }}) as arrears_penalty_amount,
        sum(unpaid_principal_amount) as unpaid_principal_amount,
        sum(unpaid_amount) as unpaid_amount
    from claims_unpaid
    group by loan_id
),

replayed_loans as (
    select
        loan_id,
        credit_amount,
        refused_refund_count
    from replayed
    where claim_position = 0
),

{# A revolving balance is the servicing system's: statements tell what is due, not what is drawn. #}
revolving_balances as (
    select distinct on (balances.loan_id)
        balances.loan_id,
        balances.outstanding_principal_amount,
        balances.outstanding_amount
    from balances
    inner join loans on balances.loan_id = loans.loan_id
    where loans.is_revolving and balances.balance_on <= {{ as_of_date() }}
    order by balances.loan_id asc, balances.balance_on desc
),

joined as (
    select
        loans.*,
        totals.last_payment_on,
        totals.is_replayed_by_booking,
        totals.due_amount,
        totals.credited_amount,
        unpaid.oldest_unpaid_due_on,
        revolving_balances.outstanding_principal_amount as revolving_principal_amount,
        revolving_balances.outstanding_amount as revolving_amount,
        coalesce(replayed_loans.refused_refund_count, 0) as refused_refund_count,
        coalesce(unpaid.instalments_past_due, 0) as instalments_past_due,
        coalesce(unpaid.arrears_amount, 0) as arrears_amount,
        coalesce(unpaid.arrears_principal_amount, 0) as arrears_principal_amount,
        coalesce(unpaid.arrears_interest_amount, 0) as arrears_interest_amount,
        coalesce(unpaid.arrears_fee_amount, 0) as arrears_fee_amount,
        coalesce(unpaid.arrears_penalty_amount, 0) as arrears_penalty_amount,
        coalesce(unpaid.unpaid_amount, 0) as unpaid_due_amount,
        coalesce(unpaid.unpaid_amount, 0) - coalesce(unpaid.unpaid_principal_amount, 0) as unpaid_other_amount,
        totals.coming_principal_amount + coalesce(unpaid.unpaid_principal_amount, 0) as unpaid_principal_amount,
        case
            when loans.is_drawn_in_parts then greatest(totals.scheduled_principal_amount - totals.disbursed_amount, 0)
            else 0
        end as undrawn_amount,
        case
            when totals.is_replayed_by_booking then replayed_loans.credit_amount
            else totals.standing_credit_amount
        end as credit_amount,
        coalesce(unpaid.arrears_amount, 0) > loans.tolerance_amount as is_past_due
    from loans
    inner join totals on loans.loan_id = totals.loan_id
    left join unpaid on loans.loan_id = unpaid.loan_id
    left join replayed_loans on loans.loan_id = replayed_loans.loan_id
    left join revolving_balances on loans.loan_id = revolving_balances.loan_id
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
        is_replayed_by_booking,
        refused_refund_count,
        grace_days,
        case when is_past_due then {{ as_of_date() }} - oldest_unpaid_due_on else 0 end as days_past_due,
        case when is_past_due then instalments_past_due else 0 end as instalments_past_due,
        principal_amount,
        tolerance_amount,
        due_amount,
        credited_amount,
        cast(unpaid_due_amount as numeric(20, 4)) as unpaid_due_amount,
        cast(arrears_amount as numeric(20, 4)) as arrears_amount,
        cast(arrears_principal_amount as numeric(20, 4)) as arrears_principal_amount,
        cast(arrears_interest_amount as numeric(20, 4)) as arrears_interest_amount,
        cast(arrears_fee_amount as numeric(20, 4)) as arrears_fee_amount,
        cast(arrears_penalty_amount as numeric(20, 4)) as arrears_penalty_amount,
        cast(
            case
                when is_revolving then revolving_principal_amount
                else unpaid_principal_amount - undrawn_amount
            end as numeric(20, 4)
        ) as outstanding_principal_amount,
        cast(
            case
                when is_revolving then revolving_amount
                else unpaid_principal_amount - undrawn_amount + unpaid_other_amount
            end as numeric(20, 4)
        ) as outstanding_amount,
        cast(credit_amount as numeric(20, 4)) as credit_amount,
        cast(undrawn_amount as numeric(20, 4)) as undrawn_amount
    from joined
)

select * from final
