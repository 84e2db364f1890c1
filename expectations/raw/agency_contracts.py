"""What must be true of delivered placement contracts."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import amounts, from_contract
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows


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
            _range_holds_something(table),
        ],
    )


def _range_holds_something(table: Table) -> ExpectNoRows:
    """A contract for accounts of 90 to 60 days would be given none, without a word."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)},
            case
                when delivered.dpd_to < delivered.dpd_from
                    then delivered.dpd_from || ' to ' || delivered.dpd_to || ' days past due'
                else 'balances of ' || trim_scale(delivered.balance_from) || ' to ' || trim_scale(delivered.balance_to)
            end as detail
        from delivered
        where delivered.dpd_to < delivered.dpd_from or delivered.balance_to < delivered.balance_from
        """,
        rules.row("range-holds-something", "A contract's ranges hold something.", "it is for {value}, which is none"),
    )
