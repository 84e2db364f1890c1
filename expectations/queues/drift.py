"""Whether as many accounts are in collection, and given to recipients, as on the last exported days."""

from datetime import date

import great_expectations as gx

from arrears.gate.thresholds import thresholds
from expectations import drift, rules

TABLE = "int_quality__assignment_compared"
KEY = ("measure",)


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on the counts of accounts beside those of days exported before."""
    del working
    return gx.ExpectationSuite(
        "queues.drift",
        expectations=[
            rules.rows_are_due("The assignment's counts are there to compare."),
            *drift.expectations(("loans_to_place", "loans_placed"), thresholds(as_of_date), KEY),
        ],
    )
