{# Loans whose state depends on the order of events (waivers, refunds, charges that lapse, component_first) are replayed
   one by one, over the whole of each epoch. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        access='protected',
        indexes=[{'columns': ['loan_id']}],
        pre_hook=["{{ create_replay_loan() }}", "{{ take_touched_out('touched.has_changed_rows') }}"],
        post_hook=["{{ mark_kept() }}", "{{ analyse_kept() }}"],
    )
}}

with loans as (
    select * from {{ ref('int_delinquency__loans_in_hand') }}
),

stacked as (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

epochs as (
    select
        stacked.*,
        loans.allocation_mode
    from stacked
    inner join loans on stacked.loan_id = loans.loan_id
    where stacked.is_replayed
),

bookings_to_replay as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        bookings.effective_on,
        case when bookings.is_credit then 'credit' else bookings.kind end as replay_kind,
        bookings.component,
        bookings.amount,
        row_number() over (
            partition by epochs.loan_id, epochs.epoch_from
            order by bookings.effective_on, bookings.booked_at, bookings.booking_key
        ) as booking_position
    from epochs
    cross join
        lateral (
            select of_loan.*
            from bookings as of_loan
            where of_loan.loan_id = epochs.loan_id
            offset 0 -- noqa: AM09
        ) as bookings
    where
        (bookings.is_credit or bookings.kind in ('waiver', 'refund'))
        and (epochs.replayed_from is null or bookings.effective_on >= epochs.replayed_from)
),

bookings_in_order as (
    select
        loan_id,
        epoch_from,
        array_agg(effective_on order by booking_position) as effective_ons,
        array_agg(replay_kind order by booking_position) as kinds,
        array_agg(component order by booking_position) as components,
        array_agg(amount order by booking_position) as amounts
    from bookings_to_replay
    group by loan_id, epoch_from
),

replayed as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        epochs.epoch_until,
        replay.*
    from epochs
    left join bookings_in_order
        on
            epochs.loan_id = bookings_in_order.loan_id
            and epochs.epoch_from = bookings_in_order.epoch_from
    cross join lateral working.replay_loan(
        epochs.allocation_mode = 'component_first',
        epochs.is_revolving,
        array[epochs.principal_rank, epochs.interest_rank, epochs.fee_rank, epochs.penalty_rank],
        epochs.epoch_from,
        epochs.epoch_until,
        epochs.due_ons,
        epochs.lapse_ons,
        epochs.instalment_counts,
        epochs.due_principal_amounts,
        epochs.due_interest_amounts,
        epochs.due_fee_amounts,
        epochs.due_penalty_amounts,
        bookings_in_order.effective_ons,
        bookings_in_order.kinds,
        bookings_in_order.components,
        bookings_in_order.amounts
    ) as replay
),

final as (
    select
        loan_id,
        epoch_from,
        state_on,
        coalesce(lead(state_on) over (partition by loan_id, epoch_from order by state_on), epoch_until) as state_until,
        oldest_unpaid_due_on,
        instalments_past_due,
        refused_refund_count,
        arrears_principal_amount,
        arrears_interest_amount,
        arrears_fee_amount,
        arrears_penalty_amount,
        unpaid_principal_amount,
        unpaid_other_amount,
        due_amount,
        paid_amount,
        waived_amount,
        credited_amount,
        refunded_amount,
        standing_amount
    from replayed
)

select * from final
