{# A source without an internal team of its own gets the seed's. A recipient works where it is licensed, one without a
   licence where most borrowers live; it rests at weekends and on days that are a holiday in all of its countries. #}
with agencies as (
    select * from {{ ref('stg_servicing__agencies') }}
),

licences as (
    select * from {{ ref('stg_servicing__agency_licences') }}
),

borrowers as (
    select * from {{ ref('stg_servicing__borrowers') }}
),

internal_teams as (
    select * from {{ ref('internal_teams') }}
),

kinds as (
    select * from {{ ref('recipient_kinds') }}
),

holidays as (
    select * from {{ source('ops', 'public_holidays') }}
),

recipients as (
    select
        agency_id,
        name,
        kind,
        opened_on,
        closed_on,
        false as is_stand_in
    from agencies
    union all
    select
        internal_teams.agency_id,
        internal_teams.name,
        'internal' as kind,
        cast('0001-01-01' as date) as opened_on,
        cast(null as date) as closed_on,
        true as is_stand_in
    from internal_teams
    where not exists (select 1 from agencies where agencies.kind = 'internal')
),

home as (
    select upper(country) as country
    from borrowers
    group by upper(country)
    order by count(*) desc, upper(country) asc
    limit 1
),

licensed as (
    select distinct
        agency_id,
        upper(split_part(jurisdiction, '-', 1)) as country
    from licences
    where
        ends_on is null
        or ends_on > {{ as_of_date() }}
),

places as (
    select
        recipients.agency_id,
        coalesce(licensed.country, home.country) as country
    from recipients
    left join licensed on recipients.agency_id = licensed.agency_id
    left join home on true
),

days as (
    select cast(series.day as date) as day_on
    from generate_series({{ as_of_date() }} + 1, {{ as_of_date() }} + 31, interval '1 day') as series (day)
    where extract(isodow from series.day) < 6
),

workable as (
    select
        places.agency_id,
        days.day_on
    from places
    cross join days
    left join holidays
        on
            places.country = holidays.country
            and days.day_on = holidays.holiday_on
    group by places.agency_id, days.day_on
    having count(holidays.holiday_on) < count(*)
),

work_days as (
    select
        agency_id,
        min(day_on) as work_on
    from workable
    group by agency_id
),

countries as (
    select
        agency_id,
        string_agg(country, ',' order by country) as countries
    from places
    group by agency_id
),

final as (
    select
        recipients.agency_id,
        recipients.name,
        recipients.kind,
        countries.countries,
        recipients.opened_on,
        recipients.closed_on,
        work_days.work_on,
        kinds.needs_licence,
        recipients.is_stand_in
    from recipients
    inner join kinds on recipients.kind = kinds.kind
    inner join work_days on recipients.agency_id = work_days.agency_id
    left join countries on recipients.agency_id = countries.agency_id
)

select * from final
