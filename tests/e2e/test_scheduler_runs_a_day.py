"""The DAG under Airflow's own scheduler: last night's run waits for its delivery while another date is repaired.

The dates are those of the machine's clock, because the scheduler's are: last night's run is the one it makes when the
DAG is unpaused. The portfolio is written by hand and does not change from day to day.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from arrears.scheduling.serve import free_port
from arrears.settings import CHECKOUT
from tests.e2e.home import ARREARS, Home, a_home
from tests.portfolio import a_repayment, write_drop
from tests.webhook import Webhook, a_webhook

pytestmark = pytest.mark.e2e

# Every task is a process that loads dbt or Great Expectations anew; on a busy machine that takes a while.
UP_SECONDS = 240
DAY_SECONDS = 600
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """Where people are told."""
    with a_webhook() as found:
        yield found


@pytest.fixture(scope="module")
def home(webhook: Webhook) -> Iterator[Home]:
    """A home with a source that delivers every day, is waited for for three days, and has delivered nothing yet."""
    with a_home() as found:
        sources = found.folder / "sources" / "contract"
        sources.mkdir(parents=True)
        text = (CHECKOUT / "sources" / "contract" / "source.yml").read_text(encoding="utf-8")
        calendar = 'deliveries: {by: "00:00", wait_hours: 72}'
        (sources / "source.yml").write_text(
            f"{text}drop: {found.folder / 'drops'}\nmarker: _SUCCESS\n{calendar}\n", encoding="utf-8"
        )
        (found.folder / "drops").mkdir()
        yield Home(
            found.folder,
            {
                "ARREARS_SOURCES": "contract",
                "ARREARS_SOURCES_FOLDER": str(found.folder / "sources"),
                "ARREARS_NOTIFY": webhook.url,
                "ARREARS_QUEUES_DUE_AT": "00:00",
            },
        )


def deliver(home: Home, day: date, **tables: object) -> Path:
    """The lender puts a day's drop there, its marker last."""
    folder = write_drop(home.folder / "drops" / day.isoformat(), **tables)
    (folder / "_SUCCESS").touch()
    return folder


