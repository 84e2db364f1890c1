"""What extraction costs: rows a second into raw and versions, as a ratio to a bare COPY of the same rows.

The peer is `COPY … FROM STDIN (FORMAT csv)` of the same files into plain logged tables without an index, in the same
server and the same run. Measured is extract and accept (the gate between them is not part of it): a first drop, a drop
in which 5 % of the loans changed delivered as a delta and in full, and the same from a PostgreSQL source.

    python -m benchmarks extraction            # 1 million loans, 24 million instalments; needs some 25 GB of disk
    ARREARS_BENCH_LOANS=100000 python -m benchmarks extraction
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg

LOANS = int(os.environ.get("ARREARS_BENCH_LOANS", "1000000"))
FIRST, SECOND, THIRD, FOURTH = (date(2026, 3, day) for day in (28, 29, 30, 31))
SHARE_CHANGED = 0.05
MARGIN = 65  # seconds: a reading by cursor begins a minute before the last one

BORROWERS = """
select 'B' || n as borrower_id, 'person' as kind, 'Borrower ' || n as name, 'CZ' as country,
    'Europe/Prague' as time_zone, '+420' || (600000000 + n) as phone, {city} as city
from range({loans}) as numbers (n) where {condition}
"""
LOAN = """
select 'L' || n as loan_id, 'B' || n as borrower_id, 'consumer' as product, 'EUR' as currency,
    2400 + n % 1000 as principal_amount, date '2024-01-01' + cast(n % 28 as integer) as disbursed_on,
    date '2026-02-01' as maturity_on, 0.08 as interest_rate, 'penalty>fee>interest>principal' as allocation_order,
    'oldest_first' as allocation_mode, {grace} as grace_days, 0 as tolerance_amount, 'CZ' as governing_law,
    false as is_green, 'active' as status, date '2024-01-01' as status_on
from range({loans}) as numbers (n) where {condition}
"""
INSTALMENTS = """
select 'L' || n as loan_id, 1 as schedule_version, date '2024-01-01' as effective_on, i as instalment_number,
    cast(date '2024-01-01' + to_months(cast(i as integer)) as date) as due_on, 100 + n % 40 as principal_amount,
    {interest} as interest_amount, 0 as fee_amount, 0 as penalty_amount
from range({loans}) as numbers (n), range(1, 25) as months (i) where {condition}
"""
TRANSACTIONS = """
select 'T' || n || '-' || i as transaction_id, 'L' || n as loan_id, 'repayment' as kind,
    cast(date '2024-01-01' + to_months(cast(i as integer)) as date) as effective_on,
    cast(date '2024-01-01' + to_months(cast(i as integer)) as date) || 'T12:00:00Z' as booked_at,
    100 + n % 40 as amount, 'direct_debit' as channel
