"""Kills a worker or PostgreSQL in a step of the day, has the day run again, and says what became of it.

A home with a PostgreSQL of its own is prepared once; before each step its state (the database and the files beside it)
is kept, so that every kill begins from there. Nothing of the product is replaced: the worker is the program in a
process, moments are found from outside, in the file system and in the tables that everybody may read.
"""

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

from arrears.orchestration import STEPS
from arrears.warehouse import bootstrap
from arrears.warehouse.connections import WAREHOUSE
from arrears.warehouse.embedded import EmbeddedPostgres
from tests.conftest import url
from tests.day import bytes_below
from tests.e2e.home import ARREARS, Home

HERE = Path(__file__).parent
Target = Literal["worker", "postmaster"]

# Beside the database: what a home holds that a killed step may have touched.
FILES = ("exports", "ledger", "dbt", "data_docs")
# Told in every state but those of the warehouse's own history: attempts, clocks, processes.
HISTORY = (
    "ops.batch_changes",
    "ops.step_runs",
    "ops.model_runs",
    "ops.run_lock",
    "ops.waiting_runs",
    "ledger.entries",
    "ledger.lines",
    "ledger.line_openings",
)
OF_THE_ATTEMPT = {
    "run_id", "loaded_at", "decided_at", "intended_at", "done_at", "published_at", "built_at", "change_number",
}  # fmt: skip
SALTED = ("lines_root", "last_line")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker ended: its exit code (below 0: the signal that killed it), how long it took, what it printed."""

    code: int
    seconds: float
    output: str


class Worker:
    """A process that runs commands of the program on a home; `pid` is what may be killed."""

    def __init__(self, server: "Workers", request: dict[str, Any]) -> None:
        self._server, self._output = server, Path(request["output"])
        self.began = time.monotonic()
        self.pid = int(server.ask(request)["pid"])

    def is_over(self) -> bool:
        """Whether it has ended by itself."""
        return self._server.has_answer()

    def end(self, seconds: float = 300) -> Ended:
        """Waits for its end."""
        code = int(self._server.answer(seconds)["code"])
        return Ended(code, time.monotonic() - self.began, self._output.read_text(encoding="utf-8"))


class Workers:
    """Starts workers on a home, one at a time, with the imports of the program behind them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=home.environment(PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        )
        self._is_ready = False

    def start(self, *commands: Sequence[object]) -> Worker:
        """Starts a worker with commands, one after another until one fails."""
        output = self.home.folder / "output.txt"
        output.unlink(missing_ok=True)
        request = {
            "commands": [[str(part) for part in command] for command in commands],
            "environment": self.home.environment(),
            "output": str(output),
        }
        return Worker(self, request)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request and its first answer."""
        if not self._is_ready:
            self._is_ready = bool(self.answer(120)["ready"])
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self.answer(30)

    def has_answer(self) -> bool:
        """Whether a line stands there to be read."""
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next answer."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"no worker answered within {seconds} s")
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """Ends it; workers are over by then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@dataclass(frozen=True)
class Seen:
    """What the watcher saw of a day's export: looks, whole exports among them, manifests, faults."""

    looks: int
    whole: int
    versions: list[str]
    faults: list[str]


@dataclass(frozen=True)
class Point:
    """Where to kill: in a step, after a share of its undisturbed duration or once something is seen."""

    step: str
    target: Target
    share: float | None = None
    moment: str | None = None

    def __str__(self) -> str:
        when = self.moment if self.share is None else f"{self.share:.2f}"
        return f"{self.step}-{self.target}-{when}"


@dataclass(frozen=True)
class Killed:
    """What came of a kill and the run after it."""

    worker: Ended
    again: Ended
    seen: Seen
    told: dict[str, Any]


