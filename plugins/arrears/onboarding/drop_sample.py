"""Samples of a drop: its files are read whole into DuckDB, its SELECTs run there, typed as the extraction does it."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError
from arrears.extraction.drops.description import read_description
from arrears.extraction.drops.folders import DATED, Drop, find_drop_folder, open_drop
from arrears.extraction.drops.formats import literal, quote
from arrears.extraction.drops.reading import DropDelivery, open_reader
from arrears.extraction.drops.row_checks import DELETED, as_text, reading
from arrears.extraction.sources import Source
from arrears.onboarding.report import Finding
from arrears.onboarding.sample import References, Sample, SampledColumn
from arrears.settings import get_settings

PLACE = ("_file", "_line")


class DropSampler:
    """A drop whose files lie in DuckDB, each as a table of text."""

    def __init__(self, delivery: DropDelivery, source: Source, drop: Drop, row_limit: int) -> None:
        self.place = delivery.place
        self._delivery = delivery
        self._source = source
        self._drop = drop
        self._row_limit = row_limit

    @property
    def is_delta(self) -> bool:
        """Whether it says that it brings changes only."""
        return self._drop.mode == "delta"

    def tables(self) -> list[str]:
        """The contract tables that it delivers."""
        if self._source.is_contract_form:
            return [name for name in contract() if name in self._drop.files]
        return [table.name for table in self._delivery.tables()]  # of a delta: where all its files are there

    def findings(self) -> list[Finding]:
        """What is to be said of the files, before any table is made of them."""
        by_file: dict[str, list[str]] = {}
        for row in self._delivery.lender_unreadable():
            by_file.setdefault(row.file, []).append(row.reason)
        return [
            Finding("warning", f"{len(reasons):,} lines of {file} are no rows, the first: {reasons[0]}")
            for file, reasons in by_file.items()
        ]

    def sample(self, table: Table) -> Sample:
        """Rows of a table; what makes its reading fail is among the findings."""
        has_select = not self._source.is_contract_form
        sample = Sample(table, self._place(table), writes_selects=has_select)
        try:
            present = self._present(table)
            known = {*table.column_names, *PLACE, *([DELETED] if self.is_delta else [])}
            sample.unknown = [name for name in present if name not in known]
            if has_select and not present.keys() >= set(PLACE):
                said = "it does not carry _file and _line along: a finding cannot name the lender's file and line"
                sample.findings.append(Finding("warning", said))
            self._read(sample, present)
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            sample.findings.append(Finding("error", _said(error)))
        return sample

    def find_references(self, sample: Sample, tables: Sequence[str]) -> None:
        """Looks a sample's references up in the tables that they refer to."""
        for column in sample.table.columns:
            if column.references is None or column.name not in sample.columns:
                continue
            values = {value for value in sample.columns[column.name].values if value is not None}
            if values and self.is_delta:
                said = "the drop is a delta, what it refers to may have come before"
                sample.references[column.name] = References(not_checked=said)
            elif values and column.references not in tables:
                said = f"the source does not deliver {column.references}"
                sample.references[column.name] = References(not_checked=said)
            elif values:
                sample.references[column.name] = self._look_up(contract()[column.references], sorted(values))

    def _place(self, table: Table) -> str:
        if self._source.is_contract_form:
            return str(self._drop.files[table.name].path)
        return str(self._source.folder / f"{table.name}.sql")

    def _rows(self, table: Table) -> str:
        if self._source.is_contract_form:
            return f"select * from {quote(table.name)}"
        return (self._source.select(table.name) or "").strip().rstrip(";")

    def _present(self, table: Table) -> dict[str, str]:
        described = self._ask(f"describe select * from ({self._rows(table)}\n)")
        return {str(name).lower(): str(kind) for name, kind, *_ in described}

    def _read(self, sample: Sample, present: dict[str, str]) -> None:
        columns = [column for column in sample.table.columns if column.name in present]
        if not columns:
            return
        texts = [
            f"{as_text(quote(column.name), present[column.name], column)} as {quote(column.name)}" for column in columns
        ]
        texts += [name if name in present else f"null as {name}" for name in PLACE]
        how = {column.name: reading(quote(column.name), column, self._source.time_zone) for column in columns}
        values = [f"{quote(name)}, {value}" for name, (value, _) in how.items()]
        stays = ""
        if self.is_delta and DELETED in present:
            stays = f"where not coalesce(cast({DELETED} as varchar) = 'true', false)"
        rows = self._ask(
            f"with texts as (select {', '.join(texts)} from ({self._rows(sample.table)}\n) {stays}"
            f" limit {self._row_limit + 1}) select {', '.join([*values, *PLACE])} from texts"
        )
        sample.is_whole = len(rows) <= self._row_limit
        rows = rows[: self._row_limit]
        sample.row_count = len(rows)
        sample.lines = ["" if row[-2] is None else f"{row[-2]}, line {row[-1]}" for row in rows]
        sample.columns = {
            name: SampledColumn(
                type_name=present[name].strip('"').lower(),
                values=[row[2 * index + 1] for row in rows],
                given=[row[2 * index] for row in rows],
                is_bad=[row[2 * index] is not None and row[2 * index + 1] is None for row in rows],
                complaint=complaint,
            )
            for index, (name, (_, complaint)) in enumerate(how.items())
        }

    def _look_up(self, parent: Table, values: Sequence[str]) -> References:
        (key,) = parent.primary_key
        try:
            present = self._present(parent)
            if key not in present:
                return References(not_checked=f"{parent.name} has no {key}")
            column = parent.column(key)
            known, _ = reading(as_text(quote(key), present[key], column), column, self._source.time_zone)
            asked = ", ".join(map(literal, values))
            rows = self._ask(f"select unnest([{asked}]) except select {known} from ({self._rows(parent)}\n)")
            return References(frozenset(str(row[0]) for row in rows))
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            return References(not_checked=_said(error))

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._delivery.session.execute(query).fetchall()
        return rows


