{# What a revolving loan has drawn is the servicing system's latest figure by the month end, so a figure holds from the
   end of its own month until the month before the next one's. #}
{{ config(unlogged=true, indexes=[{'columns': ['loan_id', 'month_end_on'], 'unique': true}]) }}

with balances as (
    select * from {{ ref('stg_servicing__servicer_balances') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

last_of_month as (
    select distinct on (balances.loan_id, {{ month_end('balances.balance_on') }})
        balances.loan_id,
        {{ month_end('balances.balance_on') }} as month_end_on,
        balances.outstanding_principal_amount
    from balances
    inner join loans on balances.loan_id = loans.loan_id
    where
        loans.product = 'revolving'
        and balances.balance_on <= {{ as_of_date() }}
    order by balances.loan_id asc, {{ month_end('balances.balance_on') }} asc, balances.balance_on desc
),

followed as (
    select
        loan_id,
        month_end_on,
        outstanding_principal_amount,
        coalesce(
            lead(month_end_on) over (partition by loan_id order by month_end_on), {{ as_of_date() }} + 1
        ) as until_on
    from last_of_month
),

final as (
    select
        followed.loan_id,
        {{ month_end('months.month_on') }} as month_end_on,
        followed.outstanding_principal_amount
    from followed
    cross join
        generate_series(
            {{ month_start('followed.month_end_on') }},
            cast({{ month_start('followed.until_on') }} as timestamp),
            interval '1 month'
        ) as months (month_on)
    where {{ month_end('months.month_on') }} < followed.until_on
)

select * from final
