{# Every loan that ever had a day, closed ones too: what they once were bears on what is. Where the lender gives no
   exposure class, the kind of borrower tells it. A value that several loans share is set against each of them in
   full. #}
with loans as (
    select * from {{ ref('stg_servicing__loans') }}
),

borrowers as (
    select * from {{ ref('stg_servicing__borrowers') }}
),

positions as (
    select * from {{ ref('loan_delinquency') }}
),

defaults as (
    select * from {{ ref('exposure_class_defaults') }}
),

rates as (
    select * from {{ ref('int_classification__currencies_converted') }}
),

collateral as (
    select * from {{ ref('stg_servicing__collateral') }}
),

collateral_loans as (
    select * from {{ ref('stg_servicing__collateral_loans') }}
),

valuations as (
    select * from {{ ref('stg_servicing__valuations') }}
),

latest_valuations as (
    select distinct on (collateral_id)
        collateral_id,
        amount
    from valuations
    where valued_on <= {{ as_of_date() }}
    order by collateral_id asc, valued_on desc, kind asc
),

secured as (
    select
        collateral_loans.loan_id,
        sum(latest_valuations.amount * rates.rate) as value_amount,
        sum(collateral_loans.prior_liens_amount * rates.rate) as prior_liens_amount
    from collateral_loans
    inner join collateral on collateral_loans.collateral_id = collateral.collateral_id
    inner join latest_valuations on collateral.collateral_id = latest_valuations.collateral_id
    inner join rates on collateral.currency = rates.currency
    where collateral.released_on is null or collateral.released_on > {{ as_of_date() }}
    group by collateral_loans.loan_id
),

final as (
    select
        loans.loan_id,
        loans.borrower_id,
        borrowers.group_id,
        loans.product,
        loans.currency,
        loans.disbursed_on,
        loans.status,
        loans.status_on,
        coalesce(loans.exposure_class, defaults.exposure_class) as exposure_class,
        loans.tolerance_amount,
        loans.principal_amount,
        loans.effective_rate,
        loans.interest_rate,
        loans.default_probability_at_origination,
        coalesce(loans.is_credit_impaired_at_origination, false) as is_credit_impaired_at_origination,
        positions.loan_id is not null as has_position,
        coalesce(positions.days_past_due, 0) as days_past_due,
        positions.outstanding_amount,
        rates.rate as conversion_rate,
        cast(
            (positions.outstanding_amount * rates.rate + secured.prior_liens_amount) / nullif(secured.value_amount, 0)
            as numeric(14, 8)
        ) as loan_to_value_ratio
    from loans
    left join borrowers on loans.borrower_id = borrowers.borrower_id
    left join defaults on coalesce(borrowers.kind, 'unknown') = defaults.borrower_kind
    left join positions on loans.loan_id = positions.loan_id
    left join rates on loans.currency = rates.currency
    left join secured on loans.loan_id = secured.loan_id
    where loans.disbursed_on <= {{ as_of_date() }}
)

select * from final
