"""What must be true of delivered instalments."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract

COMPONENTS = ("principal_amount", "interest_amount", "fee_amount", "penalty_amount")


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, no negative component, a due date that can be."""
    return gx.ExpectationSuite(
        "raw.instalments",
        expectations=[
            *from_contract.expectations(table, loaded),
            *(amounts.not_negative(component) for component in COMPONENTS),
            amounts.plausible("due_on"),
            amounts.plausible("effective_on"),
        ],
    )
