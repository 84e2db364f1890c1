"""What the raw gate costs: a first drop of N loans judged by Great Expectations, and by SQL fused by hand.

The peer asks the same rules of the same rows in as few scans as a person would write: instalments and bookings are read
once each, grouped by loan, and joined to the loans; keys are grouped by themselves. Both count only, on rows that hold
no fault, in the warehouse's own server; whichever comes second finds the pages as warm as the first, for both are run
twice and the quicker run counts. Great Expectations' import, once a process, is told apart; its pages are part of it.

    python -m benchmarks gate                                  # 100 thousand and 1 million loans; needs 40 GB of disk
    ARREARS_BENCH_SIZES=10000 python -m benchmarks gate
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from benchmarks import delinquency_rows as rows

SIZES = [int(size) for size in os.environ.get("ARREARS_BENCH_SIZES", "100000,1000000").split(",")]
AS_OF = rows.AS_OF

# What the benchmark of delinquency has put into `versions` is taken for a drop that waits for judgement.
AS_DELIVERED = """
insert into raw.{table} ({columns}, _source, _batch_id, _known_on, _row_hash, _file, _line)
select {columns}, _source, _batch_id, _known_from, gen_random_uuid(), _file, _line from versions.{table}
"""
BORROWERS = """
insert into raw.borrowers (
    borrower_id, kind, name, country, time_zone, _source, _batch_id, _known_on, _row_hash, _file, _line
)
select borrower_id, 'person', 'Name of ' || borrower_id, 'CZ', 'Europe/Prague', _source, _batch_id, _known_on,
    gen_random_uuid(), 'borrowers.parquet', _line
