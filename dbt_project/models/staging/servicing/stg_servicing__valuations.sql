with known as (
    {{ latest_known(source('servicing', 'valuations')) }}
),

final as (
    select
        collateral_id,
        valued_on,
        kind,
        method,
        amount
    from known
)

select * from final
