with known as (
    {{ latest_known(source('servicing', 'contacts')) }}
),

final as (
    select
        contact_id,
        borrower_id,
        loan_id,
        agency_id,
        contacted_at,
        recorded_at,
        channel,
        is_inbound,
        place,
        party,
        asked_by_borrower,
        outcome,
        cost_amount,
        upper(cost_currency) as cost_currency
    from known
)

select * from final
