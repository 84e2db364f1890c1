with known as (
    {{ latest_known(source('servicing', 'budget_lines')) }}
),

final as (
    select
        loan_id,
        project_id,
        purpose,
        budget_amount
    from known
)

select * from final
