{# Bookings that count, whatever their value date. A reversal makes its booking never made, wholly; one that names
   another loan, another amount, a reversal or nothing is no valid reversal and changes nothing. #}
{{ config(materialized='view', access='protected') }}

with transactions as not materialized (
    select * from {{ ref('stg_servicing__transactions') }}
),

final as (
    select
        transaction_id,
        transaction_id collate "C" as booking_key,
        loan_id,
        kind,
        component,
        effective_on,
        booked_at,
        kind in ('repayment', 'recovery', 'credit_note') and coalesce(reduces_claim, true) as is_credit,
        amount
    from transactions
    where
        kind <> 'reversal'
        and not exists (
            select 1
            from transactions as reversals
            where
                reversals.kind = 'reversal'
                and reversals.reverses_transaction_id is not null
                and reversals.reverses_transaction_id = transactions.transaction_id
                and reversals.loan_id = transactions.loan_id
                and reversals.amount = transactions.amount
        )
)

select * from final
