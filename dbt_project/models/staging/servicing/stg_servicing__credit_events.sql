with known as (
    {{ latest_known(source('servicing', 'credit_events')) }}
),

final as (
    select
        credit_event_id,
        borrower_id,
        loan_id,
        kind,
        occurred_on,
        discovered_on,
        ended_on,
        amount,
        upper(currency) as currency,
        evidence
    from known
)

select * from final
