{# Places that are taken whatever the day decides: a placement's until it is recalled, whatever has become of the
   account, and that of an account which is held back: it comes back once its rows are mended. #}
with holdings as (
    select * from {{ ref('int_assignment__holdings') }}
),

loans as (
    select * from {{ ref('loan_delinquency') }}
),

final as (
    select
        contract_id,
        loan_id,
        cast(null as date) as placed_on
    from holdings
    where is_placement
    union all
    select
        holdings.contract_id,
        holdings.loan_id,
        holdings.held_since_on as placed_on
    from holdings
    inner join loans on holdings.loan_id = loans.loan_id
    where
        not holdings.is_placement
        and loans.held_back_reason is not null
)

select * from final
