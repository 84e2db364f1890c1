"""Runs dbt in this process, one invocation after another: a few a day, by selector.

The date reaches the models as a setting of the database session (PGOPTIONS), never as a dbt variable, so that no day
parses the project again. The parsed manifest is kept for the life of the process.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from arrears.errors import TransformError
from arrears.settings import CHECKOUT, get_settings
from arrears.warehouse.bootstrap import kept
from arrears.warehouse.connections import connect, libpq_environment

PROJECT = CHECKOUT / "dbt_project"
FINGERPRINT = "dbt_fingerprint"

_kept_manifest: Any = None


@dataclass(frozen=True, slots=True)
class NodeRun:
    """How one model, seed or test of an invocation ended."""

    name: str
    resource_type: str
    status: str
    seconds: float
    row_count: int | None
    message: str | None

    @property
    def is_failed(self) -> bool:
        """Whether it makes the invocation fail."""
        return self.status in ("error", "fail", "runtime error")


def target_folder() -> Path:
    """Where dbt writes its manifest and compiled models."""
    return get_settings().home / "dbt" / "target"


def manifest() -> Mapping[str, Any]:
    """The project's manifest, as it was kept when the warehouse was prepared for this version of it."""
    return _read(_manifest_file())


def manifest_written_last() -> Mapping[str, Any]:
    """What dbt's last invocation in this process wrote: after `compile` with the SQL of what was compiled."""
    return _read(target_folder() / "manifest.json")


def _read(file: Path) -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def _manifest_file() -> Path:
    """Where the manifest of this version of the project is kept.

    dbt writes its own in place whenever a process parses the project: killed meanwhile, it would leave half of it.
    """
    return get_settings().home / "dbt" / f"manifest-{project_sha256()[:16]}.json"


def _keep_manifest() -> None:
    """Keeps the parsed project's manifest, whole or not at all; those of other versions go."""
    file = _manifest_file()
    beside = file.with_suffix(".new")
    _kept_manifest.write(str(beside))
    with beside.open("rb") as written:
        os.fsync(written.fileno())
    beside.rename(file)
    for other in file.parent.glob("manifest-*"):
        if other != file:
            other.unlink()


def build(selector: str, as_of: date, *, anew: bool = False) -> list[NodeRun]:
    """Builds and tests a selector's models for a date.

    Args:
        selector: a name in selectors.yml.
        as_of: the date.
        anew: build the kept models from nothing, not from what was kept for another date.

    Raises:
        TransformError: a model or a data test failed; names the first.
    """
    refresh = ["--full-refresh"] if anew else []
    return invoke(["build", "--selector", selector, "--exclude-resource-type", "unit_test", *refresh], as_of)


def invoke(arguments: Sequence[str], as_of: date, environment: Mapping[str, str] | None = None) -> list[NodeRun]:
    """One dbt invocation on the warehouse as the pipeline's role.

    Args:
        arguments: as on dbt's command line.
        as_of: the date of the models' session.
        environment: variables that macros read.

    Raises:
        TransformError: it failed; the sentence names the first failing node and dbt's log.
    """
    global _kept_manifest
    from dbt.cli.main import dbtRunner

    home = get_settings().home / "dbt"
    places = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    places += ["--target-path", str(home / "target"), "--log-path", str(home / "logs")]
    quiet = ["--quiet", "--no-print", "--log-level-file", "info"]
    with _session(as_of, environment or {}), _silenced():
        done = dbtRunner(manifest=_kept_manifest).invoke([*arguments, *places, *quiet])
    runs = [_node_run(result) for result in getattr(done.result, "results", None) or []]
    failed = [run for run in runs if run.is_failed]
    if failed:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        said = " ".join((first.message or "").split())
        raise TransformError(
            f"dbt {first.resource_type} {first.name} failed for {as_of}{more}: {said}; see {home / 'logs' / 'dbt.log'}."
        )
    if not done.success:
        said = " ".join(str(done.exception or "no result").split())
        raise TransformError(f"dbt {arguments[0]} failed for {as_of}: {said}; see {home / 'logs' / 'dbt.log'}.")
    if arguments[0] == "parse":
        _kept_manifest = done.result
    return [run for run in runs if run.resource_type != "operation"]


def parse() -> None:
    """Parses the project if this process has not: from dbt's partial state, so that little is read again."""
    if _kept_manifest is None:
        invoke(["parse"], date(1, 1, 1))


@cache
def project_sha256() -> str:
    """Hash of the dbt project's files."""
    digest = sha256()
    for file in sorted(PROJECT.rglob("*")):
        inside = file.relative_to(PROJECT)
        if file.is_file() and inside.parts[0] not in ("target", "logs", "dbt_packages") and file.name != ".user.yml":
            digest.update(f"{inside}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def is_prepared(connection: psycopg.Connection) -> bool:
    """Whether seeds and marts' tables stand as this version of the project says."""
    return kept(connection, FINGERPRINT) == project_sha256() and _manifest_file().exists()


def prepare() -> bool:
    """Brings seeds, views, marts' tables and empty working relations to this project's version; True when it had to.

    Raises:
        TransformError: dbt failed.
    """
    from arrears.transform import as_known, publishing

    with connect() as connection:
        if is_prepared(connection):
            return False
    any_date = date(1, 1, 1)
    invoke(["parse"], any_date)
    _keep_manifest()
    with connect() as connection:
        publishing.make_marts(connection, manifest())
    invoke(["seed", "--full-refresh"], any_date)
    for selector in ("views", "quality"):
        invoke(["run", "--selector", selector], any_date)
    as_known.create_functions()
    with connect() as connection:
        connection.execute(
            "insert into ops.portfolio (setting, value) values (%s, %s)"
            " on conflict (setting) do update set value = excluded.value",
            [FINGERPRINT, project_sha256()],
        )
    return True


def write_docs() -> Path:
    """dbt's documentation of every model, column, test and exposure as one page, and where it is."""
    prepare()
    invoke(["docs", "generate", "--static"], date(1, 1, 1))
    return target_folder() / "static_index.html"


@contextmanager
def _session(as_of: date, environment: Mapping[str, str]) -> Iterator[None]:
    """The environment in which dbt's connections are opened."""
    with connect() as connection:
        currency = kept(connection, "reporting_currency") or ""
    # What dbt builds can be built again: it need not wait for the disk. Publishing does.
    options = {"synchronous_commit": "off", "arrears.project": project_sha256()}
    options |= {"arrears.reporting_currency": currency} if currency else {}
    given = {**libpq_environment(as_of, options=options), **environment}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _silenced() -> Iterator[None]:
    """dbt adds handlers to the root logger's children; what it says is in its own log."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _node_run(result: Any) -> NodeRun:
    rows = (result.adapter_response or {}).get("rows_affected")
    return NodeRun(
        name=result.node.name,
        resource_type=str(getattr(result.node.resource_type, "value", result.node.resource_type)),
        status=str(getattr(result.status, "value", result.status)),
        seconds=round(float(result.execution_time), 3),
        row_count=int(rows) if isinstance(rows, int) and rows >= 0 else None,
        message=result.message,
    )
