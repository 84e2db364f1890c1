with thresholds as (
    {{ rule_book_rows('day_thresholds', {
        'class': 'text', 'segment': 'text', 'products': 'text', 'counter': 'text', 'convention': 'text', 'level': 'text',
        'days_from': 'integer', 'loan_to_value_over': 'numeric(14, 8)', 'reason': 'text',
    }) }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

final as (
    select
        thresholds.*,
        classes.class_rank,
        row_number() over (
            order by thresholds.rule_book, classes.class_rank, thresholds.days_from, thresholds.reason
        ) as rule_number
    from thresholds
    left join classes
        on
            thresholds.rule_book = classes.rule_book
            and thresholds.class = classes.class
)

select * from final
