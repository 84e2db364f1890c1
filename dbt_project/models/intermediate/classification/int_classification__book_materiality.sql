with final as (
    {{ rule_book_rows('materiality', {
        'segment': 'text', 'level': 'text', 'currency': 'text', 'absolute_amount': 'numeric(20, 4)',
        'relative_share': 'numeric(9, 8)',
    }) }}
)

select * from final
