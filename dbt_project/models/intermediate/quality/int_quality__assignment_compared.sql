with today as (
    select * from {{ ref('assignment_run') }}
),

published as (
    {{ exported_before(source('published', 'assignment_run')) }}
),

limits as (
    select max(days_back) as days_back
    from {{ ref('drift_tolerances') }}
    where measure in ('loans_to_place', 'loans_placed')
),

days as (
    select
        as_of_date,
        loan_count,
        assigned_count
    from today
    union all
    select
        published.as_of_date,
        published.loan_count,
        published.assigned_count
    from published
    cross join limits
    where published.as_of_date >= {{ as_of_date() }} - limits.days_back
),

measured as (
    select
        as_of_date,
        'loans_to_place' as measure,
        loan_count as observed_value
    from days
    union all
    select
        as_of_date,
        'loans_placed' as measure,
        assigned_count as observed_value
    from days
),

compared as (
    select
        own.measure,
        own.observed_value,
        count(earlier.as_of_date) as day_count,
        min(earlier.observed_value) as lowest,
        max(earlier.observed_value) as highest
    from measured as own
    left join measured as earlier
        on
            own.measure = earlier.measure
            and own.as_of_date > earlier.as_of_date
    where own.as_of_date = {{ as_of_date() }}
    group by own.measure, own.observed_value
),

{# Of accounts that all but vanished nothing is left to count, so the most of the days counts too. #}
final as (
    select
        measure,
        'accounts' as table_name,
        '' as column_name,
        cast(observed_value as numeric) as observed_value,
        greatest(observed_value, highest) as row_count,
        day_count,
        cast(lowest as numeric) as lowest,
        cast(highest as numeric) as highest,
        cast(0 as numeric) as allowance
    from compared
)

select * from final
