"""Backup and restore of the warehouse and its exports: what cannot be rebuilt, and what the last run built from it.

    FOLDER/backup.json       what it is: versions, rows of every table, size and hash of every other file
    FOLDER/warehouse.dump    pg_dump's custom format
    FOLDER/exports/…         the exports with their replaced revisions, as they are

A backup shows one moment: no run works meanwhile, and rows are counted in the snapshot that is dumped. It is written
beside FOLDER and renamed. A restore fills a database of another name and renames it last, so that no command ever
sees a part of it; days of the export are put in place just before, each by one rename, and a restore that was cut
short there goes on when it is run again. Secrets are not backed up but made anew.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from arrears.errors import BackupError, UsageError, WarehouseBusy
from arrears.export.writing import make_folder, remove, sync_folder, synced
from arrears.settings import get_settings
from arrears.warehouse import bootstrap, run_lock
from arrears.warehouse.connections import connect, embedded, parameters
from arrears.warehouse.embedded import client_program

FORMAT = 1
MANIFEST, DUMP, EXPORTS = "backup.json", "warehouse.dump", "exports"
# `load` holds what is on its way. `working` could be built again, but steps, `explain` and views read it: with it, what
# ops says to be done is done.
SCHEMAS = tuple(schema for schema in bootstrap.SCHEMAS if schema != "load")
# What a warehouse may hold before its first run.
BUILT_BY_COMMANDS = ("seeds", "working")
HELD_FROM_THE_START = ("ops.portfolio", "ops.migrations", "ledger.entries")
RESTORING = ".restoring"
CHUNK = 1 << 20


class Part(BaseModel):
    """One file of a backup."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """`backup.json`."""

    model_config = ConfigDict(frozen=True)

    format: int
    taken_at: datetime
    code_version: str
    server_version: str
    server_major: int
    dumped_by_major: int
    migration: str
    contract_fingerprint: str
    business_time_zone: str
    last_exported_on: date | None
    tables: dict[str, int]
    parts: dict[str, Part]

    @field_validator("parts")
    @classmethod
    def _stay_inside(cls, parts: dict[str, Part]) -> dict[str, Part]:
        for name in parts:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{name} points out of the backup")
        return parts

    def exports(self) -> dict[str, str]:
        """Hashes of the exports' files, by their path below the exports folder."""
        prefix = f"{EXPORTS}/"
        return {name.removeprefix(prefix): part.sha256 for name, part in self.parts.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True)
class Result:
    """What was backed up or restored."""

    folder: str
    migration: str
    last_exported_on: date | None
    tables: int
    rows: int
    export_files: int


def back_up(folder: Path) -> Result:
    """Writes a backup of this warehouse; of an older one too: nothing is migrated.

    Args:
        folder: where it appears, whole or not at all; missing or empty.

    Raises:
        UsageError: the folder is taken, or there is nothing to back up.
        WarehouseBusy: a run holds the warehouse.
        BackupError: it cannot be written, or pg_dump fails.
    """
    folder, exports = folder.absolute(), get_settings().exports
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty: give a new folder with --to.")
    if exports == folder or exports in folder.parents:
        raise UsageError(f"{folder} lies in the exports folder, which is backed up: give another one with --to.")
    _refuse_nothing()
    building = folder.with_name(f".{folder.name}.partial")
    with run_lock.no_run_meanwhile("backing up"), _in_one_sentence(building, "be written"):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            remove(building)  # of a backup that was killed
            building.mkdir(mode=0o700)
            manifest = _write(building, exports)
            building.rename(folder)
            sync_folder(folder.parent)
        finally:
            remove(building)
    return _result(folder, manifest)


