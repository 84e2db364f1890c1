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
        post_hook=["{{ mark_kept() }}", "{{ analyse_kept() }}"],
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
    {{ of_loans_in_hand(ref('int_delinquency__bookings_valid')) }}
),

{# In the order in which they are paid; each array is gathered in that same order, which costs no further sort. #}
claims_running as (
    select
        loan_id,
        epoch_from,
        due_on,
        claim_kind_rank,
        claim_number,
        claim_key,
        lapses_on,
        claim_kind,
        principal_amount,
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
        {{ in_order('due_on') }} as due_ons,
        {{ in_order('lapses_on') }} as lapse_ons,
        {{ in_order('cast(instalment_count as integer)') }} as instalment_counts,
        {{ in_order('due_principal_amount + due_interest_amount + due_fee_amount + due_penalty_amount') }}
            as due_amounts,
        {{ in_order('due_principal_amount') }} as due_principal_amounts,
        {{ in_order('due_interest_amount') }} as due_interest_amounts,
        {{ in_order('due_fee_amount') }} as due_fee_amounts,
        {{ in_order('due_penalty_amount') }} as due_penalty_amounts,
        count(lapses_on) as lapsing_count,
        max(due_interest_amount) as interest_amount,
        max(due_fee_amount) as fee_amount,
        max(due_penalty_amount) as penalty_amount,
        sum(principal_amount) filter (where claim_kind = 'instalment') as scheduled_principal_amount,
        {{ in_order('due_on') }} filter (where claim_kind = 'chargeback' and principal_amount > 0) as chargeback_ons,
        {{ in_order('principal_amount') }} filter (where claim_kind = 'chargeback' and principal_amount > 0)
            as chargeback_principal_amounts
    from claims_running
    group by loan_id, epoch_from
),

{# All bookings once. A day with two has two elements: what is looked up is the last of a day. #}
bookings_running as (
    select
        bookings.loan_id,
        bookings.effective_on,
        bookings.transaction_id,
        bookings.is_credit,
        bookings.kind in ('repayment', 'recovery') as is_payment,
        bookings.kind = 'disbursement' and loans.is_drawn_in_parts as is_drawing,
        bookings.kind in ('waiver', 'refund') as is_exception,
        sum(case when bookings.is_credit then bookings.amount else 0 end) over in_time as credited_amount,
        case
            when loans.is_drawn_in_parts
                then
                    sum(bookings.amount) filter (
                        where bookings.kind = 'disbursement' and loans.is_drawn_in_parts
                    ) over in_time
        end as disbursed_amount
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    window
        in_time as (
            partition by bookings.loan_id
            order by bookings.effective_on, bookings.transaction_id
            rows between unbounded preceding and current row
        )
),

bookings_stacked as (
    select
        loan_id,
        bool_or(is_exception) as has_exception,
        {{ in_time('effective_on') }} filter (where is_credit) as credited_ons,
        {{ in_time('credited_amount') }} filter (where is_credit) as credited_amounts,
        {{ in_time('effective_on') }} filter (where is_payment) as payment_ons,
        {{ in_time('effective_on') }} filter (where is_drawing) as disbursed_ons,
        {{ in_time('disbursed_amount') }} filter (where is_drawing) as disbursed_amounts
    from bookings_running
    group by loan_id
),

lapsing as (
    select distinct loan_id
    from claims_stacked
    where lapsing_count > 0
),

joined as (
    select
        epochs.*,
        loans.is_revolving,
        loans.is_drawn_in_parts,
        loans.allocation_mode = 'component_first'
        or coalesce(bookings_stacked.has_exception, false)
        or lapsing.loan_id is not null as is_replayed,
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
        bookings_stacked.credited_ons,
        bookings_stacked.credited_amounts,
        bookings_stacked.payment_ons,
        bookings_stacked.disbursed_ons,
        bookings_stacked.disbursed_amounts
    from epochs
    inner join loans on epochs.loan_id = loans.loan_id
    inner join orders on loans.allocation_order = orders.allocation_order
    left join lapsing on epochs.loan_id = lapsing.loan_id
    left join bookings_stacked on epochs.loan_id = bookings_stacked.loan_id
    left join claims_stacked
        on
            epochs.loan_id = claims_stacked.loan_id
            and epochs.epoch_from = claims_stacked.epoch_from
),

{# Most loans use all that they are credited. Others are worked out element by element: on a schedule of basis unpaid
   what was brought before it does not count, and a revolving loan does not use what comes when nothing is due. #}
worked_out as (
    select
        joined.loan_id,
        joined.epoch_from,
        used.credited_ons,
        used.credited_amounts,
        used.used_amounts
    from joined
    cross join
        lateral (
            select
                array_agg(credits.credited_on order by credits.place) as credited_ons,
                array_agg(credits.credited_amount order by credits.place) as credited_amounts,
                array_agg(
                    credits.credited_amount
                    + case when joined.is_revolving then least(credits.deepest_amount, 0) else 0 end
                    order by credits.place
                ) as used_amounts
            from (
                select
                    counting.*,
                    min(
                        coalesce(joined.due_amounts[width_bucket(counting.credited_on, joined.due_ons)], 0)
                        - counting.credited_amount
                    ) over (order by counting.place) as deepest_amount
                from (
                    select
                        unnested.credited_on,
                        unnested.place,
                        unnested.credited_amount - case
                            when joined.replayed_from is null then 0
                            else coalesce(
                                joined.credited_amounts[width_bucket(joined.replayed_from - 1, joined.credited_ons)], 0
                            )
                        end as credited_amount
                    from
                        unnest(joined.credited_ons, joined.credited_amounts)
                        with ordinality as unnested (credited_on, credited_amount, place)
                    where joined.replayed_from is null or unnested.credited_on >= joined.replayed_from
                ) as counting
            ) as credits
        ) as used
    where joined.is_revolving or joined.replayed_from is not null
),

final as (
    select
        joined.loan_id,
        joined.schedule_version,
        joined.epoch_from,
        joined.epoch_until,
        joined.replayed_from,
        joined.is_revolving,
        joined.is_drawn_in_parts,
        joined.is_replayed,
        joined.principal_rank,
        joined.interest_rank,
        joined.fee_rank,
        joined.penalty_rank,
        joined.scheduled_principal_amount,
        joined.due_ons,
        joined.lapse_ons,
        joined.instalment_counts,
        joined.due_amounts,
        joined.due_principal_amounts,
        joined.due_interest_amounts,
        joined.due_fee_amounts,
        joined.due_penalty_amounts,
        joined.chargeback_ons,
        joined.chargeback_principal_amounts,
        case when worked_out.loan_id is null then joined.credited_ons else worked_out.credited_ons end as credited_ons,
        case when worked_out.loan_id is null then joined.credited_amounts else worked_out.used_amounts end
            as used_amounts,
        case when joined.is_revolving then worked_out.credited_amounts end as credited_amounts,
        joined.payment_ons,
        joined.disbursed_ons,
        joined.disbursed_amounts
    from joined
    left join worked_out
        on
            joined.loan_id = worked_out.loan_id
            and joined.epoch_from = worked_out.epoch_from
)

select * from final
