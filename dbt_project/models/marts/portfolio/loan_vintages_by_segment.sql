{# As loan_vintages, within segments, by original amount too, and with what was written off and recovered since. #}
with cohorts as (
    select * from {{ ref('int_portfolio__cohorts_aged') }}
),

final as (
    select
        origination_month,
        currency,
        product,
        governing_law,
        months_on_book,
        cast(loan_count as integer) as loan_count,
        cast(ever_30_count as integer) as ever_30_count,
        cast(ever_60_count as integer) as ever_60_count,
        cast(ever_90_count as integer) as ever_90_count,
        cast(ever_30_count / cast(loan_count as numeric) as numeric(9, 8)) as ever_30_share,
        cast(ever_60_count / cast(loan_count as numeric) as numeric(9, 8)) as ever_60_share,
        cast(ever_90_count / cast(loan_count as numeric) as numeric(9, 8)) as ever_90_share,
        cast(original_amount as numeric(20, 4)) as original_amount,
        cast(ever_30_amount as numeric(20, 4)) as ever_30_amount,
        cast(ever_60_amount as numeric(20, 4)) as ever_60_amount,
        cast(ever_90_amount as numeric(20, 4)) as ever_90_amount,
        cast(written_off_amount as numeric(20, 4)) as gross_loss_amount,
        cast(written_off_amount - recovered_amount as numeric(20, 4)) as net_loss_amount
    from cohorts
)

select * from final
