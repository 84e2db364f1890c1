{# Pauses, grace and buckets are applied here as loan_delinquency applies them at D; a month end reads as D did, had
   what is known now been known then. Bucket edges are looked up in an array and revolving balances where they are needed
   alone: joins of ranges, or of all month ends, would cost more than all the rest.

   The mart is kept from day to day: the month ends of loans that were computed again since marts were published are put
   in anew, and a month that ended since is new for all. #}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook=[
            "{{ take_unpublished_out('kept.month_end_on >= touched.changed_from') }}",
            "{{ take_month_ends_out() }}",
        ],
        post_hook=["analyze {{ this }}", "{{ mark_kept() }}"],
    )
}}

with month_ends as not materialized (
    select * from {{ ref('int_delinquency__month_ends') }}
),

touched as (
    select * from {{ source('ops', 'unpublished_loans') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

forbearances as (
    select * from {{ ref('stg_servicing__forbearances') }}
),

restructuring_kinds as (
    select * from {{ ref('restructuring_kinds') }}
),

revolving_balances as (
    select * from {{ ref('int_portfolio__revolving_balances_dated') }}
),

buckets as (
    select * from {{ ref('delinquency_buckets') }}
),

bucket_edges as (
    select
        array_agg(bucket order by days_from) as bucket_names,
        array_agg(days_from order by days_from) as edges
    from buckets
),

pauses as (
    select
        loan_id,
        range_agg(daterange(starts_on, ends_on, '[)')) as paused_on
    from forbearances
    where kind = 'delinquency_pause' and (ends_on is null or ends_on > starts_on)
    group by loan_id
),

restructured as (
    select
        forbearances.loan_id,
        min(forbearances.agreed_on) as restructured_on
    from forbearances
    inner join restructuring_kinds on forbearances.kind = restructuring_kinds.forbearance_kind
    where restructuring_kinds.is_restructuring and forbearances.is_distressed
    group by forbearances.loan_id
),

of_touched as (
    select month_ends.*
    from month_ends
    inner join touched on month_ends.loan_id = touched.loan_id
    where {{
        'month_ends.month_end_on >= least(touched.changed_from, ' ~ kept_until() ~ ' + 1)' if is_incremental() else 'false'
    }}
),

of_others as (
    select month_ends.*
    from month_ends
    {% if is_incremental() %}
    left join touched on month_ends.loan_id = touched.loan_id
    where
        touched.loan_id is null
        and {{ kept_until() }} < {{ month_start(as_of_date() ~ ' + 1') }} - 1
        and month_ends.month_end_on > {{ kept_until() }}
    {% endif %}
),

to_describe as (
    select * from of_touched
    union all
    select * from of_others
),

joined as (
    select
        to_describe.month_end_on,
        to_describe.loan_id,
        to_describe.status,
        to_describe.oldest_unpaid_due_on,
        to_describe.arrears_amount,
        loans.currency,
        loans.product,
        loans.governing_law,
        loans.grace_days,
        coalesce(
            to_describe.outstanding_principal_amount,
            (
                select revolving_balances.outstanding_principal_amount
                from revolving_balances
                where
                    revolving_balances.loan_id = to_describe.loan_id
                    and revolving_balances.month_end_on = to_describe.month_end_on
            )
        ) as outstanding_principal_amount,
        coalesce(restructured.restructured_on <= to_describe.month_end_on, false) as is_restructured,
        coalesce(to_describe.month_end_on - to_describe.oldest_unpaid_due_on, 0) as days_past_due,
        case
            when pauses.paused_on is null or to_describe.oldest_unpaid_due_on is null then 0
            else (
                select cast(coalesce(sum(upper(stretches.stretch) - lower(stretches.stretch)), 0) as integer)
                from
                    unnest(
                        pauses.paused_on
                        * datemultirange(daterange(to_describe.oldest_unpaid_due_on, to_describe.month_end_on, '[)'))
                    ) as stretches (stretch)
            )
        end as days_paused
    from to_describe
    inner join loans on to_describe.loan_id = loans.loan_id
    left join pauses on to_describe.loan_id = pauses.loan_id
    left join restructured on to_describe.loan_id = restructured.loan_id
),

counted as (
    select
        *,
        greatest(days_past_due - days_paused - grace_days, 0) as days_delinquent
    from joined
),

final as (
    select
        counted.month_end_on,
        counted.loan_id,
        counted.currency,
        counted.product,
        counted.governing_law,
        counted.status,
        (bucket_edges.bucket_names)[width_bucket(counted.days_delinquent, bucket_edges.edges)] as bucket,
        counted.is_restructured,
        counted.days_past_due,
        counted.days_delinquent,
        case
            when counted.oldest_unpaid_due_on is null then 0
            else {{ full_months('counted.oldest_unpaid_due_on', '(counted.month_end_on + 1)') }}
        end as mba_status,
        case
            when counted.oldest_unpaid_due_on is null then 0
            else {{ full_months('counted.oldest_unpaid_due_on', 'counted.month_end_on') }}
        end as ots_status,
        counted.arrears_amount,
        counted.outstanding_principal_amount
    from counted
    cross join bucket_edges
)

select * from final
