{# What a measure took from the obligation: the present values of what was to be paid before and after it, at the
   original effective rate, on the day the new schedule takes effect; arrears count in full (EBA/GL/2016/07,
   paragraph 51). #}
with measures as (
    select * from {{ ref('int_classification__measures') }}
    where schedule_version is not null
),

loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

schedules as (
    select
        measures.loan_id,
        measures.starts_on,
        measures.schedule_since_on as valued_on,
        measures.schedule_version as version_after,
        max(instalments.schedule_version) as version_before
    from measures
    inner join instalments
        on
            measures.loan_id = instalments.loan_id
            and measures.schedule_version > instalments.schedule_version
    group by measures.loan_id, measures.starts_on, measures.schedule_since_on, measures.schedule_version
),

arrears as (
    select
        schedules.loan_id,
        schedules.starts_on,
        coalesce(
            sum(history.arrears_amount) filter (
                where schedules.valued_on - 1 between history.valid_from and coalesce(history.valid_to, 'infinity')
            ), 0
        ) as before_amount,
        coalesce(
            sum(history.arrears_amount) filter (
                where schedules.valued_on between history.valid_from and coalesce(history.valid_to, 'infinity')
            ), 0
        ) as after_amount
    from schedules
    inner join history on schedules.loan_id = history.loan_id
    group by schedules.loan_id, schedules.starts_on
),

{# Where no effective rate was given, the nominal one by monthly payments. What falls due on the day before is not past
   due yet, and so is not in the arrears; where older claims were unpaid, nothing was left for it. #}
payments as (
    select
        schedules.loan_id,
        schedules.starts_on,
        instalments.schedule_version = schedules.version_after as is_after,
        instalments.principal_amount + instalments.interest_amount
        + instalments.fee_amount + instalments.penalty_amount as amount,
        coalesce(loans.effective_rate, power(1 + loans.interest_rate / 12, 12) - 1) as rate,
        age(greatest(instalments.due_on, schedules.valued_on), schedules.valued_on) as time_to
    from schedules
    inner join arrears
        on
            schedules.loan_id = arrears.loan_id
            and schedules.starts_on = arrears.starts_on
    inner join loans on schedules.loan_id = loans.loan_id
    inner join instalments
        on
            schedules.loan_id = instalments.loan_id
            and instalments.schedule_version in (schedules.version_before, schedules.version_after)
    where
        instalments.due_on >= schedules.valued_on
        or (
            instalments.schedule_version = schedules.version_before
            and instalments.due_on = schedules.valued_on - 1
            and arrears.before_amount > 0
        )
),

valued as (
    select
        loan_id,
        starts_on,
        is_after,
        sum(
            amount / power(
                1 + rate,
                extract(year from time_to) + extract(month from time_to) / 12 + extract(day from time_to) / 365
            )
        ) as amount
    from payments
    group by loan_id, starts_on, is_after
),

compared as (
    select
        arrears.loan_id,
        arrears.starts_on,
        arrears.before_amount + coalesce(worth_before.amount, 0) as before_amount,
        arrears.after_amount + coalesce(worth_after.amount, 0) as after_amount
    from arrears
    left join valued as worth_before
        on
            arrears.loan_id = worth_before.loan_id
            and arrears.starts_on = worth_before.starts_on
            and not worth_before.is_after
    left join valued as worth_after
        on
            arrears.loan_id = worth_after.loan_id
            and arrears.starts_on = worth_after.starts_on
            and worth_after.is_after
),

final as (
    select
        loan_id,
        starts_on,
        cast(before_amount as numeric(20, 4)) as before_amount,
        cast(after_amount as numeric(20, 4)) as after_amount,
        cast((before_amount - after_amount) / before_amount as numeric(14, 8)) as diminished_share
    from compared
    where before_amount > 0
)

select * from final