from raw.loans
"""
ANNOUNCED = """
insert into ops.batch_tables (batch_id, table_name, mode, is_delivered, row_count, new_count, delivered_columns)
select %(batch)s, %(table)s, 'full', true, count(*), count(*), '{{}}' from raw.{table}
"""

# The rules of each table, in the order of the suites; every figure must be 0.
FUSED = {
    "borrowers": """
        select
            count(*) filter (where borrower_id is null), count(*) filter (where kind is null),
            count(*) filter (where kind not in ('person', 'company', 'project_company')),
            count(*) filter (where name is null), count(*) filter (where country is null),
            count(*) filter (where time_zone is not null and time_zone not in (select name from pg_timezone_names)),
            count(*) filter (where income_currency !~ '^[A-Za-z]{3}$'), count(*) filter (where name ~ 'Ã|Â|�'),
            count(national_id) - count(distinct (national_id, country)) filter (where national_id is not null),
            (select count(*) from (select 1 from raw.borrowers group by borrower_id having count(*) > 1) as twice)
        from raw.borrowers
    """,
    "loans, instalments": """
        with schedules as (
            select
                loan_id,
                count(*) as claim_count,
                count(*) - count(distinct (schedule_version, instalment_number)) as twice_count,
                count(distinct (schedule_version, effective_on, basis)) - count(distinct schedule_version)
                    as two_in_one,
                count(*) filter (
                    where schedule_version is null or effective_on is null or instalment_number is null
                        or due_on is null or principal_amount is null or interest_amount is null
                        or fee_amount is null or penalty_amount is null or basis not in ('gross', 'unpaid')
                        or principal_amount < 0 or interest_amount < 0 or fee_amount < 0 or penalty_amount < 0
                        or due_on not between '1900-01-01' and '2200-12-31'
                        or effective_on not between '1900-01-01' and '2200-12-31' or effective_on > %(ahead)s
                ) as wrong_count,
                count(*) filter (
                    where principal_amount <> round(principal_amount, 2) or interest_amount <> round(interest_amount, 2)
                        or fee_amount <> round(fee_amount, 2) or penalty_amount <> round(penalty_amount, 2)
                ) as finer_count,
                min(due_on) as begins_on,
                max(due_on) as ends_on,
                sum(principal_amount) filter (where schedule_version = 1) as principal_amount,
                sum(principal_amount + interest_amount + fee_amount + penalty_amount) as claimed_amount
            from raw.instalments
            group by loan_id
        ),
        bookings as (
            select
                loan_id,
                bool_or(kind = 'disbursement') as is_disbursed,
                min(effective_on) as begins_on,
                max(amount) filter (where kind in ('repayment', 'recovery', 'credit_note')) as largest_amount,
                count(*) filter (
                    where transaction_id is null or kind is null or effective_on is null or booked_at is null
                        or amount is null or amount <= 0 or amount <> round(amount, 2)
                        or effective_on not between '1900-01-01' and '2200-12-31' or effective_on > %(ahead)s
                        or (kind = 'waiver' and component is null)
                        or kind not in (
                            'disbursement', 'repayment', 'recovery', 'credit_note', 'refund', 'waiver', 'chargeback',
                            'write_off', 'reversal'
                        )
                        or component not in ('principal', 'interest', 'fee', 'penalty')
                        or channel not in (
                            'direct_debit', 'transfer', 'cash', 'card', 'agency', 'court', 'guarantor', 'insurer',
                            'collateral_sale'
                        )
                ) as wrong_count
            from raw.transactions
            group by loan_id
        )
        select
            count(*) filter (where loans.loan_id is null),
            count(*) filter (
                where loans.borrower_id is null or product is null or currency is null or loans.principal_amount is null
                    or disbursed_on is null or maturity_on is null or interest_rate is null or allocation_order is null
                    or allocation_mode is null or grace_days is null or tolerance_amount is null
                    or governing_law is null or is_green is null or status is null or status_on is null
            ),
            count(*) filter (
                where product not in (
                        'consumer', 'mortgage', 'auto', 'revolving', 'sme_term', 'project_finance', 'trade_finance'
                    ) or currency !~ '^[A-Za-z]{3}$' or allocation_mode not in ('oldest_first', 'component_first')
                    or status not in ('active', 'closed', 'written_off', 'sold')
                    or default_probability_at_origination not between 0 and 1 or syndicate_share not between 0 and 1
                    or rate_type not in ('fixed', 'floating') or loans.principal_amount <= 0 or tolerance_amount < 0
                    or grace_days < 0 or interest_rate > 1 or maturity_on < disbursed_on
                    or loans.principal_amount <> round(loans.principal_amount, 2)
                    or disbursed_on not between '1900-01-01' and '2200-12-31' or disbursed_on > %(ahead)s
                    or maturity_on not between '1900-01-01' and '2200-12-31'
                    or status_on not between '1900-01-01' and '2200-12-31' or status_on > %(ahead)s
                    or called_on not between '1900-01-01' and '2200-12-31'
                    or not string_to_array(allocation_order, '>')
                        <@ array['principal', 'interest', 'fee', 'penalty']
            ),
            count(*) filter (where borrowers.borrower_id is null and loans.loan_id is not null),
            count(*) filter (where status in ('active', 'written_off') and schedules.loan_id is null),
            count(*) filter (where status in ('active', 'written_off') and schedules.ends_on < maturity_on - 92),
            count(*) filter (where status in ('active', 'written_off') and bookings.is_disbursed is not true),
            count(*) filter (
                where abs(schedules.principal_amount - loans.principal_amount) > schedules.claim_count
            ),
            count(*) filter (where schedules.begins_on < disbursed_on or bookings.begins_on < disbursed_on),
            count(*) filter (
                where bookings.largest_amount > greatest(loans.principal_amount, schedules.claimed_amount)
            ),
            sum(schedules.wrong_count), sum(schedules.finer_count), sum(schedules.twice_count),
            sum(schedules.two_in_one), sum(bookings.wrong_count),
            (select count(*) from (select 1 from raw.loans group by loan_id having count(*) > 1) as twice)
        from raw.loans as loans
        full outer join schedules on loans.loan_id = schedules.loan_id
        full outer join bookings on loans.loan_id = bookings.loan_id
        left join raw.borrowers as borrowers on loans.borrower_id = borrowers.borrower_id
    """,
    "transactions": """
        with named as (
            select reversals.*, bookings.transaction_id as booking_id, bookings.amount as booked_amount,
                bookings.kind as booked_kind, bookings.loan_id as booked_loan_id,
                count(*) over (partition by reversals.reverses_transaction_id) as reversal_count
            from raw.transactions as reversals
            left join raw.transactions as bookings on reversals.reverses_transaction_id = bookings.transaction_id
            where reversals.kind = 'reversal'
        )
        select
            count(*) filter (where booking_id is null or booked_loan_id <> loan_id),
            count(*) filter (where amount <> booked_amount), count(*) filter (where booked_kind = 'reversal'),
            count(*) filter (where reversal_count > 1),
            (
                select count(*)
                from (select 1 from raw.transactions group by transaction_id having count(*) > 1) as twice
            ),
            (
                select count(*) from (
                    select 1 from raw.transactions where kind in ('repayment', 'recovery', 'credit_note')
                    group by loan_id, kind, amount, effective_on, booked_at, channel, component having count(*) > 1
                ) as twice
            )
        from named
    """,
    "charges": """
        select
            count(*) filter (where loans.loan_id is null),
            count(*) filter (
                where charge_id is null or charges.loan_id is null or kind is null or due_on is null or amount is null
                    or kind not in ('fee', 'penalty') or amount <= 0 or amount <> round(amount, 2)
                    or due_on not between '1900-01-01' and '2200-12-31'
                    or waived_on not between '1900-01-01' and '2200-12-31'
            ),
            count(*) - count(distinct charge_id)
        from raw.charges as charges
        left join raw.loans as loans on charges.loan_id = loans.loan_id
    """,
    "forbearances": """
        select
            count(*) filter (where loans.loan_id is null),
            count(*) filter (
                where forbearance_id is null or forbearances.loan_id is null or kind is null or agreed_on is null
                    or starts_on is null or is_distressed is null or ends_on < starts_on
                    or agreed_on not between '1900-01-01' and '2200-12-31'
                    or starts_on not between '1900-01-01' and '2200-12-31'
                    or ends_on not between '1900-01-01' and '2200-12-31'
            ),
            count(*) - count(distinct forbearance_id)
        from raw.forbearances as forbearances
        left join raw.loans as loans on forbearances.loan_id = loans.loan_id
    """,
}
TABLES = ("borrowers", *rows.TABLES)


def main() -> None:
    """Measures every size in a process and a warehouse of its own, and prints the table."""
    print("| loans | rows | rules | queries | gate, s | fused SQL, s | ratio | import, s | pages, KiB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for size in SIZES:
        home = Path(tempfile.mkdtemp(prefix="arrears-bench-gate-"))
        home.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ARREARS_")}
        environment["ARREARS_HOME"] = str(home)
        try:
            code = f"from benchmarks import gate; gate.measure({size})"
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def measure(loans: int) -> None:
    """Makes the drop, judges it both ways, prints a line of the table."""
    from arrears import warehouse
    from arrears.contract.servicing import contract
    from arrears.gate import batches, checking, engine, suites
    from arrears.gate.data_docs import DocsSite
    from arrears.gate.thresholds import thresholds
    from arrears.settings import get_settings
    from arrears.transform import dbt
    from arrears.warehouse.connections import connect, embedded

    warehouse.ready()
    dbt.prepare()
    folder = get_settings().home / "rows"
    rows.write(folder, loans)
    rows.load(folder)
    shutil.rmtree(folder)
    row_count = _deliver()

    before = time.perf_counter()
    engine.load()
    import_seconds = time.perf_counter() - before
    tables, in_force = contract(), thresholds(AS_OF)
    site = DocsSite(get_settings().data_docs)
    gate_seconds, fused_seconds, query_count = [], [], 0
    for _ in range(2):
        with connect(AS_OF) as connection:
            before = time.perf_counter()
            for name, query in FUSED.items():
                found = connection.execute(query.encode(), {"ahead": date(2027, 1, 16)}).fetchone()
                if found is None or any(found):
                    raise AssertionError(f"{name}: the rows are to hold no fault, and {found} were found")
            fused_seconds.append(time.perf_counter() - before)
        queries_before = _queries()
        with connect(AS_OF) as connection:
            before = time.perf_counter()
            loaded = batches.loaded(connection, batches.waiting(connection, AS_OF), tables)
            checks = suites.raw(loaded, loaded, in_force, tables)
        results, _ = checking.check("raw", AS_OF, checks, site)
        gate_seconds.append(time.perf_counter() - before)
        query_count = _queries() - queries_before
        faults = [one for one in results if not one.is_passed and one.scope == "row"]
        if faults:
            raise AssertionError(f"the rows are to hold no fault, and {faults[0].told}")
    pages = sum(file.stat().st_size for file in site.folder.rglob("*") if file.is_file()) // 1024
    gate, fused = min(gate_seconds), min(fused_seconds)
    print(
        f"| {loans:,} | {row_count:,} | {len(results)} | {query_count} | {gate:.1f} | {fused:.1f} |"
        f" {gate / fused:.2f} | {import_seconds:.1f} | {pages:,} |",
        flush=True,
    )
    server = embedded()
    assert server is not None
    server.stop()


def _deliver() -> int:
    """Moves the rows from `versions` to `raw`, as a first batch that waits; gives how many there are."""
    from arrears.contract.servicing import contract
    from arrears.warehouse.connections import connect

    total = 0
    with connect(role="admin") as connection:
        batch = connection.execute("update ops.batches set state = 'loaded', decided_at = null returning batch_id")
        (batch_id,) = batch.fetchall()[0]
        for name in rows.TABLES:
            columns = ", ".join(contract()[name].column_names)
            connection.execute(AS_DELIVERED.format(table=name, columns=columns).encode())
            connection.execute(f"truncate versions.{name}".encode())
        connection.execute(BORROWERS)
        for name in TABLES:
            connection.execute(ANNOUNCED.format(table=name).encode(), {"batch": batch_id, "table": name})
        counted = connection.execute("select sum(row_count) from ops.batch_tables").fetchone()
        assert counted is not None
        total = int(counted[0])
    with connect(role="admin", autocommit=True) as connection:
        for name in TABLES:
            connection.execute(f"vacuum (analyze, parallel 0) raw.{name}".encode())
        connection.execute("checkpoint")
    return total


def _queries() -> int:
    """Transactions that the server has ended in this database: the gate's engine makes one for each query."""
    from arrears.warehouse.connections import connect

    time.sleep(1.2)  # a backend tells its figures at most once a second
    with connect(role="admin", autocommit=True) as connection:
        row = connection.execute(
            "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])
