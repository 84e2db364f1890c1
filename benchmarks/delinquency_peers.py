"""What the delinquency models are measured against: the same figures, computed from the same rows by other engines.

All of them leave out the loans that only a replay can tell (component_first, waivers, refunds, charges that lapse: 2 %
of the loans, which the product does compute) and know gross schedules, reversals, charges, both allocation orders that
occur and the tolerance. Totals tell whether two engines agree.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

COMPONENTS = ("principal", "interest", "fee", "penalty")
TOTALS = (
    "count(*), count(oldest_unpaid_due_on), sum({d} - oldest_unpaid_due_on), sum(arrears_amount),"
    " sum(arrears_principal_amount), sum(arrears_interest_amount), sum(arrears_fee_amount),"
    " sum(arrears_penalty_amount), cast(sum(instalments_past_due) as bigint), sum(outstanding_principal_amount)"
)
HISTORY_TOTALS = (
    "count(*), count(distinct loan_id), count(oldest_unpaid_due_on), sum(valid_from - oldest_unpaid_due_on),"
    " sum(arrears_amount), sum(coalesce(valid_to, {d}) - valid_from + 1),"
    " sum((coalesce(valid_to, {d}) - valid_from + 1) * arrears_amount)"
)

# What DuckDB and PostgreSQL read alike: the loans, their claims and what was paid.
PORTFOLIO = """
with loans as (
    select
        loans.loan_id,
        loans.tolerance_amount,
        orders.principal_rank,
        orders.interest_rank,
        orders.fee_rank,
        orders.penalty_rank
    from {loans} as loans
    inner join (
        values ('penalty>fee>interest>principal', 4, 3, 2, 1), ('interest>principal>fee>penalty', 2, 1, 3, 4)
    ) as orders (allocation_order, principal_rank, interest_rank, fee_rank, penalty_rank)
        on loans.allocation_order = orders.allocation_order
    where
        loans.branch_code = 'plain'
        and loans.disbursed_on <= {d}
        and not (loans.status in ('closed', 'sold') and loans.status_on <= {d})
),

versions as (
    select loan_id, max(schedule_version) as schedule_version
    from {instalments} as instalments
    where effective_on <= {d}
    group by loan_id
),

claims as (
    select
        instalments.loan_id, 1 as claim_rank, instalment_number as claim_number, '' as claim_key, due_on,
        principal_amount, interest_amount, fee_amount, penalty_amount,
        principal_amount + interest_amount + fee_amount + penalty_amount as claim_amount
    from {instalments} as instalments
    inner join versions
        on instalments.loan_id = versions.loan_id and instalments.schedule_version = versions.schedule_version
    union all
    select
        loan_id, 2, 0, charge_id, due_on,
        0, 0, case when kind = 'fee' then amount else 0 end, case when kind = 'penalty' then amount else 0 end, amount
    from {charges} as charges
    where (waived_on is null or waived_on > due_on) and due_on <= {d}
),

reversed as (
    select reverses_transaction_id from {transactions} as transactions where kind = 'reversal'
),

credits as (
    select loan_id, sum(amount) as paid_amount
    from {transactions} as transactions
    where
        kind in ('repayment', 'recovery', 'credit_note')
        and effective_on <= {d}
        and not exists (
            select 1 from reversed where reversed.reverses_transaction_id = transactions.transaction_id
        )
    group by loan_id
),
"""

# What a claim's payment leaves of each component, from what was left for the claim.
REST = ",\n        ".join(
    f"case when left_amount <= 0 then {own}_amount else {own}_amount - greatest(least(left_amount"
    + "".join(
        f" - case when {other}_rank < {own}_rank then {other}_amount else 0 end" for other in COMPONENTS if other != own
    )
    + f", {own}_amount), 0) end as unpaid_{own}_amount"
    for own in COMPONENTS
)
ARREARS = ",\n        ".join(
    f"sum(unpaid_{component}_amount) filter (where due_on < {{d}}) as arrears_{component}_amount"
    for component in COMPONENTS
)
UNPAID = f"""
unpaid as (
    select
        loan_id, claim_rank, due_on,
        claim_amount - greatest(left_amount, 0) as unpaid_amount,
        {REST}
    from running
    where left_amount < claim_amount and claim_amount > 0 and due_on <= {{d}}
),