@dataclass
class CrashHome:
    """A home whose states before each step are kept; `killed` kills in one and runs the day again.

    Databases are copied file by file: in a copy through the log, PostgreSQL 18 takes numbers of a sequence as logged
    that were logged for the original alone, and after a crash gives them out again.
    """

    home: Home
    day: date
    drop: Path
    workers: Workers
    replace: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def server(self) -> EmbeddedPostgres:
        """The server of this home."""
        return EmbeddedPostgres(self.home.folder)

    def command(self, step: str) -> list[object]:
        """`arrears step` for the day."""
        more: list[object] = ["--source", "contract", "--drop", self.drop] if step == "extract" else []
        if self.replace:
            more += ["--replace", self.replace]
        return ["step", step, "--as-of", self.day, *more]

    def run_day(self, first: str = STEPS[0]) -> Ended:
        """The steps from one to the last, in a worker."""
        return self.workers.start(*map(self.command, STEPS[STEPS.index(first) :])).end()

    def run_undisturbed(self, keep: Sequence[str] = STEPS) -> None:
        """The day, step by step; keeps the state before each of `keep`, how long each takes, and how it ends."""
        for step in STEPS:
            if step in keep:
                self.keep(step)
            ended = self.workers.start(self.command(step)).end()
            assert ended.code == 0, ended.output
            self.seconds[step] = ended.seconds
        self.told = told(self)

    def killed(self, point: Point, *, again_from: str = STEPS[0]) -> Killed:
        """Kills there, then runs the day again from a step on."""
        share = point.share
        for _ in range(6):
            self.bring_back(point.step)
            with self.watched() as seen:
                worker = self.workers.start(self.command(point.step))
                pid = worker.pid if point.target == "worker" else self._postmaster()
                if share is not None:
                    _wait_until(worker.is_over, share * self.seconds[point.step])
                else:
                    MOMENTS[point.moment or ""](self, worker.is_over)
                is_hit = not worker.is_over()
                if is_hit:
                    os.kill(pid, signal.SIGKILL)
                ended = worker.end()
                if not is_hit or (point.target == "worker" and ended.code != -signal.SIGKILL):
                    share = share * 0.7 if share is not None else None  # the step was quicker than when it was measured
                    continue
                again = self.run_day(again_from)
            return Killed(ended, again, seen[0], told(self))
        raise AssertionError(f"{point}: the step was always over before it could be killed")

    def start_run(self) -> "subprocess.Popen[str]":
        """`arrears run` for the day, through Airflow, as people start it."""
        return subprocess.Popen(
            [str(ARREARS), "run", "--source", "contract", "--drop", str(self.drop), "--as-of", str(self.day)],
            env=self.home.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def killed_run(self, kept: str, share: float, seconds: float) -> Killed:
        """Kills `arrears run` after a share of its undisturbed duration, then runs it again."""
        self.bring_back(kept)
        with self.watched() as seen:
            first = ended_run(self.start_run(), kill_after=share * seconds)
            again = ended_run(self.start_run())
        return Killed(first, again, seen[0], told(self))

    def _postmaster(self) -> int:
        self.server.start()
        return int((self.server.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])

    @contextmanager
    def watched(self) -> Iterator[list[Seen]]:
        """Watches the day's export from outside; what was seen is in the list when the block ends."""
        watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HERE / "watcher.py"), str(self.home.exports), str(self.day)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "looking\n"
        seen: list[Seen] = []
        try:
            yield seen
        finally:
            printed, _ = watcher.communicate(timeout=60)
            seen.append(Seen(**json.loads(printed)))

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        """The administrator's connection, as long as the server runs."""
        return psycopg.connect(url(self.server.start(), "postgres", database), autocommit=True)

    def keep(self, name: str) -> None:
        """Keeps the state as it is under a name."""
        with self.admin() as admin:
            admin.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(f"before_{name}"), sql.Identifier(WAREHOUSE)
                )
            )
        for folder in FILES:
            if (self.home.folder / folder).exists():
                shutil.copytree(self.home.folder / folder, self.home.folder / "kept" / name / folder)

    def bring_back(self, name: str) -> None:
        """Makes a kept state the home's."""
        with self.admin() as admin:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(WAREHOUSE)))
            admin.execute(
                sql.SQL("create database {} template {} owner {} strategy file_copy").format(
                    sql.Identifier(WAREHOUSE), sql.Identifier(f"before_{name}"), sql.Identifier(bootstrap.OWNER)
                )
            )
        with self.admin(WAREHOUSE) as inside:
            bootstrap.make_schemas(inside, WAREHOUSE)
        for folder in FILES:
            shutil.rmtree(self.home.folder / folder, ignore_errors=True)
            kept = self.home.folder / "kept" / name / folder
            if kept.exists():
                shutil.copytree(kept, self.home.folder / folder)


@contextmanager
def a_crash_home(day: date, drop: Path) -> Iterator[CrashHome]:
    """A new home; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="arrears-crashes-"))
    folder.chmod(0o755)
    home = Home(folder)
    workers = Workers(home)
    try:
        yield CrashHome(home, day, drop, workers)
    finally:
        workers.close()
        EmbeddedPostgres(folder).stop()
        shutil.rmtree(folder)


def ended_run(process: "subprocess.Popen[str]", *, kill_after: float | None = None) -> Ended:
    """Waits for a run's end, or kills it before."""
    began = time.monotonic()
    if kill_after is not None:
        _wait_until(lambda: process.poll() is not None, kill_after)
        process.kill()
    _, complaints = process.communicate(timeout=600)
    return Ended(process.returncode, time.monotonic() - began, complaints)


