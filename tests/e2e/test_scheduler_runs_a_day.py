"""The DAG under Airflow's own scheduler with a LocalExecutor: services are up, a day comes out, services are gone."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import psutil
import psycopg
import pytest

from arrears.scheduling.serve import free_port
from tests.e2e.home import ARREARS, Home, a_home

pytestmark = pytest.mark.e2e

FIRST = date(2026, 3, 30)
# Every task is a process that loads dbt or Great Expectations anew; on a busy machine that takes a while.
UP_SECONDS = 240
DAY_SECONDS = 600


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A small portfolio's drops, in the home's own folder."""
    from arrears.simulation.small_portfolio import write_drops

    with a_home() as found:
        write_drops(found.folder / "drops", first=FIRST, last=FIRST + timedelta(days=1), loans=60, seed=11)
        yield found


def metadata(home: Home, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Asks Airflow's metadata database, as its administrator does."""
    done = subprocess.run(
        [sys.executable, "-c", "from arrears.warehouse.connections import airflow_url; print(airflow_url())"],
        env=home.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    with psycopg.connect(done.stdout.strip().replace("+psycopg2", "")) as connection:
        return connection.execute(query, values).fetchall()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def services(home: Home) -> Iterator["subprocess.Popen[bytes]"]:
    """`arrears serve`, up and healthy."""
    said = home.folder / "serve.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [str(ARREARS), "serve", "--unpause", "--port", str(free_port())],
            env=home.environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        deadline = time.monotonic() + UP_SECONDS
        while "Ctrl-C stops it" not in said.read_text(encoding="utf-8"):
            assert process.poll() is None, said.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, said.read_text(encoding="utf-8")
            time.sleep(0.5)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=90)


def test_a_day_is_run_by_the_scheduler_and_exported(home: Home, services: "subprocess.Popen[bytes]"):
    done = home.arrears(
        "run", "--source", "contract", "--drop", str(home.folder / "drops"), "--as-of", FIRST.isoformat()
    )

    assert done.returncode == 0, done.stderr
    assert "manifest.json" in home.exported(FIRST)
    # The command only asked: the scheduler queued every task of the run.
    rows = metadata(
        home,
        "select run.triggered_by, run.state, count(*), count(task.queued_by_job_id)"
        " from dag_run as run inner join task_instance as task"
        " on run.dag_id = task.dag_id and run.run_id = task.run_id"
        " where run.run_type = 'manual' group by run.triggered_by, run.state",
    )
    assert rows == [("CLI", "success", 10, 10)]


@pytest.mark.slow
def test_a_backfill_makes_the_next_day(home: Home, services: "subprocess.Popen[bytes]"):
    day = FIRST + timedelta(days=1)
    conf = json.dumps({"source": "contract", "drop": str(home.folder / "drops")})
    asked = home.arrears(
        "airflow",
        *("backfill", "create", "--dag-id", "collections_daily", "--from-date", day.isoformat()),
        *("--to-date", day.isoformat(), "--dag-run-conf", conf),
    )
    assert asked.returncode == 0, asked.stderr

    deadline = time.monotonic() + DAY_SECONDS
    state = None
    while state not in ("success", "failed"):
        assert time.monotonic() < deadline, f"the run is {state}"
        time.sleep(2)
        rows = metadata(home, "select state from dag_run where run_type = 'backfill' and logical_date = %s", day)
        state = rows[0][0] if rows else None

    assert state == "success"
    assert "manifest.json" in home.exported(day)


@pytest.mark.slow
def test_a_wrong_drop_fails_its_run_with_the_steps_own_exit_code(home: Home, services: "subprocess.Popen[bytes]"):
    day = FIRST + timedelta(days=5)
    before = home.exported(FIRST)
    done = home.arrears(
        "run", "--source", "contract", "--drop", str(home.folder / "drops" / "no-such"), "--as-of", str(day)
    )

    assert done.returncode == 4, done.stderr
    assert "no-such" in done.stderr.strip().splitlines()[-1]
    assert home.exported(FIRST) == before
    assert home.exported(day) == {}


def test_when_the_services_stop_nothing_of_them_is_left(home: Home, services: "subprocess.Popen[bytes]"):
    entries = json.loads((home.folder / "airflow" / "services.json").read_text(encoding="utf-8"))
    everyone = [psutil.Process(entry["pid"]) for entry in entries]
    everyone += [child for process in everyone[1:] for child in process.children(recursive=True)]
    assert [entry["name"] for entry in entries] == ["serve", "scheduler", "dag-processor", "api-server"]

    services.send_signal(signal.SIGTERM)

    assert services.wait(timeout=90) == 0
    _, alive = psutil.wait_procs(everyone, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_without_a_scheduler_the_same_day_in_one_process_gives_the_same_bytes(home: Home):
    """The last of this module: the services are gone."""
    before = home.exported(FIRST)

    done = home.arrears(
        "run", "--source", "contract", "--drop", str(home.folder / "drops"), "--as-of", FIRST.isoformat()
    )

    assert done.returncode == 0, done.stderr
    assert home.exported(FIRST) == before
