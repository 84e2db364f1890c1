"""Backup and restore: a restored home goes on as if nothing had happened, and nothing is ever half there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import steps, summary, warehouse
from arrears.errors import AlreadyExported, BackupError, UsageError, WarehouseBusy, WarehouseError
from arrears.explain.account import explain
from arrears.ledger.verification import verify
from arrears.settings import get_settings
from arrears.warehouse import backup, bootstrap, run_lock
from arrears.warehouse.connections import url as role_url
from arrears.warehouse.embedded import EmbeddedPostgres, Server
from tests import released
from tests.conftest import DATABASE, Workplace, _point_to, forget_settings, url
from tests.day import bytes_below, run_day
from tests.portfolio import a_repayment

D = date(2026, 3, 31)


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


def _drop_databases(server: Server) -> None:
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        for (name,) in admin.execute("select datname from pg_database where datname like %s", [f"{DATABASE}%"]):
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def _databases(server: Server) -> list[str]:
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        return [
            name
            for (name,) in admin.execute(
                "select datname from pg_database where datname like %s order by 1", [f"{DATABASE}%"]
            )
        ]


@pytest.fixture(scope="module")
def taken(_template: str, server: Server, session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the first release's warehouse, taken before any migration."""
    folder = tmp_path_factory.mktemp("backups") / "first-release"
    with pytest.MonkeyPatch.context() as patch:
        released.load(server, DATABASE)
        _point_to(patch, server, session_home, DATABASE)
        patch.setenv("ARREARS_EXPORTS", str(released.EXPORTS))
        forget_settings()
        backup.back_up(folder)
    forget_settings()
    _drop_databases(server)
    return folder


