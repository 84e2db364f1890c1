"""What must be true of delivered instalments."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations.raw import amounts, from_contract, schedules

COMPONENTS = ("principal_amount", "interest_amount", "fee_amount", "penalty_amount")


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, no negative component, dates that can be, versions that are one."""
    return gx.ExpectationSuite(
        "raw.instalments",
        expectations=[
            *from_contract.expectations(table, loaded),
            *(amounts.not_negative(component) for component in COMPONENTS),
            amounts.as_fine_as_the_currency(table, COMPONENTS, loaded, "instalment"),
            amounts.plausible("due_on"),
            amounts.plausible("effective_on"),
            amounts.not_far_ahead("effective_on", loaded),
            *schedules.not_before_disbursement(table, "due_on", loaded, "instalment falls due"),
            *schedules.version_is_one(table, loaded),
            schedules.first_version_adds_up(loaded),
        ],
    )