def points(seed: int, steps: Sequence[str], *, of_worker: int, of_postmaster: int) -> list[Point]:
    """Random moments in each step: shares of its duration, spread over it, drawn from the seed."""
    chance = random.Random(seed)  # noqa: S311
    found = []
    targets: tuple[tuple[Target, int], ...] = (("worker", of_worker), ("postmaster", of_postmaster))
    for step in steps:
        for target, count in targets:
            found += [Point(step, target, (number + chance.random()) / count) for number in range(count)]
    return found


def _wait_until(is_over: Callable[[], bool], seconds: float) -> None:
    """Waits for a time, or for the worker's end."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not is_over():
        time.sleep(0.0005)


def _once(is_seen: Callable[[CrashHome], object]) -> Callable[[CrashHome, Callable[[], bool]], None]:
    """Looks without a pause until something is seen, or the worker has ended."""

    def wait(home: CrashHome, is_over: Callable[[], bool]) -> None:
        while not is_seen(home) and not is_over():
            pass

    return wait


def _once_told(query: str) -> Callable[[CrashHome, Callable[[], bool]], None]:
    """Asks the database until it says yes, or the worker has ended."""

    def wait(home: CrashHome, is_over: Callable[[], bool]) -> None:
        with home.admin(WAREHOUSE) as connection:
            while connection.execute(query.encode(), {"day": home.day}).fetchone() is None and not is_over():
                pass

    return wait


def _is_exported(home: CrashHome) -> bool:
    return (home.home.exports / home.day.isoformat()).exists()


def _staged(home: CrashHome) -> list[Path]:
    return list((home.home.exports / ".staging").glob(f"{home.day}-*"))


def _is_manifest_unfinished(home: CrashHome) -> bool:
    try:
        return (home.home.folder / "dbt" / "target" / "manifest.json").stat().st_size == 0
    except FileNotFoundError:
        return False


MOMENTS: dict[str, Callable[[CrashHome, Callable[[], bool]], None]] = {
    "the step begins": _once_told("select 1 from ops.step_runs where as_of_date = %(day)s and state = 'running'"),
    "the batch is loaded": _once_told("select 1 from ops.batches where batch_date = %(day)s and state = 'loaded'"),
    "the batch is accepted": _once_told("select 1 from ops.batches where batch_date = %(day)s and state = 'accepted'"),
    "dbt writes its manifest": _once(_is_manifest_unfinished),
    "files are rendered": _once(lambda home: (home.home.exports / ".staging" / f"{home.day}.building").exists()),
    "the export is staged": _once(_staged),
    "the export is intended": _once_told("select 1 from ops.exports where as_of_date = %(day)s and state = 'intended'"),
    "the export is visible": _once(_is_exported),
    "the revisions change places": _once(
        lambda home: (home.home.exports / ".revisions" / str(home.day) / "1" / "manifest.json").exists()
    ),
}


def told(crash_home: CrashHome) -> dict[str, Any]:
    """All that a home says of its days, whatever was attempted: exports, tables, what the ledger tells.

    Of tables the rows, sorted, without clock times and names of runs; of the ledger kinds, subjects and contents in
    their order, without what hangs on random salts.
    """
    found: dict[str, Any] = {"exports": bytes_below(crash_home.home.exports)}
    with crash_home.admin(WAREHOUSE) as connection:
        tables = connection.execute(
            "select table_schema || '.' || table_name, array_agg(cast(column_name as text) order by ordinal_position)"
            " from information_schema.columns where table_schema in"
            " ('marts', 'marts_personal', 'raw', 'versions', 'quarantine', 'ops', 'ledger') group by 1 order by 1"
        ).fetchall()
        for table, columns in tables:
            if table not in HISTORY:
                told_columns = [name for name in columns if table.startswith("marts") or name not in OF_THE_ATTEMPT]
                rows = connection.execute(
                    sql.SQL("select cast(row({}) as text) from {}").format(
                        sql.SQL(", ").join(map(sql.Identifier, told_columns)), sql.Identifier(*table.split("."))
                    )
                ).fetchall()
                found[table] = sorted(row for (row,) in rows)
        entries = connection.execute(
            "select kind, subject, cast(leaf as jsonb) -> 'content' from ledger.entries order by position"
        ).fetchall()
        accepted = {subject for kind, subject, content in entries if content.get("state") == "accepted"}
        found["ledger"] = [
            (kind, subject, {key: value for key, value in content.items() if key not in SALTED})
            for kind, subject, content in entries
            # Loaded by a run that was killed before it was judged, then loaded again: an attempt.
            if not (kind == "batch" and content["state"] == "rejected" and subject in accepted)
        ]
        found["ledger.lines"] = connection.execute(
            "select cast(leaf as jsonb) from ledger.line_openings order by as_of_date, revision, line_number"
        ).fetchall()
        found["lock"] = connection.execute("select run_id from ops.run_lock").fetchall()
        found["running"] = connection.execute("select step from ops.step_runs where state = 'running'").fetchall()
    return found
