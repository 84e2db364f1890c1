"""One PostgreSQL for all tests; each test of a step works on its own copy of a prepared warehouse."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from arrears import warehouse
from arrears.settings import get_settings
from arrears.transform import dbt
from arrears.warehouse import bootstrap, connections
from arrears.warehouse.embedded import EmbeddedPostgres, Server

TEMPLATE = "arrears_template"
# One name for every copy: dbt's parsed project holds the database's name, and another would have it parsed again.
DATABASE = "arrears_test"
# What a test that builds models on its own leaves out: views on the contract, made with the template (selector views).
VIEWS = "path:models/staging/servicing"


def url(server: Server, user: str, database: str) -> str:
    """A URL through the server's socket."""
    return f"postgresql://{user}@/{database}?host={quote(str(server.socket_folder), safe='')}&port={server.port}"


def forget_settings() -> None:
    """Makes the process read its environment again."""
    get_settings.cache_clear()
    connections._embedded.cache_clear()
    bootstrap._is_ready = False


@pytest.fixture(scope="session")
def session_home() -> Iterator[Path]:
    """A home for the session: the server, and dbt's parsed project."""
    home = Path(tempfile.mkdtemp(prefix="arrears-tests-"))
    home.chmod(0o755)
    yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def server(session_home: Path) -> Iterator[Server]:
    """The one PostgreSQL."""
    postgres = EmbeddedPostgres(session_home)
    started = postgres.start()
    with psycopg.connect(url(started, "postgres", "postgres"), autocommit=True) as admin:
        # Every dropped copy is a checkpoint; these data need not survive a power cut.
        admin.execute("alter system set fsync = off")
        admin.execute("select pg_reload_conf()")
    yield started
    postgres.stop()


@pytest.fixture(scope="session")
def _template(server: Server, session_home: Path) -> str:
    """A database with roles, tables, seeds and empty marts, to be copied."""
    with pytest.MonkeyPatch.context() as patch:
        _point_to(patch, server, session_home, DATABASE)
        warehouse.ready()
        dbt.prepare()
    forget_settings()
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [DATABASE])
        admin.execute(
            sql.SQL("alter database {} rename to {}").format(sql.Identifier(DATABASE), sql.Identifier(TEMPLATE))
        )
    return TEMPLATE


def _point_to(patch: pytest.MonkeyPatch, server: Server, home: Path, database: str) -> None:
    for name in [name for name in os.environ if name.startswith("ARREARS_")]:
        patch.delenv(name)
    patch.setenv("ARREARS_HOME", str(home))
    patch.setenv("ARREARS_DATABASE_URL", url(server, "arrears_pipeline", database))
    patch.setenv("ARREARS_ADMIN_DATABASE_URL", url(server, "postgres", database))
    forget_settings()


@dataclass(frozen=True, slots=True)
class Workplace:
    """A warehouse of one test, and its folders."""

    database: str
    home: Path
    exports: Path
    sources: Path

    def connect(self, as_of: date | None = None, role: connections.Role = "pipeline") -> psycopg.Connection:
        """A connection to the test's warehouse."""
        return warehouse.connect(as_of, role)

    def value(self, query: str, *given: object) -> object:
        """The one value of a query, as the administrator."""
        with warehouse.connect(role="admin") as connection:
            row = connection.execute(query.encode(), given).fetchone()
        return row[0] if row else None

    def rows(self, query: str, *given: object) -> list[tuple[object, ...]]:
        """All rows of a query, as the administrator."""
        with warehouse.connect(role="admin") as connection:
            return connection.execute(query.encode(), given).fetchall()


@contextmanager
def a_workplace(
    template: str, server: Server, home: Path, folder: Path, patch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """A copy of the prepared warehouse, with exports and sources in a folder; the settings point to it."""
    database = DATABASE
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(database), sql.Identifier(template))
        )
    _point_to(patch, server, home, database)
    exports, sources = folder / "exports", folder / "sources"
    shutil.copytree(get_settings().sources_folder / "contract", sources / "contract")
    patch.setenv("ARREARS_EXPORTS", str(exports))
    patch.setenv("ARREARS_SOURCES_FOLDER", str(sources))
    patch.setenv("ARREARS_LEDGER_HEADS", str(folder / "heads.jsonl"))  # all copies have the template's log
    forget_settings()
    yield Workplace(database, home, exports, sources)
    forget_settings()
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database)))


@pytest.fixture
def workplace(
    _template: str, server: Server, session_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """A copy of the prepared warehouse for one test; the settings point to it."""
    with a_workplace(_template, server, session_home, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def workplaces(
    _template: str, server: Server, session_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], AbstractContextManager[Workplace]]:
    """One warehouse after another, for a test that compares them."""
    return lambda name: a_workplace(_template, server, session_home, tmp_path / name, monkeypatch)


@pytest.fixture
def drop(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small drop in contract form; tables given by name replace the rows or the whole text."""
    from tests.portfolio import write_drop

    def write(folder: str = "drop", **tables: object) -> Path:
        return write_drop(tmp_path / folder, **tables)

    return write
