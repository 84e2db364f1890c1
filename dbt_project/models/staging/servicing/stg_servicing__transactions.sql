with known as (
    {{ latest_known(source('servicing', 'transactions')) }}
),

final as (
    select
        transaction_id,
        loan_id,
        kind,
        effective_on,
        booked_at,
        amount,
        component,
        reverses_transaction_id,
        channel,
        agency_id,
        cleared_on,
        reduces_claim
    from known
)

select * from final
