"""A source: a folder `sources/NAME/` with a `source.yml` and, where the lender's tables are not the contract's, one
SELECT per contract table. Adding a lender's system is adding a folder."""

from datetime import time
from pathlib import Path
from typing import Literal
from zoneinfo import available_timezones

import psycopg
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from arrears.contract.servicing import contract
from arrears.errors import SourceError, UsageError
from arrears.settings import get_settings
from arrears.warehouse.bootstrap import keep, kept

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Keys that only one engine knows.
OF_FILES = frozenset({"drop", "marker", "files"})
OF_DATABASE = frozenset(
    {"connection", "database_schema", "cursor", "business_date", "overlap_minutes", "deletions_every_days"}
)


def _inside_the_drop(pattern: str) -> str:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise ValueError(f"{pattern} leads out of the drop: give a name or a glob inside its folder")
    return pattern


class LenderFile(BaseModel):
    """One file of the lender's own, read as text columns under a view's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(description="Glob inside the drop's folder.")
    format: Literal["csv", "excel", "fixed_width"] = Field(
        default="csv", description="csv, excel or fixed_width; a name that ends in .parquet is Parquet."
    )
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="CSV: what parts the columns.")
    quote: str = Field(default='"', min_length=1, max_length=1, description="CSV: what stands around a value.")
    encoding: Literal["utf-8", "latin-1", "utf-16"] = Field(
        default="utf-8", description="Of a text: utf-8, latin-1 or utf-16."
    )
    sheet: str | None = Field(default=None, description="Excel: the sheet's name; without it the first one.")
    columns: dict[str, tuple[int, int]] = Field(
        default_factory=dict, description="Fixed width: first character (from 1) and width of each column."
    )

    @field_validator("pattern")
    @classmethod
    def _is_inside(cls, value: str) -> str:
        return _inside_the_drop(value)

    @model_validator(mode="after")
    def _says_what_its_format_needs(self) -> "LenderFile":
        if (self.format == "fixed_width") != bool(self.columns):
            raise ValueError("columns: {name: [start, width]} belongs to format fixed_width, which needs it")
        if self.sheet is not None and self.format != "excel":
            raise ValueError("sheet belongs to format excel")
        if any(start < 1 or width < 1 for start, width in self.columns.values()):
            raise ValueError("columns start at 1 and are at least one character wide")
        return self


class Deliveries(BaseModel):
    """For which dates a source delivers, by when, how long to wait, and how old its data may become."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1, description="Business dates with a delivery.")
    holidays: str | None = Field(default=None, description="Country (ISO 3166) on whose public holidays none is due.")
    by: time = Field(default=time(6), description="Local time on the day after the business date.")
    wait_hours: float = Field(default=0, ge=0, le=72, description="How long the scheduler waits past that.")
    may_be_stale_days: int = Field(
        default=0, ge=0, description="Days from the last due date to the newest data with which a day may go on."
    )


class Source(BaseModel):
    """What `source.yml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: Path
    description: str = Field(description="One sentence: which system it is.")
    engine: Literal["files", "postgres"] = Field(description="files, or postgres: a database.")
    time_zone: str | None = Field(default=None, description="Zone of timestamps without an offset.")
    key_prefix: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_.:-]{1,16}$", description="Put before every key and reference."
    )
    deliveries: Deliveries | None = Field(default=None, description="Without it every date needs a delivery.")

    drop: Path | None = Field(default=None, description="Folder of the drops where the command names none.")
    marker: str | None = Field(default=None, description="Glob of a file without which a drop has not arrived.")
    files: dict[str, LenderFile] = Field(default_factory=dict, description="The lender's own files, by view name.")

    connection: str | None = Field(
        default=None, description="Environment variable that holds the database's URL, or airflow:CONN_ID."
    )
    database_schema: str | None = Field(
        default=None, alias="schema", description="Schema whose tables are the contract's; else SELECTs name theirs."
    )
    cursor: str | None = Field(
        default=None, description="Column with the time of a row's last change, by which changes are read."
    )
    business_date: str | None = Field(
        default=None,
        description="Column with the lender's business date of a row's last change, where its clock does not say it.",
    )
    overlap_minutes: int = Field(
        default=60, ge=0, description="How far back to read where open transactions cannot be seen."
    )
    deletions_every_days: int | None = Field(
        default=1, ge=1, description="How often all keys are compared to find deleted rows; null: never."
    )

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            raise ValueError(f"{value} is not an IANA time zone")
        return value

    @field_validator("marker")
    @classmethod
    def _is_inside(cls, value: str | None) -> str | None:
        return None if value is None else _inside_the_drop(value)

    @model_validator(mode="after")
    def _says_what_its_engine_needs(self) -> "Source":
        of_files, of_database = OF_FILES & self.model_fields_set, OF_DATABASE & self.model_fields_set
        strange = of_database if self.engine == "files" else of_files
        if strange:
            key = min(strange).replace("database_schema", "schema")
            raise ValueError(f"{key} does not belong to engine {self.engine}")
        if self.engine == "postgres" and not self.connection:
            raise ValueError("engine postgres needs connection: the environment variable that holds its URL")
        return self

    @property
    def is_contract_form(self) -> bool:
        """Whether what it delivers is the contract's tables already."""
        return not self.files if self.engine == "files" else self.database_schema is not None

    def select(self, table: str) -> str | None:
        """The SELECT that makes a contract table of the lender's; None where the source has none."""
        file = self.folder / f"{table}.sql"
        return file.read_text(encoding="utf-8") if file.exists() else None


def load_source(name: str) -> Source:
    """Reads `sources/NAME/source.yml`.

    Raises:
        UsageError: there is no such source; names the known ones.
        SourceError: `source.yml` or a SELECT's name is wrong; names file and key.
    """
    folder = get_settings().sources_folder / name
    file = folder / "source.yml"
    if not file.exists() or Path(name).name != name:
        known = sorted(path.parent.name for path in get_settings().sources_folder.glob("*/source.yml"))
        raise UsageError(f"Unknown source {name}: there is no {file}; known sources are {', '.join(known) or 'none'}.")
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
        source = Source.model_validate({**(document or {}), "name": name, "folder": folder})
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise SourceError(f"{file}{line}: not YAML: {getattr(error, 'problem', error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        place = f"{file}, key {key}" if key else str(file)
        raise SourceError(f"{place}: {first['msg'].removeprefix('Value error, ')}.") from error
    for select in sorted(folder.glob("*.sql")):
        if select.stem not in contract():
            raise SourceError(
                f"{select}: the contract has no table {select.stem}; name the file after a contract table."
            )
    return source


def portfolio(connection: psycopg.Connection, wanted: str | None = None) -> list[str]:
    """Names of the portfolio's sources: ARREARS_SOURCES, else the source that was run first.

    Raises:
        UsageError: `wanted` does not belong to it, or there is none yet.
    """
    settings = get_settings()
    if settings.source_names:
        names = settings.source_names
    else:
        known = kept(connection, "sources")
        if known is None and wanted is None:
            raise UsageError(
                "This warehouse has no source yet: say `arrears run --source NAME`, or set ARREARS_SOURCES."
            )
        names = (known or str(wanted)).split(",")
    if wanted is not None and wanted not in names:
        raise UsageError(
            f"Source {wanted} is not in this portfolio ({', '.join(names)}): set"
            f" ARREARS_SOURCES={','.join([*names, wanted])} to add it,"
            f" or use another ARREARS_HOME for another portfolio."
        )
    for name in names:
        load_source(name)
    if kept(connection, "sources") is None:
        keep(connection, "sources", ",".join(names))
    return names
