{# Each account that had a row at one month end is followed to the next: into a bucket, a write-off, or out of the
   portfolio. A loan that is new at the later month end comes from nowhere and is no move; a written-off one has arrived.
   What is read twice is not materialised, or the join could not run in parallel. #}
{{ config(unlogged=true) }}

with month_ends as not materialized (
    select * from {{ ref('loan_month_ends') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

sold as (
    select loan_id from loans
    where status = 'sold'
),

moves as (
    select
        earlier.month_end_on + 1 as month,
        earlier.currency,
        earlier.product,
        earlier.governing_law,
        earlier.bucket as from_bucket,
        case
            when later.status = 'written_off' then later.status
            when later.loan_id is not null then later.bucket
            when sold.loan_id is not null then 'sold'
            else 'closed'
        end as to_bucket,
        greatest(earlier.outstanding_principal_amount, 0) as balance_amount
    from month_ends as earlier
    left join month_ends as later
        on
            earlier.loan_id = later.loan_id
            and cast(earlier.month_end_on + 1 + interval '1 month' as date) - 1 = later.month_end_on
    left join sold on earlier.loan_id = sold.loan_id
    where
        earlier.status <> 'written_off'
        and earlier.month_end_on + 1 < {{ month_start(as_of_date() ~ ' + 1') }}
),

final as (
    select
        month,
        currency,
        product,
        governing_law,
        from_bucket,
        to_bucket,
        count(*) as loan_count,
        cast(coalesce(sum(balance_amount), 0) as numeric(20, 4)) as balance_amount
    from moves
    group by month, currency, product, governing_law, from_bucket, to_bucket
)

select * from final
