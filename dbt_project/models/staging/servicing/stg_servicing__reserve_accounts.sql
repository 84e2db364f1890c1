with known as (
    {{ latest_known(source('servicing', 'reserve_accounts')) }}
),

final as (
    select
        project_id,
        kind,
        observed_on,
        upper(currency) as currency,
        balance_amount,
        required_amount
    from known
)

select * from final
