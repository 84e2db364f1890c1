with quotations as (
    select * from {{ ref('stg_servicing__fx_rates') }}
),

loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

materiality as (
    select * from {{ ref('int_classification__book_materiality') }}
),

collateral as (
    select * from {{ ref('stg_servicing__collateral') }}
),

reports as (
    select * from {{ ref('stg_servicing__credit_reports') }}
),

currencies as (
    select currency from loans
    union
    select currency from materiality
    union
    select currency from collateral
    union
    select currency from reports
),

{{ conversion_ways() }},

final as (
    select
        currency,
        rate
    from conversions
)

select * from final
