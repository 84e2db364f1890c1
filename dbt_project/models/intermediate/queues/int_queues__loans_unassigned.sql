{# Why a loan in collection is in no queue; the first reason that applies. #}
{{ config(group='agencies') }}
with loans as (
    select * from {{ ref('int_assignment__loans_to_place') }}
),

eligible as (
    select * from {{ ref('int_assignment__loans_eligible') }}
),

candidates as (
    select * from {{ ref('int_assignment__candidates') }}
),

decisions as (
    select * from {{ ref('stg_decisions__assignments') }}
),

allowed as (
    select distinct loan_id from eligible
),

valued as (
    select
        loan_id,
        max(expected_net_amount) as greatest_net_amount
    from candidates
    group by loan_id
),

final as (
    select
        loans.loan_id,
        loans.borrower_id,
        case
            when allowed.loan_id is null
                then 'No recipient may take it: licences, contracts, conflicts or suppressions rule out each.'
            when valued.loan_id is null
                then 'No exchange rate or recovery rate gives its worth in ' || {{ reporting_currency() }} || '.'
            when valued.greatest_net_amount <= 0
                then
                    'Nobody would bring more than it costs: at best ' || round(valued.greatest_net_amount, 2) || ' '
                    || {{ reporting_currency() }} || '.'
            else 'No room: other accounts bring more with the recipients that may take it.'
        end as reason
    from loans
    left join allowed on loans.loan_id = allowed.loan_id
    left join valued on loans.loan_id = valued.loan_id
    left join decisions on loans.loan_id = decisions.loan_id
    where decisions.loan_id is null
)

select * from final
