{# A default begins on the day on which a loan is so late (seed portfolio_limits), and goes on until the loan is up to
   date and then stays out of default for its probation: coming back earlier is the same default. What a loan does once
   it is written off, closed or sold is no cure. #}
{{ config(unlogged=true) }}

with history as not materialized (
    select * from {{ ref('loan_delinquency_history') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

restructured as (
    select * from {{ ref('int_delinquency__loans_restructured') }}
),

limits as (
    select * from {{ ref('int_portfolio__limits_in_force') }}
),

ever_in_default as (
    select distinct history.loan_id
    from history
    cross join limits
    where coalesce(history.valid_to, {{ as_of_date() }}) - history.oldest_unpaid_due_on >= limits.default_after_days
),

ends as (
    select
        loans.loan_id,
        loans.currency,
        loans.product,
        loans.governing_law,
        restructured.restructured_since_on,
        case when loans.status <> 'active' and loans.status_on <= {{ as_of_date() }} then loans.status end as ended_as,
        case
            when loans.status <> 'active' and loans.status_on <= {{ as_of_date() }} then loans.status_on
        end as ended_on
    from loans
    inner join ever_in_default on loans.loan_id = ever_in_default.loan_id
    left join restructured on loans.loan_id = restructured.loan_id
),

stretches as (
    select
        history.loan_id,
        history.valid_from,
        history.oldest_unpaid_due_on,
        least(coalesce(history.valid_to, {{ as_of_date() }}), ends.ended_on - 1) as last_on,
        min(history.valid_from) filter (where history.oldest_unpaid_due_on is null) over (
            partition by history.loan_id
            order by history.valid_from
            rows between current row and unbounded following
        ) as up_to_date_on
    from history
    inner join ends on history.loan_id = ends.loan_id
    where ends.ended_on is null or history.valid_from < ends.ended_on
),

late as (
    select
        stretches.loan_id,
        stretches.up_to_date_on,
        greatest(
            stretches.valid_from, stretches.oldest_unpaid_due_on + limits.probation_broken_after_days
        ) as broken_on,
        case
            when stretches.last_on - stretches.oldest_unpaid_due_on >= limits.default_after_days
                then greatest(stretches.valid_from, stretches.oldest_unpaid_due_on + limits.default_after_days)
        end as defaulted_on
    from stretches
    cross join limits
    where stretches.last_on - stretches.oldest_unpaid_due_on >= limits.probation_broken_after_days
),

on_probation as (
    select
        late.*,
        ends.ended_on,
        lead(late.broken_on) over (partition by late.loan_id order by late.broken_on) as next_broken_on,
        coalesce(
            ends.restructured_since_on <= late.up_to_date_on + make_interval(months => limits.probation_months), false
        ) as is_restructured,
        cast(
            late.up_to_date_on + make_interval(
                months => case
                    when
                        ends.restructured_since_on
                        <= late.up_to_date_on + make_interval(months => limits.probation_months)
                        then limits.probation_restructured_months
                    else limits.probation_months
                end
            ) as date
        ) as probation_ends_on
    from late
    inner join ends on late.loan_id = ends.loan_id
    cross join limits
),

judged as (
    select
        *,
        coalesce(
            probation_ends_on <= {{ as_of_date() }}
            and (next_broken_on is null or probation_ends_on < next_broken_on)
            and (ended_on is null or probation_ends_on < ended_on),
            false
        ) as is_cured
    from on_probation
),

numbered as (
    select
        *,
        count(*) filter (where is_cured) over (
            partition by loan_id order by broken_on rows between unbounded preceding and 1 preceding
        ) as cures_before
    from judged
),

defaults as (
    select
        loan_id,
        min(defaulted_on) as defaulted_on,
        max(up_to_date_on) filter (where is_cured) as up_to_date_on,
        max(probation_ends_on) filter (where is_cured) as cured_on,
        bool_or(is_restructured) as is_restructured
    from numbered
    group by loan_id, cures_before
    having min(defaulted_on) is not null
),

final as (
    select
        defaults.loan_id,
        defaults.defaulted_on,
        ends.currency,
        ends.product,
        ends.governing_law,
        defaults.up_to_date_on,
        defaults.cured_on,
        lead(defaults.defaulted_on) over (
            partition by defaults.loan_id order by defaults.defaulted_on
        ) as redefaulted_on,
        case when defaults.cured_on is null then ends.ended_as end as ended_as,
        case when defaults.cured_on is null then ends.ended_on end as ended_on,
        defaults.is_restructured
    from defaults
    inner join ends on defaults.loan_id = ends.loan_id
)

select * from final
