{# The numbers of the seed as columns of one row, so that a model joins them once. A view: the planner sees that it is
   one row. #}
{{ config(materialized='view') }}

with limits as (
    select * from {{ ref('portfolio_limits') }}
),

final as (
    select
        max(value) filter (where measure = 'default_after') as default_after_days,
        max(value) filter (where measure = 'probation_broken_after') as probation_broken_after_days,
        max(value) filter (where measure = 'probation') as probation_months,
        max(value) filter (where measure = 'probation_restructured') as probation_restructured_months,
        max(value) filter (where measure = 'redefault_within') as redefault_within_months,
        max(value) filter (where measure = 'first_payment_default_after') as first_payment_default_after_days
    from limits
    where valid_from <= {{ as_of_date() }} and (valid_to is null or valid_to >= {{ as_of_date() }})
)

select * from final
