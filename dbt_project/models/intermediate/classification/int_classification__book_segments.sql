with final as (
    {{ rule_book_rows('segments', {'exposure_class': 'text', 'segment': 'text'}) }}
)

select * from final
