{# Counts of all currencies and products; amounts and segments are in loan_vintages_by_segment. #}
with cohorts as (
    select * from {{ ref('int_portfolio__cohorts_aged') }}
),

final as (
    select
        origination_month,
        months_on_book,
        cast(sum(loan_count) as integer) as loan_count,
        cast(sum(ever_30_count) as integer) as ever_30_count,
        cast(sum(ever_60_count) as integer) as ever_60_count,
        cast(sum(ever_90_count) as integer) as ever_90_count,
        cast(sum(ever_30_count) / sum(loan_count) as numeric(9, 8)) as ever_30_share,
        cast(sum(ever_60_count) / sum(loan_count) as numeric(9, 8)) as ever_60_share,
        cast(sum(ever_90_count) / sum(loan_count) as numeric(9, 8)) as ever_90_share
    from cohorts
    group by origination_month, months_on_book
)

select * from final
