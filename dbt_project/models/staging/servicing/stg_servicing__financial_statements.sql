with known as (
    {{ latest_known(source('servicing', 'financial_statements')) }}
),

final as (
    select
        borrower_id,
        period_ends_on,
        published_on,
        months,
        upper(currency) as currency,
        current_assets,
        inventory,
        prepaid_expenses,
        cash,
        fixed_assets,
        total_assets,
        current_liabilities,
        financial_debt,
        total_liabilities,
        retained_earnings,
        equity,
        market_value,
        revenue,
        ebit,
        ebitda,
        interest_expense,
        debt_service,
        operating_cash_flow,
        is_audited
    from known
)

select * from final
