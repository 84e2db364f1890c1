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
        post_hook=["{{ mark_kept() }}", "{{ analyse_kept() }}"],
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
            loans_followed.follows_from,
            least(touched.changed_from, coalesce({{ kept_until() }} + 1, touched.changed_from))
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

stacks_followed as (
    select
        spans.loan_id,
        spans.tolerance_amount,
        spans.written_off_on,
        greatest(spans.computed_from, stacked.epoch_from) as followed_from,
        least(spans.follows_to, stacked.epoch_until - 1) as followed_to,
        stacked.is_replayed,
        {{ unpacked() }}
    from spans
    inner join stacked on spans.loan_id = stacked.loan_id
    where
        stacked.epoch_from <= spans.follows_to
        and stacked.epoch_until > spans.computed_from
        and spans.computed_from <= spans.follows_to
    offset 0 -- noqa: AM09
),

evaluated as (
    select
        stacked.loan_id,
        stacked.epoch_from,
        states.state_on as month_end_on,
        stacked.tolerance_amount,
        stacked.written_off_on,
        stacked.is_revolving,
        stacked.is_replayed,
        states.oldest_unpaid_due_on,
        states.arrears_amount,
        states.unpaid_principal_amount,
        states.coming_principal_amount,
        states.undrawn_amount
    from stacks_followed as stacked
    cross join lateral {{ states_on("(
                select cast(months.month_on + interval '1 month' as date) - 1 as state_on
                from
                    generate_series(
                        date_trunc('month', cast(stacked.followed_from as timestamp)),
                        cast(stacked.followed_to as timestamp),
                        interval '1 month'
                    ) as months (month_on)
                where cast(months.month_on + interval '1 month' as date) - 1 <= stacked.followed_to
            )") }} as states
),

replayed_too as (
    select
        evaluated.loan_id,
        evaluated.month_end_on,
        evaluated.tolerance_amount,
        evaluated.written_off_on,
        evaluated.is_revolving,
        evaluated.coming_principal_amount,
        evaluated.undrawn_amount,
        case
            when evaluated.is_replayed then replayed.oldest_unpaid_due_on else evaluated.oldest_unpaid_due_on
        end as oldest_unpaid_due_on,
        case
            when evaluated.is_replayed
                then
                    replayed.arrears_principal_amount
                    + replayed.arrears_interest_amount
                    + replayed.arrears_fee_amount
                    + replayed.arrears_penalty_amount
            else evaluated.arrears_amount
        end as arrears_amount,
        case
            when evaluated.is_replayed then replayed.unpaid_principal_amount else evaluated.unpaid_principal_amount
        end as unpaid_principal_amount
    from evaluated
    left join replayed
        on
            evaluated.is_replayed
            and evaluated.loan_id = replayed.loan_id
            and evaluated.epoch_from = replayed.epoch_from
            and evaluated.month_end_on >= replayed.state_on
            and evaluated.month_end_on < replayed.state_until
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
    from replayed_too
)

select * from final
