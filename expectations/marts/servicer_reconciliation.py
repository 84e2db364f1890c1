"""What must be true of the day's figures beside those that the servicing system states itself."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import rules

KEY = ("loan_id",)


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on the day's servicer_reconciliation, which is empty where the servicing system states nothing.

    Figures are told of on the day that they are stated for; the mart holds them until the next.
    """
    del working
    return gx.ExpectationSuite(
        "marts.servicer_reconciliation",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=0, meta=rules.table("rows-due", "Figures to compare are counted."), severity="info"
            ),
            rules.no_rows(
                f"""
                with rows as (select * from {{batch}})
                select loan_id,
                    'loan ' || loan_id || ': the servicing system says '
                    || coalesce(servicer_days_past_due || ' days', 'no days') || ' and '
                    || coalesce(trim_scale(servicer_arrears_amount) || ' ' || currency, 'no arrears') || ', ours are '
                    || coalesce(days_past_due || ' and ' || trim_scale(arrears_amount), 'none') as detail
                from rows
                where cause in ('unexplained', 'no_state') and balance_on = date '{as_of_date}'
                """,
                rules.table(
                    "figures-reconcile", "What the servicing system states of a loan is ours, or it is known why not."
                ),
                severity="warning",
            ),
        ],
    )
