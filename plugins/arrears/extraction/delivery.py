"""A delivery: what one source brought for one date, whatever the engine that reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, Protocol

import psycopg

from arrears.contract.servicing import Table

Mode = Literal["full", "delta"]

# Of a database: beside load.TABLE stands load."TABLE@keys", with the keys of all rows that the source has now.
KEYS = "@keys"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """One row that could not be read; `row` holds what could be told of it, by column, as text."""

    table: str
    file: str
    line: int | None
    reason: str
    row: dict[str, Any]
    has_key: bool


@dataclass(slots=True)
class Loaded:
    """What came of one table: rows that stand in `load.TABLE` now, and those that could not be read.

    In a full table a row that is missing is deleted; of a delta there is only what changed, its removed rows marked
    `_is_deleted`. `complete_from` (full tables that only grow): rows known before that date are no part of it.
    `has_keys`: all keys that the source has stand in `load."TABLE@keys"`; what is not among them is deleted.
    `reading_sha256`: of all that decides how the table's rows come out, where the engine tells it only after reading.
    """

    row_count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    delivered_columns: list[str] = field(default_factory=list)
    mode: Mode = "full"
    complete_from: date | None = None
    has_keys: bool = False
    reading_sha256: str | None = None


class Delivery(Protocol):
    """What an engine offers to be loaded, table by table, in one transaction of the warehouse."""

    @property
    def place(self) -> str:
        """Folder or database it comes from, without secrets."""

    @property
    def mode(self) -> Mode:
        """Full, or only what changed since the delivery before."""

    @property
    def after(self) -> date | None:
        """Of a delta: the date of the delivery from which on it tells the changes, where it says so."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 by file; of a database by table, complete once all its tables are loaded."""

    def tables(self) -> list[Table]:
        """The contract tables that it brings."""

    def label(self, table: Table) -> str:
        """Name of the file, SELECT or database table that a contract table is read from."""

    def lender_unreadable(self) -> list[Unreadable]:
        """Malformed lines of the lender's own files, which belong to no contract table yet."""

    def line_count(self, label: str) -> int:
        """Rows of a lender's own file, malformed lines left out."""

    def load(self, connection: psycopg.Connection, table: Table) -> Loaded:
        """Fills `load.TABLE`.

        Raises:
            SourceError: it cannot be read or breaks the contract; names the place.
        """
