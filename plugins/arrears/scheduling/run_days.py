"""Runs the DAG for dates in order: in this process, or by the scheduler where one is at work on this home.

In one process because Airflow takes seconds to start and a second a day from then on. `DAG.test` runs each task here,
one after another; it knows no pool and no scheduler, so an advisory lock keeps two such runs and a scheduler apart.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from arrears import errors, warehouse
from arrears.errors import ArrearsError, UsageError, WarehouseBusy
from arrears.orchestration import DAG_ID
from arrears.scheduling import airflow_home
from arrears.scheduling.log_files import LogStream, PrintedLines, logging_to
from arrears.settings import get_settings

if TYPE_CHECKING:
    from airflow.sdk import DAG

# Before the DAG's start date Airflow would skip every task in silence.
FIRST_DATE = date(1970, 1, 1)

ALONE_LOCK = 7_231_002
POLL_SECONDS = 1.0
# A run that waits this long for a scheduler that sends no heartbeat has been left alone.
PATIENCE_SECONDS = 90.0


TaskState = Literal["running", "waiting", "done", "failed"]


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """A task of a day's run begins or ends, or waits for the warehouse or its next try."""

    as_of_date: date
    task: str
    source: str | None
    state: TaskState
    seconds: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class DayRun:
    """A day that was run to its end: Airflow's name of the run and how long it took."""

    as_of_date: date
    run_id: str
    seconds: float


Report = Callable[[TaskEvent], None]


def _say_nothing(event: TaskEvent) -> None:
    del event


def run_days(
    first: date,
    last: date,
    *,
    source: str | None = None,
    drop: Path | None = None,
    replace: str | None = None,
    is_late: bool = False,
    report: Report = _say_nothing,
) -> list[DayRun]:
    """Runs the daily DAG for each date from first to last; stops at the first that fails. Waits for no delivery.

    Args:
        first: the first business date.
        last: the last one, not before first.
        source: extract this source only.
        drop: folder of a file source's drop.
        replace: the reason for which exported dates may be exported again with other bytes.
        is_late: the drop of an exported date is known only from the first date after the newest exported one.
        report: called when a task begins and ends; must not raise.

    Raises:
        ArrearsError: the step's own error, with its exit code; earlier dates are done.
        WarehouseBusy: another run of this home is at work.
        UsageError: dates in the wrong order or before 1970-01-01.
    """
    if last < first:
        raise UsageError(f"--to {last} is before --as-of {first}: give them in order.")
    if first < FIRST_DATE:
        raise UsageError(f"{first} cannot be run: the first date that the DAG knows is {FIRST_DATE}.")
    airflow_home.prepare()
    conf = {
        "source": source,
        "drop": str(drop.absolute()) if drop else None,
        "replace": replace,
        "late": is_late,
        "wait": False,
    }
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    with logging_to(airflow_home.log_folder() / "runs.log") as stream:
        if scheduler_is_alive():
            return [_through_scheduler(day, conf, report) for day in days]
        with alone(f"arrears run {first}" if first == last else f"arrears run {first} to {last}"):
            _fail_abandoned_runs()
            dag = _load_dag()
            with _one_process():
                return [_in_process(dag, day, conf, report, stream) for day in days]


@contextmanager
def _one_process() -> Iterator[None]:
    """The warehouse is held by this process from the first step to the last, and given back however they end."""
    from arrears import steps
    from arrears.warehouse import run_lock

    before = steps.owner_kind
    steps.owner_kind = "process"
    try:
        yield
    finally:
        steps.owner_kind = before
        run_lock.release_of_process()


def noon_after(day: date, zone: ZoneInfo) -> datetime:
    """The logical date of a run for a day: noon of the next one, which no scheduled run has (theirs are midnights)."""
    return datetime.combine(day + timedelta(days=1), time_of_day(12), tzinfo=zone).astimezone(UTC)


