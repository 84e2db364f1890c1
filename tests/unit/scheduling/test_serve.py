"""Airflow's services: ports, and that only our own processes are ever stopped."""

import json
import socket
import subprocess
import sys

import psutil
import pytest

from arrears.scheduling import serve

pytestmark = pytest.mark.usefixtures("home")


def test_a_taken_port_is_replaced_by_a_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert serve.free_port(port) != port


def test_nothing_runs_in_a_new_home():
    assert serve.stop_services() is False


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def remember(home, process, started):
    folder = home / "airflow"
    folder.mkdir()
    (folder / "services.json").write_text(json.dumps([{"name": "scheduler", "pid": process.pid, "started": started}]))


def test_services_that_another_process_started_are_stopped_by_their_number(home, sleeper):
    remember(home, sleeper, psutil.Process(sleeper.pid).create_time())

    assert serve.stop_services() is True
    assert not psutil.pid_exists(sleeper.pid)
    assert not (home / "airflow" / "services.json").exists()


def test_a_process_that_has_the_number_by_chance_is_left_alone(home, sleeper):
    remember(home, sleeper, psutil.Process(sleeper.pid).create_time() - 1000)

    assert serve.stop_services() is False
    assert sleeper.poll() is None
