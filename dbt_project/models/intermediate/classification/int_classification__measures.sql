{# What begins on one day is one measure. A concession without an end is in force on its first day alone, and as
   long as its grace lasts: for ever is no observation. The schedule that a measure brought takes effect on the day
   it was agreed or began, or between; without one the schedule stays. #}
with forbearances as (
    select * from {{ ref('stg_servicing__forbearances') }}
),

kinds as (
    select * from {{ ref('restructuring_kinds') }}
),

instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

measures as (
    select
        forbearances.loan_id,
        forbearances.starts_on,
        min(forbearances.agreed_on) as agreed_on,
        greatest(forbearances.starts_on, max(forbearances.grace_ends_on)) as grace_to,
        greatest(forbearances.starts_on, max(forbearances.grace_ends_on), max(forbearances.ends_on - 1)) as in_force_to
    from forbearances
    inner join kinds on forbearances.kind = kinds.forbearance_kind
    where
        kinds.is_restructuring
        and forbearances.is_distressed
        and forbearances.agreed_on <= {{ as_of_date() }}
        and forbearances.starts_on <= {{ as_of_date() }}
    group by forbearances.loan_id, forbearances.starts_on
),

versions as (
    select
        measures.loan_id,
        measures.starts_on,
        instalments.schedule_version,
        min(instalments.effective_on) as effective_on,
        min(instalments.due_on) filter (where instalments.due_on > measures.starts_on) as first_due_on,
        bool_or(
            instalments.effective_on between least(measures.agreed_on, measures.starts_on)
            and greatest(measures.agreed_on, measures.starts_on)
        ) as is_brought
    from measures
    inner join instalments on measures.loan_id = instalments.loan_id
    where instalments.effective_on <= greatest(measures.agreed_on, measures.starts_on)
    group by measures.loan_id, measures.starts_on, instalments.schedule_version
),

latest_versions as (
    select distinct on (loan_id, starts_on)
        loan_id,
        starts_on,
        schedule_version,
        effective_on,
        first_due_on,
        is_brought and schedule_version > 1 as is_brought
    from versions
    order by loan_id asc, starts_on asc, schedule_version desc
),

final as (
    select
        measures.loan_id,
        measures.starts_on,
        measures.grace_to,
        measures.in_force_to,
        latest_versions.first_due_on,
        case when latest_versions.is_brought then latest_versions.schedule_version end as schedule_version,
        case when latest_versions.is_brought then latest_versions.effective_on end as schedule_since_on
    from measures
    left join latest_versions
        on
            measures.loan_id = latest_versions.loan_id
            and measures.starts_on = latest_versions.starts_on
)

select * from final
