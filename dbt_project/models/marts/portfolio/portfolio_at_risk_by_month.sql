{# The whole past from the bookings, as known now; portfolio_at_risk keeps what each day's run said. #}
with totals as (
    select * from {{ ref('int_portfolio__balances_totalled') }}
),

final as (
    select
        month_end_on,
        currency,
        product,
        governing_law,
        cast(coalesce(sum(loan_count) filter (where not is_written_off), 0) as integer) as loan_count,
        cast(
            coalesce(sum(unknown_balance_count) filter (where not is_written_off), 0) as integer
        ) as unknown_balance_count,
        {% for days in [1, 30, 60, 90, 180] %}
        cast(
            coalesce(sum(par_{{ days }}_count) filter (where not is_written_off), 0) as integer
        ) as par_{{ days }}_count,
        {% endfor %}
        cast(coalesce(sum(restructured_count) filter (where not is_written_off), 0) as integer) as restructured_count,
        cast(coalesce(sum(loan_count) filter (where is_written_off), 0) as integer) as written_off_count,
        cast(coalesce(sum(balance_amount) filter (where not is_written_off), 0) as numeric(20, 4)) as balance_amount,
        {% for days in [1, 30, 60, 90, 180] %}
        cast(
            coalesce(sum(par_{{ days }}_amount) filter (where not is_written_off), 0) as numeric(20, 4)
        ) as par_{{ days }}_amount,
        {% endfor %}
        cast(
            coalesce(sum(restructured_amount) filter (where not is_written_off), 0) as numeric(20, 4)
        ) as restructured_amount,
        cast(coalesce(sum(balance_amount) filter (where is_written_off), 0) as numeric(20, 4)) as written_off_amount
    from totals
    group by month_end_on, currency, product, governing_law
)

select * from final