def restore(folder: Path) -> Result:
    """Makes the warehouse and the exports of a backup this home's, and brings them to this version of the code.

    Raises:
        UsageError: this home has run before, or holds other exports; or its settings do not fit the backup.
        BackupError: the folder holds no whole backup, or it cannot be restored here.
        WarehouseError: the backup is newer than this code.
        WarehouseBusy: somebody is connected to the empty database that would be replaced.
    """
    folder = folder.absolute()
    manifest = _read(folder)
    bootstrap.refuse_newer(manifest.migration, f"backup {folder}")
    zone = get_settings().business_time_zone
    if manifest.business_time_zone != zone:
        raise UsageError(
            f"ARREARS_BUSINESS_TIME_ZONE is {zone}, but the backup's warehouse was begun with"
            f" {manifest.business_time_zone}: set it to that and restore again."
        )
    _refuse_other_exports(manifest)
    database = parameters("pipeline")["dbname"]
    with bootstrap.maintenance() as admin:
        if admin.info.dbname == database:
            raise UsageError(
                f"The server has no database postgres, from which {database} could be put in place: create one."
            )
        # Held to the end: commands that begin meanwhile wait, and find the restored warehouse.
        admin.execute("select pg_advisory_lock(%s)", [bootstrap.BOOTSTRAP_LOCK])
        if admin.info.server_version // 10_000 < manifest.server_major:
            raise BackupError(
                f"The backup comes from PostgreSQL {manifest.server_version}, this server is"
                f" {admin.info.server_version // 10_000}: restore into a server that is not older."
            )
        is_there = _refuse_used(admin, database)
        _verify(folder, manifest)
        bootstrap.make_roles(admin)
        filling = f"{database}_restoring"
        try:
            _fill(admin, filling, folder, manifest)
            _put_exports_in_place(folder, manifest)
            _put_database_in_place(admin, filling, database, is_there=is_there)
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(filling)))
            remove(get_settings().exports / RESTORING)
    bootstrap.ready(again=True)
    return _result(folder, manifest)


def _result(folder: Path, manifest: Manifest) -> Result:
    return Result(
        folder=str(folder),
        migration=manifest.migration,
        last_exported_on=manifest.last_exported_on,
        tables=len(manifest.tables),
        rows=sum(manifest.tables.values()),
        export_files=len(manifest.exports()),
    )


def _refuse_nothing() -> None:
    server = embedded()
    nothing = UsageError(f"Nothing was run in {get_settings().home} yet: there is nothing to back up.")
    if server is not None and not server.exists:
        raise nothing
    try:
        with connect() as connection:
            has_run = _value(connection, "select exists (select 1 from ops.step_runs)")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        raise nothing from None
    if not has_run:
        raise nothing


