"""The settings: environment variables `ARREARS_*`, read once. No other module reads the environment."""

import os
from datetime import time
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from arrears.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """What a deployment chooses; everything else is in seeds, `source.yml` or the contract."""

    model_config = SettingsConfigDict(env_prefix="ARREARS_", extra="ignore", frozen=True)

    home: Path = Field(default=CHECKOUT / "var", description="Folder of the state: database, Airflow, docs, exports.")
    database_url: str | None = Field(
        default=None, description="URL of a PostgreSQL 18 server's warehouse database; empty: embedded under the home."
    )
    admin_database_url: str | None = Field(
        default=None, description="URL of a role that may create roles and databases; empty: as database_url."
    )
    airflow_database_url: str | None = Field(
        default=None, description="SQLAlchemy URL of Airflow's database; empty: database `airflow` of the same server."
    )
    exports_folder: Path | None = Field(default=None, alias="ARREARS_EXPORTS", description="Where exports appear.")
    sources: str | None = Field(
        default=None, description="Sources of the portfolio, by comma; empty: the first one run."
    )
    sources_folder: Path = Field(default=CHECKOUT / "sources", description="Folder with a folder for each source.")
    reporting_currency: str | None = Field(
        default=None, description="ISO 4217; empty: the currency of most loans on the first day, kept from then on."
    )
    business_time_zone: str = Field(default="UTC", description="IANA name; kept at the first run.")
    ledger_key: SecretStr | None = Field(
        default=None,
        description="ed25519 key that signs the ledger's heads: base64, PEM or airflow:CONNECTION; empty: unsigned.",
    )
    manifest_key: SecretStr | None = Field(
        default=None,
        description="ed25519 key that signs manifests: base64, PEM or airflow:CONNECTION; empty: unsigned.",
    )
    delivery_file: Path | None = Field(
        default=None, description="YAML that says where exports are delivered; empty: delivery.yml under the home."
    )
    ledger_heads: Path | None = Field(
        default=None, description="File of the ledger's heads, best on another machine's disk; empty: under the home."
    )

    notify: SecretStr | None = Field(
        default=None,
        description="Who is told of failures: Apprise URLs by blanks (mailtos://, jsons://), or airflow:CONNECTION.",
    )
    queues_due_at: time | None = Field(
        default=None, description="Hour by which queues are due, business time zone, like 06:00; later is told."
    )

    @field_validator("notify", "queues_due_at", mode="before")
    @classmethod
    def _empty_is_off(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("business_time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value} is not an IANA time zone; give one like Europe/Prague")
        return value

    @field_validator("reporting_currency")
    @classmethod
    def _is_a_currency(cls, value: str | None) -> str | None:
        if value is not None and not (len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()):
            raise ValueError(f"{value} is not an ISO 4217 code; give one like EUR")
        return value or None

    @field_validator("delivery_file", mode="before")
    @classmethod
    def _may_be_empty(cls, value: object) -> object:
        return value or None

    @field_validator("home", "sources_folder", "exports_folder", "ledger_heads", "delivery_file")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @property
    def exports(self) -> Path:
        """Where exports appear, a folder for each date."""
        return self.exports_folder or self.home / "exports"

    @property
    def ledger_heads_file(self) -> Path:
        """Where tree heads of the audit ledger are kept, one a line."""
        return self.ledger_heads or self.home / "ledger" / "heads.jsonl"

    @property
    def deliveries_file(self) -> Path:
        """What says where exports are delivered; nothing is delivered where it is not there."""
        return self.delivery_file or self.home / "delivery.yml"

    @property
    def data_docs(self) -> Path:
        """Where Great Expectations' pages are written."""
        return self.home / "data_docs"

    @property
    def source_names(self) -> list[str]:
        """The portfolio's sources as the environment names them; empty when it names none."""
        return [name.strip() for name in (self.sources or "").split(",") if name.strip()]

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which a business date is a day."""
        return ZoneInfo(self.business_time_zone)


@cache
def get_settings() -> Settings:
    """Reads the environment once a process.

    Raises:
        UsageError: a setting is not what it must be; names the variable.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "ARREARS_?"
        variable = name if name.startswith("ARREARS_") else f"ARREARS_{name.upper()}"
        raise UsageError(f"{variable}: {first['msg'].removeprefix('Value error, ')}.") from error


def environment_variable(name: str) -> str | None:
    """The value of a variable that a source.yml names; it may be a secret, so it is neither kept nor shown."""
    return os.environ.get(name)
