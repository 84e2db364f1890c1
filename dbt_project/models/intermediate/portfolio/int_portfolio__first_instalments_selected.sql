{# The first instalment is the earliest of the version that is in force when it comes due: where a new schedule put it
   off before, the new date counts. A version of basis unpaid that begins after disbursement does not tell the first one. #}
{{ config(unlogged=true) }}

with instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

versions as (
    select
        loan_id,
        schedule_version,
        min(effective_on) as effective_on,
        max(basis) as basis,
        min(due_on) filter (
            where principal_amount > 0 or interest_amount > 0 or fee_amount > 0 or penalty_amount > 0
        ) as first_due_on
    from instalments
    group by loan_id, schedule_version
),

followed as (
    select
        *,
        min(effective_on) over (
            partition by loan_id order by schedule_version rows between 1 following and unbounded following
        ) as replaced_on
    from versions
),

came_due as (
    select distinct on (loan_id)
        loan_id,
        first_due_on,
        effective_on,
        basis
    from followed
    where first_due_on is not null and (replaced_on is null or replaced_on > first_due_on)
    order by loan_id asc, schedule_version asc
),

final as (
    select
        came_due.loan_id,
        came_due.first_due_on
    from came_due
    inner join loans on came_due.loan_id = loans.loan_id
    where coalesce(came_due.basis, 'gross') = 'gross' or came_due.effective_on <= loans.disbursed_on
)

select * from final
