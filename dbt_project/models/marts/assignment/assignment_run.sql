with runs as (
    select * from {{ ref('stg_decisions__runs') }}
),

final as (
    select
        as_of_date,
        cast(loan_count as integer) as loan_count,
        cast(assigned_count as integer) as assigned_count,
        objective_amount,
        upper_bound_amount,
        gap_share,
        solver,
        cast(missed_promise_count as integer) as missed_promise_count
    from runs
)

select * from final
