with known as (
    {{ latest_known(source('servicing', 'instalments')) }}
),

final as (
    select
        loan_id,
        schedule_version,
        effective_on,
        basis,
        instalment_number,
        due_on,
        principal_amount,
        interest_amount,
        fee_amount,
        penalty_amount
    from known
)

select * from final