@pytest.fixture
def elsewhere(
    _template: str, server: Server, session_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """Where nothing is: no database, no exports; the settings point there."""
    _point_to(monkeypatch, server, session_home, DATABASE)
    exports = tmp_path / "restored" / "exports"
    monkeypatch.setenv("ARREARS_EXPORTS", str(exports))
    forget_settings()
    yield Workplace(DATABASE, session_home, exports, get_settings().sources_folder)
    forget_settings()
    _drop_databases(server)


@pytest.mark.slow
def test_a_restored_home_gives_the_same_bytes_and_goes_on(
    workplace: Workplace,
    server: Server,
    drop: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = (
        drop(),
        drop("second", transactions=[a_repayment("T1"), a_repayment("T2", "L2", booked_at="2026-04-01T08:00:00Z")]),
    )
    run_day(first, D)
    before = bytes_below(workplace.exports)
    explained = summary.as_json(explain("L2", D))
    result = backup.back_up(tmp_path / "backup")
    assert (result.last_exported_on, result.export_files) == (D, len(before))

    _drop_databases(server)
    exports = tmp_path / "restored" / "exports"
    monkeypatch.setenv("ARREARS_EXPORTS", str(exports))
    forget_settings()
    backup.restore(tmp_path / "backup")

    assert bytes_below(exports) == before
    assert summary.status(None).export == "done"
    assert summary.as_json(explain("L2", D)) == explained
    assert run_day(first, D)["publish"]["is_unchanged"]
    assert bytes_below(exports) == before
    run_day(second, D + timedelta(days=1))
    assert workplace.rows("select as_of_date, state from ops.exports order by 1") == [
        (D, "done"),
        (D + timedelta(days=1), "done"),
    ]
    assert bytes_below(exports / D.isoformat()) == bytes_below(workplace.exports / D.isoformat())


@pytest.mark.slow
def test_after_a_restore_the_ledger_verifies_and_the_next_day_has_the_bytes_of_a_home_that_was_never_restored(
    workplace: Workplace,
    server: Server,
    drop: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = drop()
    bookings = [a_repayment("T1"), a_repayment("T2", "L2", booked_at="2026-04-01T08:00:00Z")]
    second, other = drop("second", transactions=bookings), drop("other", transactions=bookings[:1])
    day_after = D + timedelta(days=1)
    run_day(first, D)
    backup.back_up(tmp_path / "backup")
    run_day(second, day_after)
    never_restored = bytes_below(workplace.exports)

    _drop_databases(server)
    # Where the exports lie on another disk, the later day's folder is still there: it is not of this backup.
    with pytest.raises(
        UsageError, match=rf"{day_after}/.* is there and not of this backup: restore into an empty home"
    ):
        backup.restore(tmp_path / "backup")
    assert bytes_below(workplace.exports) == never_restored
    assert _databases(server) == []

    exports = tmp_path / "restored" / "exports"
    monkeypatch.setenv("ARREARS_EXPORTS", str(exports))
    # The heads of the ledger that was lost are ahead of the restored one, and would say so.
    monkeypatch.setenv("ARREARS_LEDGER_HEADS", str(tmp_path / "restored" / "heads.jsonl"))
    forget_settings()
    backup.restore(tmp_path / "backup")
    with warehouse.connect() as connection:
        assert verify(connection).findings == []
    assert run_day(first, D)["publish"]["is_unchanged"]
    assert bytes_below(exports) == {name: content for name, content in never_restored.items() if str(D) in name}

    # The later day's folder put back by hand: other data do not overwrite it, the same take it for their own.
    shutil.copytree(workplace.exports / str(day_after), exports / str(day_after))
    with pytest.raises(AlreadyExported, match=f"{day_after} stands there with other bytes, but this warehouse did not"):
        run_day(other, day_after)
    assert bytes_below(exports) == never_restored
    run_day(second, day_after)
    assert bytes_below(exports) == never_restored
    with warehouse.connect() as connection:
        assert connection.execute("select as_of_date, revision, state from ops.exports order by 1").fetchall() == [
            (D, 1, "done"),
            (day_after, 1, "done"),
        ]
        assert verify(connection).findings == []


def test_a_backup_says_what_it_is_and_is_for_its_owner_alone(taken: Path) -> None:
    manifest = json.loads((taken / "backup.json").read_text())

    assert (manifest["migration"], manifest["server_major"], manifest["last_exported_on"]) == ("0001", 18, "2026-03-31")
    assert manifest["tables"]["ops.step_runs"] == 30
    assert manifest["tables"]["raw.loan_parties"] == 3  # two at first, and the one that was deleted
    there = {str(file.relative_to(taken)) for file in taken.rglob("*") if file.is_file()}
    assert there == {"backup.json", *manifest["parts"]}
    assert {path.stat().st_mode & 0o077 for path in [taken, *taken.rglob("*")]} == {0}


def test_a_backup_of_an_earlier_release_is_restored_and_upgraded(taken: Path, elsewhere: Workplace) -> None:
    backup.restore(taken)

    assert elsewhere.value("select version_num from ops.migrations") == bootstrap._head()
    assert bytes_below(elsewhere.exports) == bytes_below(released.EXPORTS)
    assert elsewhere.value("select count(*) from marts.collection_queue") == 20
    # A view, on what was restored with it.
    assert elsewhere.value("select count(*) from marts.data_quality_results") == 458
    with elsewhere.connect(role="bi") as connection:
        assert connection.execute("select count(*) from marts.loan_delinquency").fetchone() == (10,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select 1 from raw.loans")


def test_replaced_revisions_are_kept_by_a_backup(elsewhere: Workplace, server: Server, tmp_path: Path) -> None:
    released.load(server, DATABASE)
    shutil.copytree(released.EXPORTS, elsewhere.exports)
    shutil.copytree(released.EXPORTS / "2026-03-30", elsewhere.exports / ".revisions" / "2026-03-30" / "1")
    before = bytes_below(elsewhere.exports)
    backup.back_up(tmp_path / "backup")
    _drop_databases(server)
    shutil.rmtree(elsewhere.exports)

    backup.restore(tmp_path / "backup")

    assert bytes_below(elsewhere.exports) == before


def test_no_backup_is_taken_while_a_run_works(elsewhere: Workplace, server: Server, tmp_path: Path) -> None:
    released.load(server, DATABASE)
    with elsewhere.connect() as connection:
        connection.execute(
            "insert into ops.run_lock (run_id, owner_kind, host, pid, process_started_at, as_of_date)"
            " values ('nightly', 'dag_run', 'elsewhere', 1, 0, '2026-04-01')"
        )

    with pytest.raises(WarehouseBusy, match="The run nightly for 2026-04-01 holds the warehouse"):
        backup.back_up(tmp_path / "backup")

    assert list(tmp_path.iterdir()) == []


def test_no_step_begins_while_a_backup_is_taken(
    elsewhere: Workplace, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released.load(server, DATABASE)
    warehouse.ready()
    refused = []
    run = backup._run

    def meanwhile(*arguments: object, **more: object) -> None:
        try:
            with run_lock.step_at_work("nightly", D, "dag_run"):
                pass
        except WarehouseBusy as error:
            refused.append(error.exit_code)
        run(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(backup, "_run", meanwhile)
    backup.back_up(tmp_path / "backup")

    assert refused == [5]


def test_a_backup_that_fails_leaves_nothing(
    elsewhere: Workplace, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released.load(server, DATABASE)
    monkeypatch.setattr(backup, "DUMP", "missing/warehouse.dump")

    with pytest.raises(BackupError, match="pg_dump on database arrears_test fails: pg_dump: error: could not open"):
        backup.back_up(tmp_path / "backup")

    assert list(tmp_path.iterdir()) == []


def test_where_nothing_was_run_there_is_nothing_to_back_up(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is nothing to back up"):
        backup.back_up(tmp_path / "backup")


def test_a_backup_never_overwrites(taken: Path, elsewhere: Workplace) -> None:
    with pytest.raises(UsageError, match="is there and not empty"):
        backup.back_up(taken)
    with pytest.raises(UsageError, match="lies in the exports folder"):
        backup.back_up(elsewhere.exports / "backup")


@pytest.mark.parametrize("part", ["warehouse.dump", "exports/2026-03-30/A1/queue.csv"])
def test_a_damaged_backup_is_refused_before_anything_is_touched(
    taken: Path, elsewhere: Workplace, server: Server, tmp_path: Path, part: str
) -> None:
    damaged = shutil.copytree(taken, tmp_path / "damaged")
    content = bytearray((damaged / part).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / part).write_bytes(content)

    with pytest.raises(BackupError, match=f"{Path(part).name} is not what was backed up"):
        backup.restore(damaged)
    (damaged / part).unlink()
    with pytest.raises(BackupError, match=f"{Path(part).name} of the backup cannot be read"):
        backup.restore(damaged)

    assert _databases(server) == []
    assert not elsewhere.exports.exists()


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("migration", "9999", WarehouseError, "at migration 9999, newer than this code"),
        ("server_major", 99, BackupError, "restore into a server that is not older"),
        ("business_time_zone", "Asia/Tokyo", UsageError, "was begun with Asia/Tokyo"),
        ("format", 2, BackupError, "format 2, this code reads 1"),
        ("tables", {"raw.loans": "many"}, BackupError, r"is damaged \(tables\.raw\.loans"),
        ("parts", {"../secret": {"bytes": 1, "sha256": ""}}, BackupError, "points out of the backup"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused(
    taken: Path,
    elsewhere: Workplace,
    server: Server,
    tmp_path: Path,
    key: str,
    value: object,
    error: type[Exception],
    words: str,
) -> None:
    (tmp_path / "other").mkdir()
    manifest = json.loads((taken / "backup.json").read_text()) | {key: value}
    (tmp_path / "other" / "backup.json").write_text(json.dumps(manifest))

    with pytest.raises(error, match=words):
        backup.restore(tmp_path / "other")

    assert _databases(server) == []


def test_a_folder_without_a_manifest_is_no_backup(elsewhere: Workplace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no backup"):
        backup.restore(tmp_path)


def test_a_home_that_has_run_is_never_overwritten(taken: Path, elsewhere: Workplace, server: Server) -> None:
    released.load(server, DATABASE)

    with pytest.raises(UsageError, match=r"not empty \(.* has rows\): restore into an empty ARREARS_HOME"):
        backup.restore(taken)

    assert elsewhere.value("select count(*) from ops.step_runs") == 30


def test_a_database_of_somebody_else_is_never_replaced(taken: Path, elsewhere: Workplace, server: Server) -> None:
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
    with elsewhere.connect(role="admin") as connection:
        connection.execute("create table public.invoices (id int)")

    with pytest.raises(UsageError, match=r"holds public\.invoices, which is not this program's"):
        backup.restore(taken)


def test_other_exports_are_never_mixed_with_restored_ones(taken: Path, elsewhere: Workplace, server: Server) -> None:
    (elsewhere.exports / "2026-03-30").mkdir(parents=True)
    (elsewhere.exports / "2026-03-30" / "manifest.json").write_text("{}")

    with pytest.raises(UsageError, match=r"2026-03-30/manifest\.json is there and not of this backup"):
        backup.restore(taken)

    assert _databases(server) == []


@pytest.mark.slow
def test_an_empty_warehouse_gives_way_unless_somebody_is_connected(
    taken: Path, elsewhere: Workplace, server: Server
) -> None:
    warehouse.ready()
    with elsewhere.connect(), pytest.raises(WarehouseBusy, match="Somebody is connected to the empty database"):
        backup.restore(taken)
    assert _databases(server) == [DATABASE]

    backup.restore(taken)  # the exports that the first try has put in place are the backup's own

    assert _databases(server) == [DATABASE]
    assert elsewhere.value("select count(*) from ops.step_runs") == 30
    assert bytes_below(elsewhere.exports) == bytes_below(released.EXPORTS)


KILLED = """
import os, signal, sys
from pathlib import Path
from arrears.warehouse import backup

def killed(*arguments, **more):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(backup, sys.argv[1], killed)
getattr(backup, sys.argv[2])(Path(sys.argv[3]))
"""


def test_a_restore_that_is_killed_shows_nothing_and_is_done_by_the_next(
    taken: Path, elsewhere: Workplace, server: Server
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, "_put_database_in_place", "restore", str(taken)], check=False)

    assert done.returncode == -signal.SIGKILL
    assert _databases(server) == [f"{DATABASE}_restoring"]  # which no command looks at

    backup.restore(taken)

    assert _databases(server) == [DATABASE]
    assert elsewhere.value("select count(*) from ops.step_runs") == 30
    assert bytes_below(elsewhere.exports) == bytes_below(released.EXPORTS)


def test_a_backup_that_is_killed_shows_nothing_and_is_done_by_the_next(
    elsewhere: Workplace, server: Server, tmp_path: Path
) -> None:
    released.load(server, DATABASE)

    done = subprocess.run([sys.executable, "-c", KILLED, "_sealed", "back_up", str(tmp_path / "backup")], check=False)

    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "backup").exists()
    backup.back_up(tmp_path / "backup")
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_an_old_pg_dump_on_the_path_is_passed_over_and_named(
    elsewhere: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.4 (Debian 15.4-1)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    assert backup._client("pg_dump", 15) == (old, 15)
    assert backup._client("pg_dump", 18)[1] == 18
    with pytest.raises(BackupError, match=r"pg_dump of PostgreSQL 19 or newer is needed \(.*pg_dump is 15, .*is 18\)"):
        backup._client("pg_dump", 19)


def test_an_embedded_home_is_backed_up_and_restored_into_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = [Path(tempfile.mkdtemp(prefix="arrears-home-")) for _ in range(2)]
    for name in [name for name in os.environ if name.startswith("ARREARS_")]:
        monkeypatch.delenv(name)
    try:
        for home in homes:
            home.chmod(0o755)
        monkeypatch.setenv("ARREARS_HOME", str(homes[0]))
        forget_settings()
        with pytest.raises(UsageError, match="there is nothing to back up"):
            backup.back_up(tmp_path / "backup")
        assert not (homes[0] / "postgres").exists()  # no server is made to say so
        warehouse.ready()
        with warehouse.connect() as connection:
            connection.execute(
                "insert into ops.step_runs (run_id, as_of_date, step, state) values ('r', %s, 'extract', 'done')", [D]
            )
        backup.back_up(tmp_path / "backup")

        monkeypatch.setenv("ARREARS_HOME", str(homes[1]))
        forget_settings()
        backup.restore(tmp_path / "backup")

        with psycopg.connect(role_url("audit", tcp=True)) as connection:  # with the new home's password
            assert connection.execute("select run_id, as_of_date from ops.step_runs").fetchall() == [("r", D)]
        with warehouse.connect(role="admin", database="postgres") as connection:
            databases = connection.execute("select datname from pg_database where not datistemplate order by 1")
            assert [name for (name,) in databases] == ["airflow", "arrears", "postgres"]
    finally:
        forget_settings()
        for home in homes:
            EmbeddedPostgres(home).stop()
            shutil.rmtree(home)
