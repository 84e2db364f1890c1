"""What a day on real data (Berka, 682 loans) costs, and how much of it is not work in the database.

The peer is the work itself: the seconds that dbt's models, seeds and tests took in PostgreSQL, as dbt reports them in
the same run. Everything else (imports, Airflow, dbt's start, Great Expectations, the solver, files) is overhead to it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AS_OF = "1998-12-31"
NEXT = "1999-01-01"


def main() -> None:
    """Runs a first day, the same day again, and a range of two days, each in a process of its own."""
    home = Path(tempfile.mkdtemp(prefix="arrears-bench-"))
    home.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARREARS_")}
    environment["ARREARS_HOME"] = str(home)
    try:
        print("| run | wall s | steps s | dbt nodes in PostgreSQL s | wall / nodes |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, arguments in (
            ("first day, empty home", ["--as-of", AS_OF]),
            ("the same day again", ["--as-of", AS_OF]),
            ("two further days, one process", ["--as-of", NEXT, "--to", "1999-01-02"]),
        ):
            _measure(name, arguments, environment)
        _by_step(environment)
    finally:
        subprocess.run([_program(), "stop"], env=environment, check=False, capture_output=True)
        shutil.rmtree(home)


def _program() -> str:
    return str(Path(sys.executable).with_name("arrears"))


def _measure(name: str, arguments: list[str], environment: dict[str, str]) -> None:
    before = _total(environment) if name != "first day, empty home" else (0.0, 0.0)
    started = time.monotonic()
    subprocess.run(
        [_program(), "run", "--source", "berka", *arguments, "--json"],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wall = time.monotonic() - started
    after = _total(environment)
    steps, nodes = after[0] - before[0], after[1] - before[1]
    print(f"| {name} | {wall:.1f} | {steps:.1f} | {nodes:.1f} | {wall / nodes:.1f} |")


def _total(environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of all steps, and of all dbt nodes, so far."""
    query = (
        "select coalesce((select sum(extract(epoch from finished_at - started_at)) from ops.step_runs"
        " where state = 'done'), 0) as steps, coalesce((select sum(seconds) from ops.model_runs), 0) as nodes"
    )
    row = _rows(query, environment)[0]
    return float(row["steps"]), float(row["nodes"])


def _by_step(environment: dict[str, str]) -> None:
    print("\n| step | first day s | again s |")
    print("| --- | ---: | ---: |")
    query = (
        "select step, array_agg(round(extract(epoch from finished_at - started_at), 1) order by step_run_id) as seconds"
        f" from ops.step_runs where as_of_date = '{AS_OF}' and state = 'done' group by step order by min(step_run_id)"
    )
    for row in _rows(query, environment):
        print(f"| {row['step']} | {row['seconds'][0]} | {row['seconds'][-1]} |")


def _rows(query: str, environment: dict[str, str]) -> list[dict[str, object]]:
    code = (
        "import json, sys; from arrears import warehouse; from psycopg.rows import dict_row;"
        "c = warehouse.connect(); cur = c.cursor(row_factory=dict_row);"
        "print(json.dumps(cur.execute(sys.argv[1]).fetchall(), default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, query], env=environment, check=True, capture_output=True, text=True
    )
    rows: list[dict[str, object]] = json.loads(done.stdout)
    return rows
