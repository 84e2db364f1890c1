{# The claims of an epoch in the order in which they are paid: element n of the due_ arrays is the sum of the first n.
   Each array is gathered in the order of the window before, which costs no further sort. #}
{{ config(unlogged=true, post_hook='analyze {{ this }}') }}

with loans as (
    select * from {{ ref('int_delinquency__loans_in_hand') }}
),

epochs as (
    select * from {{ ref('int_delinquency__epochs') }}
),

instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

charges as (
    select * from {{ ref('stg_servicing__charges') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

final as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        stacked.*
    from epochs
    inner join loans on epochs.loan_id = loans.loan_id
    -- noqa: disable=ST05
    cross join lateral (
        select
            {{ in_order('due_on') }} as due_ons,
            case when count(lapses_on) > 0 then {{ in_order('lapses_on') }} end as lapse_ons,
            {{ in_order('cast(instalment_count as integer)') }} as instalment_counts,
            {{ in_order('due_principal_amount + due_interest_amount + due_fee_amount + due_penalty_amount') }}
                as due_amounts,
            {{ in_order('due_principal_amount') }} as due_principal_amounts,
            case when max(due_interest_amount) > 0 then {{ in_order('due_interest_amount') }} end
                as due_interest_amounts,
            case when max(due_fee_amount) > 0 then {{ in_order('due_fee_amount') }} end as due_fee_amounts,
            case when max(due_penalty_amount) > 0 then {{ in_order('due_penalty_amount') }} end as due_penalty_amounts,
            {{ in_order('due_on') }} filter (where claim_kind = 'chargeback' and principal_amount > 0)
                as chargeback_ons,
            {{ in_order('principal_amount') }} filter (where claim_kind = 'chargeback' and principal_amount > 0)
                as chargeback_principal_amounts,
            coalesce(sum(principal_amount) filter (where claim_kind = 'instalment'), 0) as scheduled_principal_amount
        from (
            select
                claims.*,
                sum(claims.principal_amount) over paid_in_order as due_principal_amount,
                sum(claims.interest_amount) over paid_in_order as due_interest_amount,
                sum(claims.fee_amount) over paid_in_order as due_fee_amount,
                sum(claims.penalty_amount) over paid_in_order as due_penalty_amount,
                count(*) filter (
                    where
                    claims.claim_kind = 'instalment'
                    and claims.principal_amount + claims.interest_amount + claims.fee_amount + claims.penalty_amount > 0
                ) over paid_in_order as instalment_count
            from {{ claims_of_epoch() }} as claims
            window
                paid_in_order as (
                    order by claims.due_on, claims.claim_kind_rank, claims.claim_number, claims.claim_key
                    rows between unbounded preceding and current row
                )
        ) as running
    ) as stacked
    -- noqa: enable=ST05
)

select * from final
