{# The version of a schedule in force on a day is the highest one that is effective by then, and the whole life of the
   loan is replayed against it: an epoch is the days on which one version holds. Before the first version takes effect
   a loan has an epoch without one. Revolving: a statement's row becomes effective on the day it is billed, which
   begins an epoch only where it was due before. #}
{{ config(post_hook='analyze {{ this }}') }}

with loans as (
    select * from {{ ref('int_delinquency__loans_in_hand') }}
),

instalments as (
    {{ of_loans_in_hand(ref('stg_servicing__instalments')) }}
),

effective as (
    select
        instalments.loan_id,
        instalments.schedule_version,
        instalments.effective_on,
        max(instalments.basis) as basis,
        bool_or(
            not loans.is_revolving
            or loans.is_drawn_in_parts
            or instalments.effective_on > instalments.due_on
        ) as begins_epoch
    from instalments
    inner join loans on instalments.loan_id = loans.loan_id
    group by instalments.loan_id, instalments.schedule_version, instalments.effective_on
),

versions as (
    select
        loan_id,
        schedule_version,
        min(effective_on) as effective_on,
        max(basis) as basis
    from effective
    group by loan_id, schedule_version
),

starts as (
    select
        loan_id,
        disbursed_on as epoch_from
    from loans
    union
    select
        effective.loan_id,
        greatest(effective.effective_on, loans.disbursed_on) as epoch_from
    from effective
    inner join loans on effective.loan_id = loans.loan_id
    inner join versions
        on
            effective.loan_id = versions.loan_id
            and effective.schedule_version = versions.schedule_version
    where effective.begins_epoch or effective.effective_on = versions.effective_on
),

in_force as (
    select distinct on (starts.loan_id, starts.epoch_from)
        starts.loan_id,
        starts.epoch_from,
        versions.schedule_version,
        versions.effective_on,
        versions.basis
    from starts
    left join versions
        on
            starts.loan_id = versions.loan_id
            and starts.epoch_from >= versions.effective_on
    order by starts.loan_id asc, starts.epoch_from asc, versions.schedule_version desc nulls last
),

final as (
    select
        loan_id,
        schedule_version,
        epoch_from,
        coalesce(
            lead(epoch_from) over (partition by loan_id order by epoch_from), cast('infinity' as date)
        ) as epoch_until,
        case when basis = 'unpaid' then effective_on end as replayed_from
    from in_force
)

select * from final
