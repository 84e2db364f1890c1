"""The connection to a lender's PostgreSQL: its URL is in no message and no log, and nothing is ever written there."""

import re

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from arrears.credentials import AIRFLOW, airflow_connection
from arrears.errors import SourceError, SourceUnreachable
from arrears.extraction.sources import Source
from arrears.settings import environment_variable

OLDEST = 100000  # before it a database does not tell which sessions are of clients

# A server that is gone without a word is noticed after two minutes; what the URL says goes first.
PATIENCE = {
    "connect_timeout": "20",
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "application_name": "arrears",
}


def connect(source: Source) -> psycopg.Connection:
    """Opens a session in the lender's database, each statement a transaction of its own.

    Raises:
        SourceError: source.yml's connection leads nowhere.
        SourceUnreachable: the server does not answer, or refuses.
    """
    given = parameters(source)
    try:
        session = psycopg.connect(
            make_conninfo("", **(PATIENCE | given | {"client_encoding": "UTF8"})), autocommit=True
        )
    except psycopg.OperationalError as error:
        answer = " ".join(str(error).split())  # the cause stands first, libpq's advice after it
        raise SourceUnreachable(
            f"Source {source.name}: the database {_place(given)} cannot be reached: {answer}"
        ) from None
    if session.info.server_version < OLDEST:
        session.close()
        raise SourceError(
            f"Source {source.name}: the database {_place(given)} is older than PostgreSQL {OLDEST // 10000}: deliver"
            f" files instead (engine files)."
        )
    return session


def place(connection: psycopg.Connection) -> str:
    """Host, port and name of the database, for messages."""
    info = connection.info
    return _place({"host": info.host, "port": str(info.port), "dbname": info.dbname})


def source_error(error: psycopg.Error, where: str) -> SourceError:
    """What the lender's database complained of, in our words; a server that went away may come back."""
    if isinstance(error, psycopg.OperationalError):
        return SourceUnreachable(f"{where}: the database broke off ({_said(error)}); nothing was taken in, try again.")
    if isinstance(error, psycopg.errors.CharacterNotInRepertoire):
        return SourceError(
            f"{where}: a text is not UTF-8, which a database of encoding SQL_ASCII does not check: mend it there, or"
            f" convert it in a SELECT."
        )
    return SourceError(f"{where}: {_said(error)}.")


def _said(error: psycopg.Error) -> str:
    said = error.diag.message_primary or (str(error).strip().splitlines() or [type(error).__name__])[0]
    if (error.sqlstate or "").startswith(("22", "23")):  # it quotes the value, which may be somebody's name
        said = re.sub(r'".*"', '"…"', said, flags=re.DOTALL)
    return said.rstrip(".")


def _place(given: dict[str, str]) -> str:
    return f"{given.get('host', 'localhost')}:{given.get('port', '5432')}/{given.get('dbname', '')}"


def parameters(source: Source) -> dict[str, str]:
    """What libpq is told of the source's database, from the environment or from Airflow; holds its password.

    Raises:
        SourceError: there is no such variable or connection, or it is no URL.
    """
    assert source.connection is not None
    if source.connection.startswith(AIRFLOW):
        return _of_airflow(source, source.connection.removeprefix(AIRFLOW))
    address = environment_variable(source.connection)
    if not address:
        raise SourceError(
            f"Source {source.name}: the environment variable {source.connection} is not set; give it the URL of the"
            f" lender's database, like postgresql://reader@host:5432/name."
        )
    try:
        return {key: str(value) for key, value in conninfo_to_dict(address).items() if value is not None}
    except psycopg.ProgrammingError:  # its words repeat the URL
        raise SourceError(
            f"Source {source.name}: {source.connection} is no PostgreSQL URL: give one like"
            f" postgresql://reader@host:5432/name."
        ) from None


def _of_airflow(source: Source, connection_id: str) -> dict[str, str]:
    found = airflow_connection(connection_id, named_in=f"Source {source.name}", error_kind=SourceError)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    more = {key: str(value) for key, value in found.extra_dejson.items() if key in known}
    fields = {
        "host": found.host,
        "port": found.port,
        "user": found.login,
        "password": found.password,
        "dbname": found.schema,
    }
    return more | {key: str(value) for key, value in fields.items() if value}
