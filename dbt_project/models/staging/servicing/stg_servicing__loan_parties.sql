with known as (
    {{ latest_known(source('servicing', 'loan_parties')) }}
),

final as (
    select
        loan_id,
        borrower_id,
        role,
        starts_on,
        ends_on
    from known
)

select * from final
