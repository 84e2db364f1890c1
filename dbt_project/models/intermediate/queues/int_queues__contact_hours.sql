{# When a borrower may be reached on the working day: the window of the region, else the country, else the default,
   in the borrower's own time zone. Without a zone that is certain there are no hours, and so no call. #}
with assignments as (
    select * from {{ ref('agency_assignment') }}
),

borrowers as (
    select * from {{ ref('stg_servicing__borrowers') }}
),

windows as (
    select * from {{ ref('contact_windows') }}
),

country_time_zones as (
    select * from {{ ref('country_time_zones') }}
),

zone_names as (
    select name from pg_catalog.pg_timezone_names
),

placed as (
    select
        assignments.loan_id,
        assignments.borrower_id,
        assignments.work_on,
        upper(borrowers.region) as region,
        upper(borrowers.country) as country,
        coalesce(borrowers.time_zone, country_time_zones.time_zone) as time_zone
    from assignments
    inner join borrowers on assignments.borrower_id = borrowers.borrower_id
    left join country_time_zones on upper(borrowers.country) = country_time_zones.country
),

hours as (
    select distinct on (placed.loan_id)
        placed.loan_id,
        windows.local_from,
        windows.local_until
    from placed
    inner join windows
        on
            windows.jurisdiction in (placed.region, placed.country, 'default')
            and placed.work_on >= windows.valid_from
            and (windows.valid_to is null or placed.work_on <= windows.valid_to)
    order by
        placed.loan_id asc,
        coalesce(windows.jurisdiction = placed.region, false) desc,
        coalesce(windows.jurisdiction = placed.country, false) desc,
        windows.valid_from desc
),

final as (
    select
        placed.loan_id,
        placed.borrower_id,
        zone_names.name as time_zone,
        (placed.work_on + hours.local_from) at time zone zone_names.name as contact_from_at,
        (placed.work_on + hours.local_until) at time zone zone_names.name as contact_until_at
    from placed
    left join hours on placed.loan_id = hours.loan_id
    left join zone_names on placed.time_zone = zone_names.name
)

select * from final
