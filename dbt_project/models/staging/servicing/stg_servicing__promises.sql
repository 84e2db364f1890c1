with known as (
    {{ latest_known(source('servicing', 'promises')) }}
),

final as (
    select
        promise_id,
        loan_id,
        made_on,
        due_on,
        amount
    from known
)

select * from final
