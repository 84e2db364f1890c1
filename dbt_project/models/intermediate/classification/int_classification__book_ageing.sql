with ageing as (
    {{ rule_book_rows('ageing', {
        'class': 'text', 'aged_class': 'text', 'months': 'integer', 'reason': 'text',
    }) }}
),

classes as (
    select * from {{ ref('int_classification__book_classes') }}
),

final as (
    select
        ageing.*,
        classes.class_rank,
        aged.class_rank as aged_class_rank,
        row_number() over (order by ageing.rule_book, aged.class_rank, ageing.months, ageing.reason) as rule_number
    from ageing
    left join classes
        on
            ageing.rule_book = classes.rule_book
            and ageing.class = classes.class
    left join classes as aged
        on
            ageing.rule_book = aged.rule_book
            and ageing.aged_class = aged.class
)

select * from final
