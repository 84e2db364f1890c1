-- Each version of the schedule: principal, interest, and the charges that Fineract collects with an instalment, less
-- what was waived of them. Charges after the last instalment are in charges, chargebacks in transactions.
--
-- Fineract keeps the schedule in force and replays all bookings on it: basis gross. A reschedule keeps a copy of the
-- schedule before (m_loan_repayment_schedule_history), so that every version is here. Re-ageing and re-amortisation
-- keep none, and cut what is past due out of the old instalments: from then on the schedule states what was unpaid on
-- that day, basis unpaid, and the version before is known only as it was delivered before.
with delivered as (
    select
        id as loan_id,
        disbursedon_date
    from m_loan
    where disbursedon_date is not null and loan_status_id >= 300 and loan_status_id not in (400, 500)
),

restatements as (
    select
        loan_id,
        approved_on_date as restated_on,
        id as loan_reschedule_request_id,
        0 as transaction_id
    from m_loan_reschedule_request
    where status_enum = 200  -- approved
    union all
    select
        loan_id,
        transaction_date as restated_on,
        cast(null as bigint) as loan_reschedule_request_id,
        id as transaction_id
    from m_loan_transaction
    where transaction_type_enum in (29, 30) and not is_reversed  -- REAGE, REAMORTIZE
),

-- One row for each restatement: the version that it replaced, and whether that one stated only what was unpaid.
numbered as (
    select
        restatements.loan_id,
        restatements.loan_reschedule_request_id,
        restatements.restated_on,
        row_number() over in_order as schedule_version,
        coalesce(lag(restatements.restated_on) over in_order, delivered.disbursedon_date) as effective_on,
        bool_or(restatements.loan_reschedule_request_id is null) over in_order as is_unpaid_after,
        bool_or(restatements.loan_reschedule_request_id is null) over in_order_before as is_unpaid_before
    from restatements
    inner join delivered on restatements.loan_id = delivered.loan_id
    window
        in_order as (
            partition by restatements.loan_id
            order by restatements.restated_on, restatements.transaction_id, restatements.loan_reschedule_request_id
        ),
        in_order_before as (
            partition by restatements.loan_id
            order by restatements.restated_on, restatements.transaction_id, restatements.loan_reschedule_request_id
            rows between unbounded preceding and 1 preceding
        )
),

current_versions as (
    select distinct on (delivered.loan_id)
        delivered.loan_id,
        coalesce(numbered.schedule_version, 0) + 1 as schedule_version,
        coalesce(numbered.restated_on, delivered.disbursedon_date) as effective_on,
        coalesce(numbered.is_unpaid_after, false) as is_unpaid
    from delivered
    left join numbered on delivered.loan_id = numbered.loan_id
    order by delivered.loan_id, numbered.schedule_version desc nulls last
),

-- When anything of a loan's schedule was changed: a row's own time misses what a restatement did to its version.
touched as (
    select
        loan_id,
        max(last_modified_on_utc) as updated_at
    from m_loan_repayment_schedule
    group by loan_id
),

-- What bookings before a version that states the unpaid had paid or waived of its instalments.
settled_before as (
    select
        mapping.loan_repayment_schedule_id,
        sum(coalesce(mapping.principal_portion_derived, 0)) as principal_amount,
        sum(coalesce(mapping.interest_portion_derived, 0)) as interest_amount,
        sum(coalesce(mapping.fee_charges_portion_derived, 0)) as fee_amount,
        sum(coalesce(mapping.penalty_charges_portion_derived, 0)) as penalty_amount
    from m_loan_transaction_repayment_schedule_mapping as mapping
    inner join m_loan_transaction on mapping.loan_transaction_id = m_loan_transaction.id
    inner join current_versions on m_loan_transaction.loan_id = current_versions.loan_id
    where
        current_versions.is_unpaid
        and not m_loan_transaction.is_reversed
        and m_loan_transaction.transaction_type_enum <> 9  -- WAIVE_CHARGES: taken off below
        and m_loan_transaction.transaction_date < current_versions.effective_on
    group by mapping.loan_repayment_schedule_id
),

-- Fineract adds chargebacks, and refunds that overpayment no longer bears, to the principal of the instalment in whose
-- period they fall. They are claims of their own here; only what a restatement found there is the instalment's.
credited_since as (
    select
        m_loan_repayment_schedule.id as loan_repayment_schedule_id,
        sum(m_loan_transaction.amount) as principal_amount
    from m_loan_repayment_schedule
    inner join current_versions on m_loan_repayment_schedule.loan_id = current_versions.loan_id
    inner join m_loan_transaction
        on
            m_loan_repayment_schedule.loan_id = m_loan_transaction.loan_id
            and m_loan_transaction.transaction_type_enum in (20, 25)  -- CREDIT_BALANCE_REFUND, CHARGEBACK
            and not m_loan_transaction.is_reversed
            and m_loan_transaction.transaction_date >= current_versions.effective_on
            and m_loan_transaction.transaction_date >= m_loan_repayment_schedule.fromdate
            and m_loan_transaction.transaction_date <= m_loan_repayment_schedule.duedate
    where current_versions.is_unpaid and m_loan_repayment_schedule.credits_amount > 0
    group by m_loan_repayment_schedule.id
),

