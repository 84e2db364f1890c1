"""A borrower's personal cells in a queue file, blanked so that the file is what rendering it again would give.

Every other byte of a CSV stays; Parquet is written as `export.rendering` writes it. Without a target nothing is
written and the lines are only counted.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrears.export.rendering import FORMULA, ROWS_A_GROUP
from arrears.export.writing import synced
from arrears.privacy.blanking import BLANK

# Whose contact details a line has; a file without such a column is matched by what it has instead.
PARTY, BORROWER, LOAN = "party_borrower_id", "borrower_id", "loan_id"
FIELD = re.compile(rb'"(?:[^"]|"")*"|[^,]*')


@dataclass(frozen=True, slots=True)
class Whom:
    """Whose cells: the borrower, the loans on which the borrower stands, and the personal columns (is it a text?)."""

    borrower_id: str
    loan_ids: frozenset[str]
    columns: Mapping[str, bool]

    def ids_by(self, header: Sequence[str]) -> tuple[str, frozenset[str]] | None:
        """The column that tells whose a line is, and its values; None where no column does."""
        for name in (PARTY, BORROWER):
            if name in header:
                return name, frozenset({self.borrower_id})
        return (LOAN, self.loan_ids) if LOAN in header else None


@dataclass(frozen=True, slots=True)
class Lines:
    """How many lines of a file are the borrower's, and how many of these had something to blank."""

    named: int = 0
    blanked: int = 0


def blank(file: Path, whom: Whom, target: Path | None = None) -> Lines | None:
    """Blanks the borrower's cells of a queue file into a new file; None for a file that is no table of lines."""
    if file.suffix == ".csv":
        return _blank_csv(file, whom, target)
    if file.suffix == ".parquet":
        return _blank_parquet(file, whom, target)
    return None


def _blank_csv(file: Path, whom: Whom, target: Path | None) -> Lines | None:
    with file.open("rb") as stream:
        records = _records(stream)
        header_record = next(records, b"")
        header = [_value(field) for field in _fields(header_record.rstrip(b"\r\n"))]
        by = whom.ids_by(header)
        if by is None:
            return None
        if target is None:
            return _count(_blanked(records, header, by, whom))
        with synced(target) as out:
            out.write(header_record)
            return _count(_blanked(records, header, by, whom), out)


def _count(records: Iterator[tuple[bytes, bool, bool]], out: BinaryIO | None = None) -> Lines:
    named = blanked = 0
    for record, is_named, is_blanked in records:
        named += is_named
        blanked += is_blanked
        if out is not None:
            out.write(record)
    return Lines(named, blanked)


def _records(stream: BinaryIO) -> Iterator[bytes]:
    """Records with their line end: a line, or several where a quoted cell holds line breaks."""
    record = b""
    for line in stream:
        record += line
        if record.count(b'"') % 2 == 0:
            yield record
            record = b""
    if record:
        yield record


def _blanked(
    records: Iterator[bytes], header: Sequence[str], by: tuple[str, frozenset[str]], whom: Whom
) -> Iterator[tuple[bytes, bool, bool]]:
    """Each record as it shall be, whether it is the borrower's, and whether it differs from before."""
    place, ids = header.index(by[0]), by[1]
    shown = {*ids, *(re.sub(FORMULA, r"\1'", one) for one in ids)}  # as in a cell that would start a formula
    hints = [one.encode() for one in ids if '"' not in one]
    may_skip = len(hints) == len(ids)
    for record in records:
        if may_skip and not any(hint in record for hint in hints):
            yield record, False, False
            continue
        content = record.rstrip(b"\r\n")
        fields = _fields(content)
        if len(fields) != len(header) or _value(fields[place]) not in shown:
            yield record, False, False
            continue
        cells = [_cell(field, name, whom) for field, name in zip(fields, header, strict=True)]
        yield b",".join(cells) + record[len(content) :], True, cells != fields


def _cell(field: bytes, name: str, whom: Whom) -> bytes:
    if name not in whom.columns or not field:
        return field
    return BLANK.encode() if whom.columns[name] else b""


def _fields(record: bytes) -> list[bytes]:
    """The cells of a record as they stand, quotes included."""
    found, position = [], 0
    while True:
        match = FIELD.match(record, position)
        assert match is not None  # an empty cell matches, too
        found.append(match.group())
        position = match.end()
        if position >= len(record):
            return found
        position += 1


def _value(field: bytes) -> str:
    text = field.decode()
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def _blank_parquet(file: Path, whom: Whom, target: Path | None) -> Lines | None:
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        by = whom.ids_by(schema.names)
        if by is None:
            return None
        columns = [name for name in schema.names if name in whom.columns]
        if target is None:
            groups = (_blank_group(_group(parquet, n, [by[0], *columns]), by, whom) for n in _numbers(parquet))
            counts = [lines for _, lines in groups]
        else:
            counts = []
            with synced(target) as out, pq.ParquetWriter(out, schema, compression="zstd") as writer:
                for number in _numbers(parquet):
                    group, lines = _blank_group(_group(parquet, number), by, whom)
                    writer.write_table(group.combine_chunks(), row_group_size=ROWS_A_GROUP)
                    counts.append(lines)
    return Lines(sum(lines.named for lines in counts), sum(lines.blanked for lines in counts))


def _numbers(parquet: pq.ParquetFile) -> range:
    return range(parquet.num_row_groups)


def _group(parquet: pq.ParquetFile, number: int, columns: list[str] | None = None) -> pa.Table:
    return parquet.read_row_group(number, columns=columns)


def _blank_group(group: pa.Table, by: tuple[str, frozenset[str]], whom: Whom) -> tuple[pa.Table, Lines]:
    is_named = pc.is_in(group[by[0]], value_set=pa.array(sorted(by[1]), pa.string()))
    changed = pa.chunked_array([pa.repeat(False, len(group))])
    for name in [name for name in group.column_names if name in whom.columns]:
        column = group[name]
        is_there = pc.and_(is_named, pc.is_valid(column))
        new = pa.scalar(BLANK if whom.columns[name] else None, column.type)
        if whom.columns[name]:
            changed = pc.or_(changed, pc.and_(is_there, pc.fill_null(pc.not_equal(column, BLANK), False)))
        else:
            changed = pc.or_(changed, is_there)
        group = group.set_column(group.column_names.index(name), group.field(name), pc.if_else(is_there, new, column))
    return group, Lines(int(pc.sum(is_named).as_py() or 0), int(pc.sum(changed).as_py() or 0))
