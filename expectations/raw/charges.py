"""What must be true of delivered charges."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, an amount above 0, dates that can be."""
    return gx.ExpectationSuite(
        "raw.charges",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.positive("amount"),
            amounts.as_fine_as_the_currency(table, ["amount"], loaded),
            amounts.plausible("due_on"),
            amounts.plausible("waived_on"),
        ],
    )
