with claims as (
    select * from {{ ref('int_delinquency__claims_raised') }}
),

final as (
    select
        loan_id,
        count(lapses_on) as lapsed_count,
        coalesce(sum(claim_amount) filter (where due_on <= {{ as_of_date() }} and lapses_on is null), 0) as due_amount,
        coalesce(sum(principal_amount) filter (where due_on > {{ as_of_date() }}), 0) as coming_principal_amount,
        coalesce(sum(principal_amount) filter (where claim_kind = 'instalment'), 0) as scheduled_principal_amount
    from claims
    group by loan_id
)

select * from final
