-- Bookings. A booking that Fineract reversed or replayed keeps its row there, marked; here it stays as it was made and
-- a reversal is added, so that the table only grows.
with assumed as (
    -- The tenant's time zone: m_loan_transaction keeps a reversal's business date, not its time.
    select 'Asia/Kolkata' as time_zone
),

kinds (transaction_type_enum, kind) as (
    values
    (1, 'disbursement'),  -- LoanTransactionType DISBURSEMENT
    (2, 'repayment'),  -- REPAYMENT
    (4, 'waiver'),  -- WAIVE_INTEREST
    (6, 'write_off'),  -- WRITEOFF
    (8, 'recovery'),  -- RECOVERY_REPAYMENT
    (16, 'refund'),  -- REFUND, of what was overpaid, to a savings account
    (17, 'repayment'),  -- CHARGE_PAYMENT
    (18, 'refund'),  -- REFUND_FOR_ACTIVE_LOAN
    (20, 'refund'),  -- CREDIT_BALANCE_REFUND
    (21, 'credit_note'),  -- MERCHANT_ISSUED_REFUND
    (22, 'credit_note'),  -- PAYOUT_REFUND
    (23, 'credit_note'),  -- GOODWILL_CREDIT
    (24, 'credit_note'),  -- CHARGE_REFUND
    (25, 'chargeback'),  -- CHARGEBACK
    (26, 'credit_note'),  -- CHARGE_ADJUSTMENT
    (27, 'write_off'),  -- CHARGE_OFF
    (28, 'repayment'),  -- DOWN_PAYMENT
    (31, 'credit_note'),  -- INTEREST_PAYMENT_WAIVER
    (33, 'credit_note')  -- INTEREST_REFUND
    -- Left out: 5 REPAYMENT_AT_DISBURSEMENT, kept back of the disbursement together with the charge it pays;
    -- 9 WAIVE_CHARGES, which is charges.waived_on; 29 REAGE and 30 REAMORTIZE, which are versions of the schedule;
    -- accruals, postings and transfers between offices (7, 10, 12 to 15, 19, 32), which move no money.
),

bookings as (
    select
        m_loan_transaction.*,
        kinds.kind,
        case when m_payment_type.is_cash_payment then 'cash' end as channel
    from m_loan_transaction
    inner join kinds on m_loan_transaction.transaction_type_enum = kinds.transaction_type_enum
    inner join m_loan on m_loan_transaction.loan_id = m_loan.id
    left join m_payment_detail on m_loan_transaction.payment_detail_id = m_payment_detail.id
    left join m_payment_type on m_payment_detail.payment_type_id = m_payment_type.id
    where
        m_loan.disbursedon_date is not null
        and m_loan.loan_status_id >= 300
        and m_loan.loan_status_id not in (400, 500)
        and m_loan_transaction.amount > 0
),

-- Read for both parts of the union, each time with the condition on updated_at.
made as not materialized (
    select
        -- A chargeback may bring back more than principal (credit allocation rules): one row for each component then.
        -- What overpayment bore of it is principal here: the standing credit pays it on the same day.
        bookings.id
        || case when parts.component <> 'principal' then '-' || parts.component else '' end as transaction_id,
        bookings.loan_id,
        bookings.kind,
        bookings.transaction_date as effective_on,
        bookings.created_on_utc as booked_at,
        coalesce(parts.amount, bookings.amount) as amount,
        case when bookings.kind = 'waiver' then 'interest' else parts.component end as component,
        bookings.channel,
        bookings.is_reversed,
        bookings.reversed_on_date,
        bookings.last_modified_on_utc
    from bookings
    left join lateral (
        values
        (
            'principal',
            bookings.amount
            - coalesce(bookings.interest_portion_derived, 0)
            - coalesce(bookings.fee_charges_portion_derived, 0)
            - coalesce(bookings.penalty_charges_portion_derived, 0)
        ),
        ('interest', bookings.interest_portion_derived),
        ('fee', bookings.fee_charges_portion_derived),
        ('penalty', bookings.penalty_charges_portion_derived)
    ) as parts (component, amount)
        on bookings.kind = 'chargeback' and parts.amount > 0
),

final as (
    select
        transaction_id,
        cast(loan_id as text) as loan_id,
        kind,
        effective_on,
        booked_at,
        amount,
        component,
        cast(null as text) as reverses_transaction_id,
        channel,
        -- Fineract does not know:
        null as agency_id,
        null as cleared_on,
        null as reduces_claim,
        last_modified_on_utc as updated_at
    from made
    union all
    select
        'R' || made.transaction_id as transaction_id,
        cast(made.loan_id as text) as loan_id,
        'reversal' as kind,
        -- Versions before 1.7 kept no date of the reversal.
        coalesce(made.reversed_on_date, made.effective_on) as effective_on,
        coalesce(
            timezone(assumed.time_zone, made.reversed_on_date + time '23:59:59'), made.last_modified_on_utc
        ) as booked_at,
        made.amount,
        cast(null as text) as component,
        made.transaction_id as reverses_transaction_id,
        made.channel,
        null as agency_id,
        null as cleared_on,
        null as reduces_claim,
        made.last_modified_on_utc as updated_at
    from made
    cross join assumed
    where made.is_reversed
)

select * from final
