"""What must be true of delivered concessions."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import amounts, from_contract
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, and dates that can be: a pause takes days off the count."""
    return gx.ExpectationSuite(
        "raw.forbearances",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.plausible("agreed_on"),
            amounts.plausible("starts_on"),
            amounts.plausible("ends_on"),
            _ends_after_it_starts(table),
        ],
    )


def _ends_after_it_starts(table: Table) -> ExpectNoRows:
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, delivered.ends_on || ', it starts on ' || delivered.starts_on as detail
        from delivered
        where delivered.ends_on < delivered.starts_on
        """,
        rules.row("ends-after-start", "No concession ends before it starts.", "the concession ends on {value}"),
    )