from range({loans}) as numbers (n), range({since}, {until} + n % 9) as months (i) where {condition}
"""
# The same on a lender's database: each loan has a borrower, 24 instalments and on average 5 new bookings.
CHANGES = (
    "update servicing.borrowers set city = 'Cheb {number}' where cast(substr(borrower_id, 2) as bigint) % {parts} = 7",
    "update servicing.loans set grace_days = 3 + {number} where cast(substr(loan_id, 2) as bigint) % {parts} = 7",
    "update servicing.instalments set interest_amount = 6.5 + {number}"
    " where cast(substr(loan_id, 2) as bigint) % {parts} = 7",
    "insert into servicing.transactions (transaction_id, loan_id, kind, effective_on, booked_at, amount, channel)"
    " select 'N{number}-' || loan_id, loan_id, 'repayment', current_date, now(), 100, 'transfer'"
    " from servicing.loans where cast(substr(loan_id, 2) as bigint) % {parts} = 7",
)
DROPS = ("first", "tiny", "delta", "second")
TABLES = {"borrowers": BORROWERS, "loans": LOAN, "instalments": INSTALMENTS, "transactions": TRANSACTIONS}
AS_FIRST = {"city": "'Brno'", "grace": "0", "interest": "5.5", "since": "1", "until": "12", "condition": "true"}
CHANGED = f"n % {round(1 / SHARE_CHANGED)} = 7"
ONLY_CHANGED = {
    "city": "'Cheb'",
    "grace": "3",
    "interest": "6.5",
    "since": "12 + n % 9",
    "until": "13",
    "condition": CHANGED,
}
ONLY_A_FEW = ONLY_CHANGED | {"condition": "n % 1000 = 9"}  # 0.1 %, none of the others


def main() -> None:
    """Measures both engines, each in a process and on a warehouse of its own."""
    drops = Path(tempfile.mkdtemp(prefix="arrears-bench-drops-"))
    try:
        write_drops(drops, LOANS)
        rows = {drop: sum(_lines(file) for file in (drops / drop).glob("*.csv")) for drop in DROPS}
        print(f"{LOANS:,} loans, {rows['first']:,} rows; {rows['delta']:,} rows changed or new\n")
        print("| what | rows | bare COPY s | extract s | accept s | rows/s | bare / ours |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for engine in ("files", "postgres"):
            _in_a_home(engine, drops)
    finally:
        shutil.rmtree(drops)


def _in_a_home(engine: str, drops: Path) -> None:
    home = Path(tempfile.mkdtemp(prefix="arrears-bench-"))
    home.chmod(0o755)
    sources = Path(__file__).parents[1] / "sources"
    shutil.copytree(sources, home / "sources")
    # So that two nights can be told apart: with the comparison of all keys, and without.
    with (home / "sources/servicing/source.yml").open("a", encoding="utf-8") as stream:
        stream.write("\ndeletions_every_days: 2\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARREARS_")}
    environment |= {"ARREARS_HOME": str(home), "ARREARS_SOURCES_FOLDER": str(home / "sources")}
    program = str(Path(sys.executable).with_name("arrears"))
    try:
        if engine == "postgres":
            found = subprocess.run(
                [program, "servicing", "url"], env=environment, check=True, capture_output=True, text=True
            )
            environment["ARREARS_SERVICING_URL"] = found.stdout.strip()
        subprocess.run([sys.executable, "-m", "benchmarks.extraction", engine, str(drops)], env=environment, check=True)
    finally:
        subprocess.run([program, "stop"], env=environment, check=False, capture_output=True)
        shutil.rmtree(home)


def write_drops(folder: Path, loans: int) -> None:
    """Writes `first` (everything), `tiny` and `delta` (what changed) and `second` (everything after it), as CSV."""
    import duckdb

    session = duckdb.connect()
    session.execute("set preserve_insertion_order = false")
    session.execute("set enable_progress_bar = false")
    for name, query in TABLES.items():
        for drop in DROPS:
            (folder / drop).mkdir(parents=True, exist_ok=True)
            how = {"delta": ONLY_CHANGED, "tiny": ONLY_A_FEW}.get(drop, AS_FIRST)
            select = query.format(loans=loans, **how)
            if drop == "second":
                unchanged = AS_FIRST | ({} if name == "transactions" else {"condition": f"not ({CHANGED})"})
                select = query.format(loans=loans, **unchanged)
                select += " union all " + query.format(loans=loans, **ONLY_CHANGED)
            session.execute(f"copy ({select}) to '{folder / drop / name}.csv' (header)")
    for drop, after in (("tiny", FIRST), ("delta", SECOND)):
        (folder / drop / "drop.yml").write_text(f"mode: delta\nafter: {after}\n", encoding="utf-8")


def measure_files(drops: Path) -> None:
    """Prints the rows of engine files."""
    from arrears import warehouse

    warehouse.ready()
    for name, drop, as_of in (
        ("first drop", "first", FIRST),
        ("0.1 % of the loans changed, a delta drop", "tiny", SECOND),
        ("5 % of the loans changed, a delta drop", "delta", THIRD),
        ("the same rows in a full drop", "second", FOURTH),
    ):
        _say(name, drops / drop, *_take_in("contract", drops / drop, as_of))


def measure_database(drops: Path) -> None:
    """Prints the rows of engine postgres: source and warehouse are databases of one server."""
    from arrears import warehouse
    from arrears.extraction.database import connection as database_connection
    from arrears.extraction.sources import load_source
    from arrears.simulation import servicing_database

    warehouse.ready()
    servicing_database.create(drops / "first")
    time.sleep(MARGIN)  # else the first night's delta would be all that was just written
    today = datetime.now(tz=UTC).date()
    _say("database, first reading", drops / "first", *_take_in("servicing", None, today))
    for number, name in enumerate(("database, 5 % of the loans changed", "database, the same and all keys compared")):
        with closing(psycopg.connect(**database_connection.parameters(load_source("servicing")))) as lender, lender:
            for statement in CHANGES:
                lender.execute(statement.format(number=number, parts=round(1 / SHARE_CHANGED)).encode())
        _say(name, drops / "delta", *_take_in("servicing", None, today + timedelta(days=number + 1)))


def _take_in(source: str, drop: Path | None, as_of: date) -> tuple[float, float]:
    from arrears.extraction import batches, sources
    from arrears.warehouse.connections import connect

    with _timed() as extracted, connect(as_of) as connection:
        done = batches.extract(connection, sources.load_source(source), drop, as_of, run_id="bench")
    with _timed() as accepted, connect(as_of) as connection:
        batches.accept(connection, str(done["batch_id"]))
    return extracted(), accepted()


def _bare_copy(folder: Path) -> float:
    """Seconds to copy a drop's files into plain tables."""
    from arrears.contract.servicing import contract
    from arrears.warehouse.connections import connect

    seconds = 0.0
    for name in TABLES:
        file = folder / f"{name}.csv"
        with file.open(encoding="utf-8") as stream:
            header = stream.readline().strip().split(",")
        table = contract()[name]
        columns = ", ".join(f"{column} {table.column(column).data_type}" for column in header)
        with connect() as connection:
            connection.execute(f"create table load.bare ({columns})".encode())
            with _timed() as copied:
                copying = connection.cursor().copy(b"copy load.bare from stdin (format csv, header)")
                with copying as copy, file.open("rb") as stream:
                    while chunk := stream.read(1024**2):
                        copy.write(chunk)
                connection.commit()
            connection.execute("drop table load.bare")
        seconds += copied()
    return seconds


def _lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1024**2), b"")) - 1


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    began, took = time.monotonic(), 0.0
    yield lambda: took
    took = time.monotonic() - began


def _say(name: str, peer: Path, extracted: float, accepted: float) -> None:
    rows, bare, ours = sum(_lines(file) for file in peer.glob("*.csv")), _bare_copy(peer), extracted + accepted
    seconds = f"{bare:.1f} | {extracted:.1f} | {accepted:.1f}"
    print(f"| {name} | {rows:,} | {seconds} | {rows / ours:,.0f} | {bare / ours:.2f} |", flush=True)


if __name__ == "__main__":
    {"files": measure_files, "postgres": measure_database}[sys.argv[1]](Path(sys.argv[2]))
