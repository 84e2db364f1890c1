{# Who can be given work, and the working day that it is judged on. #}
with recipients as (
    select * from {{ ref('int_assignment__recipients_known') }}
),

work_days as (
    select * from {{ ref('int_assignment__work_days') }}
),

kinds as (
    select * from {{ ref('recipient_kinds') }}
),

final as (
    select
        recipients.agency_id,
        recipients.name,
        recipients.kind,
        array_to_string(recipients.countries, ', ') as countries,
        recipients.opened_on,
        recipients.closed_on,
        work_days.work_on,
        kinds.needs_licence,
        recipients.is_stand_in
    from recipients
    inner join kinds on recipients.kind = kinds.kind
    inner join work_days
        on
            recipients.agency_id = work_days.agency_id
            and work_days.work_day_number = 0
)

select * from final
