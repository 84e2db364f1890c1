"""Airflow's home under ours: environment, secrets, metadata database, pools.

Airflow reads its settings from the environment when it is imported, so `configure` must come before that. What makes
a home a home (paths, database) is always ours; the rest yields to an `AIRFLOW__…` variable that is set already, which
is how docker-compose.yml chooses another executor.
"""

import json
import os
import sys
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import psycopg
from filelock import FileLock

from arrears import warehouse
from arrears.errors import ArrearsError
from arrears.orchestration import DELIVERIES_POOL, DELIVERIES_POOL_SLOTS, POOL, POOL_SLOTS
from arrears.settings import CHECKOUT, get_settings
from arrears.warehouse.connections import airflow_url

DAGS = CHECKOUT / "dags"
PLUGINS = CHECKOUT / "plugins"

ADMINISTRATOR = "admin"

# By name: slots, and what they are for. A task that waits (for a delivery, for the warehouse) takes none.
POOLS = {
    POOL: (POOL_SLOTS, "Steps of a day, one at a time."),
    DELIVERIES_POOL: (DELIVERIES_POOL_SLOTS, "Looking for deliveries, delivering exports."),
}


def folder() -> Path:
    """AIRFLOW_HOME of this home."""
    return get_settings().home / "airflow"


def log_folder() -> Path:
    """Where Airflow, its services and the tasks write their logs."""
    return folder() / "logs"


def passwords_file() -> Path:
    """JSON of user and password for the UI; for the owner's eyes only."""
    return folder() / "passwords.json"


def configure() -> None:
    """Sets this process's environment for Airflow; call it before anything imports `airflow`.

    Raises:
        ArrearsError: Airflow is imported already, with another home.
    """
    if "airflow.configuration" in sys.modules and os.environ.get("AIRFLOW_HOME") != str(folder()):
        raise ArrearsError(
            f"Airflow was imported with AIRFLOW_HOME={os.environ.get('AIRFLOW_HOME')} before it was told of "
            f"{folder()}: start this in a process of its own."
        )
    os.environ |= environment()


def environment() -> dict[str, str]:
    """The variables with which Airflow works on this home; starts an embedded server, whose address is among them."""
    fixed = {
        "AIRFLOW_HOME": str(folder()),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "True",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": airflow_url(),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(log_folder()),
    }
    return fixed | {name: value for name, value in _defaults().items() if name not in os.environ}


def _defaults() -> dict[str, str]:
    secrets = _secrets()
    return {
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": secrets["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMINISTRATOR}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file()),
        "AIRFLOW__API__SECRET_KEY": secrets["api_secret_key"],
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__EXPOSE_CONFIG": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets["jwt_secret"],
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    }


def _secrets() -> dict[str, str]:
    """Keys made once for this home, readable by its owner alone."""
    file = folder() / "secrets.json"
    if not file.exists():
        folder().mkdir(parents=True, exist_ok=True)
        with FileLock(folder() / "secrets.lock"):
            if not file.exists():
                made = {
                    "fernet_key": urlsafe_b64encode(os.urandom(32)).decode(),
                    "api_secret_key": os.urandom(32).hex(),
                    "jwt_secret": os.urandom(48).hex(),
                }
                write_private(file, json.dumps(made))
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return found


def password() -> str:
    """The administrator's password for the UI, made once."""
    file = passwords_file()
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if ADMINISTRATOR not in known:
        known[ADMINISTRATOR] = os.urandom(9).hex()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_private(file, json.dumps(known))
    return known[ADMINISTRATOR]


def write_private(file: Path, text: str) -> None:
    """Writes a file that only its owner can read; it is whole or not there."""
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    beside.touch(mode=0o600)
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def prepare() -> None:
    """Makes warehouse and metadata database ready and sets the environment; one query where nothing is to be done.

    Raises:
        WarehouseError: the server cannot be reached.
        ArrearsError: Airflow's metadata database cannot be migrated.
    """
    warehouse.ready()
    configure()
    if not _is_prepared():
        _migrate()


def _is_prepared() -> bool:
    """Whether this version of Airflow has migrated the database that is there, and the pools are as they should be."""
    try:
        done = json.loads((folder() / "prepared.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    if done.get("airflow") != version("apache-airflow-core"):
        return False
    try:
        with connect() as metadata:
            revision = metadata.execute("select version_num from alembic_version").fetchone()
            pools = metadata.execute("select pool, slots, include_deferred from slot_pool").fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidCatalogName):
        return False
    wanted = {(name, slots, False) for name, (slots, _) in POOLS.items()}
    return revision == (done.get("revision"),) and wanted <= set(pools)


def _migrate() -> None:
    log_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(folder() / "migrate.lock"):
        from arrears.scheduling.log_files import logging_to

        with logging_to(log_folder() / "migrate.log"):
            from airflow.models.pool import Pool
            from airflow.utils.db import initdb

            try:
                initdb()
            except Exception as error:
                raise ArrearsError(
                    f"Airflow's metadata database cannot be migrated ({type(error).__name__}): "
                    f"see {log_folder() / 'migrate.log'}."
                ) from error
            for name, (slots, description) in POOLS.items():
                Pool.create_or_update_pool(name, slots=slots, description=description, include_deferred=False)
        with connect() as metadata:
            row = metadata.execute("select version_num from alembic_version").fetchone()
        assert row is not None
        write_private(
            folder() / "prepared.json", json.dumps({"airflow": version("apache-airflow-core"), "revision": row[0]})
        )


def connect() -> psycopg.Connection:
    """A connection to Airflow's metadata database."""
    return psycopg.connect(airflow_url().replace("postgresql+psycopg2:", "postgresql:"), autocommit=True)


def command(*arguments: str) -> list[str]:
    """Airflow's command line with this interpreter."""
    return [sys.executable, "-m", "airflow", *arguments]


def become_airflow(arguments: Sequence[str]) -> NoReturn:
    """Turns this process into `airflow ARGUMENTS` on this home, made ready first."""
    prepare()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(sys.executable, command(*arguments), dict(os.environ))  # noqa: S606  no shell is wanted