@contextmanager
def open_sampler(source: Source, drop: Path | None, as_of: date | None, row_limit: int) -> Iterator[DropSampler]:
    """A sampler of a drop.

    Args:
        source: of engine files.
        drop: the folder with the files; None: the one that source.yml names.
        as_of: the date of the drop; None: the last one that is there.
        row_limit: how many rows of each table are looked at.

    Raises:
        SourceError: there is no drop of that date, or a file of it cannot be read.
    """
    folder = find_drop_folder(source, drop, as_of or _last_date(source, drop))
    opened = open_drop(source, folder)
    whole = source
    if source.is_contract_form:  # looked at like a lender's own files, so that every line of them is accounted for
        whole = source.model_copy(update={"files": {name: file.format for name, file in opened.files.items()}})
    with (
        tempfile.TemporaryDirectory(prefix="arrears-check-") as scratch,
        open_reader(whole, opened, Path(scratch)) as delivery,
    ):
        yield DropSampler(delivery, source, opened, row_limit)


def today() -> date:
    """The business date that it is now."""
    return datetime.now(get_settings().zone).date()


def _last_date(source: Source, drop: Path | None) -> date:
    """The newest dated folder's, else what drop.yml says, else today."""
    root = drop or (source.folder / source.drop if source.drop is not None else None)
    if root is None or not root.expanduser().is_dir():
        return today()  # find_drop_folder says what is wrong with it
    root = root.expanduser()
    dated = [path.name for path in root.iterdir() if path.is_dir() and DATED.fullmatch(path.name)]
    if dated:
        try:
            return date.fromisoformat(max(dated))
        except ValueError as error:
            raise SourceError(f"{root / max(dated)}: the folder's name is no date.") from error
    return read_description(root).as_of or today()


def _said(error: duckdb.Error) -> str:
    """DuckDB's words, with the line of the SELECT; without values, which may be somebody's name."""
    text = str(error)
    said = text.splitlines()[0]
    if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException):
        said = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", said)
    line = re.search(r"^LINE (\d+):", text, re.MULTILINE)
    return f"line {line.group(1)}: {said}" if line else said
