"""Signs and fineness of figures, and dates that can be.

Amounts are positive, the kind of the row gives the direction: the contract says so.
"""

from collections.abc import Sequence
from datetime import timedelta

import great_expectations.expectations as gxe

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows

FIRST_YEAR, LAST_YEAR = "1900-01-01", "2200-12-31"

# What is dated further ahead of its delivery would wait for ever without a word.
MOST_DAYS_AHEAD = 366


def positive(column: str) -> gxe.ExpectColumnValuesToBeBetween:
    """An amount above 0."""
    meta = rules.row(f"{column}-positive", f"{column} is above 0.", f"{column} is {{value}}, not above 0")
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=0, strict_min=True, meta=meta, description=meta["sentence"]
    )


def not_negative(column: str) -> gxe.ExpectColumnValuesToBeBetween:
    """An amount or a count that may be 0."""
    meta = rules.row(f"{column}-not-negative", f"{column} is not below 0.", f"{column} is {{value}}, below 0")
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, meta=meta, description=meta["sentence"])


def plausible(column: str) -> gxe.ExpectColumnValuesToBeBetween:
    """A date on which something can fall due; 0206 and 20026 are slips of the finger."""
    meta = rules.row(
        f"{column}-plausible",
        f"{column} lies between {FIRST_YEAR} and {LAST_YEAR}.",
        f"{column} is {{value}}, outside {FIRST_YEAR} to {LAST_YEAR}",
    )
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=FIRST_YEAR, max_value=LAST_YEAR, meta=meta, description=meta["sentence"]
    )


def not_far_ahead(column: str, loaded: Loaded) -> gxe.ExpectColumnValuesToBeBetween:
    """A date from which a row counts: a slip of the finger in its year would leave the row without any effect."""
    latest = max(batch.batch_date for batch in loaded.batches) + timedelta(days=MOST_DAYS_AHEAD)
    meta = rules.row(
        f"{column}-not-far-ahead",
        f"{column} lies at most {MOST_DAYS_AHEAD} days after the delivery.",
        f"{column} is {{value}}, more than {MOST_DAYS_AHEAD} days after the delivery",
        is_waivable=True,
    )
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, max_value=latest.isoformat(), meta=meta, description=meta["sentence"]
    )


def as_fine_as_the_currency(table: Table, columns: Sequence[str], loaded: Loaded, name: str = "") -> ExpectNoRows:
    """No amount is finer than its currency's minor unit: 10.005 EUR or 10.5 JPY can neither be asked for nor paid.

    Args:
        table: loans, or a table with a loan_id, whose amounts are in the loan's currency.
        columns: the amounts.
        loaded: has the decimals by currency; an amount in another currency is not checked.
        name: what the amounts are called together; of one, its column.
    """
    name = name or columns[0]
    units = ", ".join(f"('{currency}', {digits})" for currency, digits in sorted(loaded.minor_units.items()))
    is_finer = {column: f"delivered.{column} <> round(delivered.{column}, units.digits)" for column in columns}
    finer = " ".join(f"when {condition} then delivered.{column}" for column, condition in is_finer.items())
    # The loan's currency as delivered beside the row, else as known.
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        beside as (
            select _source, loan_id, min(currency) as currency from raw.loans
            where _batch_id in {loaded.batches_sql} and not _is_deleted group by _source, loan_id
        ),
        units as (select * from (values {units}) as unit (currency, digits))
        select {identity(table)}, trim_scale(case {finer} end) || ' ' || units.currency as detail
        from delivered
        left join beside on delivered.loan_id = beside.loan_id and delivered._source = beside._source
        left join {loaded.in_force("loans")} as known
            on delivered.loan_id = known.loan_id and delivered._source = known._source
        inner join units on upper(coalesce(beside.currency, known.currency)) = units.currency
        where {" or ".join(is_finer.values())}
        """,
        rules.row(
            f"{name}-minor-unit",
            f"{name} is no finer than its currency's minor unit.",
            f"{name} is {{value}}, finer than the currency's minor unit",
            is_waivable=True,
        ),
    )
