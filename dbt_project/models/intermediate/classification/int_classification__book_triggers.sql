with triggers as (
    {{ rule_book_rows('triggers', {
        'class': 'text', 'trigger': 'text', 'segment': 'text', 'level': 'text', 'days_after': 'integer',
        'while_in_force': 'boolean', 'probability_ratio_from': 'numeric(14, 8)', 'probability_rise_from': 'numeric(9, 8)',
        'diminished_over': 'numeric(9, 8)', 'reason': 'text',
    }) }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

final as (
    select
        triggers.*,
        classes.class_rank,
        row_number() over (
            order by triggers.rule_book, classes.class_rank, triggers.trigger, triggers.segment, triggers.reason
        ) as rule_number
    from triggers
    left join classes
        on
            triggers.rule_book = classes.rule_book
            and triggers.class = classes.class
)

select * from final
