"""What must be true of the portfolio at risk: it is the sum of the loans, cut in another way."""

from datetime import date

import great_expectations as gx

from expectations import rules

KEY = ("currency", "product", "governing_law")


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on the day's portfolio_at_risk."""
    return gx.ExpectationSuite(
        "marts.portfolio_at_risk",
        expectations=[
            rules.no_rows(
                f"""
                with rows as (select * from {{batch}}),
                segments as (
                    select currency, sum(balance_amount) as balance_amount, sum(loan_count) as loan_count
                    from rows where as_of_date = date '{as_of_date}' group by currency
                ),
                loans as (
                    select
                        currency,
                        coalesce(sum(outstanding_principal_amount), 0) as balance_amount,
                        count(*) as loan_count
                    from {working}.loan_delinquency where status <> 'written_off' group by currency
                )
                select coalesce(loans.currency, segments.currency) as currency,
                    coalesce(loans.currency, segments.currency) || ' ' || coalesce(segments.balance_amount, 0)
                    || ' against ' || coalesce(loans.balance_amount, 0) || ' in loan_delinquency' as detail
                from segments
                full outer join loans on segments.currency = loans.currency
                where segments.balance_amount is distinct from loans.balance_amount
                    or segments.loan_count is distinct from loans.loan_count
                """,
                rules.table("balances-add-up", "Balances and counts by currency are those of loan_delinquency."),
            ),
            rules.no_rows(
                """
                with rows as (select * from {batch})
                select currency, product, governing_law, currency || ' ' || product as detail from rows
                where not (
                    par_90_amount <= par_60_amount
                    and par_60_amount <= par_30_amount
                    and par_30_amount <= balance_amount
                )
                """,
                rules.table("parts-within-whole", "Of the balance, no more is 90 days late than 60, 60 than 30."),
            ),
        ],
    )
