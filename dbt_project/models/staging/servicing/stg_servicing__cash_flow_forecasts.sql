with known as (
    {{ latest_known(source('servicing', 'cash_flow_forecasts')) }}
),

final as (
    select
        project_id,
        made_on,
        period_ends_on,
        upper(currency) as currency,
        cash_available_amount,
        debt_service_amount
    from known
)

select * from final
