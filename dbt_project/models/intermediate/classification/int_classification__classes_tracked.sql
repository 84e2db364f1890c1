{# Classes that are held on to once their grounds are gone, or from which something else follows: only these need
   the whole history of their spells. #}
with cures as (
    select * from {{ ref('int_classification__book_cures') }}
),

contagion as (
    select * from {{ ref('int_classification__book_contagion') }}
),

ageing as (
    select * from {{ ref('int_classification__book_ageing') }}
),

final as (
    select
        rule_book,
        class_rank
    from cures
    where months > 0 or periods > 0 or wait_from_days is not null or waits_for_borrower
    union
    select
        rule_book,
        counted_class_rank as class_rank
    from contagion
    where counted_class_rank is not null
    union
    select
        rule_book,
        class_rank
    from ageing
)

select * from final
