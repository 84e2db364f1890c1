with final as (
    {{ rule_book_rows('classes', {'class': 'text', 'class_rank': 'integer', 'label': 'text'}) }}
)

select * from final
