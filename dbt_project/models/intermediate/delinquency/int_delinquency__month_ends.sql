{# A loan at every month end of its life up to D, as known at D. A touched loan is computed again from the day on which
   it was touched; a month end that passed since the last build is new for all. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        access='protected',
        indexes=[{'columns': ['loan_id']}],
        pre_hook=[
            "{{ take_touched_out('kept.month_end_on >= touched.changed_from') }}",
            "{{ take_month_ends_out() }}",
        ],
        post_hook="{{ mark_kept() }}",
    )
}}

with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

touched as (  -- noqa: ST03
    select * from {{ ref('int_delinquency__loans_touched') }}
),

stacked as (
    select * from {{ ref('int_delinquency__loans_stacked') }}
),

replayed as (
    select * from {{ ref('int_delinquency__days_replayed') }}
),

loans_followed as (
    select
        loans.loan_id,
        loans.tolerance_amount,
        loans.disbursed_on as follows_from,
        case when loans.status = 'written_off' then loans.status_on end as written_off_on,
        case
            when loans.status in ('closed', 'sold') then least({{ as_of_date() }}, loans.status_on - 1)
            else {{ as_of_date() }}
        end as follows_to
    from loans
),

{% if is_incremental() %}
spans as (
    select
        loans_followed.*,
        greatest(
            loans_followed.follows_from, least(touched.changed_from, coalesce({{ kept_until() }} + 1, touched.changed_from))
        ) as computed_from
    from loans_followed
    inner join touched on loans_followed.loan_id = touched.loan_id
    union all
    select
        loans_followed.*,
        greatest(loans_followed.follows_from, {{ kept_until() }} + 1) as computed_from
    from loans_followed
    left join touched on loans_followed.loan_id = touched.loan_id
    where
        touched.loan_id is null
        and {{ kept_until() }} < cast(date_trunc('month', {{ as_of_date() }} + 1) as date) - 1
),
{% else %}
spans as (
    select
        loans_followed.*,
        loans_followed.follows_from as computed_from
    from loans_followed
),
{% endif %}

days as (
    select
        spans.loan_id,
        spans.tolerance_amount,
        spans.written_off_on,
        cast(month_starts.month_on + interval '1 month' as date) - 1 as month_end_on
    from spans
    cross join
        lateral generate_series(
            date_trunc('month', cast(spans.computed_from as timestamp)),
            cast(spans.follows_to as timestamp),
            interval '1 month'
        ) as month_starts (month_on)
    where
        spans.computed_from <= spans.follows_to
        and cast(month_starts.month_on + interval '1 month' as date) - 1 <= spans.follows_to
),

evaluated as (
    select
        days.loan_id,
        days.month_end_on,
        days.tolerance_amount,
        days.written_off_on,
        stacked.is_revolving,
        case
            when stacked.is_replayed then replayed.oldest_unpaid_due_on
            else {{ oldest_unpaid_due_on() }}
        end as oldest_unpaid_due_on,
        case
            when stacked.is_replayed
                then
                    replayed.arrears_principal_amount
                    + replayed.arrears_interest_amount
                    + replayed.arrears_fee_amount
                    + replayed.arrears_penalty_amount
            else {{ arrears_amount() }}
        end as arrears_amount,
        case
            when stacked.is_replayed then replayed.unpaid_principal_amount
            else {{ unpaid_principal_amount() }}
        end as unpaid_principal_amount,
        {{ coming_principal_amount('days.month_end_on') }} as coming_principal_amount,
        {{ undrawn_amount('days.month_end_on') }} as undrawn_amount
    from days
    inner join stacked
        on
            days.loan_id = stacked.loan_id
            and days.month_end_on >= stacked.epoch_from
            and days.month_end_on < stacked.epoch_until
    left join replayed
        on
            stacked.loan_id = replayed.loan_id
            and stacked.epoch_from = replayed.epoch_from
            and days.month_end_on >= replayed.state_on
            and days.month_end_on < replayed.state_until
    {{ state_on('days.month_end_on') }}
),

final as (
    select
        loan_id,
        month_end_on,
        case when written_off_on <= month_end_on then 'written_off' else 'active' end as status,
        case when arrears_amount > tolerance_amount then oldest_unpaid_due_on end as oldest_unpaid_due_on,
        cast(arrears_amount as numeric(20, 4)) as arrears_amount,
        cast(
            case
                when not is_revolving then unpaid_principal_amount + coming_principal_amount - undrawn_amount
            end as numeric(20, 4)
        ) as outstanding_principal_amount
    from evaluated
)

select * from final
