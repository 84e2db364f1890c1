"""A day's drop on its way to the gate: a defect takes some of its rows and spoils them, and what it took is noted.

The drop is the clean portfolio's (rows in memory) or a folder of any size, of which a table is read once somebody asks
for it. Rows hold text as delivered, or None.
"""

import csv
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import yaml

from arrears.contract.servicing import Table, contract
from arrears.simulation.portfolio.frames import TYPES
from tests.defects.clean_portfolio import Drop, Row, write_drop

SHARE = 0.001
Where = Callable[[Row], object]
Key = tuple[str, ...]


class FolderDrop(dict[str, list[Row]]):
    """The tables of a drop's folder, each read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, table: str) -> list[Row]:
        path = self.folder / f"{table}.csv"
        rows: list[Row] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                rows = [{name: value or None for name, value in row.items()} for row in csv.DictReader(file)]
        self[table] = rows
        return rows


@dataclass(slots=True)
class Delivery:
    """The drop to spoil, the accepted one before it, and what was spoilt.

    Attributes:
        drop: today's tables; what a defect changes.
        before: those of the last accepted drop; empty for a first one. Nothing changes them.
        day: the date it is delivered for.
        dice: of the choice of rows.
        share: of a table's rows that are spoilt; at least one row is.
        injected: the spoilt rows' keys by table.
        loans: the loans whose rows were spoilt, and, of rows without a loan, the borrowers.
        files: what becomes of the written folder after the rows.
        said: what stands in drop.yml.
    """

    drop: Drop
    before: Drop
    day: date
    dice: Random
    share: float = SHARE
    injected: dict[str, list[Key]] = field(default_factory=dict)
    loans: set[str] = field(default_factory=set)
    borrowers: set[str] = field(default_factory=set)
    files: list[Callable[[Path], object]] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    said: dict[str, Any] = field(default_factory=dict)

    def rows(self, table: str) -> list[Row]:
        """The table's rows, to be changed in place."""
        return self.drop[table] if isinstance(self.drop, FolderDrop) else self.drop.setdefault(table, [])

    def known(self, table: str) -> list[Row]:
        """The table's rows in the last accepted drop, not to be changed."""
        return self.before[table] if isinstance(self.before, FolderDrop) else self.before.get(table, [])

    def is_fresh(self, table: str) -> Where:
        """Tells rows that the drop before did not have."""
        earlier = {key_of(table, row) for row in self.known(table)}
        return lambda row: key_of(table, row) not in earlier

    def choose(
        self, table: str, where: Where = lambda row: True, *, count: int | None = None, is_fresh: bool | None = None
    ) -> list[Row]:
        """Takes some rows, no two of one loan, and notes them as spoilt.

        Args:
            table: of the contract.
            where: which rows may be taken.
            count: how many; without it the delivery's share of the table, and at least one.
            is_fresh: only rows that the drop before had not (or had).

        Raises:
            LookupError: the drop has no such row.
        """
        rows = self.rows(table)
        may = [row for row in rows if where(row)]
        if is_fresh is not None:
            fresh = self.is_fresh(table)
            may = [row for row in may if bool(fresh(row)) == is_fresh]
        if not may:
            raise LookupError(f"{table} has no row that this defect can spoil")
        wanted = count or max(1, int(self.share * len(rows)))
        self.dice.shuffle(may)
        taken: dict[str, Row] = {}
        for row in may:
            taken.setdefault(str(row.get("loan_id") or key_of(table, row)), row)
            if len(taken) == wanted:
                break
        self.note(table, taken.values())
        return list(taken.values())

    def note(self, table: str, rows: Iterable[Row]) -> None:
        """Notes rows as spoilt, by the key that they have now."""
        for row in rows:
            self.injected.setdefault(table, []).append(key_of(table, row))
            if row.get("loan_id"):
                self.loans.add(str(row["loan_id"]))
            elif row.get("borrower_id"):
                self.borrowers.add(str(row["borrower_id"]))

    def forget(self) -> None:
        """Nothing is noted as spoilt: what was chosen only serves to spoil something else."""
        self.injected.clear()
        self.loans.clear()
        self.borrowers.clear()

    @property
    def injected_count(self) -> int:
        """Rows spoilt; 0 where whole files or tables are."""
        return sum(len(keys) for keys in self.injected.values())

    def write(self, folder: Path) -> Path:
        """Writes the drop as it is now; gives the folder."""
        if isinstance(self.drop, FolderDrop):
            shutil.copytree(self.drop.folder, folder)
            columns = self._columns()
            write_drop(folder, {name: rows for name, rows in self.drop.items() if rows or name in columns}, columns)
        else:
            write_drop(folder, self.drop)
        for table in self.removed:
            (folder / f"{table}.csv").unlink()
        if self.said:
            (folder / "drop.yml").write_text(yaml.safe_dump(self.said), encoding="utf-8")
        for spoil in self.files:
            spoil(folder)
        return folder

    def _columns(self) -> Mapping[str, list[str]]:
        """Of the tables that were read: the columns of their files, which an empty table has none of."""
        assert isinstance(self.drop, FolderDrop)
        found = {}
        for table in self.drop:
            path = self.drop.folder / f"{table}.csv"
            if path.is_file():
                with path.open(encoding="utf-8", newline="") as file:
                    found[table] = next(csv.reader(file))
        return found


def key_of(table: str, row: Row) -> Key:
    """The row's key as text."""
    return tuple(str(row.get(name)) for name in contract()[table].primary_key)


def typed(rows: list[Row], table: Table) -> pl.DataFrame:
    """Rows of text as a frame of the contract's types."""
    text = pl.DataFrame(
        {column.name: [row.get(column.name) or None for row in rows] for column in table.columns},
        schema={column.name: pl.String for column in table.columns},
    )
    return text.select(_read(column.name, TYPES[column.data_type]) for column in table.columns)


def _read(name: str, kind: Any) -> pl.Expr:
    column = pl.col(name)
    if kind == pl.Date:
        return column.str.to_date("%Y-%m-%d")
    if isinstance(kind, pl.Datetime):
        return column.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", time_zone="UTC")
    if kind == pl.Boolean:
        return column == "true"
    return column.cast(kind)


def texts(frame: pl.DataFrame) -> list[Row]:
    """Rows of a frame as a drop states them."""
    form = [
        pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S+00:00")
        if isinstance(kind, pl.Datetime)
        else pl.col(name).cast(pl.String)
        for name, kind in frame.schema.items()
    ]
    return frame.select(form).to_dicts()


def row_of(drop: Drop, table: str, **key: str) -> Row:
    """The one row of a table with these values."""
    (found,) = [row for row in drop[table] if all(row.get(name) == value for name, value in key.items())]
    return found


def set_value(table: str, column: str, value: Any, **key: str) -> Callable[[Drop], object]:
    """One value of one row becomes another."""
    return lambda drop: row_of(drop, table, **key).update({column: value})


def set_in_first(table: str, count: int, column: str, value: Any) -> Callable[[Drop], object]:
    """A value is wrong in many rows."""
    return lambda drop: [row.update({column: value}) for row in drop[table][:count]]
