"""What must be true of delivered loans."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import amounts, from_contract, schedules
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules and those on a loan's terms."""
    return gx.ExpectationSuite(
        "raw.loans",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.positive("principal_amount"),
            amounts.not_negative("tolerance_amount"),
            amounts.not_negative("grace_days"),
            amounts.plausible("disbursed_on"),
            amounts.plausible("maturity_on"),
            amounts.plausible("status_on"),
            amounts.plausible("called_on"),
            amounts.not_far_ahead("disbursed_on", loaded),
            amounts.not_far_ahead("status_on", loaded),
            amounts.as_fine_as_the_currency(table, ["principal_amount"], loaded),
            _matures_after_disbursement(table),
            _allocation_order_names_components(table),
            schedules.has_instalments(loaded),
        ],
    )


def _matures_after_disbursement(table: Table) -> ExpectNoRows:
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, delivered.maturity_on || ' before ' || delivered.disbursed_on as detail
        from delivered
        where delivered.maturity_on < delivered.disbursed_on
        """,
        rules.row("maturity-after-disbursement", "No loan matures before it is disbursed.", "the loan matures {value}"),
    )


def _allocation_order_names_components(table: Table) -> ExpectNoRows:
    """The replay pays components in this order; a name it does not know would silently be paid last."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, delivered.allocation_order as detail
        from delivered
        where exists (
            select 1 from unnest(string_to_array(delivered.allocation_order, '>')) as component
            where trim(component) not in ('principal', 'interest', 'fee', 'penalty')
        )
        """,
        rules.row(
            "allocation_order-components",
            "allocation_order names components: principal, interest, fee, penalty, with > between them.",
            "allocation_order is {value}, which names no component",
        ),
    )
