{# What the lender may ask for: instalments of the version in force (coming ones too), charges, chargebacks. The
   order in which they are paid is due_on, claim_kind_rank, claim_number, claim_key (bytewise). #}
{{ config(materialized='view', access='protected') }}

with loans as not materialized (
    select * from {{ ref('int_delinquency__loans_selected') }}
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

{# Revolving: a statement's row becomes effective on the day it is billed, so later rows of a version are not known
   yet. #}
from_instalments as (
    select
        instalments.loan_id,
        'instalment' as claim_kind,
        1 as claim_kind_rank,
        instalments.instalment_number as claim_number,
        cast(instalments.instalment_number as text) as claim_key,
        instalments.due_on,
        cast(null as date) as lapses_on,
        instalments.principal_amount,
        instalments.interest_amount,
        instalments.fee_amount,
        instalments.penalty_amount
    from instalments
    inner join loans
        on
            instalments.loan_id = loans.loan_id
            and instalments.schedule_version = loans.schedule_version
    where instalments.effective_on <= {{ as_of_date() }}
),

{# Waived on or before its due date a charge never becomes a claim; waived later, what is unpaid of it lapses that
   day. #}
from_charges as (
    select
        charges.loan_id,
        'charge' as claim_kind,
        2 as claim_kind_rank,
        0 as claim_number,
        charges.charge_id as claim_key,
        charges.due_on,
        case when charges.waived_on <= {{ as_of_date() }} then charges.waived_on end as lapses_on,
        cast(0 as numeric(20, 4)) as principal_amount,
        cast(0 as numeric(20, 4)) as interest_amount,
        case when charges.kind = 'fee' then charges.amount else 0 end as fee_amount,
        case when charges.kind = 'penalty' then charges.amount else 0 end as penalty_amount
    from charges
    inner join loans on charges.loan_id = loans.loan_id
    where
        (charges.waived_on is null or charges.waived_on > charges.due_on)
        and (loans.replayed_from is null or charges.due_on >= loans.replayed_from)
),

from_chargebacks as (
    select
        loan_id,
        'chargeback' as claim_kind,
        3 as claim_kind_rank,
        0 as claim_number,
        transaction_id as claim_key,
        effective_on as due_on,
        cast(null as date) as lapses_on,
        case when coalesce(component, 'principal') = 'principal' then amount else 0 end as principal_amount,
        case when component = 'interest' then amount else 0 end as interest_amount,
        case when component = 'fee' then amount else 0 end as fee_amount,
        case when component = 'penalty' then amount else 0 end as penalty_amount
    from bookings
    where kind = 'chargeback' and is_replayed
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
        due_on,
        lapses_on,
        cast(principal_amount as numeric(20, 4)) as principal_amount,
        cast(interest_amount as numeric(20, 4)) as interest_amount,
        cast(fee_amount as numeric(20, 4)) as fee_amount,
        cast(penalty_amount as numeric(20, 4)) as penalty_amount,
        cast(principal_amount + interest_amount + fee_amount + penalty_amount as numeric(20, 4)) as claim_amount
    from all_claims
)

select * from final
