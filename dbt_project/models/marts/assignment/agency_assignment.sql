with decisions as (
    select * from {{ ref('stg_decisions__assignments') }}
),

candidates as (
    select * from {{ ref('int_assignment__candidates') }}
),

recipients as (
    select * from {{ ref('int_assignment__recipients') }}
),

final as (
    select
        decisions.as_of_date,
        decisions.loan_id,
        candidates.borrower_id,
        decisions.agency_id,
        decisions.contract_id,
        decisions.expected_net_amount,
        decisions.is_new,
        decisions.reason || ' ' || candidates.reason || '.' as reason,
        recipients.kind as recipient_kind,
        recipients.work_on,
        candidates.placed_on as assigned_on
    from decisions
    inner join candidates
        on
            decisions.loan_id = candidates.loan_id
            and decisions.contract_id = candidates.contract_id
    inner join recipients on decisions.agency_id = recipients.agency_id
)

select * from final
