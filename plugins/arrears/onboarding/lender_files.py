"""What files a lender's drop has: how each is probably written, and its columns."""

import csv
import glob
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from python_calamine import CalamineError, CalamineWorkbook

from arrears.contract.servicing import contract
from arrears.errors import UsageError
from arrears.extraction.drops.folders import DATED, ENDINGS
from arrears.extraction.sources import LenderFile

TEXTS = (".csv", ".txt", ".tsv", ".asc", ".dat")
WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls")
DELIMITERS = ",;\t|"
HEAD = 64 * 1024
DATE_IN_NAME = re.compile(r"\d{4}-\d{2}-\d{2}|\d{6,}")

Encoding = Literal["utf-8", "latin-1", "utf-16"]


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a drop, under the view's name that it gets, and how to read it."""

    path: Path
    view: str
    given: LenderFile
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class FoundDrop:
    """A drop's files, and those that were not recognised."""

    folder: Path
    files: Sequence[FoundFile]
    others: Sequence[str]

    @property
    def is_contract_form(self) -> bool:
        """Whether all required tables of the contract are there under their names, with their required columns."""
        columns = {
            file.path.name.removesuffix(ending): {name.lower() for name in file.columns}
            for file in self.files
            for ending in ENDINGS
            if file.path.name.endswith(ending)
        }
        return all(
            {column.name for column in table.columns if column.required} <= columns.get(table.name, set())
            for table in contract().values()
            if table.required
        )


def find_files(drop: Path) -> FoundDrop:
    """Looks at the files of a drop, of the newest one where it has dated subfolders.

    Raises:
        UsageError: it is no folder, or none of its files is recognised.
    """
    drop = drop.expanduser().absolute()
    if not drop.is_dir():
        raise UsageError(f"--from-drop {drop}: not a folder.")
    dated = [path for path in drop.iterdir() if path.is_dir() and DATED.fullmatch(path.name)]
    folder = max(dated, default=drop)
    files: list[FoundFile] = []
    others = []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != "drop.yml"):
        try:
            found = _look_at(path)
        except (OSError, EOFError, zlib.error, ValueError, CalamineError, pa.ArrowException, csv.Error) as error:
            raise UsageError(f"--from-drop: {path} cannot be read: {error}.") from error
        if found is None:
            others.append(path.name)
        else:
            files.append(_named(found, folder, {file.view for file in files}))
    if not files:
        raise UsageError(f"--from-drop {folder}: none of its files is CSV, Excel or Parquet by its name.")
    return FoundDrop(folder, files, others)


def _look_at(path: Path) -> FoundFile | None:
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return FoundFile(path, "", LenderFile(pattern=path.name), tuple(pq.read_schema(path).names))
    if name.endswith(WORKBOOKS):
        book = CalamineWorkbook.from_path(path)
        rows = book.get_sheet_by_name(book.sheet_names[0]).to_python()
        header = next((row for row in rows if any(cell != "" for cell in row)), [])
        columns = tuple(str(cell) for cell in header if cell != "")
        return FoundFile(path, "", LenderFile(pattern=path.name, format="excel"), columns)
    if name.endswith(TEXTS):
        return _look_at_text(path)
    return None


def _look_at_text(path: Path) -> FoundFile:
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        head = stream.read(HEAD)
    encoding = _encoding(head)
    text = head.decode(encoding, errors="ignore").removeprefix("\ufeff")
    first = text.splitlines()[0] if text else ""
    delimiter = max(DELIMITERS, key=first.count)
    columns = next(csv.reader(io.StringIO(first), delimiter=delimiter), [])
    given = LenderFile(pattern=path.name, delimiter=delimiter, encoding=encoding)
    return FoundFile(path, "", given, tuple(name.strip() for name in columns))


def _encoding(head: bytes) -> Encoding:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut in two.
        return "utf-8" if len(head) == HEAD and error.start >= HEAD - 4 else "latin-1"
    return "utf-8"


def _named(found: FoundFile, folder: Path, taken: set[str]) -> FoundFile:
    """Gives a file the pattern that will find tomorrow's, and a view's name of its own."""
    name = found.path.name
    pattern = "*".join(glob.escape(part) for part in DATE_IN_NAME.split(name))
    if [path for path in folder.glob(pattern) if path.is_file()] != [found.path]:
        pattern = glob.escape(name)
    stem = re.sub(r"(\.[A-Za-z]{2,7})+$", "", name)
    view = re.sub(r"\W+", "_", DATE_IN_NAME.sub("", stem).lower()).strip("_") or "file"
    view = view if view.isascii() and not view[0].isdigit() and view not in _reserved() else f"file_{view}"
    number, plain = 1, view
    while view in taken:
        number += 1
        view = f"{plain}_{number}"
    return FoundFile(found.path, view, found.given.model_copy(update={"pattern": pattern}), found.columns)


def _reserved() -> set[str]:
    """Words that DuckDB's SQL wants in quotes."""
    with duckdb.connect() as session:
        rows = session.execute("select keyword_name from duckdb_keywords() where keyword_category = 'reserved'")
        return {str(row[0]) for row in rows.fetchall()}
