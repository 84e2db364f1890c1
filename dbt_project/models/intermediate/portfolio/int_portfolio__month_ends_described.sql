{# Pauses, grace and buckets are applied here as loan_delinquency applies them at D; a month end reads as D did, had
   what is known now been known then. Bucket edges are looked up in an array and revolving balances where they are needed
   alone: joins of ranges, or of all month ends, would cost more than all the rest. #}
{{ config(materialized='view') }}

with month_ends as (
    select * from {{ ref('int_delinquency__month_ends') }}
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

joined as (
    select
        month_ends.month_end_on,
        month_ends.loan_id,
        month_ends.status,
        month_ends.oldest_unpaid_due_on,
        month_ends.arrears_amount,
        loans.currency,
        loans.product,
        loans.governing_law,
        loans.grace_days,
        coalesce(
            month_ends.outstanding_principal_amount,
            (
                select revolving_balances.outstanding_principal_amount
                from revolving_balances
                where
                    revolving_balances.loan_id = month_ends.loan_id
                    and revolving_balances.month_end_on = month_ends.month_end_on
            )
        ) as outstanding_principal_amount,
        coalesce(restructured.restructured_on <= month_ends.month_end_on, false) as is_restructured,
        coalesce(month_ends.month_end_on - month_ends.oldest_unpaid_due_on, 0) as days_past_due,
        case
            when pauses.paused_on is null or month_ends.oldest_unpaid_due_on is null then 0
            else (
                select cast(coalesce(sum(upper(stretches.stretch) - lower(stretches.stretch)), 0) as integer)
                from
                    unnest(
                        pauses.paused_on
                        * datemultirange(daterange(month_ends.oldest_unpaid_due_on, month_ends.month_end_on, '[)'))
                    ) as stretches (stretch)
            )
        end as days_paused
    from month_ends
    inner join loans on month_ends.loan_id = loans.loan_id
    left join pauses on month_ends.loan_id = pauses.loan_id
    left join restructured on month_ends.loan_id = restructured.loan_id
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