in_force as (
    select
        schedule.loan_id,
        current_versions.schedule_version,
        current_versions.effective_on,
        current_versions.is_unpaid,
        schedule.installment as instalment_number,
        schedule.duedate as due_on,
        schedule.is_additional,
        coalesce(schedule.principal_amount, 0)
        - coalesce(settled_before.principal_amount, 0)
        - case
            when current_versions.is_unpaid
                then least(coalesce(schedule.credits_amount, 0), coalesce(credited_since.principal_amount, 0))
            else coalesce(schedule.credits_amount, 0)
        end as principal_amount,
        coalesce(schedule.interest_amount, 0) - coalesce(settled_before.interest_amount, 0) as interest_amount,
        -- Charges of an additional instalment are no part of the schedule, but those due before a version that states
        -- the unpaid are no claims any more: what is left of them is here.
        case
            when schedule.is_additional and not current_versions.is_unpaid then 0
            when schedule.is_additional and schedule.duedate >= current_versions.effective_on then 0
            else
                coalesce(schedule.fee_charges_amount, 0)
                - coalesce(schedule.fee_charges_waived_derived, 0)
                - coalesce(settled_before.fee_amount, 0)
                - coalesce(schedule.credited_fee, 0)
        end as fee_amount,
        case
            when schedule.is_additional and not current_versions.is_unpaid then 0
            when schedule.is_additional and schedule.duedate >= current_versions.effective_on then 0
            else
                coalesce(schedule.penalty_charges_amount, 0)
                - coalesce(schedule.penalty_charges_waived_derived, 0)
                - coalesce(settled_before.penalty_amount, 0)
                - coalesce(schedule.credited_penalty, 0)
        end as penalty_amount,
        touched.updated_at
    from m_loan_repayment_schedule as schedule
    inner join current_versions on schedule.loan_id = current_versions.loan_id
    inner join touched on schedule.loan_id = touched.loan_id
    left join settled_before on schedule.id = settled_before.loan_repayment_schedule_id
    left join credited_since on schedule.id = credited_since.loan_repayment_schedule_id
),

-- The copy knows no credits: chargebacks made before the reschedule are taken out of the period they fall in.
replaced as (
    select
        history.loan_id,
        numbered.schedule_version,
        numbered.effective_on,
        history.installment as instalment_number,
        history.duedate as due_on,
        greatest(coalesce(history.principal_amount, 0) - coalesce(chargebacks.amount, 0), 0) as principal_amount,
        coalesce(history.interest_amount, 0) as interest_amount,
        coalesce(history.fee_charges_amount, 0) as fee_amount,
        coalesce(history.penalty_charges_amount, 0) as penalty_amount,
        touched.updated_at
    from m_loan_repayment_schedule_history as history
    inner join numbered on history.loan_reschedule_request_id = numbered.loan_reschedule_request_id
    inner join touched on history.loan_id = touched.loan_id
    left join lateral (
        select sum(m_loan_transaction.amount) as amount
        from m_loan_transaction
        where
            m_loan_transaction.loan_id = history.loan_id
            and m_loan_transaction.transaction_type_enum = 25
            and not m_loan_transaction.is_reversed
            and m_loan_transaction.transaction_date >= history.fromdate
            and m_loan_transaction.transaction_date < history.duedate
            and m_loan_transaction.submitted_on_date < numbered.restated_on
    ) as chargebacks on true
    where not coalesce(numbered.is_unpaid_before, false)
),

final as (
    select
        cast(loan_id as text) as loan_id,
        schedule_version,
        effective_on,
        case when is_unpaid then 'unpaid' end as basis,
        instalment_number,
        due_on,
        greatest(principal_amount, 0) as principal_amount,
        greatest(interest_amount, 0) as interest_amount,
        greatest(fee_amount, 0) as fee_amount,
        greatest(penalty_amount, 0) as penalty_amount,
        updated_at
    from in_force
    -- An additional instalment collects chargebacks and charges after the last one; without them nothing is left of it.
    where not is_additional or principal_amount + interest_amount + fee_amount + penalty_amount > 0
    union all
    select
        cast(loan_id as text) as loan_id,
        schedule_version,
        effective_on,
        cast(null as text) as basis,
        instalment_number,
        due_on,
        principal_amount,
        interest_amount,
        fee_amount,
        penalty_amount,
        updated_at
    from replaced
)

select * from final