def _load_dag() -> "DAG":
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(airflow_home.DAGS))
    if bag.import_errors:
        file, trace = next(iter(bag.import_errors.items()))
        raise ArrearsError(f"{file} cannot be loaded: {trace.strip().splitlines()[-1]}")
    dag = bag.dags[DAG_ID]
    for task in dag.task_dict.values():
        # Whoever started this waits for it and tries again at will; retries are for the night.
        if task.is_mapped:
            task.partial_kwargs["retries"] = 0
        else:
            task.retries = 0
    return dag


def _in_process(dag: "DAG", day: date, conf: Mapping[str, Any], report: Report, stream: LogStream) -> DayRun:
    from airflow.sdk.listener import get_listener_manager
    from airflow.utils.state import DagRunState, TaskInstanceState

    logical = _unused_logical_date(day)
    began, clock = datetime.now(tz=UTC), time.monotonic()
    run_log = stream.path
    watcher = _Watcher(day, report, stream)
    manager = get_listener_manager()
    manager.add_listener(watcher)
    previous = signal.getsignal(signal.SIGTERM)
    try:
        with redirect_stdout(PrintedLines(stream)):
            run = dag.test(logical_date=logical, run_conf=dict(conf))
    finally:
        manager.pm.unregister(watcher)
        signal.signal(signal.SIGTERM, previous)  # Airflow's own would swallow it
        stream.to(run_log)
        _describe(logical, day, began)
    if watcher.error is not None:
        raise watcher.error
    states = {instance.task_id: instance.state for instance in run.get_task_instances()}
    unfinished = sorted(task for task, state in states.items() if state != TaskInstanceState.SUCCESS)
    if run.state != DagRunState.SUCCESS or unfinished or not watcher.done:
        raise ArrearsError(
            f"The run for {day} ended without doing its work ({', '.join(unfinished) or 'no task was executed'}): "
            f"see {run_log}."
        )
    return DayRun(day, run.run_id, time.monotonic() - clock)


class _Watcher:
    """Airflow's listener on tasks of one run: reports them, sends logs to their files, keeps the first error."""

    def __init__(self, day: date, report: Report, stream: LogStream) -> None:
        from airflow.listeners import hookimpl

        self.day, self.stream = day, stream
        self._report, self._terminal = report, sys.stdout
        self.run_log = stream.path
        self.began = 0.0
        self.done = 0
        self.error: BaseException | None = None
        # Marked here and not by a decorator, because Airflow must not be imported with this module.
        for hook in ("on_task_instance_running", "on_task_instance_success", "on_task_instance_failed"):
            hookimpl(getattr(_Watcher, hook))

    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """A task begins."""
        del previous_state
        # Airflow has just put a handler in place that leaves the process at work.
        signal.signal(signal.SIGTERM, _stop)
        self.stream.to(_task_log(task_instance))
        self.began = time.monotonic()
        self._tell(TaskEvent(self.day, task_instance.task_id, _source(task_instance), "running"))

    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        """A task is done."""
        del previous_state
        self.done += 1
        self._ended(task_instance, "done", None)

    def on_task_instance_failed(
        self, previous_state: Any, task_instance: Any, error: BaseException | str | None
    ) -> None:
        """A task failed; Airflow goes on without the tasks that needed it."""
        del previous_state
        log = self.stream.path
        cause = error.__cause__ if isinstance(error, BaseException) else None
        if isinstance(error, ArrearsError | KeyboardInterrupt | SystemExit):
            found: BaseException = error
        elif isinstance(cause, ArrearsError):
            found = cause
        else:
            said = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
            first_line = said.strip().splitlines()[0]
            found = ArrearsError(f"{task_instance.task_id} failed on {self.day}: {first_line} (log: {log})")
            found.__cause__ = error if isinstance(error, BaseException) else None
        self.error = self.error or found
        _give_up_what_follows(task_instance.run_id)
        self._ended(task_instance, "failed", str(found))

    def _ended(self, task_instance: Any, state: Literal["done", "failed"], message: str | None) -> None:
        self.stream.to(self.run_log)
        seconds = time.monotonic() - self.began
        self._tell(TaskEvent(self.day, task_instance.task_id, _source(task_instance), state, seconds, message))

    def _tell(self, event: TaskEvent) -> None:
        with redirect_stdout(self._terminal):
            self._report(event)


