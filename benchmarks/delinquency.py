"""Delinquency of N loans over 24 instalments each: from nothing, every day of history, and what a day's bookings cost.

The peers compute the same from the same rows in the same run: DuckDB and polars from Parquet, all over again each
time, and PostgreSQL with a window over every claim, in the warehouse's own server. They do the loans that sums can tell
(98 %); the product does all of them, through its dbt models, as dbt times them. Every engine's totals must be the same,
at D and after two more days with bookings on every twentieth loan, else the run fails.

    python -m benchmarks delinquency               # 10 thousand, 100 thousand, 1 million loans; needs 30 GB of disk
    ARREARS_BENCH_SIZES=10000,100000 python -m benchmarks delinquency
"""

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks import delinquency_peers as peers
from benchmarks import delinquency_rows as rows

SIZES = [int(size) for size in os.environ.get("ARREARS_BENCH_SIZES", "10000,100000,1000000").split(",")]
DAYS = [rows.AS_OF + timedelta(days=more) for more in range(3)]

# What is measured apart: the state of the loans, which the history and the month ends do not need, and the mart, which
# looks some of its figures up in the history. Views of staging and seeds are made before.
HISTORY, MONTH_ENDS = "loan_delinquency_history", "int_delinquency__month_ends"
MADE_BEFORE = ["--exclude", "path:models/staging", "resource_type:seed", HISTORY, MONTH_ENDS]
STEPS = {
    "loans": ["--select", "+int_delinquency__loans_positioned", *MADE_BEFORE],
    "history": ["--select", HISTORY],
    "month ends": ["--select", MONTH_ENDS],
    "mart": ["--select", "+loan_delinquency", *MADE_BEFORE, "+int_delinquency__loans_positioned"],
}
TESTS = ["test", "--indirect-selection", "cautious", "--exclude", "test_type:unit", "--select", "loan_delinquency"]
TESTS += [HISTORY, MONTH_ENDS, "int_delinquency__loans_stated", "int_delinquency__days_replayed"]
STATED = ["run", "--select", "int_delinquency__loans_stated+,+loan_delinquency"]

# What is told, the pieces of work that it is made of, and the peer's that it is held against.
LINES: Sequence[tuple[str, Sequence[str], str]] = (
    ("state, from nothing", ["loans, from nothing", "mart, from nothing"], "DuckDB state"),
    ("state of all, off what is kept", ["state of all, off what is kept"], "DuckDB state"),
    ("history of every day, from nothing (beside the state)", ["history, from nothing"], "DuckDB history"),
    (
        "state and history, from nothing",
        ["loans, from nothing", "mart, from nothing", "history, from nothing"],
        "DuckDB history",
    ),
    ("state, no booking", ["loans, no booking", "mart, no booking"], "DuckDB state, later"),
    ("state, bookings on 5 %", ["loans, bookings on 5 %", "mart, bookings on 5 %"], "DuckDB state, later"),
    ("history, no booking", ["history, no booking"], "DuckDB history, later"),
    ("history, bookings on 5 %", ["history, bookings on 5 %"], "DuckDB history, later"),
    (
        "state and history, bookings on 5 %",
        ["loans, bookings on 5 %", "mart, bookings on 5 %", "history, bookings on 5 %"],
        "DuckDB history, later",
    ),
)
BESIDE = (
    "DuckDB state",
    "polars state",
    "PostgreSQL state, plain window",
    "month ends, from nothing",
    "month ends, bookings on 5 %",
    "data tests of the models, each day",
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of one piece of work, on the clock and of all processors."""

    clock: float
    processors: float

    def __str__(self) -> str:
        return f"{self.clock:.1f} ({self.processors:.1f})"


@dataclass(frozen=True, slots=True)
class Measured:
    """One size: what each piece of work and each model took, and how many loans a day touched."""

    loans: int
    spent: Mapping[str, Spent]
    models: Mapping[str, float]
    later_models: Mapping[str, float]
    touched: Mapping[str, int]
    row_counts: Mapping[str, int]
    sizes: Mapping[str, int]


def main() -> None:
    """Measures every size, each in a process and on a warehouse of its own, and prints the tables."""
    measured = []
    for size in SIZES:
        measured.append(_in_a_home(size))
        _print_size(measured[-1])
        sys.stdout.flush()
    _print_growth(measured)
    _print_models(measured[-1])


def _in_a_home(size: int) -> Measured:
    folder = Path(tempfile.mkdtemp(prefix="arrears-bench-rows-"))
    home = Path(tempfile.mkdtemp(prefix="arrears-bench-"))
    home.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARREARS_")}
    environment["ARREARS_HOME"] = str(home)
    program = str(Path(sys.executable).with_name("arrears"))
    try:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.delinquency", str(size), str(folder)], env=environment, check=True
        )
        return _read(folder / "measured.json")
    finally:
        subprocess.run([program, "stop"], env=environment, check=False, capture_output=True)
        shutil.rmtree(home)
        shutil.rmtree(folder)


def _read(file: Path) -> Measured:
    found = json.loads(file.read_text(encoding="utf-8"))
    return Measured(**found | {"spent": {name: Spent(**spent) for name, spent in found["spent"].items()}})


def measure(size: int, folder: Path) -> Measured:
    """Measures one size in the home of this process.

    Raises:
        AssertionError: an engine's totals differ from another's.
    """
    from arrears import warehouse
    from arrears.transform import dbt

    row_counts = rows.write(folder, size)
    warehouse.ready()
    rows.load(folder)
    dbt.prepare()
    spent: dict[str, Spent] = {}
    touched: dict[str, int] = {}
    later: Mapping[str, float] = {}
    base, with_next = ["transactions"], ["transactions", rows.NEXT]

    at_d = _peers_at_d(folder, spent)
    models = _day(spent, "from nothing", DAYS[0], ["--full-refresh"])
    spent["state of all, off what is kept"], _ = _models([*STATED, "--full-refresh"], DAYS[0])
    _same(at_d | {"product": _product(peers.TOTALS, "loan_delinquency", DAYS[0])})
    history = {"DuckDB": _peer(spent, "DuckDB history", _in_duckdb(peers.HISTORY, folder, DAYS[0], base))}
    _same(history | {"product": _product(peers.HISTORY_TOTALS, HISTORY, DAYS[0])})

    for day, what in zip(DAYS[1:], ("no booking", "bookings on 5 %"), strict=True):
        if day == rows.NEXT_KNOWN_ON:
            rows.load_next(folder)
        later = _day(spent, what, day)
        (touched[what],) = _rows("select count(*) from working.int_delinquency__loans_touched")[0]
    spent["data tests of the models, each day"], _ = _models(TESTS, DAYS[-1])
    last = DAYS[-1]
    state = {"DuckDB": _peer(spent, "DuckDB state, later", _in_duckdb(peers.STATE, folder, last, with_next))}
    _same(state | {"product": _product(peers.TOTALS, "loan_delinquency", last)})
    history = {"DuckDB": _peer(spent, "DuckDB history, later", _in_duckdb(peers.HISTORY, folder, last, with_next))}
    _same(history | {"product": _product(peers.HISTORY_TOTALS, HISTORY, last)})
    return Measured(size, spent, models, later, touched, row_counts, _sizes())


def _day(spent: dict[str, Spent], what: str, day: date, more: Sequence[str] = ()) -> dict[str, float]:
    """Runs a day's models, step by step; gives each model's seconds."""
    models: dict[str, float] = {}
    for step, selected in STEPS.items():
        spent[f"{step}, {what}"], of_step = _models(["run", *selected, *more], day)
        models |= of_step
    return models


Engine = Callable[[], Callable[[], peers.Totals]]


def _in_duckdb(query: str, folder: Path, as_of: date, bookings: Sequence[str]) -> Engine:
    totals = peers.HISTORY_TOTALS if query == peers.HISTORY else peers.TOTALS
    return lambda: peers.in_duckdb(query, totals, folder, as_of, bookings)


def _peers_at_d(folder: Path, spent: dict[str, Spent]) -> dict[str, peers.Totals]:
    from arrears.warehouse.connections import connect

    bookings = ["transactions"]
    in_duckdb = _in_duckdb(peers.STATE, folder, DAYS[0], bookings)
    in_duckdb()()  # so that all engines find the files in memory
    found = {"DuckDB": _peer(spent, "DuckDB state", in_duckdb)}
    found["polars"] = _peer(spent, "polars state", lambda: peers.in_polars(folder, DAYS[0], bookings))
    with connect(DAYS[0]) as connection:
        found["PostgreSQL"] = _peer(
            spent, "PostgreSQL state, plain window", lambda: peers.in_postgres(connection, DAYS[0])
        )
    return found


def _peer(spent: dict[str, Spent], name: str, run: Engine) -> peers.Totals:
    with _timed() as took:
        read = run()
    spent[name] = took()
    return read()


def _same(totals: Mapping[str, peers.Totals]) -> None:
    others = peers.differences(totals)
    assert not others, f"{', '.join(others)} and {next(iter(totals))} differ: {dict(totals)}"


def _product(totals: str, table: str, as_of: date) -> peers.Totals:
    """Totals of what the models built, of the loans that the peers do too."""
    totals = totals.format(d=f"date '{as_of}'")
    plain = "select loan_id from versions.loans where branch_code = 'plain'"
    return peers.in_units(_rows(f"select {totals} from working.{table} where loan_id in ({plain})")[0])


def _models(arguments: Sequence[str], as_of: date) -> tuple[Spent, dict[str, float]]:
    """Runs dbt; gives the seconds from the first model's start to the last one's end, and each model's."""
    from arrears.transform import dbt

    before = _server_seconds()
    dbt.invoke(arguments, as_of)
    processors = _server_seconds() - before
    results = json.loads((dbt.target_folder() / "run_results.json").read_text(encoding="utf-8"))["results"]
    times = [
        datetime.fromisoformat(part[edge])
        for result in results
        for part in result["timing"]
        if part["name"] == "execute"
        for edge in ("started_at", "completed_at")
    ]
    models = {str(result["unique_id"]).split(".")[-1]: float(result["execution_time"]) for result in results}
    return Spent((max(times) - min(times)).total_seconds(), processors), models


@contextmanager
def _timed() -> Iterator[Callable[[], Spent]]:
    """Seconds of this process and of the server."""
    took = Spent(0, 0)
    clock, own, server = time.monotonic(), time.process_time(), _server_seconds()
    yield lambda: took
    processors = time.process_time() - own + _server_seconds() - server
    took = Spent(time.monotonic() - clock, processors)


def _server_seconds() -> float:
    """Processor seconds of the embedded server: its own, of the sessions that have ended, and of those that run."""
    from arrears.warehouse.connections import embedded

    server = embedded()
    assert server is not None
    process = psutil.Process(int((server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]))
    times = process.cpu_times()
    seconds = times.user + times.system + times.children_user + times.children_system
    for child in process.children():
        try:
            own = child.cpu_times()
        except psutil.NoSuchProcess:  # ended since, and counted with the next reading
            continue
        seconds += own.user + own.system
    return float(seconds)


def _rows(query: str) -> list[tuple[Any, ...]]:
    from arrears.warehouse.connections import connect

    with connect() as connection:
        return connection.execute(query.encode()).fetchall()


def _sizes() -> dict[str, int]:
    """Bytes of what is kept, with its indexes."""
    return {
        str(name): int(size)
        for name, size in _rows(
            "select model, pg_total_relation_size(format('working.%I', model)::regclass) from ops.kept_models"
        )
    }


def _print_size(one: Measured) -> None:
    counts = ", ".join(f"{one.row_counts[name]:,} {name}" for name in ("instalments", "transactions", "charges"))
    touched = ", ".join(f"{what}: {count:,}" for what, count in one.touched.items())
    print(f"\n{one.loans:,} loans ({counts}); loans touched by a day ({touched})\n")
    print("| what | seconds (of processors) | DuckDB, all of it | DuckDB / ours |")
    print("| --- | ---: | ---: | ---: |")
    for what, names, peer in LINES:
        ours, theirs = _sum(one, names), one.spent[peer]
        print(f"| {what} | {ours} | {theirs} | {theirs.clock / ours.clock:.2f} |")
    print("\n| beside these | seconds (of processors) |\n| --- | ---: |")
    for name in BESIDE:
        print(f"| {name} | {one.spent[name]} |")


def _sum(one: Measured, names: Sequence[str]) -> Spent:
    parts = [one.spent[name] for name in names]
    return Spent(sum(part.clock for part in parts), sum(part.processors for part in parts))


def _print_growth(measured: Sequence[Measured]) -> None:
    """The exponent of time over loans, between each size and the one before."""
    steps = list(pairwise(measured))
    if not steps:
        return
    print("\n| exponent of time over loans | " + " | ".join(f"{a.loans:,} to {b.loans:,}" for a, b in steps) + " |")
    print("| --- |" + " ---: |" * len(steps))
    lines = [(what, names) for what, names, _ in LINES] + [
        (peer, [peer]) for peer in ("DuckDB state", "DuckDB history")
    ]
    for what, names in lines:
        print(f"| {what} | " + " | ".join(f"{_exponent(a, b, names):.2f}" for a, b in steps) + " |")


def _exponent(small: Measured, large: Measured, names: Sequence[str]) -> float:
    """Of processor seconds, which other work on the machine moves less than the clock."""
    before, after = (_sum(one, names).processors for one in (small, large))
    return math.log(after / before) / math.log(large.loans / small.loans)


def _print_models(one: Measured) -> None:
    print(f"\n| model at {one.loans:,} loans | from nothing, s | bookings on 5 %, s | MB kept |")
    print("| --- | ---: | ---: | ---: |")
    for name, seconds in one.models.items():
        kept = f"{one.sizes[name] / 1e6:,.0f}" if name in one.sizes else ""
        later = one.later_models.get(name, 0.0)
        if max(seconds, later) >= 0.5 or kept:
            print(f"| {name} | {seconds:.1f} | {later:.1f} | {kept} |")


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    measured = measure(int(sys.argv[1]), folder)
    (folder / "measured.json").write_text(json.dumps(asdict(measured)), encoding="utf-8")
