{# Keeps changes: the rows of D are those whose score or reasons differ from the latest exported ones before D. #}
with scored as (
    select * from {{ ref('int_risk__loans_scored') }}
),

published as (
    {{ exported_before(source('published', 'loan_risk_score')) }}
),

latest as (
    select distinct on (loan_id, model_id) *
    from published
    order by loan_id asc, model_id asc, as_of_date desc
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        scored.loan_id,
        scored.model_id,
        scored.model_role,
        scored.score,
        scored.default_probability,
        scored.reason_1,
        scored.reason_2,
        scored.reason_3,
        scored.is_calibrated
    from scored
    left join latest
        on
            scored.loan_id = latest.loan_id
            and scored.model_id = latest.model_id
    where
        (scored.model_role, scored.score, scored.default_probability, scored.reason_1, scored.reason_2, scored.reason_3)
        is distinct from
        (latest.model_role, latest.score, latest.default_probability, latest.reason_1, latest.reason_2, latest.reason_3)
        or scored.is_calibrated is distinct from latest.is_calibrated
)

select * from final
