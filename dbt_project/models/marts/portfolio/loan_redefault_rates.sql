{# Whether a cure held. The share is given once the window of the seed is over for every cure of the month. #}
with defaults as (
    select * from {{ ref('int_portfolio__defaults_followed') }}
),

limits as (
    select * from {{ ref('int_portfolio__limits_in_force') }}
),

totalled as (
    select
        {{ month_start('defaults.cured_on') }} as cure_month,
        defaults.currency,
        defaults.product,
        defaults.governing_law,
        limits.redefault_within_months,
        count(*) as cured_count,
        count(*) filter (
            where defaults.redefaulted_on
            <= defaults.cured_on + make_interval(months => limits.redefault_within_months)
        ) as redefault_count
    from defaults
    cross join limits
    where defaults.cured_on is not null
    group by
        cure_month, defaults.currency, defaults.product, defaults.governing_law, limits.redefault_within_months
),

judged as (
    select
        *,
        cast(
            cure_month + make_interval(months => redefault_within_months + 1) - interval '1 day' as date
        ) <= {{ as_of_date() }} as is_complete
    from totalled
),

final as (
    select
        cure_month,
        currency,
        product,
        governing_law,
        is_complete,
        cast(cured_count as integer) as cured_count,
        cast(redefault_count as integer) as redefault_count,
        cast(
            case when is_complete then redefault_count / cast(cured_count as numeric) end as numeric(9, 8)
        ) as redefault_share
    from judged
)

select * from final
