"""A source: a folder `sources/NAME/` with a `source.yml` and, where the lender's tables are not the contract's, one
SELECT per contract table. Adding a lender's system is adding a folder."""

from pathlib import Path
from typing import Literal
from zoneinfo import available_timezones

import psycopg
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from arrears.contract.servicing import contract
from arrears.errors import SourceError, UsageError
from arrears.settings import get_settings
from arrears.warehouse.bootstrap import keep, kept


class LenderFile(BaseModel):
    """One file of the lender's own, read as text columns under a view's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: str = Field(description="Glob inside the drop's folder.")
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', min_length=1, max_length=1)
    encoding: Literal["utf-8", "latin-1", "utf-16"] = "utf-8"


class Source(BaseModel):
    """What `source.yml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    folder: Path
    description: str
    engine: Literal["files"]
    drop: Path | None = Field(default=None, description="Folder of the drops where the command names none.")
    time_zone: str | None = Field(default=None, description="Zone of timestamps without an offset.")
    files: dict[str, LenderFile] = Field(default_factory=dict, description="The lender's own files, by view name.")

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            raise ValueError(f"{value} is not an IANA time zone")
        return value

    @property
    def is_contract_form(self) -> bool:
        """Whether its files are the contract's tables already."""
        return not self.files

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
        raise SourceError(f"{file}, key {key}: {first['msg'].removeprefix('Value error, ')}.") from error
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
