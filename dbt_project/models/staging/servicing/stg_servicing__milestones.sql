with known as (
    {{ latest_known(source('servicing', 'milestones')) }}
),

final as (
    select
        project_id,
        milestone_number,
        name,
        planned_on,
        forecast_on,
        achieved_on,
        weight
    from known
)

select * from final
