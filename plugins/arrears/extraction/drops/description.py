"""`drop.yml`: what a lender says about a drop, so that it can be checked before it is believed."""

import os
from collections.abc import Collection
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from arrears.contract.servicing import contract
from arrears.errors import SourceError
from arrears.extraction.delivery import Mode
from arrears.extraction.sources import Source
from arrears.extraction.yaml_files import place_of, read_yaml

NAME = "drop.yml"


def _a_day(value: Any) -> Any:
    # pydantic would take a number for seconds since 1970.
    if isinstance(value, datetime) or not isinstance(value, date | str):
        raise ValueError("not a date YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_a_day)]


class TableDescription(BaseModel):
    """What `drop.yml` says of one table, or of one of the lender's own files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode | None = None
    complete_from: Day | None = None
    rows: int | None = Field(default=None, ge=0, strict=True)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    totals: dict[str, Decimal] = Field(default_factory=dict)

    @property
    def needs_reading(self) -> bool:
        """Whether it says something that only the rows can show."""
        return self.rows is not None or bool(self.totals)


class DropDescription(BaseModel):
    """What `drop.yml` says; without the file a drop is full and of the date asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: Day | None = None
    mode: Mode = "full"
    after: Day | None = None
    source: str | None = None
    tables: dict[str, TableDescription] = Field(default_factory=dict)

    def mode_of(self, table: str) -> Mode:
        """Full or delta: what is said of the table, else of the drop."""
        return (self.tables[table].mode if table in self.tables else None) or self.mode

    def complete_from(self, table: str) -> date | None:
        """From when a full table holds everything; None where that is always."""
        return self.tables[table].complete_from if table in self.tables else None

    def reading_of(self, table: str) -> str:
        """All that changes what becomes of a table's rows; empty where it is full and whole."""
        mode, since = self.mode_of(table), self.complete_from(table)
        said = {"mode": mode if mode != "full" else None, "complete_from": since}
        return "".join(f"{table}.{name}={value}\n" for name, value in said.items() if value is not None)

    def content(self) -> str:
        """All that changes what becomes of a drop; empty for a full one, so that saying so is not another drop."""
        said = {"mode": self.mode if self.mode != "full" else None, "after": self.after}
        lines = [f"{name}={value}\n" for name, value in said.items() if value is not None]
        for name in sorted(self.tables):
            if self.mode_of(name) != self.mode:
                lines.append(f"{name}.mode={self.mode_of(name)}\n")
            if self.complete_from(name) is not None:
                lines.append(f"{name}.complete_from={self.complete_from(name)}\n")
        return "".join(lines)


def read_description(folder: Path) -> DropDescription:
    """What the folder's `drop.yml` says.

    Raises:
        SourceError: it cannot be read, or its keys contradict each other; names file, line and key.
    """
    file = folder / NAME
    if not os.path.lexists(file):
        return DropDescription()
    said = read_yaml(file, DropDescription)
    if said.after is not None:
        place = place_of(file, ["after"])
        if said.mode == "full" and all(table.mode != "delta" for table in said.tables.values()):
            raise SourceError(f"{place}: only a delta follows another drop, and this one is full: say mode: delta.")
        if said.as_of is not None and said.after >= said.as_of:
            raise SourceError(f"{place}: a drop of {said.as_of} cannot follow one of {said.after}.")
    return said


def check_names(folder: Path, said: DropDescription, source: Source, delivered: Collection[str]) -> None:
    """Refuses what is said of tables and files that the drop does not bring or that do not have it.

    Args:
        folder: where `drop.yml` lies.
        said: what it says.
        source: whose drop it is.
        delivered: the files that are there, by contract table or by the lender's name.

    Raises:
        SourceError: names file, line and key.
    """
    for name, table in said.tables.items():
        _check_table(folder / NAME, name, table, source, delivered)
        if table.complete_from is None:
            continue
        place = place_of(folder / NAME, ["tables", name, "complete_from"])
        if name not in contract() or not contract()[name].only_grows:
            growing = ", ".join(each.name for each in contract().values() if each.only_grows)
            raise SourceError(
                f"{place}: {name} does not only grow, so a part of it cannot stand for all; complete_from belongs to"
                f" {growing}."
            )
        if said.mode_of(name) == "delta":
            raise SourceError(f"{place}: a delta is never complete; complete_from belongs to a full table.")


def _check_table(file: Path, name: str, table: TableDescription, source: Source, delivered: Collection[str]) -> None:
    place = place_of(file, ["tables", name])
    if source.is_contract_form:
        if name not in contract():
            raise SourceError(f"{place}: the contract has no table {name}; it has {', '.join(contract())}.")
        if name not in delivered:
            raise SourceError(f"{place}: table {name} is named here but not delivered: deliver the drop again.")
        return
    is_file, is_table = name in source.files, name in contract() and source.select(name) is not None
    if not is_file and not is_table:
        raise SourceError(
            f"{place}: source {source.name} has neither a file {name} nor a SELECT {name}.sql; its files are"
            f" {', '.join(source.files)}."
        )
    if is_file and name not in delivered:
        raise SourceError(f"{place}: file {name} is named here but not delivered: deliver the drop again.")
    given = table.model_fields_set
    if not is_file and (strange := sorted({"rows", "sha256", "totals"} & given)):
        raise SourceError(
            f"{place_of(file, ['tables', name, strange[0]])}: only a delivered file has it, and {name} comes from"
            f" {name}.sql; the files are {', '.join(source.files)}."
        )
    if not is_table and (strange := sorted({"mode", "complete_from"} & given)):
        raise SourceError(
            f"{place_of(file, ['tables', name, strange[0]])}: only a table of the contract has it, and {name} is"
            f" a file."
        )
