"""Control totals: whether a file has as many rows, and adds up to as much, as its `drop.yml` says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arrears.errors import SourceError
from arrears.extraction.drops.description import NAME, DropDescription, TableDescription
from arrears.extraction.drops.formats import quote
from arrears.extraction.yaml_files import place_of

EXACT = Context(prec=76)
NUMBER = "decimal(38, 12)"  # more decimals than any amount of the contract has


@dataclass(slots=True)
class Control:
    """Counted and added up on the way, of one file: every row that was delivered, unreadable ones included."""

    columns: tuple[str, ...]
    rows: int = 0
    sums: dict[str, Decimal] = field(default_factory=dict)
    strange: dict[str, int] = field(default_factory=dict)  # values that are no number

    @classmethod
    def of(cls, said: TableDescription | None) -> "Control":
        """What there is to add up."""
        return cls(tuple(said.totals) if said is not None else ())

    def expressions(self) -> dict[str, str]:
        """SQL by name, over the delivered row: each number, and whether there is one that cannot be read."""
        found = {}
        for index, column in enumerate(self.columns):
            text = f"nullif(cast({quote(column)} as varchar), '')"
            found[f"_total_{index}"] = f"try_cast({text} as {NUMBER})"
            found[f"_strange_{index}"] = f"{text} is not null and try_cast({text} as {NUMBER}) is null"
        return found

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes in rows with the columns of `expressions`."""
        for index, column in enumerate(self.columns):
            self._take(column, pc.sum(batch.column(f"_total_{index}")).as_py())
            strange = pc.sum(batch.column(f"_strange_{index}")).as_py()
            self.strange[column] = self.strange.get(column, 0) + int(strange or 0)

    def add_malformed(self, row: Mapping[str, Any]) -> None:
        """Takes in a line that is no row, with what can be guessed of it."""
        self.rows += 1
        for column in self.columns:
            try:
                self._take(column, Decimal(row.get(column) or 0))
            except InvalidOperation:
                self.strange[column] = self.strange.get(column, 0) + 1

    def _take(self, column: str, amount: Decimal | None) -> None:
        self.sums[column] = EXACT.add(self.sums.get(column, Decimal(0)), amount or Decimal(0))

    def compare(self, folder: Path, said: DropDescription, name: str, label: str) -> None:
        """Holds what was found against `drop.yml`.

        Raises:
            SourceError: they differ; names file, line and key, and both figures.
        """
        told = said.tables.get(name)
        if told is None:
            return
        if told.rows is not None and told.rows != self.rows:
            raise SourceError(
                f"{label} has {self.rows} rows, drop.yml says {told.rows};"
                f" {place_of(folder / NAME, ['tables', name, 'rows'])}: the drop is not whole, deliver it again."
            )
        for column, expected in told.totals.items():
            found, strange = self.sums.get(column, Decimal(0)), self.strange.get(column, 0)
            if found != expected or strange:
                without = f" without {strange} of its values that are no number" if strange else ""
                raise SourceError(
                    f"{column} in {label} adds up to {_shown(found)}{without}, drop.yml says {_shown(expected)};"
                    f" {place_of(folder / NAME, ['tables', name, 'totals', column])}: deliver the drop again."
                )


def check_columns(folder: Path, name: str, label: str, control: Control, present: Mapping[str, str]) -> None:
    """Refuses a total over a column that the file does not have.

    Raises:
        SourceError: names file, line and key.
    """
    for column in control.columns:
        if column.lower() not in present:
            raise SourceError(
                f"{place_of(folder / NAME, ['tables', name, 'totals', column])}: {label} has no column {column}; it has"
                f" {', '.join(sorted(present.keys() - {'_file', '_line'}))}."
            )


def _shown(number: Decimal) -> str:
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain
