"""What must be true of delivered exchange rates."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import amounts, from_contract
from expectations.raw.from_contract import identity

# A currency that lost a tenth within days is news; one that is worth five times as much has lost its decimal point.
LARGEST_USUAL_CHANGE = "1.1"
LARGEST_CHANGE = "5"
# Rates further apart say nothing of one another.
DAYS_COMPARED = 31


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, a rate above 0 (amounts are multiplied by it), and one that follows from the last."""
    return gx.ExpectationSuite(
        "raw.fx_rates",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.positive("rate"),
            rules.no_rows(
                f"""{_beside_the_last(table, loaded)}
                select {identity(table, "compared")}, compared.detail from compared
                where compared.change > {LARGEST_CHANGE}
                """,
                rules.row(
                    "rate-not-far-off",
                    f"No rate is {LARGEST_CHANGE} times the last one, or a part of it.",
                    "the rate is {value}; the last one stays in force",
                ),
            ),
            rules.no_rows(
                f"""{_beside_the_last(table, loaded)}
                select compared._batch_id, compared.currency, compared.currency || ': ' || compared.detail as detail
                from compared
                where compared.change > {LARGEST_USUAL_CHANGE} and compared.change <= {LARGEST_CHANGE}
                """,
                rules.table("rate-near-last", "A rate is within a tenth of the last one."),
                severity="warning",
            ),
        ],
    )


def _beside_the_last(table: Table, loaded: Loaded) -> str:
    """CTEs: compared, the rates delivered with how many times larger, or smaller, they are than the last before."""
    same = " and ".join(f"known.{column} = delivered.{column}" for column in table.primary_key)
    return f"""
        with delivered as (select * from {{batch}}),
        quotes as (
            select currency, base_currency, quoted_on, rate from delivered
            union all
            select known.currency, known.base_currency, known.quoted_on, known.rate
            from {loaded.in_force("fx_rates")} as known
            where (known.currency, known.base_currency) in (select currency, base_currency from delivered)
                and not exists (select 1 from delivered where {same})
        ),
        followed as (
            select currency, base_currency, quoted_on,
                lag(rate) over last_one as last_rate,
                lag(quoted_on) over last_one as last_on
            from quotes
            where rate > 0
            window last_one as (partition by currency, base_currency order by quoted_on, rate)
        ),
        compared as (
            select delivered.*,
                greatest(delivered.rate / followed.last_rate, followed.last_rate / delivered.rate) as change,
                trim_scale(delivered.rate) || ' after ' || trim_scale(followed.last_rate) || ' on ' || followed.last_on
                as detail
            from delivered
            inner join followed
                on delivered.currency = followed.currency and delivered.base_currency = followed.base_currency
                    and delivered.quoted_on = followed.quoted_on
            where delivered.rate > 0 and delivered.quoted_on - followed.last_on <= {DAYS_COMPARED}
        )"""