def _give_up_what_follows(run_id: str) -> None:
    """Marks what waits for a failed task, all at once: `DAG.test` takes a second for each task that it finds so."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import update

    with create_session() as session:
        session.execute(
            update(TaskInstance)
            .where(TaskInstance.dag_id == DAG_ID, TaskInstance.run_id == run_id, TaskInstance.state.is_(None))
            .values(state=TaskInstanceState.UPSTREAM_FAILED)
        )


def _stop(signum: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + signum)


def _source(task_instance: Any) -> str | None:
    """What a mapped task works on: the DAG names its tasks by their source."""
    return str(task_instance.rendered_map_index) if task_instance.map_index >= 0 else None


def _task_log(task_instance: Any) -> Path:
    """Where Airflow's UI looks for a task's log ([logging] log_filename_template)."""
    parts = [f"dag_id={task_instance.dag_id}", f"run_id={task_instance.run_id}", f"task_id={task_instance.task_id}"]
    if task_instance.map_index >= 0:
        parts.append(f"map_index={task_instance.map_index}")
    return airflow_home.log_folder().joinpath(*parts, f"attempt={task_instance.try_number}.log")


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Holds this home's Airflow for the time of a run or of the services.

    Raises:
        WarehouseBusy: somebody else holds it; says who.
    """
    with airflow_home.connect() as connection:
        connection.execute("select set_config('application_name', %s, false)", [f"{what}, process {os.getpid()}"[:63]])
        row = connection.execute("select pg_try_advisory_lock(%s)", [ALONE_LOCK]).fetchone()
        if row != (True,):
            holder = connection.execute(
                "select activity.application_name from pg_locks as locks"
                " inner join pg_stat_activity as activity on locks.pid = activity.pid"
                " where locks.locktype = 'advisory' and locks.objid = %s and locks.granted",
                [ALONE_LOCK],
            ).fetchone()
            name = holder[0] if holder else "another run"
            raise WarehouseBusy(f"{name} is at work on {get_settings().home}: wait for its end or stop it.")
        yield


def scheduler_is_alive() -> bool:
    """Whether a scheduler works on this metadata database: it would take up a run made here, and do its tasks twice."""
    from airflow.jobs.job import most_recent_job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    job = most_recent_job(SchedulerJobRunner.job_type)
    return job is not None and job.is_alive()


def _fail_abandoned_runs() -> None:
    """Ends the runs of processes that were killed: nobody else is at work, so they cannot be alive."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType
    from sqlalchemy import select

    with create_session() as session:
        abandoned = select(DagRun).where(
            DagRun.dag_id == DAG_ID,
            DagRun.state == DagRunState.RUNNING,
            DagRun.triggered_by == DagRunTriggeredByType.TEST,
        )
        for run in session.scalars(abandoned).unique():
            for instance in run.get_task_instances(session=session):
                if instance.state in (TaskInstanceState.RUNNING, TaskInstanceState.QUEUED):
                    instance.state = TaskInstanceState.FAILED
            run.start_date = run.run_after  # which DAG.test sets to the moment at which it begins
            run.state = DagRunState.FAILED


def _unused_logical_date(day: date) -> datetime:
    """Noon of the next day, and a second later for each run of that day before: `DAG.test` deletes one of the same."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    noon = noon_after(day, get_settings().zone)
    with create_session() as session:
        latest = session.scalar(
            select(func.max(DagRun.logical_date)).where(
                DagRun.dag_id == DAG_ID, DagRun.logical_date >= noon, DagRun.logical_date < noon + timedelta(hours=1)
            )
        )
    return noon if latest is None else latest.astimezone(UTC) + timedelta(seconds=1)


