"""The embedded server: own to its home, reachable over TCP with a password, alive again after a kill."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from arrears import warehouse
from arrears.errors import UsageError, WarehouseError
from arrears.warehouse.connections import embedded, url
from arrears.warehouse.embedded import EmbeddedPostgres
from tests.conftest import forget_settings
from tests.conftest import url as server_url


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="arrears-home-"))
    folder.chmod(0o755)
    for name in [name for name in os.environ if name.startswith("ARREARS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARREARS_HOME", str(folder))
    forget_settings()
    yield folder
    EmbeddedPostgres(folder).stop()
    forget_settings()
    shutil.rmtree(folder)


def test_it_survives_kill_9_with_what_was_committed(home: Path) -> None:
    warehouse.ready()
    with warehouse.connect() as connection:
        connection.execute("insert into ops.portfolio values ('kept', 'yes')")
    pid = int((EmbeddedPostgres(home).data / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)

    forget_settings()
    warehouse.ready()

    with warehouse.connect() as connection:
        assert connection.execute("select value from ops.portfolio where setting = 'kept'").fetchone() == ("yes",)


def test_the_query_of_a_killed_process_ends_and_gives_its_locks_back(home: Path) -> None:
    where = server_url(EmbeddedPostgres(home).start(), "postgres", "postgres")
    query = "select pg_advisory_lock(1), pg_sleep(600)"
    client = subprocess.Popen(
        [sys.executable, "-c", f"import sys, psycopg; psycopg.connect(sys.argv[1]).execute('{query}')", where]
    )
    with psycopg.connect(where, autocommit=True) as connection:
        at_work = "select 1 from pg_stat_activity where query = %s and state = 'active'"
        wait_until(lambda: connection.execute(at_work, [query]).fetchone() is not None)
        client.kill()
        client.wait()

        wait_until(lambda: connection.execute(at_work, [query]).fetchone() is None)

        assert connection.execute("select pg_try_advisory_lock(1)").fetchone() == (True,)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Asks until it holds."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"not within {seconds} s"
        time.sleep(0.1)


def test_a_stale_pid_file_of_another_program_does_not_keep_it_down(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    file = server.data / "postmaster.pid"
    text = file.read_text()
    server.stop()
    # After a reboot the number may be anybody's: ours, here.
    file.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]) + "\n")

    assert server.start().port > 0


def test_bi_tools_reach_it_over_tcp_with_a_password_only(home: Path) -> None:
    warehouse.ready()
    address = url("bi", tcp=True)
    assert "@127.0.0.1:" in address

    with psycopg.connect(address) as connection:
        assert connection.execute("select current_user").fetchone() == ("arrears_bi",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from raw.loans")
    without = address.replace(address.split("@")[0].split("//")[1], "arrears_bi")
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(without)


def test_two_homes_run_side_by_side(home: Path) -> None:
    second = Path(tempfile.mkdtemp(prefix="arrears-second-"))
    second.chmod(0o755)
    try:
        one, two = EmbeddedPostgres(home).start(), EmbeddedPostgres(second).start()
        assert one.port != two.port
        assert one.socket_folder != two.socket_folder
        EmbeddedPostgres(second).stop()
        assert EmbeddedPostgres(home).running() == one
    finally:
        EmbeddedPostgres(second).stop()
        shutil.rmtree(second)


def test_passwords_are_for_the_owner_alone(home: Path) -> None:
    warehouse.ready()

    assert (home / "postgres" / "passwords.json").stat().st_mode & 0o777 == 0o600


def test_data_of_another_major_version_are_refused_with_the_way_to_move(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("17\n")

    with pytest.raises(WarehouseError, match="belongs to PostgreSQL 17, this version brings 18") as refused:
        server.start()
    assert "`arrears backup --to FOLDER` with the version that wrote it" in str(refused.value)
    assert "`arrears restore --from FOLDER` with this one in an empty ARREARS_HOME" in str(refused.value)
    (server.data / "PG_VERSION").write_text("18\n")


def test_a_warehouse_newer_than_the_code_is_refused(home: Path) -> None:
    warehouse.ready()
    with warehouse.connect(role="admin") as connection:
        connection.execute("update ops.migrations set version_num = '9999'")
    forget_settings()

    with pytest.raises(WarehouseError, match=r"at migration 9999, newer than this code"):
        warehouse.ready()


def test_the_business_time_zone_is_kept_from_the_first_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse.ready()
    monkeypatch.setenv("ARREARS_BUSINESS_TIME_ZONE", "Asia/Tokyo")
    forget_settings()

    with pytest.raises(UsageError, match="this warehouse was begun with UTC"):
        warehouse.ready()


def test_the_pipeline_is_no_superuser_and_nobody_logs_in_as_owner(home: Path) -> None:
    warehouse.ready()
    assert embedded() is not None
    with warehouse.connect() as connection:
        roles = connection.execute(
            "select rolname, rolsuper, rolcanlogin from pg_roles where rolname like 'arrears%' order by 1"
        ).fetchall()
    assert roles == [
        ("arrears_audit", False, True),
        ("arrears_bi", False, True),
        ("arrears_collector", False, True),
        ("arrears_owner", False, False),
        ("arrears_pipeline", False, True),
    ]
