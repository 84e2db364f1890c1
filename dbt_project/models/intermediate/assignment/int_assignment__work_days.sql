{# A recipient rests at weekends and on days that are a holiday in all of its countries. Day 0 is the first working
   day after D: the day that permissions, caps and licences are judged on. #}
{{ config(access='protected') }}
with recipients as (
    select * from {{ ref('int_assignment__recipients_known') }}
),

holidays as (
    select * from {{ source('ops', 'public_holidays') }}
),

days as (
    select cast(series.day as date) as work_on
    from generate_series({{ as_of_date() }} + 1, {{ as_of_date() }} + 60, interval '1 day') as series (day)
    where extract(isodow from series.day) < 6
),

final as (
    select
        recipients.agency_id,
        cast(
            row_number() over (
                partition by recipients.agency_id
                order by days.work_on
            ) - 1 as integer
        ) as work_day_number,
        days.work_on
    from recipients
    cross join days
    where
        (
            select count(*) from holidays
            where
                holidays.country = any(recipients.countries)
                and holidays.holiday_on = days.work_on
        ) < cardinality(recipients.countries)
)

select * from final
