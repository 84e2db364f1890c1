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
    {{ of_loans_in_hand(ref('stg_servicing__instalments')) }}
),

charges as (
    {{ of_loans_in_hand(ref('stg_servicing__charges')) }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

from_instalments as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        'instalment' as claim_kind,
        1 as claim_kind_rank,
        instalments.instalment_number as claim_number,
        '' as claim_key,
        instalments.due_on,
        cast(null as date) as lapses_on,
        instalments.principal_amount,
        instalments.interest_amount,
        instalments.fee_amount,
        instalments.penalty_amount
    from epochs
    inner join loans on epochs.loan_id = loans.loan_id
    inner join instalments
        on
            epochs.loan_id = instalments.loan_id
            and epochs.schedule_version = instalments.schedule_version
    where
        instalments.effective_on <= epochs.epoch_from
        or (
            loans.is_revolving
            and not loans.is_drawn_in_parts
            and instalments.effective_on <= instalments.due_on
        )
),

{# Waived on or before its due date a charge never becomes a claim; waived later, what is unpaid of it lapses that
   day. #}
from_charges as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        'charge' as claim_kind,
        2 as claim_kind_rank,
        0 as claim_number,
        charges.charge_id as claim_key,
        charges.due_on,
        charges.waived_on as lapses_on,
        cast(0 as numeric(20, 4)) as principal_amount,
        cast(0 as numeric(20, 4)) as interest_amount,
        cast(case when charges.kind = 'fee' then charges.amount else 0 end as numeric(20, 4)) as fee_amount,
        cast(case when charges.kind = 'penalty' then charges.amount else 0 end as numeric(20, 4)) as penalty_amount
    from epochs
    inner join charges on epochs.loan_id = charges.loan_id
    where
        (charges.waived_on is null or charges.waived_on > charges.due_on)
        and (epochs.replayed_from is null or charges.due_on >= epochs.replayed_from)
),

from_chargebacks as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        'chargeback' as claim_kind,
        3 as claim_kind_rank,
        0 as claim_number,
        bookings.transaction_id as claim_key,
        bookings.effective_on as due_on,
        cast(null as date) as lapses_on,
        cast(
            case when coalesce(bookings.component, 'principal') = 'principal' then bookings.amount else 0 end
            as numeric(20, 4)
        ) as principal_amount,
        cast(case when bookings.component = 'interest' then bookings.amount else 0 end as numeric(20, 4))
            as interest_amount,
        cast(case when bookings.component = 'fee' then bookings.amount else 0 end as numeric(20, 4)) as fee_amount,
        cast(case when bookings.component = 'penalty' then bookings.amount else 0 end as numeric(20, 4))
            as penalty_amount
    from epochs
    inner join bookings on epochs.loan_id = bookings.loan_id
    where
        bookings.kind = 'chargeback'
        and (epochs.replayed_from is null or bookings.effective_on >= epochs.replayed_from)
),

all_claims as (
    select * from from_instalments
    union all
    select * from from_charges
    union all
    select * from from_chargebacks
),

final as (
    select
        loan_id,
        claim_kind,
        claim_kind_rank,
        claim_number,
        claim_key collate "C" as claim_key,
        epoch_from,
        due_on,
        lapses_on,
        principal_amount,
        interest_amount,
        fee_amount,
        penalty_amount,
        cast(principal_amount + interest_amount + fee_amount + penalty_amount as numeric(20, 4)) as claim_amount
    from all_claims
)

select * from final
