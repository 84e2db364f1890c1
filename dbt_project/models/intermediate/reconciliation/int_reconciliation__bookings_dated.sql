{# The bookings of the loans to read, with the days on which the lender's system booked and reversed them: business
   days, in the portfolio's time zone. A booking that does not say when it was booked was booked when delivered. #}
{{ config(post_hook='analyze {{ this }}') }}

with loans as (
    select * from {{ ref('int_reconciliation__loans_to_read') }}
),

transactions as (
    {{ latest_known(source('servicing', 'transactions')) }}
),

portfolio as (
    select * from {{ source('ops', 'portfolio') }}
),

zones as (
    select coalesce(max(value), 'UTC') as business_time_zone
    from portfolio
    where setting = 'business_time_zone'
),

dated as (
    select
        transactions.transaction_id,
        transactions.loan_id,
        transactions.kind,
        transactions.effective_on,
        coalesce(
            cast(transactions.booked_at at time zone zones.business_time_zone as date), transactions._known_from
        ) as booked_on,
        transactions.reverses_transaction_id,
        transactions.kind in ('repayment', 'recovery', 'credit_note')
        and coalesce(transactions.reduces_claim, true) as is_credit,
        transactions.amount
    from loans
    inner join transactions on loans.loan_id = transactions.loan_id
    cross join zones
),

reversals as (
    select
        loan_id,
        reverses_transaction_id,
        amount,
        min(booked_on) as reversed_on
    from dated
    where kind = 'reversal'
    group by loan_id, reverses_transaction_id, amount
),

final as (
    select
        dated.transaction_id,
        dated.loan_id,
        dated.kind,
        dated.effective_on,
        dated.booked_on,
        reversals.reversed_on,
        dated.is_credit,
        dated.amount
    from dated
    left join reversals
        on
            dated.transaction_id = reversals.reverses_transaction_id
            and dated.loan_id = reversals.loan_id
            and dated.amount = reversals.amount
    where dated.kind <> 'reversal'
)

select * from final
