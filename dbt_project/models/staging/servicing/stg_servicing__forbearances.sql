with known as (
    {{ latest_known(source('servicing', 'forbearances')) }}
),

final as (
    select
        forbearance_id,
        loan_id,
        kind,
        agreed_on,
        starts_on,
        ends_on,
        is_distressed,
        debt_relief_amount,
        grace_ends_on
    from known
)

select * from final
