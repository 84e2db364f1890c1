{{ config(group='agencies') }}
-- depends_on: {{ ref('int_assignment__contracts') }}
with final as (
    select
        as_of_date,
        loan_count,
        assigned_count,
        missed_promise_count,
        objective_amount,
        upper_bound_amount,
        gap_share,
        solver
    from {{ source('decisions', 'solver_run') }}
    where as_of_date = {{ as_of_date() }}
)

select * from final
