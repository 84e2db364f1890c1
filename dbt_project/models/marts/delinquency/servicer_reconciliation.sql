{# A cause is the one change that makes our figures the servicing system's, to the day and the cent; where none does, or
   the loan's figures cannot be read again, it is unexplained. Of several the first counts, in the order below. #}
with figures as (
    select * from {{ ref('int_reconciliation__figures_compared') }}
),

readings as (
    select * from {{ ref('int_reconciliation__readings_tried') }}
),

{# A loan whose own reading cannot be repeated proves nothing by another one; where its claims fall due is certain. #}
explained as (
    select
        loan_id,
        bool_or(reading = 'as_known' and is_our_figure) as is_repeatable,
        bool_or(reading = 'later_booking' and is_servicers_figure) as is_later_booking,
        bool_or(reading = 'schedule' and is_servicers_figure) as is_schedule,
        bool_or(reading = 'charges' and is_servicers_figure) as is_charges,
        bool_or(reading = 'as_known' and (is_servicers_untolerated or is_servicers_from_second)) as is_tolerance,
        bool_or(reading = 'as_known' and is_servicers_at_day_end) as is_day_end,
        bool_or(reading = 'as_known' and is_counted_from_a_claim) as is_from_a_claim
    from readings
    group by loan_id
),

final as (
    select
        {{ as_of_date() }} as as_of_date,
        figures.loan_id,
        figures.product,
        figures.currency,
        figures.balance_on,
        cast(figures.days_past_due as integer) as days_past_due,
        figures.servicer_days_past_due,
        cast(figures.servicer_days_past_due - figures.days_past_due as integer) as days_difference,
        figures.arrears_amount,
        figures.servicer_arrears_amount,
        cast(figures.servicer_arrears_amount - figures.arrears_amount as numeric(20, 4)) as arrears_difference_amount,
        case
            when figures.cause is not null then figures.cause
            when explained.is_repeatable and explained.is_later_booking then 'later_booking'
            when explained.is_repeatable and explained.is_schedule then 'schedule'
            when explained.is_repeatable and explained.is_charges then 'charges'
            when explained.is_repeatable and explained.is_tolerance then 'tolerance'
            when
                figures.servicer_days_past_due = 0
                and figures.arrears_amount > 0
                and figures.servicer_arrears_amount = figures.arrears_amount
                then 'tolerance'
            when explained.is_repeatable and explained.is_day_end then 'cut_off'
            when
                figures.arrears_before_amount is not null
                and coalesce(figures.servicer_days_past_due = figures.days_past_due_before, true)
                and coalesce(figures.servicer_arrears_amount = figures.arrears_before_amount, true)
                then 'cut_off'
            when
                figures.servicer_arrears_amount = figures.arrears_amount
                and figures.servicer_days_past_due > 0
                and figures.days_past_due > 0
                and explained.is_from_a_claim
                then 'allocation'
            else 'unexplained'
        end as cause
    from figures
    left join explained on figures.loan_id = explained.loan_id
)

select * from final
