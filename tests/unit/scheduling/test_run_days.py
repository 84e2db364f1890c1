"""Runs in one process: what is refused before anything starts, and how a task's error reaches the caller."""

import signal
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from arrears import errors
from arrears.scheduling import run_days as module
from arrears.scheduling.log_files import LogStream
from arrears.scheduling.run_days import TaskEvent, run_days

DAY = date(2026, 3, 31)


def test_dates_in_the_wrong_order_are_refused():
    with pytest.raises(errors.UsageError, match="2026-03-30 is before"):
        run_days(DAY, date(2026, 3, 30))


def test_a_date_before_the_dags_start_is_refused_because_airflow_would_skip_it_in_silence():
    with pytest.raises(errors.UsageError, match="1969-12-31 cannot be run"):
        run_days(date(1969, 12, 31), DAY)


@pytest.fixture
def watched(home, monkeypatch) -> Any:
    """A watcher of a run, what it reports, and a task."""
    monkeypatch.setattr(module, "_give_up_what_follows", lambda run_id: None)
    before = signal.getsignal(signal.SIGTERM)
    events: list[TaskEvent] = []
    stream = LogStream()
    stream.to(home / "runs.log")
    watcher = module._Watcher(DAY, events.append, stream)
    task = SimpleNamespace(
        dag_id="collections_daily", run_id="manual__1", task_id="gate_raw", map_index=-1, try_number=1
    )
    yield watcher, events, task, stream
    stream.to(None)
    signal.signal(signal.SIGTERM, before)


def test_the_steps_own_error_is_found_behind_airflows(watched):
    watcher, events, task, _ = watched
    blocked = errors.GateBlocked("Rule raw-01 fails for loan 17.")
    airflows = RuntimeError("Rule raw-01 fails for loan 17.")
    airflows.__cause__ = blocked

    watcher.on_task_instance_running("queued", task)
    watcher.on_task_instance_failed("running", task, airflows)

    assert watcher.error is blocked
    assert [(e.task, e.state, e.message) for e in events] == [
        ("gate_raw", "running", None),
        ("gate_raw", "failed", "Rule raw-01 fails for loan 17."),
    ]


def test_an_error_nobody_foresaw_names_task_date_and_log(watched):
    watcher, _, task, _ = watched

    watcher.on_task_instance_running("queued", task)
    watcher.on_task_instance_failed("running", task, KeyError("loan_id"))

    assert type(watcher.error) is errors.ArrearsError
    assert str(watcher.error).startswith("gate_raw failed on 2026-03-31: KeyError: 'loan_id' (log: ")
    assert "task_id=gate_raw/attempt=1.log" in str(watcher.error)


def test_the_first_error_is_the_one_told(watched):
    watcher, _, task, _ = watched
    first, second = errors.SourceError("No file loans.csv."), errors.SourceError("No file agencies.csv.")

    watcher.on_task_instance_failed("running", task, first)
    watcher.on_task_instance_failed("running", task, second)

    assert watcher.error is first


def test_ctrl_c_in_a_task_ends_the_run(watched):
    watcher, _, task, _ = watched

    watcher.on_task_instance_failed("running", task, KeyboardInterrupt())

    assert isinstance(watcher.error, KeyboardInterrupt)


def test_a_mapped_task_is_reported_with_its_source_and_logs_where_the_ui_looks(watched, home):
    watcher, events, _, stream = watched
    task = SimpleNamespace(
        dag_id="collections_daily",
        run_id="manual__1",
        task_id="extract",
        map_index=0,
        try_number=1,
        rendered_map_index="berka",
    )

    watcher.on_task_instance_running("queued", task)
    stream.write(b"from the task\n")
    watcher.on_task_instance_success("running", task)
    stream.write(b"from the run\n")
    stream.flush()

    log = home / "airflow/logs/dag_id=collections_daily/run_id=manual__1/task_id=extract/map_index=0/attempt=1.log"
    assert log.read_text() == "from the task\n"
    assert (home / "runs.log").read_text() == "from the run\n"
    assert [(event.task, event.source, event.state) for event in events] == [
        ("extract", "berka", "running"),
        ("extract", "berka", "done"),
    ]


def test_an_error_recorded_elsewhere_keeps_its_exit_code(monkeypatch):
    rows = [("SourceError", "No file loans.csv in /drops/1."), ("KeyError", "'loan_id'"), None]
    found = []
    for row in rows:
        monkeypatch.setattr(module.warehouse, "connect", lambda row=row: _Answer(row))
        found.append(module._error_of(DAY, "manual__1"))

    assert [error.exit_code for error in found] == [4, 1, 1]
    assert [str(error) for error in found[:2]] == ["No file loans.csv in /drops/1.", "KeyError: 'loan_id'"]
    assert "before a step could say why" in str(found[2])


class _Answer:
    """A connection whose every query gives one row."""

    def __init__(self, row: Any) -> None:
        self.row = row

    def __enter__(self) -> "_Answer":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def execute(self, *_: object) -> "_Answer":
        return self

    def fetchone(self) -> Any:
        return self.row
