"""Whether the portfolio lies near where it lay on the last exported days."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe

from arrears.gate.thresholds import thresholds
from expectations import drift, rules

TABLE = "int_quality__portfolio_compared"
KEY = ("measure", "column_name")


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on balance and lateness of each currency beside those of days exported before."""
    del working
    return gx.ExpectationSuite(
        "marts.drift",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=0,  # nobody owes anything that is not written off
                meta=rules.table("rows-due", "Measures of the portfolio are counted."),
                severity="info",
                description="Measures of the portfolio are counted.",
            ),
            *drift.expectations(("balance", "par_30_share"), thresholds(as_of_date), KEY),
        ],
    )
