{# Of the loans that went into default in a month, how many were cured how many months later; no row for months that
   are not over, so that cohorts compare at the same age. #}
with defaults as (
    select * from {{ ref('int_portfolio__defaults_followed') }}
),

outcomes as (
    select
        {{ month_start('defaulted_on') }} as default_month,
        currency,
        product,
        governing_law,
        {{ months_between('defaulted_on', 'coalesce(cured_on, ended_on)') }} as months_since_default,
        count(*) filter (where cured_on is not null) as cured_count,
        count(*) filter (where ended_as = 'closed') as closed_count,
        count(*) filter (where ended_as = 'sold') as sold_count,
        count(*) filter (where ended_as = 'written_off') as written_off_count
    from defaults
    where cured_on is not null or ended_on is not null
    group by default_month, currency, product, governing_law, months_since_default
),

cohorts as (
    select
        {{ month_start('defaulted_on') }} as default_month,
        currency,
        product,
        governing_law,
        count(*) as default_count
    from defaults
    group by default_month, currency, product, governing_law
),

aged as (
    select
        cohorts.*,
        ages.months_since_default
    from cohorts
    cross join
        generate_series(
            0, {{ months_between('cohorts.default_month', '(' ~ as_of_date() ~ ' + 1)') }} - 1
        ) as ages (months_since_default)
),

added_up as (
    select
        aged.*,
        coalesce(sum(outcomes.cured_count) over so_far, 0) as cured_count,
        coalesce(sum(outcomes.closed_count) over so_far, 0) as closed_count,
        coalesce(sum(outcomes.sold_count) over so_far, 0) as sold_count,
        coalesce(sum(outcomes.written_off_count) over so_far, 0) as written_off_count
    from aged
    left join outcomes
        on
            aged.default_month = outcomes.default_month
            and aged.currency = outcomes.currency
            and aged.product = outcomes.product
            and aged.governing_law = outcomes.governing_law
            and aged.months_since_default = outcomes.months_since_default
    window so_far as (
        partition by aged.default_month, aged.currency, aged.product, aged.governing_law
        order by aged.months_since_default
    )
),

final as (
    select
        default_month,
        currency,
        product,
        governing_law,
        months_since_default,
        cast(default_count as integer) as default_count,
        cast(cured_count as integer) as cured_count,
        cast(closed_count as integer) as closed_count,
        cast(sold_count as integer) as sold_count,
        cast(written_off_count as integer) as written_off_count,
        cast(cured_count / cast(default_count as numeric) as numeric(9, 8)) as cure_share
    from added_up
)

select * from final
