"""`delivery.yml`: which recipient's files go where. Credentials are named in it and never written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from arrears.credentials import AIRFLOW
from arrears.errors import UsageError
from arrears.export.policy import policies
from arrears.extraction.yaml_files import place_of, read_yaml
from arrears.settings import get_settings

Scheme = Literal["file", "sftp", "s3"]
Format = Literal["csv", "parquet"]

ALL = "*"
# What stands for what in `path`.
PLACEHOLDERS = ("as_of_date", "revision", "recipient", "file")
OF_ONE, OF_MANY = "{as_of_date}/{file}", "{as_of_date}/{recipient}/{file}"
CREDENTIAL = re.compile(rf"[A-Za-z_][A-Za-z0-9_]*|{AIRFLOW}\S+")
FORMS = "give file:///folder, sftp://user@host/folder or s3://bucket/prefix"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL in its parts; `base` is the folder, or the bucket and what keys begin with."""

    scheme: Scheme
    base: str
    host: str | None = None
    port: int | None = None
    user: str | None = None


class Delivery(BaseModel):
    """One target: whose files it gets, and how it is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipient: str | None = Field(default=None, min_length=1, description="A recipient's id, or * for all.")
    kind: str | None = Field(default=None, description="All recipients of a kind, in place of one.")
    url: str = Field(description="file:///folder, sftp://user@host:port/folder or s3://bucket/prefix.")
    files: tuple[Format, ...] = Field(default=("csv", "parquet"), min_length=1, description="Which of the files.")
    path: str | None = Field(
        default=None,
        description="Where below the URL: {as_of_date}, {revision}, {recipient} and, in the last part, {file}.",
    )
    credential: str | None = Field(
        default=None, description="Environment variable with the secret, or airflow:CONN_ID; never the secret itself."
    )
    known_hosts: Path | None = Field(
        default=None, description="SFTP: file with the server's public key; without it ~/.ssh/known_hosts."
    )
    endpoint_url: str | None = Field(default=None, description="S3: where it is not Amazon's.")
    region: str | None = Field(default=None, description="S3: the bucket's region.")

    @field_validator("kind")
    @classmethod
    def _is_known(cls, value: str | None) -> str | None:
        if value is not None and value not in policies():
            raise ValueError(f"{value} is no kind of recipient: {', '.join(sorted(policies()))}")
        return value

    @field_validator("url")
    @classmethod
    def _leads_somewhere(cls, value: str) -> str:
        address_of(value)
        return value.rstrip("/") if value != "file:///" else value

    @field_validator("path")
    @classmethod
    def _is_a_template(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            named = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
        except ValueError as error:
            raise ValueError(f"{value}: {error}") from error
        unknown = sorted(named - set(PLACEHOLDERS))
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} stands for nothing: {', '.join(f'{{{n}}}' for n in PLACEHOLDERS)} do")
        if "as_of_date" not in named:
            raise ValueError("{as_of_date} must be in it, or each day would meet the day before")
        if "{file}" not in value.rsplit("/", 1)[-1]:
            raise ValueError("{file} must be in its last part, so that the files of a day are told apart")
        if value.startswith("/") or ".." in value.split("/"):
            raise ValueError(f"{value} leads out of the URL's folder: give a path below it")
        return value

    @field_validator("credential")
    @classmethod
    def _names_a_secret(cls, value: str | None) -> str | None:
        if value is not None and not CREDENTIAL.fullmatch(value):
            raise ValueError("is no name of an environment variable and no airflow:CONN_ID; the secret stands there")
        return value

    @field_validator("known_hosts")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None

    @model_validator(mode="after")
    def _fits_together(self) -> "Delivery":
        if (self.recipient is None) == (self.kind is None):
            raise ValueError("say recipient (an id, or * for all) or kind, one of them")
        scheme = self.address.scheme
        for name, belongs_to in (("known_hosts", "sftp"), ("endpoint_url", "s3"), ("region", "s3")):
            if getattr(self, name) is not None and scheme != belongs_to:
                raise ValueError(f"{name} belongs to {belongs_to}, not to {scheme}")
        if scheme == "file" and self.credential is not None:
            raise ValueError("a local folder needs no credential")
        if self.is_of_many and "{recipient}" not in self.template:
            raise ValueError("path must have {recipient}, or one recipient's files would meet another's")
        return self

    @property
    def address(self) -> Address:
        """The URL in its parts."""
        return address_of(self.url)

    @property
    def is_of_many(self) -> bool:
        """Whether it is for more than one recipient."""
        return self.recipient in (None, ALL)

    @property
    def template(self) -> str:
        """Where below the URL a file goes."""
        return self.path or (OF_MANY if self.is_of_many else OF_ONE)

    @property
    def target(self) -> str:
        """The URL as it is recorded and shown: without the user, with an endpoint that is not Amazon's."""
        at = self.address
        host = f"{at.host}{f':{at.port}' if at.port else ''}" if at.host else ""
        shown = f"{at.scheme}://{host}{'' if at.scheme != 'sftp' or at.base.startswith('/') else '/~/'}{at.base}"
        return f"{shown} at {self.endpoint_url}" if self.endpoint_url else shown

    def is_for(self, recipient_id: str, kind: str | None) -> bool:
        """Whether a recipient's files go there."""
        return self.recipient in (ALL, recipient_id) or (self.kind is not None and self.kind == kind)


class Deliveries(BaseModel):
    """The file: deliveries by a name of the house's own, which messages and logs use."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deliveries: Mapping[str, Delivery] = Field(default_factory=dict)


def address_of(url: str) -> Address:
    """The parts of a target's URL.

    Raises:
        ValueError: it is none, or holds a password; does not repeat it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"is no URL: {FORMS}") from None
    if parts.password is not None:
        raise ValueError("holds a password: take it out and name its place in credential")
    if parts.query or parts.fragment:
        raise ValueError(f"has a ? or # in it: {FORMS}")
    path = unquote(parts.path)
    if parts.scheme == "file" and not parts.netloc and path.startswith("/"):
        return Address("file", path.rstrip("/") or "/")
    if parts.scheme == "sftp" and parts.hostname:
        base = path.rstrip("/") or "/"
        if base == "/~" or base.startswith("/~/"):  # below the account's home
            base = base[3:] or "."
        return Address("sftp", base, parts.hostname, port, unquote(parts.username) if parts.username else None)
    if parts.scheme == "s3" and parts.netloc and parts.username is None and port is None:
        return Address("s3", f"{parts.netloc}{path.rstrip('/')}")
    raise ValueError(f"is no target: {FORMS}")


def configured() -> Mapping[str, Delivery]:
    """The deliveries by name; empty where there is no file.

    Raises:
        UsageError: the file says what it must not; names file, line and key.
    """
    settings = get_settings()
    file = settings.deliveries_file
    if settings.delivery_file is None and not file.exists():
        return {}
    return read_yaml(file, Deliveries, UsageError).deliveries


def refuse_two_in_one_place(places: Sequence[tuple[str, str]]) -> None:
    """Refuses a configuration that would write one file over another of the same day.

    Args:
        places: of each file the delivery's name, and target and path together.

    Raises:
        UsageError: two are in one place; names file, line and key.
    """
    seen: dict[str, str] = {}
    for name, place in places:
        if place in seen:
            at = place_of(get_settings().deliveries_file, ("deliveries", name, "path"))
            raise UsageError(f"{at}: {place} would be written by {seen[place]} too: give each its own path.")
        seen[place] = name
