"""What must be true of delivered exchange rates."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules and a rate above 0: amounts are multiplied by it."""
    return gx.ExpectationSuite(
        "raw.fx_rates", expectations=[*from_contract.expectations(table, loaded), amounts.positive("rate")]
    )