@pytest.fixture(scope="module")
def metadata(home: Home) -> Callable[..., list[tuple[Any, ...]]]:
    """Asks Airflow's metadata database, as its administrator does."""
    done = subprocess.run(
        [sys.executable, "-c", "from arrears.warehouse.connections import airflow_url; print(airflow_url())"],
        env=home.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    url = done.stdout.strip().replace("+psycopg2", "")

    def ask(query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[arg-type]

    return ask


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


def until(ask: Callable[[], Any], wanted: Any, *, seconds: float = DAY_SECONDS) -> None:
    """Waits until a question has the wanted answer."""
    deadline = time.monotonic() + seconds
    while (answer := ask()) != wanted:
        assert time.monotonic() < deadline, f"still {answer!r}, not {wanted!r}"
        time.sleep(1)


@pytest.fixture(scope="module")
def last_night(metadata: Callable[..., Any], services: "subprocess.Popen[bytes]") -> date:
    """The date of the run that the scheduler made by itself."""
    query = "select count(*) from dag_run where run_type = 'scheduled'"
    until(lambda: metadata(query), [(1,)])
    found: date = metadata("select logical_date from dag_run where run_type = 'scheduled'")[0][0].date()
    return found


def sensor(metadata: Callable[..., Any], day: date) -> list[tuple[Any, ...]]:
    """How the scheduled run of a date and its sensor stand."""
    found: list[tuple[Any, ...]] = metadata(
        "select run.state, task.state, task.rendered_map_index from dag_run as run"
        " inner join task_instance as task on run.dag_id = task.dag_id and run.run_id = task.run_id"
        " where run.run_type = 'scheduled' and run.logical_date = %s and task.task_id = 'await_delivery'",
        day,
    )
    return found


WAITING = [("running", "deferred", "contract")]


def test_last_nights_run_waits_for_its_delivery_without_a_worker(home: Home, metadata: Any, last_night: date):
    until(lambda: sensor(metadata, last_night), WAITING)

    assert metadata("select count(*) from task_instance where state in ('running', 'queued')") == [(0,)]
    assert not home.exports.exists()


def test_people_are_told_of_the_missing_delivery_and_of_the_late_queues(webhook: Webhook, last_night: date):
    until(
        lambda: {title for title in webhook.titles if str(last_night) in title},
        {f"Delivery of contract for {last_night} is missing", f"Queues of {last_night} are late"},
    )


def test_another_date_is_run_and_repaired_meanwhile(home: Home, metadata: Any, last_night: date):
    day = last_night - DAY
    deliver(home, day)

    done = home.arrears("run", "--as-of", day)

    assert done.returncode == 0, done.stderr
    assert "manifest.json" in home.exported(day)
    assert sensor(metadata, last_night) == WAITING
    # The command only asked: the scheduler queued every task of the run.
    rows = metadata(
        "select run.triggered_by, run.state, count(*), count(task.queued_by_job_id)"
        " from dag_run as run inner join task_instance as task"
        " on run.dag_id = task.dag_id and run.run_id = task.run_id"
        " where run.run_type = 'manual' group by run.triggered_by, run.state",
    )
    assert rows == [("CLI", "success", 12, 12)]


@pytest.mark.slow
def test_a_repair_ends_with_its_steps_own_exit_code(home: Home, metadata: Any, last_night: date):
    day = last_night - DAY
    before = home.exported(day)
    other = write_drop(home.folder / "other", transactions=[a_repayment(amount="50.00")])
    (other / "_SUCCESS").touch()

    refused = home.arrears("run", "--drop", other, "--as-of", day)
    assert refused.returncode == 6, refused.stderr
    assert "say --replace REASON" in refused.stderr.strip().splitlines()[-1]
    assert home.exported(day) == before

    missing = home.arrears("run", "--drop", home.folder / "no-such", "--as-of", last_night - 5 * DAY)
    assert missing.returncode == 4, missing.stderr
    assert "no-such" in missing.stderr.strip().splitlines()[-1]

    replaced = home.arrears("run", "--drop", other, "--as-of", day, "--replace", "the wrong file")
    assert replaced.returncode == 0, replaced.stderr
    assert home.exported(day) != before
    assert sensor(metadata, last_night) == WAITING


def test_the_delivery_arrives_and_its_day_goes_out_behind_a_run_that_is_at_work(
    home: Home, metadata: Any, last_night: date
):
    """A run by hand has the warehouse when the delivery arrives: last night's run is put off until it is given back."""
    before = home.exported(last_night - DAY)
    in_the_way = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        take(home, in_the_way.pid, last_night - DAY)
        deliver(home, last_night)
        steps = "select state, try_number from task_instance where run_id like 'scheduled%%' and task_id = 'extract'"
        until(lambda: metadata(steps), [("up_for_reschedule", 1)])
        assert sensor(metadata, last_night) == [("running", "success", "contract")]
    finally:
        in_the_way.kill()
        in_the_way.wait()

    state = "select state from dag_run where run_type = 'scheduled' and logical_date = %s"
    until(lambda: metadata(state, last_night), [("success",)])

    assert metadata(steps) == [("success", 1)]  # it used up none of its tries
    assert "manifest.json" in home.exported(last_night)
    assert home.exported(last_night - DAY) == before


def take(home: Home, pid: int, day: date) -> None:
    """Has a process hold the warehouse, as `arrears run` in one process does."""
    text = (
        "import sys, psutil; from datetime import date; from arrears.warehouse.connections import connect\n"
        "from socket import gethostname\n"
        "pid = int(sys.argv[1])\n"
        "with connect() as connection:\n"
        "    connection.execute('insert into ops.run_lock (run_id, owner_kind, host, pid, process_started_at,'\n"
        "        ' as_of_date) values (%s, %s, %s, %s, %s, %s)', ['by hand', 'process', gethostname(), pid,\n"
        "        psutil.Process(pid).create_time(), date.fromisoformat(sys.argv[2])])\n"
    )
    subprocess.run(
        [sys.executable, "-c", text, str(pid), day.isoformat()], env=home.environment(), check=True, timeout=60
    )


@pytest.mark.slow
def test_a_backfill_makes_a_past_range_in_order(home: Home, metadata: Any, last_night: date):
    """Of dates before the first delivery, which needs no drops: they are computed from the first one."""
    days = [last_night - 4 * DAY, last_night - 3 * DAY, last_night - 2 * DAY]
    asked = home.arrears(
        *("airflow", "backfill", "create", "--dag-id", "collections_daily"),
        *("--from-date", days[0].isoformat(), "--to-date", days[-1].isoformat()),
    )
    assert asked.returncode == 0, asked.stderr

    states = "select logical_date, state from dag_run where run_type = 'backfill' order by logical_date"
    until(lambda: {state for _, state in metadata(states)}, {"success"}, seconds=3 * DAY_SECONDS)

    assert [logical.date() for logical, _ in metadata(states)] == days
    assert all("manifest.json" in home.exported(day) for day in days)
    asked_of = home.arrears("sql", "select as_of_date from marts.assignment_run order by as_of_date")
    assert [line for line in asked_of.stdout.split()[1:] if date.fromisoformat(line) in days] == [
        day.isoformat() for day in days
    ]
    ends = metadata(
        "select run.logical_date from task_instance as task inner join dag_run as run on task.run_id = run.run_id"
        " where run.run_type = 'backfill' and task.task_id = 'export_queues' order by task.end_date"
    )
    assert [logical.date() for (logical,) in ends] == days


def test_when_the_services_stop_nothing_of_them_is_left(home: Home, services: "subprocess.Popen[bytes]"):
    entries = json.loads((home.folder / "airflow" / "services.json").read_text(encoding="utf-8"))
    everyone = [psutil.Process(entry["pid"]) for entry in entries]
    everyone += [child for process in everyone[1:] for child in process.children(recursive=True)]
    assert [entry["name"] for entry in entries] == ["serve", "scheduler", "dag-processor", "triggerer", "api-server"]

    services.send_signal(signal.SIGTERM)

    assert services.wait(timeout=90) == 0
    _, alive = psutil.wait_procs(everyone, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_without_a_scheduler_the_same_day_in_one_process_gives_the_same_bytes(home: Home, last_night: date):
    """The last of this module: the services are gone."""
    before = home.exported(last_night)

    done = home.arrears("run", "--as-of", last_night)

    assert done.returncode == 0, done.stderr
    assert home.exported(last_night) == before
