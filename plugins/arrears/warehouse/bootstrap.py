"""Makes the warehouse ready: server, roles, databases, schemas, migrations, the contract's tables.

Idempotent, and cheap where there is nothing to do: one query on a warm start.
"""

import logging
from pathlib import Path

import psycopg
from psycopg import sql

from arrears.contract.servicing import contract
from arrears.errors import UsageError, WarehouseError, WarehouseUnreachable
from arrears.settings import get_settings
from arrears.warehouse import contract_tables
from arrears.warehouse.connections import AIRFLOW, LOGINS, WAREHOUSE, connect, embedded, parameters

MIGRATIONS = Path(__file__).parent / "migrations"
BOOTSTRAP_LOCK = 7_231_001

OWNER = "arrears_owner"
# Schemas and who owns them: what must stay is the owner's, what a run builds is the pipeline's.
SCHEMAS = {
    "raw": OWNER,
    "versions": OWNER,
    "ops": OWNER,
    "ledger": OWNER,
    "quarantine": OWNER,
    "load": "arrears_pipeline",
    "seeds": "arrears_pipeline",
    "working": "arrears_pipeline",
    "marts": "arrears_pipeline",
    "marts_personal": "arrears_pipeline",
}
READERS = {
    "marts": ("arrears_bi", "arrears_collector", "arrears_audit"),
    "marts_personal": ("arrears_collector",),
    "ops": ("arrears_audit",),
    "ledger": ("arrears_audit",),
}

_is_ready = False


def ready(*, again: bool = False) -> None:
    """Starts the embedded server where that is used and brings the warehouse to this version of the code.

    Args:
        again: look at everything, whatever this process or the warehouse itself says of having been made ready.

    Raises:
        WarehouseError: it cannot be reached, or it is newer than the code.
        UsageError: a setting that is kept from the first run has another value now.
    """
    global _is_ready
    if _is_ready and not again:
        return
    if again or not _is_up_to_date():
        _bootstrap()
    _keep_settings()
    _is_ready = True


def _is_up_to_date() -> bool:
    try:
        with connect() as connection:
            rows = connection.execute("select version_num from ops.migrations").fetchall()
            return [row[0] for row in rows] == [_head()] and contract_tables.is_current(connection)
    except (WarehouseUnreachable, psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        return False


def _revisions() -> list[str]:
    return sorted(file.name.split("_")[0] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _head() -> str:
    return _revisions()[-1]


def _bootstrap() -> None:
    database = parameters("pipeline")["dbname"]
    with maintenance() as admin:
        admin.execute("select pg_advisory_lock(%s)", [BOOTSTRAP_LOCK])
        make_roles(admin)
        for name, owner in ((database, OWNER), (AIRFLOW, AIRFLOW)):
            if admin.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
                admin.execute(
                    sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(owner))
                )
        with connect(role="admin", database=database) as inside:
            make_schemas(inside, database)
        _migrate(database)
        with connect(role="admin", database=database) as inside:
            inside.execute(sql.SQL("set local role {}").format(sql.Identifier(OWNER)))
            contract_tables.synchronise(inside, contract())


def maintenance() -> psycopg.Connection:
    """A connection from which databases can be created; the warehouse's own where the server has no `postgres`."""
    try:
        return connect(role="admin", database="postgres", autocommit=True)
    except WarehouseUnreachable:
        return connect(role="admin", autocommit=True)


def make_roles(admin: psycopg.Connection) -> None:
    """Creates the server's roles that are missing; on an embedded server each has its password."""
    server = embedded()
    known = {row[0] for row in admin.execute("select rolname from pg_roles").fetchall()}
    if OWNER not in known:
        admin.execute(sql.SQL("create role {} nologin").format(sql.Identifier(OWNER)))
    for role in LOGINS.values():
        if role not in known:
            admin.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        if server is not None:
            admin.execute(
                sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(server.password(role)))
            )
    user = admin.execute("select current_user, rolsuper from pg_roles where rolname = current_user").fetchone()
    if user is not None and not user[1]:  # an administrator who is no superuser must be a member to create for a role
        for role in (OWNER, *LOGINS.values()):
            admin.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(user[0])))


def make_schemas(admin: psycopg.Connection, database: str) -> None:
    """Creates the schemas that are missing in a database, inside which the connection is, and who may use them."""
    admin.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(database)))
    admin.execute("revoke all on schema public from public")
    for role in LOGINS.values():
        if role != AIRFLOW:
            admin.execute(
                sql.SQL("grant connect on database {} to {}").format(sql.Identifier(database), sql.Identifier(role))
            )
    # dbt-postgres creates the schemas it is told of, even those that exist.
    admin.execute(
        sql.SQL("grant create, temporary on database {} to arrears_pipeline").format(sql.Identifier(database))
    )
    for schema, owner in SCHEMAS.items():
        name = sql.Identifier(schema)
        admin.execute(sql.SQL("create schema if not exists {} authorization {}").format(name, sql.Identifier(owner)))
        admin.execute(sql.SQL("grant usage on schema {} to arrears_pipeline").format(name))
        for reader in READERS.get(schema, ()):
            admin.execute(sql.SQL("grant usage on schema {} to {}").format(name, sql.Identifier(reader)))


def refuse_newer(revision: str, what: str) -> None:
    """Refuses what was written by newer code: what its tables mean is not known here.

    Raises:
        WarehouseError: this code has no migration of that number.
    """
    if revision not in _revisions():
        raise WarehouseError(
            f"The {what} is at migration {revision}, newer than this code ({_head()}): install the newer code."
        )


def _migrate(database: str) -> None:
    """Runs the numbered migrations that the warehouse lacks."""
    with connect(role="admin", database=database) as connection:
        if connection.execute("select to_regclass('ops.migrations')").fetchone() != (None,):
            there = [row[0] for row in connection.execute("select version_num from ops.migrations").fetchall()]
            for revision in sorted(there):
                refuse_newer(revision, "warehouse")
            if there == [_head()]:
                return

    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: connect(role="admin", database=database), poolclass=NullPool
    )
    with engine.begin() as connection:
        connection.execute(text(f"set role {OWNER}"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _keep_settings() -> None:
    """Keeps the business time zone at the first run; another one later would shift every date."""
    zone = get_settings().business_time_zone
    with connect() as connection:
        begun_with = keep(connection, "business_time_zone", zone)
    if begun_with != zone:
        raise UsageError(
            f"ARREARS_BUSINESS_TIME_ZONE is {zone}, but this warehouse was begun with {begun_with}: set it back,"
            f" or use another ARREARS_HOME."
        )


def keep(connection: psycopg.Connection, setting: str, value: str) -> str:
    """Keeps a setting of the portfolio if it is not kept yet; gives the value that holds."""
    connection.execute(
        "insert into ops.portfolio (setting, value) values (%s, %s) on conflict (setting) do nothing", [setting, value]
    )
    row = connection.execute("select value from ops.portfolio where setting = %s", [setting]).fetchone()
    assert row is not None
    return str(row[0])


def kept(connection: psycopg.Connection, setting: str) -> str | None:
    """The kept value of a setting; None where none is kept."""
    row = connection.execute("select value from ops.portfolio where setting = %s", [setting]).fetchone()
    return str(row[0]) if row else None


__all__ = ["SCHEMAS", "WAREHOUSE", "keep", "kept", "ready"]
