{# The day of the servicing system's figures, read once more with one thing changed: against another version of the
   schedule, without what was booked later, without charges. The reading as_known changes nothing: where it is not what
   the history says, sums do not tell this loan's state, and none of its readings proves anything. #}
with loans as (
    select * from {{ ref('int_reconciliation__loans_to_read') }}
),

bookings as (
    select * from {{ ref('int_reconciliation__bookings_dated') }}
),

stacked as (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

instalments as (
    select * from {{ ref('stg_servicing__instalments') }}
),

charges as (
    select * from {{ ref('stg_servicing__charges') }}
),

by_other_version as (
    select
        loans.loan_id,
        'schedule' as reading,
        stacked.schedule_version,
        stacked.due_ons,
        stacked.due_amounts,
        coalesce(stacked.used_amounts[width_bucket(loans.balance_on, stacked.credited_ons)], 0) as used_amount
    from loans
    inner join stacked on loans.loan_id = stacked.loan_id
    where
        not loans.is_revolving
        and stacked.epoch_from <> loans.epoch_from
        and stacked.schedule_version is not null
),

{# Credits as they stood on the day, whatever was booked or reversed since. #}
credits_then as (
    select
        bookings.loan_id,
        bookings.effective_on,
        sum(bookings.amount) as amount
    from bookings
    inner join loans on bookings.loan_id = loans.loan_id
    where
        bookings.is_credit
        and bookings.effective_on <= loans.balance_on
        and bookings.booked_on <= loans.balance_on
        and (bookings.reversed_on is null or bookings.reversed_on > loans.balance_on)
        and (loans.replayed_from is null or bookings.effective_on >= loans.replayed_from)
    group by bookings.loan_id, bookings.effective_on
),

credits_running as (
    select
        loan_id,
        effective_on,
        sum(amount) over (partition by loan_id order by effective_on) as credited_amount
    from credits_then
),

credits_stacked as (
    select
        loan_id,
        array_agg(effective_on order by effective_on) as credited_ons,
        array_agg(credited_amount order by effective_on) as credited_amounts
    from credits_running
    group by loan_id
),

{# Revolving: credit beyond what is due pays no later statement (int_delinquency__loans_stacked). #}
without_later_bookings as (
    select
        loans.loan_id,
        'later_booking' as reading,
        loans.schedule_version,
        loans.due_ons,
        loans.due_amounts,
        coalesce(credits_stacked.credited_amounts[cardinality(credits_stacked.credited_ons)], 0) + case
            when loans.is_revolving and credits_stacked.credited_ons is not null
                then (
                    select
                        least(
                            min(
                                coalesce(loans.due_amounts[width_bucket(credits.credited_on, loans.due_ons)], 0)
                                - credits.credited_amount
                            ),
                            0
                        )
                    from
                        unnest(credits_stacked.credited_ons, credits_stacked.credited_amounts)
                            as credits (credited_on, credited_amount)
                )
            else 0
        end as used_amount
    from loans
    left join credits_stacked on loans.loan_id = credits_stacked.loan_id
),

loans_with_charges as (
    select * from loans
    where
        not is_revolving
        and exists (
            select 1
            from charges
            where charges.loan_id = loans.loan_id and charges.due_on <= loans.balance_on
        )
),

claims_but_charges as (
    select
        loans_with_charges.loan_id,
        instalments.due_on,
        instalments.principal_amount
        + instalments.interest_amount
        + instalments.fee_amount
        + instalments.penalty_amount as claim_amount
    from loans_with_charges
    inner join instalments
        on
            loans_with_charges.loan_id = instalments.loan_id
            and loans_with_charges.schedule_version = instalments.schedule_version
    where instalments.due_on <= loans_with_charges.balance_on
    union all
    select
        bookings.loan_id,
        bookings.effective_on as due_on,
        bookings.amount as claim_amount
    from bookings
    inner join loans_with_charges on bookings.loan_id = loans_with_charges.loan_id
    where
        bookings.kind = 'chargeback'
        and bookings.reversed_on is null
        and bookings.effective_on <= loans_with_charges.balance_on
        and (loans_with_charges.replayed_from is null or bookings.effective_on >= loans_with_charges.replayed_from)
),

claims_by_day as (
    select
        loan_id,
        due_on,
        sum(claim_amount) as claim_amount
    from claims_but_charges
    group by loan_id, due_on
),

claims_running as (
    select
        loan_id,
        due_on,
        sum(claim_amount) over (partition by loan_id order by due_on) as due_amount
    from claims_by_day
),

claims_stacked as (
    select
        loan_id,
        array_agg(due_on order by due_on) as due_ons,
        array_agg(due_amount order by due_on) as due_amounts
    from claims_running
    group by loan_id
),

without_charges as (
    select
        loans.loan_id,
        'charges' as reading,
        loans.schedule_version,
        claims_stacked.due_ons,
        claims_stacked.due_amounts,
        loans.used_amount
    from loans
    inner join claims_stacked on loans.loan_id = claims_stacked.loan_id
),

readings as (
    select
        loan_id,
        'as_known' as reading,
        schedule_version,
        due_ons,
        due_amounts,
        used_amount
    from loans
    union all
    select * from by_other_version
    union all
    select * from without_later_bookings
    union all
    select * from without_charges
),

{# Claims 1 to due_count are due by the day, 1 to past_count before it, 1 to paid_count are wholly paid (state_on). #}
counted as (
    select
        loans.loan_id,
        loans.balance_on,
        loans.days_past_due,
        loans.servicer_days_past_due,
        loans.tolerance_amount,
        loans.arrears_amount,
        loans.servicer_arrears_amount,
        readings.reading,
        readings.schedule_version,
        readings.due_ons,
        readings.due_amounts,
        readings.used_amount,
        coalesce(width_bucket(loans.balance_on, readings.due_ons), 0) as due_count,
        coalesce(width_bucket(loans.balance_on - 1, readings.due_ons), 0) as past_count,
        coalesce(width_bucket(readings.used_amount, readings.due_amounts), 0) as paid_count
    from loans
    inner join readings on loans.loan_id = readings.loan_id
),

read_again as (
    select
        *,
        due_ons[paid_count + 1] as first_unpaid_due_on,
        case when paid_count < past_count then due_amounts[paid_count + 1] - used_amount else 0 end
            as oldest_unpaid_amount,
        case when paid_count < past_count then due_amounts[past_count] - used_amount else 0 end as read_arrears_amount,
        case when paid_count < due_count then due_amounts[due_count] - used_amount else 0 end as read_unpaid_amount
    from counted
),

judged as (
    select
        *,
        case when read_arrears_amount > tolerance_amount then balance_on - first_unpaid_due_on else 0 end as read_days,
        case when read_unpaid_amount > tolerance_amount then balance_on - first_unpaid_due_on + 1 else 0 end
            as read_days_at_day_end,
        case when read_arrears_amount > 0 then balance_on - first_unpaid_due_on else 0 end as read_days_untolerated,
        case
            when read_arrears_amount > 0 and oldest_unpaid_amount <= tolerance_amount
                then case when paid_count + 1 < past_count then balance_on - due_ons[paid_count + 2] else 0 end
        end as read_days_from_second
    from read_again
),

final as (
    select
        loan_id,
        reading,
        schedule_version,
        read_days = days_past_due and read_arrears_amount = arrears_amount as is_our_figure,
        coalesce(servicer_days_past_due = read_days, true)
        and coalesce(servicer_arrears_amount = read_arrears_amount, true) as is_servicers_figure,
        coalesce(servicer_days_past_due = read_days_at_day_end, true)
        and coalesce(servicer_arrears_amount = read_unpaid_amount, true) as is_servicers_at_day_end,
        coalesce(servicer_days_past_due = read_days_untolerated, false)
        and coalesce(servicer_arrears_amount = read_arrears_amount, true) as is_servicers_untolerated,
        coalesce(servicer_days_past_due = read_days_from_second, false)
        and coalesce(
            servicer_arrears_amount in (read_arrears_amount, read_arrears_amount - oldest_unpaid_amount), true
        ) as is_servicers_from_second,
        coalesce(balance_on - servicer_days_past_due = any(due_ons), false) as is_counted_from_a_claim,
        cast(read_days as integer) as days_past_due,
        cast(read_arrears_amount as numeric(20, 4)) as arrears_amount
    from judged
)

select * from final
