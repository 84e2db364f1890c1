"""Connections to the warehouse, by role. Every one says its time zone and, for a day's work, its as-of date."""

from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Literal
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from arrears.errors import WarehouseError, WarehouseUnreachable
from arrears.settings import Settings, get_settings
from arrears.warehouse.embedded import EmbeddedPostgres

WAREHOUSE = "arrears"
AIRFLOW = "airflow"

Role = Literal["admin", "pipeline", "bi", "collector", "audit", "airflow"]
LOGINS: Mapping[Role, str] = {
    "pipeline": "arrears_pipeline",
    "bi": "arrears_bi",
    "collector": "arrears_collector",
    "audit": "arrears_audit",
    "airflow": AIRFLOW,
}


@cache
def _embedded(settings: Settings) -> EmbeddedPostgres:
    return EmbeddedPostgres(settings.home)


def embedded() -> EmbeddedPostgres | None:
    """The embedded server of the home; None where ARREARS_DATABASE_URL names another."""
    settings = get_settings()
    return None if settings.database_url else _embedded(settings)


def parameters(role: Role = "pipeline", *, database: str | None = None, tcp: bool = False) -> dict[str, str]:
    """libpq's parameters (host, port, user, dbname, perhaps password) of a role.

    Args:
        role: on an embedded server every role logs in by the socket; on another server `pipeline` is the URL's user and
            `admin` that of ARREARS_ADMIN_DATABASE_URL; the rest log in with the passwords that their owners set.
        database: another database of the same server.
        tcp: by TCP with a password, as a tool outside would.
    """
    server = embedded()
    if server is None:
        return _external(role, database)
    running = server.start()
    name = running.superuser if role == "admin" else LOGINS[role]
    found = {
        "user": name,
        "dbname": database or (AIRFLOW if role == "airflow" else WAREHOUSE),
        "port": str(running.port),
    }
    if tcp:
        return found | {"host": "127.0.0.1", "password": server.password(name)}
    return found | {"host": str(running.socket_folder)}


def _external(role: Role, database: str | None) -> dict[str, str]:
    settings = get_settings()
    url = settings.admin_database_url if role == "admin" and settings.admin_database_url else settings.database_url
    assert url is not None
    try:
        found = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError as error:
        raise WarehouseError(
            "ARREARS_DATABASE_URL is not a PostgreSQL URL: give postgresql://user@host:5432/arrears."
        ) from error
    if role not in ("admin", "pipeline"):
        found["user"] = LOGINS[role]
        found.pop("password", None)
        if role == "airflow":
            found["dbname"] = AIRFLOW
    if database:
        found["dbname"] = database
    return found


def connect(
    as_of_date: date | None = None,
    role: Role = "pipeline",
    *,
    autocommit: bool = False,
    database: str | None = None,
    options: Mapping[str, str] | None = None,
) -> psycopg.Connection:
    """Opens a connection; with an as-of date, `arrears.as_of_date` is set for the session.

    Raises:
        WarehouseUnreachable: says which host and what it answered.
    """
    given = parameters(role, database=database)
    try:
        conninfo = make_conninfo(
            "", **given, options=session_options(as_of_date, options), connect_timeout=20, application_name="arrears"
        )
        return psycopg.connect(conninfo, autocommit=autocommit)
    except psycopg.OperationalError as error:
        where = f"{given.get('host', 'localhost')}:{given.get('port', '5432')}/{given.get('dbname', '')}"
        answer = str(error).strip().splitlines()[-1]
        raise WarehouseUnreachable(
            f"The warehouse {where} cannot be reached as {given.get('user')}: {answer}; see `arrears doctor`."
        ) from error


def session_options(as_of_date: date | None, more: Mapping[str, str] | None = None) -> str:
    """The `options` of a session: UTC, the as-of date and what else is given, as libpq wants them."""
    settings = {"TimeZone": "UTC", "DateStyle": "ISO,YMD"} | dict(more or {})
    if as_of_date is not None:
        settings["arrears.as_of_date"] = as_of_date.isoformat()
    return " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in settings.items())


def libpq_environment(
    as_of_date: date | None, *, role: Role = "pipeline", options: Mapping[str, str] | None = None
) -> dict[str, str]:
    """PG* variables with which dbt (or psql) connects as a role on an as-of date."""
    given = parameters(role)
    variables = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
    environment = {variable: given[key] for key, variable in variables.items() if key in given}
    return environment | {"PGOPTIONS": session_options(as_of_date, options)}


def url(role: Role, *, driver: str = "postgresql", tcp: bool = False, database: str | None = None) -> str:
    """A connection URL; through a socket it reads `@localhost/db?host=/folder`, because some tools want a host."""
    given = parameters(role, tcp=tcp, database=database)
    user = quote(given["user"], safe="")
    password = f":{quote(given['password'], safe='')}" if "password" in given else ""
    host, port = given.get("host", "localhost"), given.get("port", "5432")
    if host.startswith("/"):
        return f"{driver}://{user}{password}@localhost/{given['dbname']}?{urlencode({'host': host, 'port': port})}"
    return f"{driver}://{user}{password}@{host}:{port}/{given['dbname']}"


def sqlalchemy_url(role: Role = "pipeline") -> str:
    """The warehouse's URL for SQLAlchemy with psycopg2, as Great Expectations wants it."""
    return url(role, driver="postgresql+psycopg2")


def airflow_url() -> str:
    """URL of Airflow's metadata database, on the same server."""
    return get_settings().airflow_database_url or url("airflow", driver="postgresql+psycopg2")
