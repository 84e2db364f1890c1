{# Only days close enough that a portfolio does not move much by itself; how close is the seed's. #}
with today as (
    select * from {{ ref('portfolio_at_risk') }}
),

published as (
    {{ exported_before(source('published', 'portfolio_at_risk')) }}
),

limits as (
    select max(days_back) as days_back
    from {{ ref('drift_tolerances') }}
    where measure in ('balance', 'par_30_share')
),

summed as (
    select
        as_of_date,
        currency,
        sum(loan_count) as loan_count,
        sum(balance_amount) as balance_amount,
        sum(par_30_amount) as par_30_amount
    from (
        select
            as_of_date,
            currency,
            loan_count,
            balance_amount,
            par_30_amount
        from today
        union all
        select
            published.as_of_date,
            published.currency,
            published.loan_count,
            published.balance_amount,
            published.par_30_amount
        from published
        cross join limits
        where published.as_of_date >= {{ as_of_date() }} - limits.days_back
    ) as segments
    group by as_of_date, currency
),

measured as (
    select
        as_of_date,
        currency,
        loan_count,
        'balance' as measure,
        balance_amount as observed_value
    from summed
    union all
    select
        as_of_date,
        currency,
        loan_count,
        'par_30_share' as measure,
        par_30_amount / balance_amount as observed_value
    from summed
    where balance_amount > 0
),

final as (
    select
        own.measure,
        'portfolio' as table_name,
        own.currency as column_name,
        own.observed_value,
        own.loan_count as row_count,
        count(earlier.as_of_date) as day_count,
        min(earlier.observed_value) as lowest,
        max(earlier.observed_value) as highest,
        cast(0 as numeric) as allowance
    from measured as own
    left join measured as earlier
        on
            own.measure = earlier.measure
            and own.currency = earlier.currency
            and own.as_of_date > earlier.as_of_date
    where own.as_of_date = {{ as_of_date() }}
    group by own.measure, own.currency, own.observed_value, own.loan_count
)

select * from final