states as (
    select
        loan_id,
        min(due_on) filter (where due_on < {{d}}) as oldest_unpaid_due_on,
        sum(unpaid_amount) filter (where due_on < {{d}}) as arrears_amount,
        {ARREARS},
        count(*) filter (where due_on < {{d}} and claim_rank = 1) as instalments_past_due,
        sum(unpaid_principal_amount) as unpaid_principal_amount
    from unpaid
    group by loan_id
)

select
    dues.loan_id,
    case when arrears_amount > tolerance_amount then oldest_unpaid_due_on end as oldest_unpaid_due_on,
    coalesce(arrears_amount, 0) as arrears_amount,
    {", ".join(f"coalesce(arrears_{name}_amount, 0) as arrears_{name}_amount" for name in COMPONENTS)},
    case when arrears_amount > tolerance_amount then instalments_past_due else 0 end as instalments_past_due,
    coming_amount + coalesce(unpaid_principal_amount, 0) as outstanding_principal_amount
from dues
left join states on dues.loan_id = states.loan_id
"""

# By hand for DuckDB: two sums a loan first, and a window over the claims of those alone that owe something.
STATE = f"""{PORTFOLIO}
dues as (
    select
        loans.loan_id,
        any_value(tolerance_amount) as tolerance_amount,
        {", ".join(f"any_value({name}_rank) as {name}_rank" for name in COMPONENTS)},
        any_value(coalesce(paid_amount, 0)) as paid_amount,
        coalesce(sum(claim_amount) filter (where due_on <= {{d}}), 0) as due_amount,
        coalesce(sum(principal_amount) filter (where due_on > {{d}}), 0) as coming_amount
    from loans
    left join claims on loans.loan_id = claims.loan_id
    left join credits on loans.loan_id = credits.loan_id
    group by loans.loan_id
),

running as (
    select
        claims.*, {", ".join(f"{name}_rank" for name in COMPONENTS)},
        paid_amount - sum(claim_amount) over (
            partition by claims.loan_id order by due_on, claim_rank, claim_number, claim_key
            rows between unbounded preceding and current row
        ) + claim_amount as left_amount
    from claims
    inner join dues on claims.loan_id = dues.loan_id
    where paid_amount < due_amount and due_on <= {{d}}
),
{UNPAID}"""

# As one would write it without a thought to what it costs: a window over every claim.
PLAIN_WINDOW = f"""{PORTFOLIO}
dues as (
    select
        loans.loan_id, tolerance_amount,
        coalesce(sum(principal_amount) filter (where due_on > {{d}}), 0) as coming_amount
    from loans
    left join claims on loans.loan_id = claims.loan_id
    group by loans.loan_id, tolerance_amount
),

running as (
    select
        claims.*, {", ".join(f"{name}_rank" for name in COMPONENTS)},
        coalesce(paid_amount, 0) - sum(claim_amount) over (
            partition by claims.loan_id order by due_on, claim_rank, claim_number, claim_key
            rows between unbounded preceding and current row
        ) + claim_amount as left_amount
    from claims
    inner join loans on claims.loan_id = loans.loan_id
    left join credits on claims.loan_id = credits.loan_id
),
{UNPAID}"""

# The days on which anything can change are the days after a due date, those of payments, and those of a new version.
HISTORY = """
with loans as (
    select
        loan_id, tolerance_amount, disbursed_on,
        least({d}, case when status in ('closed', 'sold') then status_on - 1 end) as followed_to
    from {loans} as loans
    where branch_code = 'plain' and disbursed_on <= {d}
),

versions as (
    select loan_id, schedule_version, min(effective_on) as effective_on
    from {instalments} as instalments
    where effective_on <= {d}
    group by loan_id, schedule_version
),

epochs as (
    select
        versions.loan_id, schedule_version, tolerance_amount,
        greatest(effective_on, disbursed_on) as epoch_from,
        least(
            lead(effective_on) over (partition by versions.loan_id order by schedule_version) - 1, followed_to
        ) as epoch_to
    from versions
    inner join loans on versions.loan_id = loans.loan_id
),

