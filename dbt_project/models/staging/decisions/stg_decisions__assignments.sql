{# The decisions follow from the candidates, though Python stands between. #}
{{ config(group='agencies') }}
-- depends_on: {{ ref('int_assignment__candidates') }}
with final as (
    select
        as_of_date,
        loan_id,
        agency_id,
        contract_id,
        is_new,
        expected_net_amount,
        reason
    from {{ source('decisions', 'solver_assignments') }}
    where as_of_date = {{ as_of_date() }}
)

select * from final
