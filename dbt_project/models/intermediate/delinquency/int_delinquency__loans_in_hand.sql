{# The loans whose claims, credits and replay are put together in this build: those with changed rows, or all. #}
{{ config(post_hook='analyze {{ this }}') }}

with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

touched as (  -- noqa: ST03
    select * from {{ ref('int_delinquency__loans_touched') }}
),

final as (
    select
        loans.loan_id,
        loans.product,
        loans.allocation_order,
        loans.allocation_mode,
        loans.disbursed_on,
        loans.product = 'revolving' as is_revolving,
        coalesce(loans.is_drawn_in_parts, false) as is_drawn_in_parts
    from loans
    {% if is_partial() %}
    inner join touched on loans.loan_id = touched.loan_id
    where touched.has_changed_rows
    {% endif %}
)

select * from final