asked as (
    select
        loan_id, schedule_version, due_on,
        principal_amount + interest_amount + fee_amount + penalty_amount as claim_amount
    from {instalments} as instalments
    where due_on < {d}
    union all
    select loan_id, null, due_on, amount
    from {charges} as charges
    where (waived_on is null or waived_on > due_on) and due_on < {d}
),

claims as (
    select epochs.loan_id, epochs.schedule_version, due_on, sum(claim_amount) as claim_amount
    from epochs
    inner join asked
        on
            epochs.loan_id = asked.loan_id
            and (asked.schedule_version is null or epochs.schedule_version = asked.schedule_version)
    group by epochs.loan_id, epochs.schedule_version, due_on
),

reversed as (
    select reverses_transaction_id from {transactions} as transactions where kind = 'reversal'
),

credits as (
    select loan_id, effective_on, sum(amount) as amount
    from {transactions} as transactions
    where
        kind in ('repayment', 'recovery', 'credit_note')
        and effective_on <= {d}
        and not exists (
            select 1 from reversed where reversed.reverses_transaction_id = transactions.transaction_id
        )
    group by loan_id, effective_on
),

events as (
    select loan_id, schedule_version, due_on + 1 as changed_on, claim_amount as due_amount, 0 as paid_amount
    from claims
    union all
    select epochs.loan_id, schedule_version, effective_on, 0, amount
    from credits
    inner join epochs on credits.loan_id = epochs.loan_id
    union all
    select loan_id, schedule_version, epoch_from, 0, 0 from epochs
),

days as (
    select
        loan_id, schedule_version, changed_on, sum(due_amount) as due_amount, sum(paid_amount) as paid_amount
    from events
    group by loan_id, schedule_version, changed_on
),

running as (
    select
        loan_id, schedule_version, changed_on,
        sum(due_amount) over whole as due_amount,
        sum(paid_amount) over whole as paid_amount
    from days
    window whole as (partition by loan_id, schedule_version order by changed_on)
),

in_force as (
    select running.*, tolerance_amount
    from running
    inner join epochs
        on running.loan_id = epochs.loan_id and running.schedule_version = epochs.schedule_version
    where changed_on between epoch_from and epoch_to
),

dues as (
    select
        loan_id, schedule_version, due_on,
        sum(claim_amount) over (partition by loan_id, schedule_version order by due_on) as due_amount
    from claims
),

evaluated as (
    select
        in_force.loan_id, changed_on,
        in_force.due_amount - paid_amount as arrears_amount,
        case when in_force.due_amount - paid_amount > tolerance_amount then due_on end as oldest_unpaid_due_on
    from in_force
    asof join dues
        on
            in_force.loan_id = dues.loan_id
            and in_force.schedule_version = dues.schedule_version
            and in_force.paid_amount < dues.due_amount
    where in_force.due_amount > paid_amount
    union all
    select loan_id, changed_on, 0, null
    from in_force
    where due_amount <= paid_amount
),

compared as (
    select
        *,
        lag(changed_on) over loan_days is null
        or oldest_unpaid_due_on is distinct from lag(oldest_unpaid_due_on) over loan_days
        or arrears_amount is distinct from lag(arrears_amount) over loan_days as is_changed
    from evaluated
    window loan_days as (partition by loan_id order by changed_on)
)

select
    compared.loan_id,
    changed_on as valid_from,
    coalesce(
        lead(changed_on) over (partition by compared.loan_id order by changed_on) - 1,
        case when followed_to < {d} then followed_to end
    ) as valid_to,
    oldest_unpaid_due_on,
    arrears_amount
