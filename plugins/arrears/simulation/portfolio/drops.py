"""Writes drops: a folder a day, full or what changed, block after block, so that no table is ever held whole."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import IO, Literal

import polars as pl
import pyarrow.parquet as pq

from arrears.contract.servicing import Table, contract
from arrears.simulation.portfolio.frames import Frames, delta_of, full_on, in_contract_form

Format = Literal["csv", "parquet"]
Spoil = Callable[[date, Table, pl.DataFrame], pl.DataFrame]
TIMESTAMP = "%Y-%m-%dT%H:%M:%S+00:00"


class TableFile:
    """One file that grows by frames of the same columns."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        self._csv: IO[bytes] | None = None
        self._parquet: pq.ParquetWriter | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Appends rows."""
        self.rows += len(rows)
        if self.path.suffix == ".parquet":
            table = rows.to_arrow()
            if self._parquet is None:
                self._parquet = pq.ParquetWriter(self.path, table.schema, compression="zstd")
            self._parquet.write_table(table)
            return
        with self.path.open("ab") as file:
            rows.write_csv(file, include_header=file.tell() == 0, datetime_format=TIMESTAMP)

    def close(self) -> None:
        """Ends the file."""
        if self._parquet is not None:
            self._parquet.close()


class Drops:
    """The drops of some days below one folder."""

    def __init__(
        self, folder: Path, days: list[date], *, form: Format, deltas: bool, spoil: Spoil | None = None
    ) -> None:
        self._folder, self._days, self._form, self._deltas, self._spoil = folder, days, form, deltas, spoil
        self._files: dict[tuple[date, str], TableFile] = {}
        self.rows: dict[str, int] = defaultdict(int)  # of the last day
        for day in days:
            (folder / day.isoformat()).mkdir(parents=True)

    def add(self, frames: Frames) -> None:
        """Rows of some tables, to every day's drop."""
        for number, day in enumerate(self._days):
            is_delta = self._deltas and number > 0
            for name, rows in frames.items():
                table = contract()[name]
                shown = delta_of(rows, table, day) if is_delta else full_on(rows, day)
                if is_delta and not len(shown):
                    continue
                shown = in_contract_form(shown, table)
                if self._spoil is not None and day == self._days[-1]:
                    shown = self._spoil(day, table, shown)
                if (day, name) not in self._files:
                    path = self._folder / day.isoformat() / f"{name}.{self._form}"
                    self._files[day, name] = TableFile(path)
                self._files[day, name].add(shown)

    def close(self) -> Mapping[str, int]:
        """Ends all files, says of each drop what it is; gives the rows of the last day by table."""
        for (day, name), file in self._files.items():
            file.close()
            if day == self._days[-1]:
                self.rows[name] = file.rows
        for number, day in enumerate(self._days):
            said = f"as_of: {day}\n"
            if self._deltas and number > 0:
                said += f"mode: delta\nafter: {self._days[number - 1]}\n"
            (self._folder / day.isoformat() / "drop.yml").write_text(said, encoding="utf-8")
        return self.rows


class Truth:
    """Files of what no drop may tell, in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._files: dict[str, TableFile] = {}

    def add(self, frames: Frames) -> None:
        """Rows of some tables of the truth."""
        for name, rows in frames.items():
            if name not in self._files:
                self._files[name] = TableFile(self._folder / f"{name}.parquet")
            self._files[name].add(rows)

    def close(self) -> None:
        """Ends all files."""
        for file in self._files.values():
            file.close()
