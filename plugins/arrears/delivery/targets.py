"""Folders, SFTP servers and S3 buckets, reached through fsspec.

A file appears under its name whole or not at all: where that takes a rename, it is written under another name first. A
server's host key is checked; sshfs by itself would not. What goes wrong is one sentence that names delivery and target.
"""

import hashlib
import io
import os
import posixpath
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import botocore.exceptions
from fsspec.implementations.local import LocalFileSystem
from s3fs import S3FileSystem
from sshfs import SSHFileSystem

from arrears.credentials import AIRFLOW, PEM, airflow_connection
from arrears.delivery.configuration import Delivery
from arrears.errors import DeliveryError, TargetUnreachable, UsageError
from arrears.export.writing import sync_folder
from arrears.settings import environment_variable

# Somebody's server that is gone without a word is given up after about a minute.
SSH_PATIENCE = {"connect_timeout": 20, "login_timeout": 20, "keepalive_interval": 15, "keepalive_count_max": 3}
S3_PATIENCE = {"connect_timeout": 20, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}
# The courier's group may read what lies in a local folder, nobody else.
LOCAL_FILE, LOCAL_FOLDER = 0o640, 0o750
CHUNK = 8 * 2**20
KNOWN_HOSTS = Path("~/.ssh/known_hosts")

REFUSED = (
    PermissionError,
    asyncssh.PermissionDenied,
    asyncssh.SFTPPermissionDenied,
    botocore.exceptions.NoCredentialsError,
)
CUT_OFF = (
    asyncssh.ConnectionLost,
    asyncssh.DisconnectError,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    botocore.exceptions.HTTPClientError,
    ConnectionError,
    TimeoutError,
)


class Target(ABC):
    """An open target; paths are relative to its base."""

    def __init__(self, filesystem: Any, base: str) -> None:
        self.filesystem = filesystem
        self.base = base

    def look(self) -> None:
        """Asks whether the base is there.

        Raises:
            FileNotFoundError: it is not.
        """
        if not self.filesystem.isdir(self.base):
            raise FileNotFoundError(self.base)

    def sha256_of(self, path: str) -> str | None:
        """The hash of a file that is there; None where there is none."""
        try:
            with self.filesystem.open(self._full(path), "rb") as file:
                return _sha256(file)
        except FileNotFoundError:
            return None

    @abstractmethod
    def put(self, file: io.BufferedIOBase, path: str) -> None:
        """Writes a file under its name, whole or not at all; what stood there is gone then."""

    def _full(self, path: str) -> str:
        return posixpath.join(self.base, path)


class RenamingTarget(Target):
    """Where a half-written file can be seen: it is written under another name, and renamed."""

    def put(self, file: io.BufferedIOBase, path: str) -> None:
        """Writes it beside its place first; what a killed delivery left there is written over."""
        full = self._full(path)
        folder, name = posixpath.split(full)
        beside = posixpath.join(folder, f".{name}.part")
        self.make_folder(folder)
        self.write(file, beside)
        size = self.filesystem.size(beside)
        if size != file.tell():
            raise OSError(f"{beside} has {size} bytes of {file.tell()} that were sent")
        self.rename(beside, full)

    def make_folder(self, folder: str) -> None:
        """Makes what is missing of a folder."""
        self.filesystem.makedirs(folder, exist_ok=True)

    def write(self, file: io.BufferedIOBase, path: str) -> None:
        """Sends the bytes."""
        with self.filesystem.open(path, "wb") as sent:
            shutil.copyfileobj(file, sent, CHUNK)

    def rename(self, beside: str, path: str) -> None:
        """Gives the file its name."""
        self.filesystem.mv(beside, path)