from compared
inner join loans on compared.loan_id = loans.loan_id
where is_changed
"""

Totals = tuple[int, ...]


def in_duckdb(query: str, totals: str, folder: Path, as_of: date, bookings: Sequence[str]) -> Callable[[], Totals]:
    """A query on the Parquet files, made ready to run; running it keeps its result and gives the totals' reader."""
    files = ", ".join(f"'{folder / name}.parquet'" for name in bookings)
    tables = {name: f"read_parquet('{folder / name}.parquet')" for name in ("loans", "instalments", "charges")}
    session = duckdb.connect()
    session.execute("set enable_progress_bar = false")
    session.execute("set memory_limit = '12GB'")
    session.execute(f"set temp_directory = '{folder}/duckdb'")
    day = f"date '{as_of}'"
    session.execute(
        "create temp table kept as" + query.format(d=day, transactions=f"read_parquet([{files}])", **tables)
    )

    def read() -> Totals:
        found = session.execute(f"select {totals.format(d=day)} from kept").fetchone()
        session.close()
        return in_units(found)

    return read


def in_postgres(connection: Any, as_of: date) -> Callable[[], Totals]:
    """The plain window over every claim as known at D, in the warehouse's own server."""
    day = f"date '{as_of}'"
    known = f"_known_from <= {day} and (_known_to is null or _known_to > {day})"
    tables = {
        name: f"(select * from versions.{name} where {known})"
        for name in ("loans", "instalments", "charges", "transactions")
    }
    connection.execute("drop table if exists pg_temp.kept")
    connection.execute("create temporary table kept as" + PLAIN_WINDOW.format(d=day, **tables))
    return lambda: in_units(connection.execute(f"select {TOTALS.format(d=day)} from pg_temp.kept").fetchone())


