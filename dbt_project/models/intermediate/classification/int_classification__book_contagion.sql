with contagion as (
    {{ rule_book_rows('contagion', {
        'class': 'text', 'level': 'text', 'segment': 'text', 'counted_class': 'text', 'counted_days_from': 'integer',
        'with_elsewhere': 'boolean', 'share_over': 'numeric(9, 8)', 'reason': 'text',
    }) }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

final as (
    select
        contagion.*,
        classes.class_rank,
        counted.class_rank as counted_class_rank,
        row_number() over (
            order by contagion.rule_book, classes.class_rank, contagion.level, contagion.segment, contagion.reason
        ) as rule_number
    from contagion
    left join classes
        on
            contagion.rule_book = classes.rule_book
            and contagion.class = classes.class
    left join classes as counted
        on
            contagion.rule_book = counted.rule_book
            and contagion.counted_class = counted.class
)

select * from final
