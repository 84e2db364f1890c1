"""What must be true of delivered concessions."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, and dates that can be: a pause takes days off the count."""
    return gx.ExpectationSuite(
        "raw.forbearances",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.plausible("agreed_on"),
            amounts.plausible("starts_on"),
            amounts.plausible("ends_on"),
        ],
    )
