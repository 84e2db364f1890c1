{# A cohort is counted whole at origination and stays that large; what happened to it adds up month by month, up to the
   last month that is over. #}
with loans as (
    select * from {{ ref('int_portfolio__loans_followed') }}
),

bookings as (
    select * from {{ ref('int_delinquency__bookings_valid') }}
),

events as (
    {% for days in [30, 60, 90] %}
    select
        loan_id,
        'ever_{{ days }}' as happening,
        late_{{ days }}_on as happened_on,
        cast(null as numeric(20, 4)) as amount
    from loans
    where late_{{ days }}_on is not null
    union all
    {% endfor %}
    select
        loan_id,
        kind as happening,
        effective_on as happened_on,
        amount
    from bookings
    where kind in ('write_off', 'recovery') and effective_on <= {{ as_of_date() }}
),

happened as (
    select
        loans.origination_month,
        loans.currency,
        loans.product,
        loans.governing_law,
        greatest({{ months_between('loans.origination_month', 'events.happened_on') }}, 0) as months_on_book,
        {% for days in [30, 60, 90] %}
        count(*) filter (where events.happening = 'ever_{{ days }}') as ever_{{ days }}_count,
        sum(loans.principal_amount) filter (where events.happening = 'ever_{{ days }}') as ever_{{ days }}_amount,
        {% endfor %}
        sum(events.amount) filter (where events.happening = 'write_off') as written_off_amount,
        sum(events.amount) filter (where events.happening = 'recovery') as recovered_amount
    from events
    inner join loans on events.loan_id = loans.loan_id
    group by loans.origination_month, loans.currency, loans.product, loans.governing_law, months_on_book
),

cohorts as (
    select
        origination_month,
        currency,
        product,
        governing_law,
        count(*) as loan_count,
        cast(sum(principal_amount) as numeric(20, 4)) as original_amount
    from loans
    group by origination_month, currency, product, governing_law
),

aged as (
    select
        cohorts.*,
        ages.months_on_book
    from cohorts
    cross join
        generate_series(
            0, {{ months_between('cohorts.origination_month', '(' ~ as_of_date() ~ ' + 1)') }} - 1
        ) as ages (months_on_book)
),

final as (
    select
        aged.origination_month,
        aged.currency,
        aged.product,
        aged.governing_law,
        aged.months_on_book,
        aged.loan_count,
        aged.original_amount,
        {% for days in [30, 60, 90] %}
        coalesce(sum(happened.ever_{{ days }}_count) over so_far, 0) as ever_{{ days }}_count,
        cast(coalesce(sum(happened.ever_{{ days }}_amount) over so_far, 0) as numeric(20, 4)) as ever_{{ days }}_amount,
        {% endfor %}
        cast(coalesce(sum(happened.written_off_amount) over so_far, 0) as numeric(20, 4)) as written_off_amount,
        cast(coalesce(sum(happened.recovered_amount) over so_far, 0) as numeric(20, 4)) as recovered_amount
    from aged
    left join happened
        on
            aged.origination_month = happened.origination_month
            and aged.currency = happened.currency
            and aged.product = happened.product
            and aged.governing_law = happened.governing_law
            and aged.months_on_book = happened.months_on_book
    window so_far as (
        partition by aged.origination_month, aged.currency, aged.product, aged.governing_law
        order by aged.months_on_book
    )
)

select * from final
