{# Every ground that was found, and a measure taken while an earlier one was still observed. #}
{{ config(materialized='view') }}

with found as (
    select * from {{ ref('int_classification__grounds_found') }}
),

observed as (
    select * from {{ ref('int_classification__restructurings_observed') }}
),

triggers as (
    select * from {{ ref('int_classification__book_triggers') }}
),

again as (
    select distinct
        found.rule_book,
        found.loan_id,
        triggers.class_rank,
        triggers.rule_number,
        found.valid_from,
        found.valid_to,
        found.source_loan_id,
        found.counted_from,
        found.first_due_on
    from found
    inner join observed
        on
            found.rule_book = observed.rule_book
            and found.loan_id = observed.loan_id
            and found.valid_from > observed.valid_from
            and found.valid_from <= observed.held_to
    inner join triggers
        on
            found.rule_book = triggers.rule_book
            and triggers.trigger = 'restructured_again'
    where found.is_measure
),

final as (
    select
        rule_book,
        loan_id,
        class_rank,
        rule_kind,
        rule_number,
        valid_from,
        coalesce(valid_to, {{ as_of_date() }}) as valid_to,
        source_loan_id,
        is_measure,
        counted_from
    from found
    union all
    select
        rule_book,
        loan_id,
        class_rank,
        'trigger' as rule_kind,
        rule_number,
        valid_from,
        coalesce(valid_to, {{ as_of_date() }}) as valid_to,
        source_loan_id,
        false as is_measure,
        counted_from
    from again
)

select * from final
