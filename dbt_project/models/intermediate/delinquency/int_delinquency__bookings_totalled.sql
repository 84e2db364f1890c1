with bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

final as (
    select
        loan_id,
        max(effective_on) filter (where kind in ('repayment', 'recovery')) as last_payment_on,
        count(*) filter (where kind = 'waiver' and is_replayed) as waiver_count,
        count(*) filter (where kind = 'refund' and is_replayed) as refund_count,
        coalesce(sum(amount) filter (where is_credit and is_replayed), 0) as credited_amount,
        coalesce(sum(amount) filter (where kind = 'disbursement'), 0) as disbursed_amount
    from bookings
    group by loan_id
)

select * from final
