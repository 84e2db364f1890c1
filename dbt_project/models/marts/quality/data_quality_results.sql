{# A view, not a published table: what a gate found on a blocked day must be seen too. #}
{{ config(materialized='view', schema='marts') }}

with results as (
    select * from {{ source('ops', 'gate_results') }}
),

final as (
    select
        as_of_date,
        stage,
        suite,
        expectation,
        severity,
        is_passed,
        checked_count,
        failed_count,
        rule,
        scope,
        sentence,
        failing_keys,
        owner,
        waived_count,
        waived_by
    from results
)

select * from final
