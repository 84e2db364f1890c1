with cures as (
    {{ rule_book_rows('cures', {
        'class': 'text', 'level': 'text', 'convention': 'text', 'months': 'integer', 'periods': 'integer',
        'restart_from_days': 'integer', 'wait_from_days': 'integer', 'waits_for_borrower': 'boolean',
        'restructured_months': 'integer', 'restructured_periods': 'integer', 'restructured_from': 'text',
        'restructured_wait_from_days': 'integer', 'reason': 'text',
    }) }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

final as (
    select
        cures.*,
        classes.class_rank
    from cures
    left join classes
        on
            cures.rule_book = classes.rule_book
            and cures.class = classes.class
)

select * from final
