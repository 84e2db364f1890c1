{{ config(materialized='view', access='protected') }}

with settled as (
    select * from {{ ref('int_delinquency__claims_settled') }}
),

replayed as (
    select * from {{ ref('int_delinquency__claims_replayed') }}
),

final as (
    select
        loan_id,
        claim_kind,
        claim_key,
        due_on,
        claim_amount,
        unpaid_amount,
        unpaid_principal_amount,
        unpaid_interest_amount,
        unpaid_fee_amount,
        unpaid_penalty_amount
    from settled
    union all
    select
        loan_id,
        claim_kind,
        claim_key,
        due_on,
        claim_amount,
        unpaid_amount,
        unpaid_principal_amount,
        unpaid_interest_amount,
        unpaid_fee_amount,
        unpaid_penalty_amount
    from replayed
    where claim_position > 0 and unpaid_amount > 0
)

select * from final
