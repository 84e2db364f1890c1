"""How DuckDB reads each kind of file: as it is, or from a copy in the scratch folder where it cannot.

An Excel sheet becomes rows of text that go through the same checks as a CSV's; another encoding, or line ends of two
kinds, become plain UTF-8. Whatever the file, its rows come with `_file` and `_line`.
"""

import csv
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, WorksheetNotFound

from arrears.errors import SourceError
from arrears.extraction.drops.whole_files import DropFile, check_header, plain_chunks

MOST_UNREADABLE = 100_000
ROWS_A_BATCH = 10_000
LONGEST_RECORD = 8 * 1024**2
UNIT_SEPARATOR = "\x1f"  # no fixed-width line holds it: it keeps DuckDB from parting the line

ERROR_CELL = re.compile(rb'<(?:\w+:)?c\s[^<>]*?\bt="e"[^<>]*>')
REFERENCE = re.compile(rb'\br="([A-Z]+)(\d+)"')


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, or a sheet's row, that is no row of the table."""

    line: int
    told: str
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Readable:
    """What DuckDB reads of a delivered file, and the rows of a sheet that were found to be none on the way."""

    file: DropFile
    path: Path
    bad_lines: tuple[BadLine, ...] = ()


def prepare(file: DropFile, copy: Path) -> Readable:
    """Makes a file readable for DuckDB, where it must by a copy at the given place.

    Raises:
        SourceError: the workbook or its sheet cannot be read; names the place.
    """
    if file.kind == "excel":
        return _sheet_as_parquet(file, copy)
    if file.kind == "parquet" or (file.format.encoding == "utf-8" and not file.has_mixed_ends):
        return Readable(file, file.path)
    with copy.open("wb") as stream:
        for chunk in plain_chunks(file.path, file.format.encoding):
            stream.write(chunk.replace(b"\r\n", b"\n") if file.has_mixed_ends else chunk)
    return Readable(file, copy)


def scan(readable: Readable, *, counts_breaks: bool = False) -> str:
    """A SELECT of a file's rows, `_file` and `_line` beside them.

    Lines that are no rows are not counted in `_line` of a text; `_breaks`, where asked for, are the line breaks inside
    a row's values.
    """
    file, label, path = readable.file, literal(readable.file.label), literal(str(readable.path))
    if file.kind == "parquet":
        return f"select *, {label} as _file, row_number() over () as _line from read_parquet({path})"
    if file.kind == "excel":
        return f"select * exclude (_line), {label} as _file, _line from read_parquet({path})"
    if file.kind == "fixed_width":
        parts = ", ".join(
            f"nullif(trim(substr(_text, {start}, {width})), '') as {quote(name)}"
            for name, (start, width) in file.format.columns.items()
        )
        read = _read_csv(path, ("_text",), header=False, delimiter=UNIT_SEPARATOR, quoted_by="")
        return f"select {parts}, {label} as _file, row_number() over () as _line from {read}"
    read = _read_csv(path, file.header, header=True, delimiter=file.format.delimiter, quoted_by=file.format.quote)
    if not file.has_quotes:
        return f"select *, {label} as _file, 1 + row_number() over () as _line from {read}"
    running = "rows between unbounded preceding and current row"
    return (
        f"select *{'' if counts_breaks else ' exclude (_breaks)'},"
        f" 1 + row_number() over () + sum(_breaks) over ({running}) - _breaks as _line"
        f" from (select *, {label} as _file, {breaks(file)} as _breaks from {read})"
    )


def breaks(file: DropFile) -> str:
    """SQL of the count of line breaks inside the values of a row."""
    return " + ".join(
        f"coalesce(length({quote(name)}) - length(replace({quote(name)}, chr(10), '')), 0)" for name in file.header
    )


def _read_csv(path: str, names: tuple[str, ...], *, header: bool, delimiter: str, quoted_by: str) -> str:
    columns = ", ".join(f"{literal(name)}: 'varchar'" for name in names)
    options = {
        "columns": f"{{{columns}}}",
        "header": str(header).lower(),
        "auto_detect": "false",
        "delim": literal(delimiter),
        "quote": literal(quoted_by),
        "escape": literal(quoted_by),
        "encoding": "'utf-8'",
        "nullstr": "''",
        "strict_mode": "true",
        "store_rejects": "true",
        "rejects_limit": str(MOST_UNREADABLE + 1),
        "max_line_size": str(LONGEST_RECORD),
        "buffer_size": str(64 * 1024**2),
    }
    settings = ", ".join(f"{name} = {value}" for name, value in options.items())
    return f"read_csv({path}, {settings})"


def best_reading(text: str, file: DropFile) -> dict[str, Any]:
    """What can be guessed of a malformed line: good enough to hold a loan back, not to load it."""
    if file.kind == "fixed_width":
        columns = file.format.columns.items()
        return {"_text": text} | {name: text[start - 1 : start - 1 + width].strip() for name, (start, width) in columns}
    try:
        line = text.rstrip("\r\n")
        fields = next(csv.reader([line], delimiter=file.format.delimiter, quotechar=file.format.quote), [])
    except csv.Error:
        fields = []
    return {"_text": text} | dict(zip(file.header, fields, strict=False))


