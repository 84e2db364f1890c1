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

claims_stacked as (
    select * from {{ ref('int_delinquency__claims_stacked') }}
),

bookings_stacked as (
    select * from {{ ref('int_delinquency__bookings_stacked') }}
),

lapsing as (
    select distinct loan_id
    from claims_stacked
    where lapse_ons is not null
),

joined as (
    select
        epochs.*,
        loans.is_revolving,
        loans.is_drawn_in_parts,
        loans.allocation_mode = 'component_first'
        or coalesce(bookings_stacked.has_exception, false)
        or lapsing.loan_id is not null as is_replayed,
        loans.is_revolving or epochs.replayed_from is not null as is_worked_out,
        orders.principal_rank,
        orders.interest_rank,
        orders.fee_rank,
        orders.penalty_rank,
        claims_stacked.scheduled_principal_amount,
        claims_stacked.due_ons,
        claims_stacked.lapse_ons,
        claims_stacked.instalment_counts,
        claims_stacked.due_amounts,
        claims_stacked.due_principal_amounts,
        claims_stacked.due_interest_amounts,
        claims_stacked.due_fee_amounts,
        claims_stacked.due_penalty_amounts,
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
        joined.*,
        used.credited_ons as worked_out_ons,
        used.credited_amounts as worked_out_amounts,
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
                    where
                        joined.is_worked_out
                        and (joined.replayed_from is null or unnested.credited_on >= joined.replayed_from)
                ) as counting
            ) as credits
        ) as used
),

final as (
    select
        loan_id,
        schedule_version,
        epoch_from,
        epoch_until,
        replayed_from,
        is_revolving,
        is_drawn_in_parts,
        is_replayed,
        principal_rank,
        interest_rank,
        fee_rank,
        penalty_rank,
        scheduled_principal_amount,
        due_ons,
        lapse_ons,
        instalment_counts,
        due_amounts,
        due_principal_amounts,
        due_interest_amounts,
        due_fee_amounts,
        due_penalty_amounts,
        chargeback_ons,
        chargeback_principal_amounts,
        case when is_worked_out then worked_out_ons else credited_ons end as credited_ons,
        case when is_worked_out then used_amounts else credited_amounts end as used_amounts,
        case when is_revolving then worked_out_amounts end as credited_amounts,
        payment_ons,
        disbursed_ons,
        disbursed_amounts
    from worked_out
)

select * from final
