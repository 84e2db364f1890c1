{# Keeps changes: the rows of D are those whose class or reason differ from the latest exported ones before D. #}
with classified as (
    select * from {{ ref('int_classification__loans_classified') }}
),

published as (
    {{ exported_before(source('published', 'loan_classification')) }}
),

latest as (
    select distinct on (loan_id, rule_book) *
    from published
    order by loan_id asc, rule_book asc, as_of_date desc
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        classified.loan_id,
        classified.rule_book,
        classified.class,
        classified.class_label,
        classified.since_on,
        classified.earliest_exit_on,
        classified.rules_since_on,
        classified.is_in_probation,
        classified.is_in_force,
        classified.class_rank,
        classified.reason
    from classified
    left join latest
        on
            classified.loan_id = latest.loan_id
            and classified.rule_book = latest.rule_book
    where
        latest.loan_id is null
        or (classified.class, classified.reason, classified.since_on, classified.rules_since_on, classified.is_in_force)
        is distinct from (latest.class, latest.reason, latest.since_on, latest.rules_since_on, latest.is_in_force)
)

select * from final
