"""The DAG as Airflow reads it: order, schedule, limits; and that reading it costs nothing."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from arrears.settings import CHECKOUT

# In a process of its own: what an import brings in can only be seen where nothing is imported yet.
READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
dag = bag.dags["collections_daily"]
tasks = {
    task.task_id: {
        "upstream": sorted(task.upstream_task_ids),
        "pool": task.pool,
        "retries": task.retries,
        "seconds": task.execution_timeout.total_seconds(),
        "mapped": task.is_mapped,
        "weight_rule": task.weight_rule if isinstance(task.weight_rule, str) else str(task.weight_rule),
    }
    for task in dag.task_dict.values()
}
print(json.dumps({
    "errors": bag.import_errors,
    "dags": sorted(bag.dags),
    "tasks": tasks,
    "max_active_runs": dag.max_active_runs,
    "catchup": dag.catchup,
    "start": dag.start_date.isoformat(),
    "timetable": type(dag.timetable).__name__,
    "params": {name: [dag.params[name], dag.params.get_param(name).description] for name in dag.params},
    "heavy": sorted({"pandas", "numpy", "dbt", "great_expectations", "highspy", "duckdb", "pyarrow", "psycopg",
                     "asyncssh", "s3fs", "botocore"}
                    & (set(sys.modules) - before)),
}))
"""


@pytest.fixture(scope="module")
def dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a fresh Airflow reads in dags/."""
    scratch = tmp_path_factory.mktemp("airflow")
    environment = os.environ | {
        "AIRFLOW_HOME": str(scratch),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{scratch}/airflow.db",
        "ARREARS_HOME": str(scratch),
        "ARREARS_BUSINESS_TIME_ZONE": "UTC",
    }
    done = subprocess.run(
        [sys.executable, "-c", READ, str(CHECKOUT / "dags")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_there_is_one_dag_a_file_named_for_it(dag):
    assert dag["errors"] == {}
    assert dag["dags"] == sorted(file.stem for file in (CHECKOUT / "dags").glob("*.py"))


def test_the_steps_come_in_the_order_of_the_day(dag):
    order = [
        "list_sources",
        "await_delivery",
        "extract",
        "gate_raw",
        "build_marts",
        "gate_marts",
        "assign_agencies",
        "build_queues",
        "gate_queues",
        "publish",
        "export_queues",
        "deliver",
    ]
    expected = {name: [before] for before, name in pairwise(order)}
    expected |= {"list_sources": [], "extract": ["await_delivery", "list_sources"]}

    assert {name: task["upstream"] for name, task in dag["tasks"].items()} == expected


def test_deliveries_are_awaited_and_extracted_one_task_a_source(dag):
    assert sorted(name for name, task in dag["tasks"].items() if task["mapped"]) == ["await_delivery", "extract"]


def test_every_task_has_retries_a_time_limit_and_a_pool(dag):
    for name, task in dag["tasks"].items():
        assert task["retries"] >= 1, name
        assert timedelta(0) < timedelta(seconds=task["seconds"]) <= timedelta(hours=6), name
        assert task["pool"] == ("deliveries" if name in ("await_delivery", "deliver") else "warehouse"), name
        assert "upstream" in task["weight_rule"].lower(), name


def test_a_target_that_is_away_for_a_night_is_tried_again(dag):
    assert dag["tasks"]["deliver"]["retries"] == 10
    assert dag["tasks"]["export_queues"]["retries"] == 3


def test_several_runs_at_a_time_without_catching_up_from_a_start_before_anybodys_data(dag):
    # One that waits for its delivery must not keep another date from being repaired.
    assert dag["max_active_runs"] == 16
    assert dag["catchup"] is False
    assert dag["start"] == "1970-01-01T00:00:00+00:00"


def test_runs_have_a_data_interval(dag):
    assert dag["timetable"] == "CronDataIntervalTimetable"


def test_parameters_say_what_they_are_when_not_given_and_what_they_mean(dag):
    given = {name: value for name, (value, _) in dag["params"].items()}

    assert given == {"source": None, "drop": None, "replace": None, "late": False, "wait": True}
    assert all("null" in text for name, (value, text) in dag["params"].items() if value is None)


def test_reading_the_dag_imports_nothing_heavy(dag):
    assert dag["heavy"] == []
