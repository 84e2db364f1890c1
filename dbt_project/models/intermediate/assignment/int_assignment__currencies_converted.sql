with quotations as (
    select * from {{ ref('stg_servicing__fx_rates') }}
),

loans as (
    select distinct currency from {{ ref('loan_delinquency') }}
),

contracts as (
    select distinct currency from {{ ref('stg_servicing__agency_contracts') }}
    where currency is not null
),

currencies as (
    select currency from loans
    union
    select currency from contracts
),

{{ conversion_ways() }},

final as (
    select
        currency,
        rate,
        quoted_on,
        through_currency
    from conversions
)

select * from final
