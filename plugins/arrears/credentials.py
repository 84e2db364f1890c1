"""Secrets that others keep: a setting, an environment variable or a connection of Airflow's names them.

No message repeats what is read here.
"""

import sys
from base64 import b64decode
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from arrears.errors import ArrearsError, UsageError

if TYPE_CHECKING:
    from airflow.sdk import Connection

AIRFLOW = "airflow:"
PEM = "-----BEGIN"


def airflow_connection(
    connection_id: str, *, named_in: str, error_kind: type[ArrearsError] = UsageError
) -> "Connection":
    """A connection that Airflow keeps, in its database or in AIRFLOW_CONN_….

    Args:
        connection_id: its name there.
        named_in: what names it, to begin the error's sentence with.
        error_kind: what is raised where there is none.
    """
    if "airflow" not in sys.modules:
        from arrears.scheduling import airflow_home

        airflow_home.configure()
    from airflow.sdk import Connection

    try:
        return Connection.get(connection_id)
    except Exception as error:  # Airflow has an exception for each place where it looked
        raise error_kind(
            f"{named_in}: Airflow has no connection {connection_id} ({type(error).__name__}): add it in"
            f" Airflow's UI or as AIRFLOW_CONN_{connection_id.upper()}."
        ) from None


def ed25519_key(given: SecretStr | None, *, setting: str) -> Ed25519PrivateKey:
    """The key that a setting holds, or that is the password of the Airflow connection which it names.

    Raises:
        UsageError: there is none, or it is no ed25519 key.
    """
    text = given.get_secret_value().strip() if given else ""
    if text.startswith(AIRFLOW):
        connection = airflow_connection(text.removeprefix(AIRFLOW), named_in=setting)
        text = str(connection.password or "").strip()
    try:
        if text.startswith(PEM):
            found = load_pem_private_key(text.encode(), password=None)
        else:
            found = Ed25519PrivateKey.from_private_bytes(b64decode(text, validate=True))
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, Ed25519PrivateKey):
        raise UsageError(
            f"{setting} is no ed25519 key: give its 32 bytes as base64, a PEM text, or airflow:CONNECTION with"
            " one of them as password."
        )
    return found
