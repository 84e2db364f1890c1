{# Days past due as the product's own convention counts them, beside days_past_due, which every loan has by one rule.
   The row of product_conventions that names most counts: the product before the law, a region before its country. What
   few loans need (a spell of arrears, the payments of 90 days, the day before a reschedule) is looked up loan by loan. #}
with loans as (
    select * from {{ ref('int_delinquency__loans_positioned') }}
),

all_loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

stated as (
    select * from {{ ref('int_delinquency__loans_stated') }}
),

instalments as not materialized (
    select * from {{ ref('stg_servicing__instalments') }}
),

history as not materialized (
    select * from {{ ref('loan_delinquency_history') }}
),

conventions as (
    select * from {{ ref('product_conventions') }}
),

in_force as (
    select * from conventions
    where valid_from <= {{ as_of_date() }} and (valid_to is null or valid_to >= {{ as_of_date() }})
),

segments as (
    select distinct
        product,
        governing_law
    from all_loans
),

chosen as (
    select distinct on (segments.product, segments.governing_law)
        segments.product,
        segments.governing_law,
        in_force.dpd_convention,
        in_force.equivalent_days
    from segments
    inner join in_force
        on
            in_force.product in (segments.product, 'any')
            and in_force.governing_law in (segments.governing_law, split_part(segments.governing_law, '-', 1), 'any')
    order by
        segments.product asc,
        segments.governing_law asc,
        in_force.product = 'any' asc,
        in_force.governing_law = 'any' asc,
        length(in_force.governing_law) desc,
        in_force.valid_from desc
),

looked_up as (
    select
        loans.loan_id,
        chosen.dpd_convention,
        chosen.equivalent_days,
        loans.oldest_unpaid_due_on,
        loans.days_past_due,
        loans.arrears_amount,
        {# With what falls due on D itself the arrears may exceed the tolerance: then the older ones count too. #}
        case
            when loans.days_past_due > 0 then loans.oldest_unpaid_due_on
            when chosen.dpd_convention = 'rbi_day_end' and loans.unpaid_due_amount > loans.tolerance_amount
                then coalesce(
                    (
                        select stated.oldest_unpaid_due_on
                        from stated
                        where stated.loan_id = loans.loan_id
                    ),
                    {{ as_of_date() }}
                )
        end as oldest_unpaid_at_day_end_on,
        case
            when chosen.dpd_convention = 'amount_equiv' and loans.days_past_due >= chosen.equivalent_days
                then (
                    select
                        sum(
                            instalments.principal_amount
                            + instalments.interest_amount
                            + instalments.fee_amount
                            + instalments.penalty_amount
                        )
                    from instalments
                    where
                        instalments.loan_id = loans.loan_id
                        and instalments.schedule_version = loans.schedule_version
                        and instalments.due_on > {{ as_of_date() }} - chosen.equivalent_days
                        and instalments.due_on <= {{ as_of_date() }}
                )
        end as equivalent_amount,
        {# The history has no gap, so a spell began on the day after the last one on which nothing was past due. #}
        case
            when chosen.dpd_convention = 'first_arrears' and loans.days_past_due > 0
                then (
                    select
                        coalesce(
                            max(history.valid_to) filter (where history.oldest_unpaid_due_on is null) + 1,
                            min(history.valid_from)
                        )
                    from history
                    where history.loan_id = loans.loan_id
                )
        end as in_arrears_since_on,
        case
            when loans.schedule_version >= 2
                then (
                    select min(instalments.effective_on)
                    from instalments
                    where
                        instalments.loan_id = loans.loan_id
                        and instalments.schedule_version = loans.schedule_version
                )
        end as rescheduled_on
    from loans
    inner join chosen
        on
            loans.product = chosen.product
            and loans.governing_law = chosen.governing_law
),

counted as (
    select
        looked_up.*,
        case
            when looked_up.dpd_convention not in ('mba', 'ots') then null
            when looked_up.oldest_unpaid_due_on is null then 0
            when looked_up.dpd_convention = 'mba'
                then {{ full_months('looked_up.oldest_unpaid_due_on', '(' ~ as_of_date() ~ ' + 1)') }}
            else {{ full_months('looked_up.oldest_unpaid_due_on', as_of_date()) }}
        end as months_past_due,
        case
            when looked_up.rescheduled_on is not null
                then (
                    select coalesce(looked_up.rescheduled_on - 1 - history.oldest_unpaid_due_on, 0)
                    from history
                    where
                        history.loan_id = looked_up.loan_id
                        and looked_up.rescheduled_on - 1 >= history.valid_from
                        and (history.valid_to is null or looked_up.rescheduled_on - 1 <= history.valid_to)
                )
        end as days_past_due_before_reschedule
    from looked_up
),

final as (
    select
        loan_id,
        dpd_convention,
        cast(
            case dpd_convention
                when 'rbi_day_end' then coalesce({{ as_of_date() }} - oldest_unpaid_at_day_end_on + 1, 0)
                when 'mba' then 30 * months_past_due
                when 'ots' then 30 * months_past_due
                when 'amount_equiv'
                    then case when arrears_amount < equivalent_amount then equivalent_days - 1 else days_past_due end
                when 'first_arrears' then coalesce({{ as_of_date() }} - in_arrears_since_on + 1, 0)
                else days_past_due
            end as integer
        ) as days_past_due_by_convention,
        months_past_due as months_past_due_by_convention,
        cast(days_past_due_before_reschedule as integer) as days_past_due_before_reschedule
    from counted
)

select * from final
