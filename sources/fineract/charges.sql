-- Fees and penalties outside the schedule: those that fall due after its last instalment. Every other one is collected
-- with the instalment in whose period it falls, after that instalment's due date counts too, and stands in instalments.
with delivered as (
    select id as loan_id
    from m_loan
    where disbursedon_date is not null and loan_status_id >= 300 and loan_status_id not in (400, 500)
),

touched as (
    select
        loan_id,
        max(last_modified_on_utc) as updated_at
    from m_loan_repayment_schedule
    group by loan_id
),

waivers as (
    select
        paid_by.loan_charge_id,
        max(m_loan_transaction.transaction_date) as waived_on
    from m_loan_charge_paid_by as paid_by
    inner join m_loan_transaction on paid_by.loan_transaction_id = m_loan_transaction.id
    where m_loan_transaction.transaction_type_enum = 9 and not m_loan_transaction.is_reversed  -- WAIVE_CHARGES
    group by paid_by.loan_charge_id
),

raised as (
    select
        m_loan_charge.*,
        -- Fineract collects them with an additional instalment.
        coalesce(collected.duedate, m_loan_charge.due_for_collection_as_of_date) as due_on,
        waivers.waived_on,
        greatest(m_loan_charge.last_modified_on_utc, touched.updated_at) as updated_at
    from m_loan_charge
    inner join delivered on m_loan_charge.loan_id = delivered.loan_id
    left join touched on m_loan_charge.loan_id = touched.loan_id
    left join waivers on m_loan_charge.id = waivers.loan_charge_id
    left join lateral (
        select
            schedule.duedate,
            schedule.is_additional
        from m_loan_repayment_schedule as schedule
        where
            schedule.loan_id = m_loan_charge.loan_id
            and not schedule.is_down_payment
            and schedule.duedate >= m_loan_charge.due_for_collection_as_of_date
        order by schedule.duedate, schedule.installment
        limit 1
    ) as collected on true
    where
        m_loan_charge.is_active
        and m_loan_charge.amount > 0
        -- ChargeTimeType: 1 and 12 are kept back of the disbursement, 8 is part of every instalment.
        and m_loan_charge.charge_time_enum not in (1, 8, 12)
        and m_loan_charge.due_for_collection_as_of_date is not null
        and coalesce(collected.is_additional, true)
),

judged as (
    select
        *,
        -- Partly paid in advance, then waived before it was due: by the contract no claim at all, though Fineract keeps
        -- what was paid of it.
        waived and coalesce(amount_paid_derived, 0) > 0 and coalesce(waived_on, due_on) <= due_on as is_waived_in_part
    from raised
),

final as (
    select
        cast(id as text) as charge_id,
        cast(loan_id as text) as loan_id,
        case when is_penalty then 'penalty' else 'fee' end as kind,
        due_on,
        case when is_waived_in_part then amount - coalesce(amount_waived_derived, 0) else amount end as amount,
        case when waived and not is_waived_in_part then coalesce(waived_on, due_on) end as waived_on,
        updated_at
    from judged
)

select * from final
