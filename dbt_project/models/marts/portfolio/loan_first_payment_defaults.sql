{# The first instalment not paid within the days of the seed. Loans whose days are not over count neither way. #}
with loans as (
    select * from {{ ref('int_portfolio__loans_followed') }}
),

totalled as (
    select
        origination_month,
        currency,
        product,
        governing_law,
        count(*) as loan_count,
        count(*) filter (where is_first_payment_observed) as observed_count,
        count(*) filter (where first_payment_defaulted_on is not null) as first_payment_default_count,
        coalesce(sum(principal_amount) filter (where is_first_payment_observed), 0) as observed_amount,
        coalesce(
            sum(principal_amount) filter (where first_payment_defaulted_on is not null), 0
        ) as first_payment_default_amount
    from loans
    where first_due_on is not null
    group by origination_month, currency, product, governing_law
),

final as (
    select
        origination_month,
        currency,
        product,
        governing_law,
        cast(loan_count as integer) as loan_count,
        cast(observed_count as integer) as observed_count,
        cast(first_payment_default_count as integer) as first_payment_default_count,
        cast(
            first_payment_default_count / nullif(cast(observed_count as numeric), 0) as numeric(9, 8)
        ) as first_payment_default_share,
        cast(observed_amount as numeric(20, 4)) as observed_amount,
        cast(first_payment_default_amount as numeric(20, 4)) as first_payment_default_amount
    from totalled
)

select * from final
