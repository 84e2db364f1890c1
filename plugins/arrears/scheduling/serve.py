"""Airflow's services on a home: UI and API, scheduler, DAG processor, with a LocalExecutor; for one machine.

docker-compose.yml is the form for several. The services are children of the process that starts them, and end with it.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from arrears.errors import ArrearsError
from arrears.orchestration import DAG_ID
from arrears.scheduling import airflow_home
from arrears.scheduling.run_days import alone

COMPONENTS = ("scheduler", "dag-processor", "triggerer", "api-server")
PREFERRED_PORT = 8080
START_SECONDS = 180.0
STOP_SECONDS = 30.0
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Services:
    """Running services: where their UI and API answer, who may log in, and their processes."""

    url: str
    user: str
    password: str
    processes: dict[str, "subprocess.Popen[bytes]"] = field(repr=False)

    def check(self) -> None:
        """Raises an ArrearsError that names the service which has ended, if one has."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise ArrearsError(
                    f"Airflow's {name} ended with {process.returncode}: see the end of {service_log(name)}."
                )


def service_log(name: str) -> Path:
    """Where a service's output goes."""
    return airflow_home.log_folder() / "services" / f"{name}.log"


def serve(*, port: int | None = None, unpause: bool = False, say: Callable[[str], None] = print) -> None:
    """Runs the services until Ctrl-C or SIGTERM, then stops them.

    Args:
        port: of the UI on 127.0.0.1; None: 8080, or a free one where that is taken.
        unpause: lets the scheduler make the run of each night; the first one, for yesterday, begins at once.
        say: gets the lines for the person at the terminal.

    Raises:
        WarehouseBusy: an `arrears run` is at work on this home.
        ArrearsError: a service does not come up, or ends by itself.
    """
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        say("Airflow starts; this takes half a minute.")
        with running_services(port=port) as services:
            if unpause:
                set_paused(services, is_paused=False)
            else:
                say("The nightly schedule is paused unless it was started before: `arrears serve --unpause` starts it.")
            say(f"Airflow: {services.url}  user: {services.user}  password: {services.password}")
            say(f"The password is kept in {airflow_home.passwords_file()}, logs in {service_log('scheduler').parent}.")
            say("Ctrl-C stops it.")
            while True:
                time.sleep(1)
                services.check()
    except KeyboardInterrupt:
        say("Airflow has stopped.")
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def running_services(*, port: int | None = None) -> Iterator[Services]:
    """Starts the services, waits until they are healthy and know the DAG, and stops them at the end."""
    airflow_home.prepare()
    with ExitStack() as stack:
        stack.enter_context(alone("arrears serve"))
        port = port or free_port(PREFERRED_PORT)
        environment = _environment(port)
        processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(_stop, processes)
        services = Services(f"http://127.0.0.1:{port}", airflow_home.ADMINISTRATOR, airflow_home.password(), processes)
        for name in COMPONENTS:
            processes[name] = _start(name, environment)
            _write_pids(processes)
        _wait_until_healthy(services)
        yield services


def stop_services() -> bool:
    """Stops the services of this home, whoever started them; False when none ran."""
    try:
        known = json.loads(_pid_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    found = [process for entry in known if (process := _still_running(entry)) is not None]
    # The first is who started the others, and stops them in order.
    everyone = [one for process in found for one in (process, *process.children(recursive=True))]
    for process in found[:1]:
        _send(process, signal.SIGTERM)
        psutil.wait_procs([process], timeout=STOP_SECONDS + 5)
    for number in (signal.SIGTERM, signal.SIGKILL):
        _, alive = psutil.wait_procs(everyone, timeout=0)
        for process in alive:
            _send(process, number)
        psutil.wait_procs(alive, timeout=STOP_SECONDS)
    _pid_file().unlink(missing_ok=True)
    return bool(found)


def _still_running(entry: dict[str, Any]) -> psutil.Process | None:
    """The process that was written down; None where it has ended and the number is free or another program's."""
    try:
        process = psutil.Process(entry["pid"])
        return process if abs(process.create_time() - entry["started"]) < 1 else None
    except psutil.NoSuchProcess:
        return None


def free_port(preferred: int = 0) -> int:
    """The preferred port of 127.0.0.1 if nobody listens there, else one that is free."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise ArrearsError("No free TCP port on 127.0.0.1 for Airflow's UI.")


def set_paused(services: Services, *, is_paused: bool) -> None:
    """Pauses the DAG or lets the scheduler run it."""
    call_api(services, "PATCH", f"/api/v2/dags/{DAG_ID}", {"is_paused": is_paused})


def call_api(services: Services, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Calls Airflow's REST API as the administrator; gives its answer.

    Raises:
        ArrearsError: it refuses; says what it answered.
    """
    login = {"username": services.user, "password": services.password}
    token = _request("POST", f"{services.url}/auth/token", login, None)["access_token"]
    return _request(method, services.url + path, body, token)


def _request(method: str, url: str, body: dict[str, Any] | None, token: str | None) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310  http on loopback
    # Never by a proxy: the address is this machine's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read() or b"{}")
            return found
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")[:500]
        raise ArrearsError(f"Airflow refuses {method} {url} with {error.code}: {said}") from error


def _environment(port: int) -> dict[str, str]:
    environment = dict(os.environ)
    environment |= {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        # Scheduler and triggerer serve their tasks' logs on a port each: two homes on one machine must not share them.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "PYTHONUNBUFFERED": "1",
    }
    return environment


def _start(name: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    log = service_log(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"--- started {datetime.now(tz=UTC).isoformat()}\n".encode())
        output.flush()
        return subprocess.Popen(
            airflow_home.command(name),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; we stop them in order
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )


def _end_with_parent() -> None:
    """Has the kernel end this child when its parent is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_until_healthy(services: Services) -> None:
    deadline = time.monotonic() + START_SECONDS
    missing = "api-server"
    while time.monotonic() < deadline:
        services.check()
        time.sleep(0.5)
        try:
            health = _request("GET", f"{services.url}/api/v2/monitor/health", None, None)
            parts = {"metadatabase", "scheduler", "dag_processor", "triggerer"}
            missing = ", ".join(sorted(p for p in parts if (health.get(p) or {}).get("status") != "healthy"))
            if not missing:
                missing = f"DAG {DAG_ID}"
                call_api(services, "GET", f"/api/v2/dags/{DAG_ID}")
                return
        except (urllib.error.URLError, OSError, ArrearsError):
            continue
    raise ArrearsError(
        f"Airflow is not healthy after {START_SECONDS:.0f} s (missing: {missing}): "
        f"see {service_log('scheduler').parent}."
    )


def _stop(processes: dict[str, "subprocess.Popen[bytes]"]) -> None:
    """Stops our children: first the scheduler, that no task begins; kills the groups that do not end in time."""
    for process in processes.values():
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes.values():
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own group: start_new_session
            process.wait()
    _pid_file().unlink(missing_ok=True)


def _pid_file() -> Path:
    return airflow_home.folder() / "services.json"


def _write_pids(processes: dict[str, "subprocess.Popen[bytes]"]) -> None:
    """Writes down this process and then its children, so that `arrears stop` finds them."""
    numbers = {"serve": os.getpid()} | {name: child.pid for name, child in processes.items() if child.poll() is None}
    entries = [
        {"name": name, "pid": pid, "started": psutil.Process(pid).create_time()} for name, pid in numbers.items()
    ]
    airflow_home.write_private(_pid_file(), json.dumps(entries))


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    raise KeyboardInterrupt
