with final as (
    {{ rule_book_rows('suspensions', {'event_kind': 'text', 'longest_days': 'integer'}) }}
)

select * from final
