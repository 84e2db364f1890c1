with known as (
    {{ latest_known(source('servicing', 'charges')) }}
),

final as (
    select
        charge_id,
        loan_id,
        kind,
        due_on,
        amount,
        waived_on
    from known
)

select * from final
