{# Since when a champion's probability of default has stood above that at origination by as much as a book allows:
   from the scores of days exported before D, and D's own. It reaches back no further than scores were exported. #}
with loans as (
    select * from {{ ref('int_classification__loans_described') }}
),

triggers as (
    select * from {{ ref('int_classification__book_triggers') }}
),

scored as (
    select * from {{ ref('int_risk__loans_scored') }}
),

published as (
    {{ exported_before(source('published', 'loan_risk_score')) }}
),

scores as (
    select
        loan_id,
        as_of_date as valid_from,
        default_probability
    from published
    where model_role = 'champion'
    union all
    select
        loan_id,
        {{ as_of_date() }} as valid_from,
        default_probability
    from scored
    where model_role = 'champion'
),

periods as (
    select
        scores.loan_id,
        scores.default_probability,
        loans.default_probability_at_origination,
        scores.valid_from,
        lead(scores.valid_from, 1, {{ as_of_date() }} + 1) over (
            partition by scores.loan_id
            order by scores.valid_from
        ) - 1 as valid_to
    from scores
    inner join loans on scores.loan_id = loans.loan_id
    where loans.default_probability_at_origination is not null
),

final as (
    select
        triggers.rule_book,
        triggers.rule_number,
        periods.loan_id,
        periods.valid_from + triggers.days_after as valid_from,
        periods.valid_to
    from periods
    inner join triggers on triggers.trigger = 'probability_risen'
    where
        periods.default_probability
        >= periods.default_probability_at_origination * triggers.probability_ratio_from
        and periods.default_probability - periods.default_probability_at_origination
        >= triggers.probability_rise_from
)

select * from final
