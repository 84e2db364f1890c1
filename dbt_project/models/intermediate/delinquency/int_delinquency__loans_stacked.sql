{# A loan's claims and credits of one epoch, stacked: element n of the due_ arrays is the sum of the first n claims, in
   the order in which they are paid, and element n of used_amounts what had been brought by the n-th day on which a
   credit counts. What is unpaid on a day is then found by binary search, without a sort (macro state_on). A component
   that is never claimed has no array. Where the order of events matters (waivers, refunds, charges that lapse,
   component_first) sums do not tell the state, and the loan is replayed.
   Revolving: a credit pays what is due by then, and the rest reduces the balance and pays no later claim, so what is
   used follows from the net of claims and credits: the credits so far, less the deepest that the net went below 0. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        access='protected',
        indexes=[{'columns': ['loan_id']}],
        pre_hook="{{ take_touched_out('touched.has_changed_rows') }}",
        post_hook="{{ mark_kept() }}",
    )
}}

with epochs as (
    select * from {{ ref('int_delinquency__epochs') }}
),

loans as (
    select * from {{ ref('int_delinquency__loans_in_hand') }}
),

orders as (
    select * from {{ ref('int_delinquency__allocation_orders_ranked') }}
),

claims as (
    select * from {{ ref('int_delinquency__claims_raised') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

replayed as (
    select loan_id
    from loans
    where allocation_mode = 'component_first'
    union
    select bookings.loan_id
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    where bookings.kind in ('waiver', 'refund')
    union
    select loan_id
    from claims
    where lapses_on is not null
),

claims_running as (
    select
        loan_id,
        epoch_from,
        due_on,
        lapses_on,
        claim_kind,
        principal_amount,
        row_number() over paid_in_order as claim_position,
        sum(claim_amount) over paid_in_order as due_amount,
        sum(principal_amount) over paid_in_order as due_principal_amount,
        sum(interest_amount) over paid_in_order as due_interest_amount,
        sum(fee_amount) over paid_in_order as due_fee_amount,
        sum(penalty_amount) over paid_in_order as due_penalty_amount,
        count(*) filter (where claim_kind = 'instalment' and claim_amount > 0) over paid_in_order as instalment_count
    from claims
    window
        paid_in_order as (
            partition by loan_id, epoch_from
            order by due_on, claim_kind_rank, claim_number, claim_key
            rows between unbounded preceding and current row
        )
),

claims_stacked as (
    select
        loan_id,
        epoch_from,
        array_agg(due_on order by claim_position) as due_ons,
        array_agg(lapses_on order by claim_position) as lapse_ons,
        array_agg(cast(instalment_count as integer) order by claim_position) as instalment_counts,
        array_agg(due_amount order by claim_position) as due_amounts,
        array_agg(due_principal_amount order by claim_position) as due_principal_amounts,
        array_agg(due_interest_amount order by claim_position) as due_interest_amounts,
        array_agg(due_fee_amount order by claim_position) as due_fee_amounts,
        array_agg(due_penalty_amount order by claim_position) as due_penalty_amounts,
        count(lapses_on) as lapsing_count,
        max(due_interest_amount) as interest_amount,
        max(due_fee_amount) as fee_amount,
        max(due_penalty_amount) as penalty_amount,
        sum(principal_amount) filter (where claim_kind = 'instalment') as scheduled_principal_amount,
        array_agg(due_on order by claim_position) filter (where claim_kind = 'chargeback' and principal_amount > 0)
            as chargeback_ons,
        array_agg(principal_amount order by claim_position) filter (
            where claim_kind = 'chargeback' and principal_amount > 0
        ) as chargeback_principal_amounts
    from claims_running
    group by loan_id, epoch_from
),

credits as (
    select
        epochs.loan_id,
        epochs.epoch_from,
        bookings.effective_on,
        sum(bookings.amount) as amount
    from epochs
    inner join bookings on epochs.loan_id = bookings.loan_id
    where
        bookings.is_credit
        and (epochs.replayed_from is null or bookings.effective_on >= epochs.replayed_from)
    group by epochs.loan_id, epochs.epoch_from, bookings.effective_on
),

credits_running as (
    select
        loan_id,
        epoch_from,
        effective_on,
        sum(amount) over (partition by loan_id, epoch_from order by effective_on) as credited_amount
    from credits
),

netted as (
    select
        credits_running.*,
        loans.is_revolving,
        case
            when loans.is_revolving
                then
                    coalesce(
                        claims_stacked.due_amounts[width_bucket(credits_running.effective_on, claims_stacked.due_ons)],
                        0
                    ) - credits_running.credited_amount
        end as net_amount
    from credits_running
    inner join loans on credits_running.loan_id = loans.loan_id
    left join claims_stacked
        on
            loans.is_revolving
            and credits_running.loan_id = claims_stacked.loan_id
            and credits_running.epoch_from = claims_stacked.epoch_from
),

used as (
    select
        loan_id,
        epoch_from,
        effective_on,
        is_revolving,
        credited_amount,
        credited_amount + least(
            coalesce(min(net_amount) over (partition by loan_id, epoch_from order by effective_on), 0), 0
        ) as used_amount
    from netted
),

credits_stacked as (
    select
        loan_id,
        epoch_from,
        array_agg(effective_on order by effective_on) as credited_ons,
        array_agg(used_amount order by effective_on) as used_amounts,
        array_agg(credited_amount order by effective_on) filter (where is_revolving) as credited_amounts
    from used
    group by loan_id, epoch_from
),

payments as (
    select
        bookings.loan_id,
        array_agg(distinct bookings.effective_on order by bookings.effective_on) as payment_ons
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    where bookings.kind in ('repayment', 'recovery')
    group by bookings.loan_id
),

disbursements as (
    select
        bookings.loan_id,
        bookings.transaction_id,
        bookings.effective_on,
        sum(bookings.amount) over (
            partition by bookings.loan_id order by bookings.effective_on, bookings.transaction_id
        ) as disbursed_amount
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    where bookings.kind = 'disbursement' and loans.is_drawn_in_parts
),

disbursed as (
    select
        loan_id,
        array_agg(effective_on order by effective_on, disbursed_amount) as disbursed_ons,
        array_agg(disbursed_amount order by effective_on, disbursed_amount) as disbursed_amounts
    from disbursements
    group by loan_id
),

final as (
    select
        epochs.loan_id,
        epochs.schedule_version,
        epochs.epoch_from,
        epochs.epoch_until,
        epochs.replayed_from,
        loans.is_revolving,
        loans.is_drawn_in_parts,
        replayed.loan_id is not null as is_replayed,
        orders.principal_rank,
        orders.interest_rank,
        orders.fee_rank,
        orders.penalty_rank,
        coalesce(claims_stacked.scheduled_principal_amount, 0) as scheduled_principal_amount,
        claims_stacked.due_ons,
        case when claims_stacked.lapsing_count > 0 then claims_stacked.lapse_ons end as lapse_ons,
        claims_stacked.instalment_counts,
        claims_stacked.due_amounts,
        claims_stacked.due_principal_amounts,
        case when claims_stacked.interest_amount > 0 then claims_stacked.due_interest_amounts end
            as due_interest_amounts,
        case when claims_stacked.fee_amount > 0 then claims_stacked.due_fee_amounts end as due_fee_amounts,
        case when claims_stacked.penalty_amount > 0 then claims_stacked.due_penalty_amounts end as due_penalty_amounts,
        claims_stacked.chargeback_ons,
        claims_stacked.chargeback_principal_amounts,
        credits_stacked.credited_ons,
        credits_stacked.used_amounts,
        credits_stacked.credited_amounts,
        payments.payment_ons,
        disbursed.disbursed_ons,
        disbursed.disbursed_amounts
    from epochs
    inner join loans on epochs.loan_id = loans.loan_id
    inner join orders on loans.allocation_order = orders.allocation_order
    left join replayed on epochs.loan_id = replayed.loan_id
    left join claims_stacked
        on
            epochs.loan_id = claims_stacked.loan_id
            and epochs.epoch_from = claims_stacked.epoch_from
    left join credits_stacked
        on
            epochs.loan_id = credits_stacked.loan_id
            and epochs.epoch_from = credits_stacked.epoch_from
    left join payments on epochs.loan_id = payments.loan_id
    left join disbursed on epochs.loan_id = disbursed.loan_id
)

select * from final
