"""What must be true of delivered placement contracts."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules and limits that can be kept: the assignment takes them as they stand."""
    return gx.ExpectationSuite(
        "raw.agency_contracts",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.not_negative("capacity"),
            amounts.not_negative("daily_intake"),
            amounts.not_negative("fixed_cost_amount"),
            amounts.not_negative("dpd_from"),
        ],
    )