def _describe(logical: datetime, day: date, began: datetime) -> None:
    """Has the UI show a run's date and true duration: for the start, `DAG.test` took the logical date, decades ago."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_ID, DagRun.logical_date == logical))
        if run is not None:  # else it was stopped before it was made
            run.start_date = began
            run.note = f"as of {day}"


def _through_scheduler(day: date, conf: Mapping[str, Any], report: Report) -> DayRun:
    """Has the scheduler run a day and waits for it; reports its tasks as they begin and end."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType

    clock = time.monotonic()
    logical = _unused_logical_date(day)
    run_id = f"manual__{datetime.now(tz=UTC).isoformat()}"
    with create_session() as session:
        known = session.get(DagModel, DAG_ID)
        if known is None or known.is_paused:
            raise UsageError(
                f"A scheduler is at work on {get_settings().home} but {DAG_ID} is paused: "
                f"unpause it (`arrears airflow dags unpause {DAG_ID}`) or stop the scheduler."
            )
    # trigger_dag takes the interval from run_after and not from the logical date; the UI sorts by it, so it is mended.
    trigger_dag(
        DAG_ID,
        triggered_by=DagRunTriggeredByType.CLI,
        run_id=run_id,
        run_after=logical,
        logical_date=logical,
        conf=dict(conf),
        note=f"as of {day}",
    )
    with create_session() as session:
        DagRun.find(dag_id=DAG_ID, run_id=run_id, session=session)[0].run_after = datetime.now(tz=UTC)
    seen: dict[tuple[str, int], str] = {}
    heard = time.monotonic()
    while True:
        time.sleep(POLL_SECONDS)
        with create_session() as session:
            run = DagRun.find(dag_id=DAG_ID, run_id=run_id, session=session)[0]
            state = run.state
            for instance in run.get_task_instances(session=session):
                _report_change(day, instance, seen, report)
        if state == DagRunState.SUCCESS:
            return DayRun(day, run_id, time.monotonic() - clock)
        if state == DagRunState.FAILED:
            raise _error_of(day, run_id)
        if scheduler_is_alive():
            heard = time.monotonic()
        elif time.monotonic() - heard > PATIENCE_SECONDS:
            raise ArrearsError(
                f"The scheduler stopped while {run_id} was running for {day}: start it again (`make serve`) and the "
                "run goes on, or mark the run as failed there."
            )


def _report_change(day: date, instance: Any, seen: dict[tuple[str, int], str], report: Report) -> None:
    """Reports a task whose state is not the one last seen."""
    words: Mapping[str, TaskState] = {
        "running": "running",
        "up_for_reschedule": "waiting",
        "up_for_retry": "waiting",  # for its next try, which for a recipient's server may be an hour away
        "success": "done",
        "failed": "failed",
    }
    key = (instance.task_id, instance.map_index)
    now = words.get(str(instance.state))
    if now is None or seen.get(key) == now:
        return
    is_told = seen.get(key) == "waiting" and now == "running"  # it asks for the warehouse time and again
    if not is_told:
        seen[key] = now
        source = instance.rendered_map_index if instance.map_index >= 0 else None
        seconds = instance.duration if now in ("done", "failed") else None
        report(TaskEvent(day, instance.task_id, source, now, seconds))


def _error_of(day: date, run_id: str) -> ArrearsError:
    """The error of a run that failed elsewhere, as its step recorded it."""
    with warehouse.connect() as connection:
        row = connection.execute(
            "select error_kind, message from ops.step_runs"
            " where run_id = %s and as_of_date = %s and state in ('failed', 'blocked')"
            " order by step_run_id desc limit 1",
            [run_id, day],
        ).fetchone()
    if row is None:
        return ArrearsError(
            f"The run for {day} failed before a step could say why: see the log of its failed task in Airflow's UI."
        )
    kind = getattr(errors, row[0] or "", None)
    if isinstance(kind, type) and issubclass(kind, ArrearsError):
        return kind(row[1])
    return ArrearsError(f"{row[0]}: {row[1]}")
