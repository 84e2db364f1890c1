{# A source without an internal team of its own gets the seed's. A recipient works where it is licensed, one
   without a licence where most borrowers live. #}
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
    where
        not exists (
            select 1
            from agencies
            where agencies.kind = 'internal'
        )
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
        starts_on <= {{ as_of_date() }} + 1
        and (ends_on is null or ends_on > {{ as_of_date() }})
),

places as (
    select
        agency_id,
        array_agg(country order by country) as countries
    from licensed
    group by agency_id
),

final as (
    select
        recipients.agency_id,
        recipients.name,
        recipients.kind,
        recipients.opened_on,
        recipients.closed_on,
        recipients.is_stand_in,
        coalesce(places.countries, array[home.country]) as countries
    from recipients
    left join places on recipients.agency_id = places.agency_id
    left join home on true
)

select * from final
