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
            _interest_rate_is_a_ratio(),
            _currency_stays(table, loaded),
            _currency_can_be_converted(loaded),
            schedules.has_instalments(loaded),
            schedules.reaches_maturity(loaded),
            schedules.has_disbursement(loaded),
            schedules.principal_is_the_schedules(loaded),
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


def _interest_rate_is_a_ratio() -> ExpectNoRows:
    return rules.no_rows(
        """
        with delivered as (select * from {batch})
        select delivered._batch_id, delivered.loan_id,
            'loan ' || delivered.loan_id || ' bears ' || trim_scale(delivered.interest_rate) || ' a year' as detail
        from delivered
        where delivered.interest_rate > 1
        """,
        rules.table("interest_rate-ratio", "An interest rate is a ratio: 0.072, not 7.2 percent."),
        severity="warning",
    )


def _currency_stays(table: Table, loaded: Loaded) -> ExpectNoRows:
    """Its schedule and its bookings have none of their own: all of them would be in another currency overnight."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)}, upper(delivered.currency) || ', it was ' || upper(known.currency) as detail
        from delivered
        inner join {loaded.in_force("loans")} as known
            on delivered.loan_id = known.loan_id and delivered._source = known._source
        where upper(delivered.currency) <> upper(known.currency)
        """,
        rules.row(
            "currency-stays",
            "A known loan stays in its currency.",
            "the loan is in {value}; the version known before stays in force",
        ),
    )


def _currency_can_be_converted(loaded: Loaded) -> ExpectNoRows:
    """Nobody can weigh such a loan against others; where no rate at all is delivered, there is one currency."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        quotes as (
            select currency, base_currency from raw.fx_rates where _batch_id in {loaded.batches_sql} and not _is_deleted
            union
            select known.currency, known.base_currency from {loaded.in_force("fx_rates")} as known
        ),
        quoted as (
            select upper(currency) as currency from quotes
            union
            select upper(base_currency) as currency from quotes
        )
        select delivered._batch_id, delivered.loan_id,
            'loan ' || delivered.loan_id || ' is in ' || delivered.currency || ', which nobody quotes' as detail
        from delivered
        where delivered.status in ('active', 'written_off')
            and upper(delivered.currency) not in (select currency from quoted)
            and exists (select 1 from quoted)
        """,
        rules.table("currency-convertible", "Every loan's currency has exchange rates, where any has."),
        severity="warning",
    )
