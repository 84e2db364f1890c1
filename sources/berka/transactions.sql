-- The disbursement of every loan on the day it was granted, and its repayments as far as they are known (README.md).
-- The bank's system books on the value date; a date alone is the end of that day.
with disbursements as (
    select
        'D' || loan_id as transaction_id,
        loan_id,
        'disbursement' as kind,
        cast(strptime('19' || date, '%Y%m%d') as date) as effective_on,
        amount,
        _file,
        _line
    from loan
),

repayments as (
    select
        'R' || loan_id || '-' || paid_on as transaction_id,
        loan_id,
        'repayment' as kind,
        cast(paid_on as date) as effective_on,
        amount,
        _file,
        _line
    from loan_payments_reconstructed
),

bookings as (
    select * from disbursements
    union all
    select * from repayments
),

final as (
    select
        transaction_id,
        loan_id,
        kind,
        effective_on,
        cast(effective_on as varchar) as booked_at,
        amount,
        'transfer' as channel,
        true as reduces_claim,
        -- The data does not know:
        null as component, null as reverses_transaction_id, null as agency_id, null as cleared_on,
        _file,
        _line
    from bookings
)

select * from final