def _sheet_as_parquet(file: DropFile, target: Path) -> Readable:
    rows, place, errors = _sheet_rows(file)
    header, columns = _sheet_header(rows, place)
    named = set(columns)
    schema = pa.schema([*((name, pa.string()) for name in header), ("_line", pa.int64())])
    bad: list[BadLine] = []
    with pq.ParquetWriter(target, schema) as writer:
        batch: list[list[str | int | None]] = []
        for line, cells in rows:
            values = [_cell_text(cells[column]) if column in cells else None for column in columns]
            wrong = [(column, "holds an error (#N/A, #REF! or the like)") for column in sorted(errors.get(line, ()))]
            wrong += [(column, "stands under no column name") for column in sorted(cells.keys() - named)]
            if wrong:
                told = "; ".join(f"cell {_letters(column)}{line} {what}" for column, what in wrong)
                bad.append(BadLine(line, told, dict(zip(header, values, strict=True))))
            elif cells:
                batch.append([*values, line])
            if len(batch) == ROWS_A_BATCH:
                writer.write_table(_as_table(batch, schema))
                batch = []
            refuse_too_many(len(bad), file.path)
        writer.write_table(_as_table(batch, schema))
    return Readable(replace(file, header=header), target, tuple(bad))


def _as_table(rows: list[list[str | int | None]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


Rows = Iterator[tuple[int, dict[int, Any]]]


def _sheet_rows(file: DropFile) -> tuple[Rows, str, dict[int, set[int]]]:
    """The sheet's rows by number (from 1), each with its filled cells by column (from 1); and where errors stand."""
    try:
        book = CalamineWorkbook.from_path(file.path)
        names = book.sheet_names
        name = file.format.sheet or (names[0] if names else "")
        sheet = book.get_sheet_by_name(name)
        errors = _error_cells(file.path, name)
    except WorksheetNotFound as error:
        raise SourceError(f"{file.path}: has no sheet {name}; its sheets are {', '.join(names)}.") from error
    except (CalamineError, zipfile.BadZipFile, ElementTree.ParseError, KeyError) as error:
        raise SourceError(f"{file.path}: not a readable Excel workbook: {error}.") from error
    return _filled(sheet), f"{file.path}, sheet {name}", errors


def _filled(sheet: CalamineSheet) -> Rows:
    first = 1 if sheet.start is None else sheet.start[1] + 1
    for line, cells in enumerate(sheet.iter_rows(), start=1):
        yield line, {column: value for column, value in enumerate(cells, start=first) if value != ""}


def _sheet_header(rows: Rows, place: str) -> tuple[tuple[str, ...], list[int]]:
    """The first row with anything in it: its names, and the columns in which they stand."""
    for line, cells in rows:
        if cells:
            names = tuple((_cell_text(value) or "").strip() for value in cells.values())
            check_header(f"{place}, line {line}", names)
            return names, list(cells)
    raise SourceError(f"{place}: empty, not even a header row.")


def _cell_text(value: Any) -> str | None:
    """A cell as CSV would hold it: Excel keeps 15 digits of a number, and moments without a zone."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            plain = format(Decimal(f"{value:.15g}"), "f")
            return "0" if plain == "-0" else plain
        case datetime():
            rounded = value + timedelta(microseconds=500)
            rounded = rounded.replace(microsecond=rounded.microsecond // 1000 * 1000)
            return rounded.isoformat(sep=" ", timespec="milliseconds" if rounded.microsecond else "seconds")
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _error_cells(path: Path, sheet: str) -> dict[int, set[int]]:
    """Columns of cells that hold an error, by row: calamine gives them as empty, which would hide them."""
    if not zipfile.is_zipfile(path):
        return {}
    found: dict[int, set[int]] = {}
    with zipfile.ZipFile(path) as archive:
        if "xl/workbook.xml" not in archive.namelist():
            return {}
        with archive.open(_sheet_part(archive, sheet)) as stream:
            rest = b""
            for chunk in iter(lambda: stream.read(1024**2), b""):
                text = rest + chunk
                for cell in ERROR_CELL.findall(text):
                    if reference := REFERENCE.search(cell):
                        letters, line = reference.groups()
                        found.setdefault(int(line), set()).add(_number(letters.decode()))
                # What is left over: a tag that the next piece completes.
                rest = text[max(text.rfind(b"<"), len(text) - 4096) :]
    return found


def _sheet_part(archive: zipfile.ZipFile, sheet: str) -> str:
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314 (expat bounds entities)
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
    targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
    for element in book.iter():
        if element.tag.endswith("}sheet") and element.get("name") == sheet:
            relation = next(value for name, value in element.attrib.items() if name.endswith("}id"))
            target = targets[relation]
            return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError(f"sheet {sheet}")


def _letters(column: int) -> str:
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def refuse_too_many(count: int, place: Path) -> None:
    """Refuses a file with more unreadable rows than anybody will look at.

    Raises:
        SourceError: there are too many.
    """
    if count > MOST_UNREADABLE:
        raise SourceError(
            f"{place}: more than {MOST_UNREADABLE} rows cannot be read; this is not the file it should be."
        )


def quote(name: str) -> str:
    """An identifier in DuckDB's SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in DuckDB's SQL."""
    return "'" + text.replace("'", "''") + "'"