def in_polars(folder: Path, as_of: date, bookings: Sequence[str]) -> Callable[[], Totals]:
    """The same as STATE; amounts are whole ten-thousandths."""
    import polars as pl

    column = pl.col

    def units(name: str) -> pl.Expr:
        return column(name).to_physical().cast(pl.Int64)

    ranks = [f"{name}_rank" for name in COMPONENTS]
    orders = pl.LazyFrame(
        {"allocation_order": ["penalty>fee>interest>principal", "interest>principal>fee>penalty"]}
        | dict(zip(ranks, ([4, 2], [3, 1], [2, 3], [1, 4]), strict=True))
    )
    is_over = column("status").is_in(["closed", "sold"]) & (column("status_on") <= as_of)
    loans = (
        pl.scan_parquet(folder / "loans.parquet")
        .filter((column("branch_code") == "plain") & (column("disbursed_on") <= as_of) & ~is_over)
        .join(orders, on="allocation_order")
        .select("loan_id", units("tolerance_amount"), *ranks)
    )
    instalments = pl.scan_parquet(folder / "instalments.parquet").filter(column("effective_on") <= as_of)
    versions = instalments.group_by("loan_id").agg(column("schedule_version").max())
    nothing = pl.lit(0, pl.Int64)
    from_instalments = instalments.join(versions, on=["loan_id", "schedule_version"], how="semi").select(
        "loan_id",
        pl.lit(1, pl.Int32).alias("claim_rank"),
        column("instalment_number").alias("claim_number"),
        pl.lit("").alias("claim_key"),
        "due_on",
        *[units(f"{name}_amount") for name in COMPONENTS],
    )
    is_claim = column("waived_on").is_null() | (column("waived_on") > column("due_on"))
    from_charges = (
        pl.scan_parquet(folder / "charges.parquet")
        .filter(is_claim & (column("due_on") <= as_of))
        .select(
            "loan_id",
            pl.lit(2, pl.Int32).alias("claim_rank"),
            pl.lit(0, pl.Int32).alias("claim_number"),
            column("charge_id").alias("claim_key"),
            "due_on",
            nothing.alias("principal_amount"),
            nothing.alias("interest_amount"),
            *[
                pl.when(column("kind") == name).then(units("amount")).otherwise(0).alias(f"{name}_amount")
                for name in ("fee", "penalty")
            ],
        )
    )
    claims = pl.concat([from_instalments, from_charges]).with_columns(
        pl.sum_horizontal(f"{name}_amount" for name in COMPONENTS).alias("claim_amount")
    )
    transactions = pl.scan_parquet([folder / f"{name}.parquet" for name in bookings])
    reversals = transactions.filter(column("kind") == "reversal").select("reverses_transaction_id")
    credits = (
        transactions.filter(
            column("kind").is_in(["repayment", "recovery", "credit_note"]) & (column("effective_on") <= as_of)
        )
        .join(reversals, left_on="transaction_id", right_on="reverses_transaction_id", how="anti")
        .group_by("loan_id")
        .agg(units("amount").sum().alias("paid_amount"))
    )
    is_due = column("due_on") <= as_of
    dues = (
        loans.join(claims, on="loan_id", how="left")
        .group_by("loan_id")
        .agg(
            column("tolerance_amount", *ranks).first(),
            column("claim_amount").filter(is_due).sum().alias("due_amount"),
            column("principal_amount").filter(~is_due).sum().alias("coming_amount"),
        )
        .join(credits, on="loan_id", how="left")
        .with_columns(column("paid_amount").fill_null(0))
    )
    left = column("left_amount")

    def rest(own: str) -> pl.Expr:
        before = left
        for other in COMPONENTS:
            if other != own:
                comes_first = column(f"{other}_rank") < column(f"{own}_rank")
                before = before - pl.when(comes_first).then(column(f"{other}_amount")).otherwise(0)
        paid = pl.min_horizontal(before, column(f"{own}_amount")).clip(lower_bound=0)
        return (column(f"{own}_amount") - paid).alias(f"unpaid_{own}_amount")

    unpaid = (
        claims.filter(is_due)
        .join(dues.filter(column("paid_amount") < column("due_amount")), on="loan_id")
        .sort("loan_id", "due_on", "claim_rank", "claim_number", "claim_key")
        .with_columns(
            (column("paid_amount") - column("claim_amount").cum_sum().over("loan_id") + column("claim_amount")).alias(
                "left_amount"
            )
        )
        .filter((left < column("claim_amount")) & (column("claim_amount") > 0))
        .with_columns(
            (column("claim_amount") - left.clip(lower_bound=0)).alias("unpaid_amount"),
            *[rest(name) for name in COMPONENTS],
        )
    )
    is_past = column("due_on") < as_of
    states = unpaid.group_by("loan_id").agg(
        column("due_on").filter(is_past).min().alias("oldest_unpaid_due_on"),
        column("unpaid_amount").filter(is_past).sum().alias("arrears_amount"),
        *[column(f"unpaid_{name}_amount").filter(is_past).sum().alias(f"arrears_{name}_amount") for name in COMPONENTS],
        (is_past & (column("claim_rank") == 1)).sum().alias("instalments_past_due"),
        column("unpaid_principal_amount").sum(),
    )
    is_late = column("arrears_amount") > column("tolerance_amount")
    kept = (
        dues.join(states, on="loan_id", how="left")
        .with_columns(column("arrears_amount").fill_null(0))
        .select(
            "loan_id",
            pl.when(is_late).then("oldest_unpaid_due_on").alias("oldest_unpaid_due_on"),
            "arrears_amount",
            *[column(f"arrears_{name}_amount").fill_null(0) for name in COMPONENTS],
            pl.when(is_late).then("instalments_past_due").otherwise(0).alias("instalments_past_due"),
            (column("coming_amount") + column("unpaid_principal_amount").fill_null(0)).alias(
                "outstanding_principal_amount"
            ),
        )
        .collect(engine="streaming")
    )

    def read() -> Totals:
        oldest = kept["oldest_unpaid_due_on"].drop_nulls()
        days = (pl.Series([as_of]).cast(pl.Date).to_physical()[0] * len(oldest)) - oldest.to_physical().cast(
            pl.Int64
        ).sum()
        amounts = [kept[name].sum() for name in kept.columns[2:]]
        return (len(kept), len(oldest), days, *amounts)

    return read


def in_units(row: Sequence[Any] | None) -> Totals:
    """Totals as whole numbers: amounts in ten-thousandths."""
    assert row is not None
    return tuple(value if isinstance(value, int) else int(value.scaleb(4)) for value in row)


def differences(totals: Mapping[str, Totals]) -> list[str]:
    """Engines whose totals are not those of the first."""
    first = next(iter(totals.values()))
    return [name for name, found in totals.items() if found != first]
