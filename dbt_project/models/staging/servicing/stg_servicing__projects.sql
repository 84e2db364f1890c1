with known as (
    {{ latest_known(source('servicing', 'projects')) }}
),

final as (
    select
        project_id,
        borrower_id,
        name,
        industry_code,
        country,
        upper(currency) as currency,
        budget_amount,
        started_on,
        completion_planned_on,
        long_stop_on,
        completed_on,
        environmental_category,
        is_green
    from known
)

select * from final