class LocalFolder(RenamingTarget):
    """A folder of this machine, on disk before a receipt says so."""

    def make_folder(self, folder: str) -> None:
        """Makes what is missing, for the owner and the group."""
        missing = [one for one in (Path(folder), *Path(folder).parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=LOCAL_FOLDER)
            sync_folder(one.parent)

    def write(self, file: io.BufferedIOBase, path: str) -> None:
        """Sends the bytes to the disk."""
        Path(path).unlink(missing_ok=True)
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, LOCAL_FILE)
        with os.fdopen(opened, "wb") as sent:
            shutil.copyfileobj(file, sent, CHUNK)
            sent.flush()
            os.fsync(sent.fileno())

    def rename(self, beside: str, path: str) -> None:
        """Gives the file its name, on disk."""
        Path(beside).rename(path)
        sync_folder(Path(path).parent)


class Bucket(Target):
    """A bucket: an object is there whole or not at all."""

    def look(self) -> None:
        """Asks whether the bucket is there and ours to read."""
        self.filesystem.call_s3("head_bucket", Bucket=self.base.split("/")[0])

    def put(self, file: io.BufferedIOBase, path: str) -> None:
        """Puts it; by its descriptor, because a --replace may give the path to another file meanwhile."""
        self.filesystem.put_file(f"/dev/fd/{file.fileno()}", self._full(path))
        file.seek(0, io.SEEK_END)


class _SFTP(SSHFileSystem):  # type: ignore[misc]
    """sshfs renames by `cp` in a shell where the server lacks the extension; who serves files only has no shell."""

    async def _mv(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        del kwargs
        async with self._pool.get() as channel:
            try:
                await channel.posix_rename(lpath, rpath)
            except asyncssh.SFTPOpUnsupported:
                if await channel.exists(rpath):  # one that we delivered: the caller has seen to that
                    await channel.remove(rpath)
                await channel.rename(lpath, rpath)


@contextmanager
def opened(name: str, delivery: Delivery) -> Iterator[Target]:
    """Opens a delivery's target, and looks whether it is there.

    Raises:
        UsageError: its credential, or the file of host keys, is not there.
        DeliveryError: it refuses us.
        TargetUnreachable: it does not answer, or breaks off.
    """
    with _in_one_sentence(name, delivery), _connected(name, delivery) as target:
        target.look()
        yield target


@contextmanager
def _connected(name: str, delivery: Delivery) -> Iterator[Target]:
    at = delivery.address
    if at.scheme == "file":
        yield LocalFolder(LocalFileSystem(), at.base)
    elif at.scheme == "s3":
        yield Bucket(S3FileSystem(**s3_options(name, delivery)), at.base)
    else:
        filesystem = _SFTP(at.host, **sftp_options(name, delivery))
        try:
            yield RenamingTarget(filesystem, at.base)
        finally:
            filesystem._finalize(filesystem.loop, filesystem._pool, filesystem._stack)


def sftp_options(name: str, delivery: Delivery) -> dict[str, Any]:
    """What asyncssh is told: user, secret, where the server's key stands.

    Raises:
        UsageError: something of it is not there, or is no key.
    """
    at = delivery.address
    known_hosts = delivery.known_hosts or KNOWN_HOSTS.expanduser()
    if not known_hosts.is_file():
        raise UsageError(
            f"Delivery {name}: {known_hosts}, in which the key of {at.host} should stand, is not there: compare the"
            f" server's key with what its owner says, and write it there (ssh-keyscan shows it)."
        )
    login = _secret(name, delivery)
    options: dict[str, Any] = SSH_PATIENCE | {
        "known_hosts": str(known_hosts),
        "config": None,  # what the account's ~/.ssh/config says is of other hosts and people
        "skip_instance_cache": True,
    }
    for key, value in (("port", at.port or login.get("port")), ("username", at.user or login.get("login"))):
        if value:
            options[key] = value
    secret = login.get("password")
    key_text = login.get("private_key") or (secret if secret and secret.startswith(PEM) else None)
    if key_text:
        passphrase = login.get("private_key_passphrase")
        try:
            options["client_keys"] = [asyncssh.import_private_key(key_text, passphrase)]
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError):
            raise UsageError(
                f"Delivery {name}: what {delivery.credential} holds is no private key that can be read: give it as"
                f" OpenSSH or PEM text, with its passphrase where it has one."
            ) from None
    elif secret:
        options |= {"password": secret, "client_keys": None, "agent_path": None}
    return options


