{# Bookings that count at D. A reversal makes its booking never made, whatever its own value date; one that names
   another loan, another amount, a reversal or nothing is no valid reversal and changes nothing. #}
{{ config(materialized='view', access='protected') }}

with loans as (
    select * from {{ ref('int_delinquency__loans_selected') }}
),

transactions as not materialized (
    select * from {{ ref('stg_servicing__transactions') }}
),

reversals as (
    select
        loan_id,
        reverses_transaction_id,
        amount
    from transactions
    where kind = 'reversal' and reverses_transaction_id is not null
),

final as (
    select
        transactions.transaction_id,
        transactions.loan_id,
        transactions.kind,
        transactions.component,
        transactions.effective_on,
        transactions.booked_at,
        loans.replayed_from is null or transactions.effective_on >= loans.replayed_from as is_replayed,
        transactions.kind in ('repayment', 'recovery', 'credit_note')
        and coalesce(transactions.reduces_claim, true) as is_credit,
        transactions.amount
    from transactions
    inner join loans on transactions.loan_id = loans.loan_id
    where
        transactions.kind <> 'reversal'
        and transactions.effective_on <= {{ as_of_date() }}
        and not exists (
            select 1
            from reversals
            where
                reversals.reverses_transaction_id = transactions.transaction_id
                and reversals.loan_id = transactions.loan_id
                and reversals.amount = transactions.amount
        )
)

select * from final
