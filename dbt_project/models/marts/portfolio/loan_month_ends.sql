{# Kept from day to day: the month ends of loans that were computed again since marts were published are put in anew,
   and a month that ended since is new for all. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook=[
            "{{ take_unpublished_out('kept.month_end_on >= touched.changed_from') }}",
            "{{ take_month_ends_out() }}",
        ],
        post_hook=["analyze {{ this }}", "{{ mark_kept() }}"],
    )
}}

with described as not materialized (
    select * from {{ ref('int_portfolio__month_ends_described') }}
),

touched as (
    select * from {{ source('ops', 'unpublished_loans') }}
),

of_touched as (
    select described.*
    from described
    inner join touched on described.loan_id = touched.loan_id
    where {{
        'described.month_end_on >= least(touched.changed_from, ' ~ kept_until() ~ ' + 1)' if is_incremental() else 'false'
    }}
),

of_others as (
    select described.*
    from described
    left join touched on described.loan_id = touched.loan_id
    {% if is_incremental() %}
    where
        touched.loan_id is null
        and {{ kept_until() }} < {{ month_start(as_of_date() ~ ' + 1') }} - 1
        and described.month_end_on > {{ kept_until() }}
    {% endif %}
),

final as (
    select * from of_touched
    union all
    select * from of_others
)

select
    month_end_on,
    loan_id,
    currency,
    product,
    governing_law,
    status,
    bucket,
    is_restructured,
    days_past_due,
    days_delinquent,
    mba_status,
    ots_status,
    arrears_amount,
    outstanding_principal_amount
from final