def _write(building: Path, exports: Path) -> Manifest:
    """Fills the folder; the manifest comes last."""
    from arrears.export.manifest import code_version

    with connect(role="admin", options={"idle_in_transaction_session_timeout": "0"}) as session:
        session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        session.read_only = True
        snapshot = str(_value(session, "select pg_export_snapshot()"))
        tables = _row_counts(session)
        major = session.info.server_version // 10_000
        migration = str(_value(session, "select version_num from ops.migrations"))
        bootstrap.refuse_newer(migration, "warehouse")
        last_exported_on = _value(session, "select max(as_of_date) from ops.exports where state = 'done'")
        settings: dict[str, str] = dict(session.execute("select setting, value from ops.portfolio").fetchall())
        program, dumped_by = _client("pg_dump", major)
        _run(
            program,
            f"--snapshot={snapshot}",
            *(f"--schema={schema}" for schema in SCHEMAS),
            "--exclude-table-data=ops.run_lock",
            "--format=custom",
            "--compress=gzip:1",
            "--no-password",
            f"--file={building / DUMP}",
            database=parameters("admin")["dbname"],
        )
        server_version = str(_value(session, "show server_version"))
    parts = {DUMP: _sealed(building / DUMP)}
    for file in _exported_files(exports):
        inside = file.relative_to(exports)
        target = building / EXPORTS / inside
        make_folder(target.parent, building)
        parts[f"{EXPORTS}/{inside.as_posix()}"] = _copy(file, target)
    manifest = Manifest(
        format=FORMAT,
        taken_at=datetime.now(UTC),
        code_version=code_version(),
        server_version=server_version,
        server_major=major,
        dumped_by_major=dumped_by,
        migration=migration,
        contract_fingerprint=settings.get("contract_fingerprint", ""),
        business_time_zone=settings.get("business_time_zone", "UTC"),
        last_exported_on=last_exported_on,
        tables=tables,
        parts=parts,
    )
    with synced(building / MANIFEST) as file_:
        file_.write((json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode())
    for place in [building, *(path for path in building.rglob("*") if path.is_dir())]:
        sync_folder(place)
    return manifest


def _exported_files(exports: Path) -> Iterator[Path]:
    """Everything below the exports but what a killed export or restore has left unfinished."""
    for file in sorted(exports.rglob("*")):
        parts = file.relative_to(exports).parts
        if file.is_file() and RESTORING not in parts and not any(part.endswith(".building") for part in parts):
            yield file


def _row_counts(connection: psycopg.Connection) -> dict[str, int]:
    """Rows of every table that is backed up; the lock, which is not, counts none."""
    counts = {}
    for schema, name in _tables(connection, SCHEMAS):
        counted = _value(connection, sql.SQL("select count(*) from {}").format(sql.Identifier(schema, name)))
        counts[f"{schema}.{name}"] = 0 if (schema, name) == ("ops", "run_lock") else int(counted)
    return counts


def _tables(connection: psycopg.Connection, schemas: tuple[str, ...]) -> list[tuple[str, str]]:
    return connection.execute(
        "select nspname, relname from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace"
        " where relkind in ('r', 'p') and nspname = any(%s) order by 1, 2",
        [list(schemas)],
    ).fetchall()


def _value(connection: psycopg.Connection, query: str | sql.Composed) -> Any:
    row = connection.execute(query.encode() if isinstance(query, str) else query).fetchone()
    assert row is not None
    return row[0]


def _read(folder: Path) -> Manifest:
    """The backup's manifest, which is written last: without it there is no backup."""
    file = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read, so {folder} is no backup: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BackupError(f"{file} is damaged ({where or 'JSON'}: {first['msg']}): take another backup.") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{file} has format {manifest.format}, this code reads {FORMAT}: install the newer code.")
    return manifest


def _verify(folder: Path, manifest: Manifest) -> None:
    """Compares every file with its hash before anything is touched."""
    for name, part in manifest.parts.items():
        file = folder / name
        try:
            with file.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise BackupError(
                f"{file} of the backup cannot be read: {error.strerror}; nothing was restored, take another backup."
            ) from error
        if found != part.sha256:
            raise BackupError(
                f"{file} is not what was backed up (sha256 {found[:12]}…, not {part.sha256[:12]}…): nothing was"
                f" restored, take another backup."
            )


def _refuse_other_exports(manifest: Manifest) -> None:
    """Exports that stand here must be the backup's own, put in place by a restore that was cut short."""
    exports, known = get_settings().exports, manifest.exports()
    for file in _exported_files(exports):
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if known.get(file.relative_to(exports).as_posix()) != found:
            raise UsageError(
                f"{file} is there and not of this backup: restore into an empty home, or move {exports} away."
            )


def _refuse_used(admin: psycopg.Connection, database: str) -> bool:
    """Whether the database is there, empty.

    Raises:
        UsageError: it holds rows of a run, or tables of somebody else.
    """
    if admin.execute("select 1 from pg_database where datname = %s", [database]).fetchone() is None:
        return False
    with connect(role="admin", database=database) as inside:
        foreign = inside.execute(
            "select nspname, relname from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace"
            " where relkind in ('r', 'p', 'm', 'f') and nspname not like 'pg\\_%%' and nspname <> 'information_schema'"
            " and nspname <> all(%s) order by 1, 2 limit 1",
            [list(bootstrap.SCHEMAS)],
        ).fetchone()
        if foreign is not None:
            raise UsageError(
                f"Database {database} holds {foreign[0]}.{foreign[1]}, which is not this program's: restore into a"
                f" database of its own (ARREARS_DATABASE_URL)."
            )
        for schema, name in _tables(inside, tuple(schema for schema in SCHEMAS if schema not in BUILT_BY_COMMANDS)):
            table = f"{schema}.{name}"
            anything = sql.SQL("select exists (select 1 from {})").format(sql.Identifier(schema, name))
            if table not in HELD_FROM_THE_START and _value(inside, anything):
                raise UsageError(
                    f"Database {database} is not empty ({table} has rows): restore into an empty ARREARS_HOME, or set"
                    f" ARREARS_DATABASE_URL to another database."
                )
    return True


def _fill(admin: psycopg.Connection, filling: str, folder: Path, manifest: Manifest) -> None:
    """Restores the dump into a database that nobody knows of, and counts what came."""
    name = sql.Identifier(filling)
    admin.execute(sql.SQL("drop database if exists {} with (force)").format(name))  # of a restore that was killed
    admin.execute(sql.SQL("create database {} owner {}").format(name, sql.Identifier(bootstrap.OWNER)))
    program, _ = _client("pg_restore", max(admin.info.server_version // 10_000, manifest.dumped_by_major))
    _run(
        program,
        "--exit-on-error",
        "--no-password",
        f"--jobs={min(4, os.cpu_count() or 1)}",
        str(folder / DUMP),
        database=filling,
    )
    with connect(role="admin", database=filling) as inside:
        bootstrap.make_schemas(inside, filling)
        counted = _row_counts(inside)
        differing = sorted(table for table, rows in manifest.tables.items() if counted.get(table) != rows)
        if differing:
            table = differing[0]
            raise BackupError(
                f"Table {table} has {counted.get(table, 0)} rows after the restore where the backup counted"
                f" {manifest.tables[table]}: nothing was restored, take another backup."
            )
    with connect(role="admin", database=filling, autocommit=True) as inside:
        inside.execute("analyze")


def _put_exports_in_place(folder: Path, manifest: Manifest) -> None:
    """Copies the exports beside where they belong, then renames each day; replaced revisions come before the days.

    Beside is a folder within: the exports folder itself may be a volume, which cannot be renamed.
    """
    exports = get_settings().exports
    beside = exports / RESTORING
    with _in_one_sentence(exports, "be restored"):
        remove(beside)
        make_folder(beside, exports)
        for name, sha256 in manifest.exports().items():
            target = beside / name
            make_folder(target.parent, exports)
            if _copy(folder / EXPORTS / name, target).sha256 != sha256:
                raise BackupError(f"{folder / EXPORTS / name} changed while it was restored: restore again.")
        for entry in sorted(beside.iterdir()):
            if not (exports / entry.name).exists():
                entry.rename(exports / entry.name)
        sync_folder(exports)


def _put_database_in_place(admin: psycopg.Connection, filling: str, database: str, *, is_there: bool) -> None:
    """Gives the restored database its name, in one transaction with taking it from the empty one."""
    before = f"{database}_before_restore"
    rename = sql.SQL("alter database {} rename to {}")
    try:
        with admin.transaction():
            if is_there:
                admin.execute(rename.format(sql.Identifier(database), sql.Identifier(before)))
            admin.execute(rename.format(sql.Identifier(filling), sql.Identifier(database)))
    except psycopg.errors.ObjectInUse as error:
        raise WarehouseBusy(
            f"Somebody is connected to the empty database {database}, which the restored one replaces: end these"
            f" sessions and restore again."
        ) from error
    if is_there:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(before)))


def _client(name: str, at_least: int) -> tuple[Path, int]:
    """A client program that is not older than the server, and its major version.

    The embedded server's comes with it; for another server the one on the PATH is taken, else the embedded one's.
    """
    found: list[tuple[Path, int]] = []
    on_path = shutil.which(name) if embedded() is None else None
    for program in ([Path(on_path)] if on_path else []) + [client_program(name)]:
        major = _major(program)
        if major >= at_least:
            return program, major
        found.append((program, major))
    said = ", ".join(f"{program} is {major}" for program, major in found)
    raise BackupError(
        f"{name} of PostgreSQL {at_least} or newer is needed ({said}): install it and put it on the PATH."
    )


def _major(program: Path) -> int:
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
    told = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(told.group(1)) if told else 0


def _run(program: Path, *arguments: str, database: str) -> None:
    """Runs a client program on a database as the administrator; no password is in its arguments.

    Raises:
        BackupError: it fails; says its first error, without the rows that it may quote.
    """
    given = dict(parameters("admin", database=database))
    environment = {**os.environ, "LC_ALL": "C"}
    if "password" in given:
        environment["PGPASSWORD"] = given.pop("password")
    done = subprocess.run(
        [str(program), f"--dbname={make_conninfo('', **given)}", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error:" in line.lower()] or done.stderr.splitlines()
        said = errors[0].strip() if errors else f"it ended with {done.returncode}"
        raise BackupError(f"{program.name} on database {database} fails: {said}.")


def _copy(source: Path, target: Path) -> Part:
    """Copies a file, on disk when it returns."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as read, synced(target) as written:
        while chunk := read.read(CHUNK):
            digest.update(chunk)
            size += written.write(chunk)
    return Part(bytes=size, sha256=digest.hexdigest())


def _sealed(file: Path) -> Part:
    """A file that another program wrote: on disk, for its owner's eyes, and hashed."""
    file.chmod(0o600)
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        return Part(bytes=file.stat().st_size, sha256=hashlib.file_digest(stream, "sha256").hexdigest())


@contextmanager
def _in_one_sentence(place: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"{place} cannot {doing}: {error.strerror or error}: make room or rights there.") from error
