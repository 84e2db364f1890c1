{# The planned action is the seed's; a call that cannot be made becomes a letter, a letter that may not be sent an
   e-mail, and where no channel is open the line says so and asks for a review instead of a contact. #}
with assignments as (
    select * from {{ ref('agency_assignment') }}
),

loans as (
    select * from {{ ref('loan_delinquency') }}
),

borrowers as (
    select * from {{ ref('stg_servicing__borrowers') }}
),

actions as (
    select * from {{ ref('queue_actions') }}
),

contact_hours as (
    select * from {{ ref('int_queues__contact_hours') }}
),

closed as (
    select * from {{ ref('int_queues__channels_closed') }}
),

work_days as (
    select * from {{ ref('int_assignment__work_days') }}
),

planned as (
    select
        assignments.*,
        loans.days_past_due,
        loans.arrears_amount,
        loans.currency,
        loans.bucket,
        actions.action as planned_action,
        actions.channel as planned_channel,
        actions.deadline_working_days,
        contact_hours.contact_from_at,
        contact_hours.contact_until_at,
        closed.reasons as closed_reasons,
        coalesce(closed.is_gentle, false) as is_gentle,
        coalesce(closed.is_letter_closed, false) as is_letter_closed,
        case
            when closed.is_gentle or closed.is_call_closed then closed.reasons
            when borrowers.phone is null then 'no phone number'
            when contact_hours.time_zone is null then 'time zone not known'
        end as call_obstacle,
        borrowers.email is null or coalesce(closed.is_email_closed, false) as is_email_closed
    from assignments
    inner join loans on assignments.loan_id = loans.loan_id
    inner join borrowers on assignments.borrower_id = borrowers.borrower_id
    inner join actions
        on
            assignments.recipient_kind = actions.recipient_kind
            and loans.bucket = actions.bucket
    left join contact_hours on assignments.loan_id = contact_hours.loan_id
    left join closed on assignments.loan_id = closed.loan_id
),

chosen as (
    select
        *,
        case
            when planned_channel = 'call' and call_obstacle is null then 'call'
            when not is_letter_closed then 'letter'
            when not is_email_closed and not is_gentle then 'email'
        end as channel
    from planned
),

final as (
    select
        chosen.as_of_date,
        chosen.work_on,
        chosen.agency_id as recipient_id,
        cast(
            row_number() over (
                partition by chosen.agency_id
                order by chosen.expected_net_amount desc, chosen.days_past_due desc, chosen.loan_id asc
            ) as integer
        ) as rank,
        chosen.loan_id,
        chosen.borrower_id,
        chosen.borrower_id as party_borrower_id,
        'borrower' as party_role,
        case
            when chosen.channel is null then 'review'
            when chosen.channel = chosen.planned_channel then chosen.planned_action
            else chosen.channel
        end as action, -- noqa: RF04
        chosen.channel,
        chosen.days_past_due || ' days past due with ' || round(chosen.arrears_amount, 2) || ' ' || chosen.currency
        || ' in arrears. ' || chosen.reason
        || case
            when chosen.channel is null then ' No channel is open: ' || chosen.closed_reasons || '.'
            when chosen.planned_channel = 'call' and chosen.channel <> 'call'
                then ' No call: ' || chosen.call_obstacle || '.'
            else ''
        end as reason,
        chosen.days_past_due,
        chosen.arrears_amount,
        chosen.currency,
        chosen.expected_net_amount,
        chosen.contact_from_at,
        chosen.contact_until_at,
        work_days.work_on as deadline_on
    from chosen
    left join work_days
        on
            chosen.agency_id = work_days.agency_id
            and chosen.deadline_working_days = work_days.work_day_number
)

select * from final
