{# On which day a loan was 30, 60 and 90 days late for the first time follows from its stretches: a loan that was late
   between two month ends counts as much as one that was late at one. #}
{{ config(unlogged=true) }}

with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

history as (
    select * from {{ ref('loan_delinquency_history') }}
),

first_instalments as (
    select * from {{ ref('int_portfolio__first_instalments_selected') }}
),

limits as (
    select * from {{ ref('int_portfolio__limits_in_force') }}
),

late as (
    select
        loan_id,
        valid_from,
        oldest_unpaid_due_on,
        coalesce(valid_to, {{ as_of_date() }}) as last_on
    from history
    where oldest_unpaid_due_on is not null
),

first_late as (
    select
        late.loan_id,
        {% for days in [30, 60, 90] %}
        min(greatest(late.valid_from, late.oldest_unpaid_due_on + {{ days }})) filter (
            where late.last_on - late.oldest_unpaid_due_on >= {{ days }}
        ) as late_{{ days }}_on,
        {% endfor %}
        min(
            greatest(late.valid_from, late.oldest_unpaid_due_on + limits.first_payment_default_after_days)
        ) filter (
            where
            late.oldest_unpaid_due_on = first_instalments.first_due_on
            and late.last_on - late.oldest_unpaid_due_on >= limits.first_payment_default_after_days
        ) as first_payment_defaulted_on
    from late
    left join first_instalments on late.loan_id = first_instalments.loan_id
    cross join limits
    group by late.loan_id
),

final as (
    select
        loans.loan_id,
        loans.currency,
        loans.product,
        loans.governing_law,
        {{ month_start('loans.disbursed_on') }} as origination_month,
        loans.principal_amount,
        first_late.late_30_on,
        first_late.late_60_on,
        first_late.late_90_on,
        first_instalments.first_due_on,
        first_late.first_payment_defaulted_on,
        case
            when first_late.first_payment_defaulted_on is not null then true
            when
                loans.status = 'sold'
                and loans.status_on <= first_instalments.first_due_on + limits.first_payment_default_after_days
                then false
            else first_instalments.first_due_on + limits.first_payment_default_after_days <= {{ as_of_date() }}
        end as is_first_payment_observed
    from loans
    left join first_late on loans.loan_id = first_late.loan_id
    left join first_instalments on loans.loan_id = first_instalments.loan_id
    cross join limits
    where loans.disbursed_on <= {{ as_of_date() }}
)

select * from final
