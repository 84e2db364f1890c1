{# What the lender may ask for, epoch by epoch: instalments of the version in force (coming ones too), charges,
   chargebacks. The order in which they are paid is due_on, claim_kind_rank, claim_number, claim_key (bytewise). #}
{{ config(materialized='view', access='protected') }}

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
        claims.claim_kind,
        claims.claim_kind_rank,
        claims.claim_number,
        claims.claim_key collate "C" as claim_key, -- noqa: RF02
        epochs.epoch_from,
        claims.due_on,
        claims.lapses_on,
        claims.principal_amount,
        claims.interest_amount,
        claims.fee_amount,
        claims.penalty_amount,
        cast(
            claims.principal_amount + claims.interest_amount + claims.fee_amount + claims.penalty_amount
            as numeric(20, 4)
        ) as claim_amount
    from epochs
    inner join loans on epochs.loan_id = loans.loan_id
    cross join lateral {{ claims_of_epoch() }} as claims
)

select * from final
