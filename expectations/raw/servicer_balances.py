"""What must be true of the servicing system's own figures."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules and a day that can be; what the figures are is for `servicer_reconciliation`."""
    return gx.ExpectationSuite(
        "raw.servicer_balances",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.plausible("balance_on"),
            amounts.not_far_ahead("balance_on", loaded),
        ],
    )
