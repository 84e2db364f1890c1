{# Loans whose state depends on the order of events (waivers, refunds, charges lapsing partly paid, component_first)
   are replayed one by one. Position 0 is the loan itself: what stands as credit, and refunds that cannot be. #}
{{ config(pre_hook="{{ create_replay_loan() }}") }}

with loans as (
    select * from {{ ref('int_delinquency__loans_selected') }}
),

totals as (
    select * from {{ ref('int_delinquency__loans_totalled') }}
),

claims as (
    select * from {{ ref('int_delinquency__claims_raised') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

loans_to_replay as (
    select loans.*
    from loans
    inner join totals on loans.loan_id = totals.loan_id
    where totals.is_replayed_by_booking
),

claims_in_order as (
    select
        claims.*,
        row_number() over (
            partition by claims.loan_id
            order by claims.due_on, claims.claim_kind_rank, claims.claim_number, claims.claim_key
        ) as claim_position
    from claims
    inner join loans_to_replay on claims.loan_id = loans_to_replay.loan_id
    where claims.due_on <= {{ as_of_date() }}
),

claims_of_a_loan as (
    select
        loan_id,
        array_agg(due_on order by claim_position) as due_ons,
        array_agg(lapses_on order by claim_position) as lapse_ons,
        array_agg(
            array[principal_amount, interest_amount, fee_amount, penalty_amount] order by claim_position
        ) as amounts
    from claims_in_order
    group by loan_id
),

bookings_to_replay as (
    select bookings.*
    from bookings
    inner join loans_to_replay on bookings.loan_id = loans_to_replay.loan_id
    where bookings.is_replayed and (bookings.is_credit or bookings.kind in ('waiver', 'refund'))
),

bookings_in_order as (
    select
        loan_id,
        effective_on,
        case when is_credit then 'credit' else kind end as replay_kind,
        component,
        amount,
        row_number() over (
            partition by loan_id order by effective_on, booked_at, transaction_id collate "C"
        ) as booking_position
    from bookings_to_replay
),

bookings_of_a_loan as (
    select
        loan_id,
        array_agg(effective_on order by booking_position) as booked_ons,
        array_agg(replay_kind order by booking_position) as kinds,
        array_agg(component order by booking_position) as components,
        array_agg(amount order by booking_position) as amounts
    from bookings_in_order
    group by loan_id
),

replayed as (
    select
        loans_to_replay.loan_id,
        replay.claim_position,
        replay.unpaid_principal_amount,
        replay.unpaid_interest_amount,
        replay.unpaid_fee_amount,
        replay.unpaid_penalty_amount,
        replay.paid_amount,
        replay.waived_amount,
        replay.credit_amount,
        replay.refused_refund_count
    from loans_to_replay
    left join claims_of_a_loan on loans_to_replay.loan_id = claims_of_a_loan.loan_id
    left join bookings_of_a_loan on loans_to_replay.loan_id = bookings_of_a_loan.loan_id
    cross join lateral working.replay_loan(
        loans_to_replay.allocation_mode = 'component_first',
        loans_to_replay.is_revolving,
        array[
            loans_to_replay.principal_rank,
            loans_to_replay.interest_rank,
            loans_to_replay.fee_rank,
            loans_to_replay.penalty_rank
        ],
        claims_of_a_loan.due_ons,
        claims_of_a_loan.lapse_ons,
        claims_of_a_loan.amounts,
        bookings_of_a_loan.booked_ons,
        bookings_of_a_loan.kinds,
        bookings_of_a_loan.components,
        bookings_of_a_loan.amounts
    ) as replay
),

final as (
    select
        replayed.loan_id,
        cast(replayed.claim_position as integer) as claim_position,
        claims_in_order.claim_kind,
        claims_in_order.claim_key,
        claims_in_order.due_on,
        claims_in_order.claim_amount,
        cast(
            replayed.unpaid_principal_amount
            + replayed.unpaid_interest_amount
            + replayed.unpaid_fee_amount
            + replayed.unpaid_penalty_amount as numeric(20, 4)
        ) as unpaid_amount,
        cast(replayed.unpaid_principal_amount as numeric(20, 4)) as unpaid_principal_amount,
        cast(replayed.unpaid_interest_amount as numeric(20, 4)) as unpaid_interest_amount,
        cast(replayed.unpaid_fee_amount as numeric(20, 4)) as unpaid_fee_amount,
        cast(replayed.unpaid_penalty_amount as numeric(20, 4)) as unpaid_penalty_amount,
        cast(replayed.paid_amount as numeric(20, 4)) as paid_amount,
        cast(replayed.waived_amount as numeric(20, 4)) as waived_amount,
        cast(replayed.credit_amount as numeric(20, 4)) as credit_amount,
        replayed.refused_refund_count
    from replayed
    left join claims_in_order
        on
            replayed.loan_id = claims_in_order.loan_id
            and replayed.claim_position = claims_in_order.claim_position
)

select * from final
