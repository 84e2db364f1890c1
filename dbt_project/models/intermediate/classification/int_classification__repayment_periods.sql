{# How many months lie between two payments; a loan with a single one has no period. #}
with instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

grounds as (
    select * from {{ ref('int_classification__grounds_found') }}
),

cures as (
    select * from {{ ref('int_classification__book_cures') }}
),

{# Only loans for which a rule asks. #}
asked as (
    select distinct grounds.loan_id
    from grounds
    inner join cures
        on
            grounds.rule_book = cures.rule_book
            and grounds.class_rank >= cures.class_rank
    where
        cures.periods is not null
        or (cures.restructured_periods is not null and grounds.is_measure)
),

schedules as (
    select
        instalments.loan_id,
        instalments.schedule_version,
        count(*) as instalment_count,
        max(instalments.due_on) - min(instalments.due_on) as days_between
    from instalments
    inner join asked on instalments.loan_id = asked.loan_id
    where instalments.effective_on <= {{ as_of_date() }}
    group by instalments.loan_id, instalments.schedule_version
),

latest as (
    select distinct on (loan_id)
        loan_id,
        instalment_count,
        days_between
    from schedules
    order by loan_id asc, schedule_version desc
),

final as (
    select
        loan_id,
        cast(ceil(days_between / (instalment_count - 1) * 12 / 365.25 - 0.5) as integer) as period_months
    from latest
    where instalment_count > 1
)

select * from final
