{# One pass over the month ends for everything that is a total: buckets a month wide, and what is at risk. #}
{{ config(unlogged=true) }}

with month_ends as (
    select * from {{ ref('loan_month_ends') }}
),

flow_buckets as (
    select * from {{ ref('flow_buckets') }}
),

edges as (
    select array_agg(days_from order by days_from) as edges
    from flow_buckets
    where valid_from <= {{ as_of_date() }} and (valid_to is null or valid_to >= {{ as_of_date() }})
),

placed as (
    select
        month_ends.*,
        width_bucket(month_ends.days_delinquent, edges.edges) - 1 as flow_rank
    from month_ends
    cross join edges
),

final as (
    select
        month_end_on,
        currency,
        product,
        governing_law,
        status = 'written_off' as is_written_off,
        flow_rank,
        count(*) as loan_count,
        count(*) filter (where outstanding_principal_amount is null) as unknown_balance_count,
        cast(coalesce(sum(outstanding_principal_amount), 0) as numeric(20, 4)) as balance_amount,
        {% for days in [1, 30, 60, 90, 180] %}
        count(*) filter (where days_past_due > {{ days }} or is_restructured) as par_{{ days }}_count,
        cast(
            coalesce(
                sum(outstanding_principal_amount) filter (where days_past_due > {{ days }} or is_restructured), 0
            ) as numeric(20, 4)
        ) as par_{{ days }}_amount,
        {% endfor %}
        count(*) filter (where is_restructured and days_past_due <= 30) as restructured_count,
        cast(
            coalesce(
                sum(outstanding_principal_amount) filter (where is_restructured and days_past_due <= 30), 0
            ) as numeric(20, 4)
        ) as restructured_amount
    from placed
    group by month_end_on, currency, product, governing_law, status, flow_rank
)

select * from final