def s3_options(name: str, delivery: Delivery) -> dict[str, Any]:
    """What s3fs is told; without a credential the machine's own identity is used.

    Raises:
        UsageError: the credential is not there, or is none.
    """
    login = _secret(name, delivery)
    client = {
        "endpoint_url": delivery.endpoint_url or login.get("endpoint_url"),
        "region_name": delivery.region or login.get("region_name"),
    }
    options: dict[str, Any] = {
        "client_kwargs": {key: value for key, value in client.items() if value},
        "config_kwargs": S3_PATIENCE,
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }
    if delivery.credential is None:
        return options
    key, secret = login.get("login"), login.get("password")
    if secret and not key and ":" in secret:
        key, secret = secret.split(":", 1)
    if not key or not secret:
        raise UsageError(
            f"Delivery {name}: what {delivery.credential} holds is no access key: give ACCESS_KEY_ID:SECRET_ACCESS_KEY,"
            f" or a connection with the id as login and the secret as password."
        )
    token = login.get("aws_session_token")
    return options | {"key": key, "secret": secret} | ({"token": token} if token else {})


def need_credential(name: str, delivery: Delivery) -> None:
    """Looks whether what a target is opened with is there, without opening it.

    Raises:
        UsageError: it is not.
    """
    scheme = delivery.address.scheme
    if scheme == "sftp":
        sftp_options(name, delivery)
    elif scheme == "s3":
        s3_options(name, delivery)


def _secret(name: str, delivery: Delivery) -> Mapping[str, Any]:
    """What a credential's name leads to: a connection's fields and extras, or a variable's text as `password`."""
    credential = delivery.credential
    if credential is None:
        return {}
    if not credential.startswith(AIRFLOW):
        text = environment_variable(credential)
        if not text:
            raise UsageError(f"Delivery {name}: the environment variable {credential} is not set; give it the secret.")
        return {"password": text.strip()}
    found = airflow_connection(credential.removeprefix(AIRFLOW), named_in=f"Delivery {name}")
    fields = {"login": found.login, "password": found.password, "port": found.port}
    return dict(found.extra_dejson) | {key: value for key, value in fields.items() if value}


@contextmanager
def _in_one_sentence(name: str, delivery: Delivery) -> Iterator[None]:
    """Says of a target's fault what and where; a secret is in none of these libraries' words."""
    where = f"Delivery {name}: {delivery.target}"
    try:
        yield
    except asyncssh.HostKeyNotVerifiable as error:
        known_hosts = delivery.known_hosts or KNOWN_HOSTS
        raise DeliveryError(
            f"{where} shows a host key that {known_hosts} does not have, so nothing was sent: ask its owner whether"
            f" the key is theirs before you write it there."
        ) from error
    except REFUSED as error:
        raise DeliveryError(
            f"{where} refuses us ({_said(error)}): look at the credential ({delivery.credential or 'none is named'})"
            f" and what its account may do there."
        ) from error
    except FileNotFoundError as error:
        raise DeliveryError(f"{where} is not there: make or mount it, or mend url in delivery.yml.") from error
    except CUT_OFF as error:
        raise TargetUnreachable(f"{where} does not answer or broke off ({_said(error)}): try again later.") from error
    except (OSError, asyncssh.Error, botocore.exceptions.BotoCoreError) as error:
        raise TargetUnreachable(f"{where} failed ({_said(error)}): what is missing is sent by the next try.") from error


def _said(error: BaseException) -> str:
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return (str(text).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _sha256(file: io.BufferedIOBase) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
