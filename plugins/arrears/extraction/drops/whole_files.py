"""A delivered file: hashed, read once to its end, and looked at, before anything is believed of it.

DuckDB reads UTF-8 with one kind of line end, and is silent about some of what it leaves out. So lines are counted here,
odd ends found, and whoever reads the file must account for every line.
"""

import codecs
import csv
import gzip
import hashlib
import io
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from arrears.errors import SourceError
from arrears.extraction.sources import LenderFile

CHUNK = 4 * 1024**2
LONGEST_HEADER = 4 * 1024**2
MOST_BLANK_LINES = 100_000
BLANK = re.compile(rb"(?<=\n)\r?\n")
EXCEL_ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls")

Kind = Literal["csv", "fixed_width", "excel", "parquet"]


@dataclass(frozen=True, slots=True)
class DropFile:
    """One delivered file, checked to be whole."""

    path: Path
    label: str  # as findings name it: its name in the drop
    sha256: str
    kind: Kind
    format: LenderFile
    header: tuple[str, ...] = ()  # of an Excel sheet: known when it is converted
    has_quotes: bool = False
    line_count: int = 0
    has_mixed_ends: bool = False

    @property
    def reading(self) -> str:
        """All that decides how its bytes become rows, beyond what CSV had from the start."""
        if self.format.format == "csv":
            return ""
        return repr((self.format.format, self.format.sheet, self.format.columns, self.format.encoding))


@dataclass(slots=True)
class _Lines:
    """What a pass over a text found of its lines."""

    feeds: int = 0
    returns: int = 0
    pairs: int = 0
    has_quotes: bool = False
    last: bytes = b""  # the last byte

    @property
    def count(self) -> int:
        """Lines, the last one with or without its end."""
        return self.feeds + (self.last != b"" and not self.last.endswith(b"\n"))


@dataclass(slots=True)
class _Ends:
    """What a pass with an eye to quotes found outside them."""

    feeds: int = 0
    pairs: int = 0
    first_return: int | None = None  # line of a carriage return in the middle of a line
    blank_lines: tuple[int, ...] = ()


def inspect(path: Path, label: str, given: LenderFile) -> DropFile:
    """Hashes a file and reads it once to its end.

    Raises:
        SourceError: it cannot be read, is truncated, has no header, or names a column twice.
    """
    _need_a_file(path)
    try:
        digest = _digest(path)
        if path.suffix == ".parquet":
            return DropFile(path, label, digest, "parquet", given, _parquet_columns(path))
        if given.format == "excel":
            return DropFile(path, label, digest, "excel", given)
        if path.suffix.lower() in EXCEL_ENDINGS:
            raise SourceError(f"{path}: an Excel file; say format: excel for it in source.yml.")
        return _inspect_text(path, label, given, digest)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{path}: not a whole gzip file ({error}); deliver it again.") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}.") from error


def _need_a_file(path: Path) -> None:
    try:
        kind = path.stat().st_mode
    except OSError as error:
        told = "a link that leads nowhere" if path.is_symlink() else error.strerror or str(error)
        raise SourceError(f"{path}: cannot be read: {told}.") from error
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "not a file with content (a pipe, a device or the like)"
        raise SourceError(f"{path}: {what}; deliver one file of that name.")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stored:
        for chunk in iter(lambda: stored.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _parquet_columns(path: Path) -> tuple[str, ...]:
    try:
        return tuple(pq.read_schema(path).names)
    except OSError:
        raise
    except Exception as error:  # pyarrow raises several kinds, all meaning the same
        raise SourceError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error


def plain_chunks(path: Path, encoding: str = "utf-8") -> Iterator[bytes]:
    """A text as UTF-8, unpacked, in pieces that never part CR and LF.

    Raises:
        SourceError: bytes that are not of the encoding, where that is another than UTF-8 (there they cost their line).
    """
    held, line = b"", 1
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        read = stream.read(CHUNK)
        if encoding == "utf-16" and read[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            encoding = "utf-16-le"  # what programs on Windows write that leave the mark out
        decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
        while True:
            try:
                chunk = held + (read if decoder is None else decoder.decode(read, final=not read).encode())
            except UnicodeDecodeError as error:
                near = line + error.object[: error.start].count(b"\n")
                raise SourceError(
                    f"{path}: not {encoding}, near line {near} ({error.reason}); say its encoding in source.yml."
                ) from error
            held = b"\r" if read and chunk.endswith(b"\r") else b""
            chunk = chunk[: len(chunk) - len(held)]
            if chunk:
                yield chunk
            if not read:
                return
            line += chunk.count(b"\n")
            read = stream.read(CHUNK)


def lines_at(path: Path, offsets: list[int]) -> list[int]:
    """Line numbers (from 1) at ascending byte offsets of a file's plain content."""
    lines, line, start, wanted = [], 1, 0, iter(offsets)
    offset = next(wanted, None)
    for chunk in plain_chunks(path):
        done = 0
        while offset is not None and offset < start + len(chunk):
            line += chunk.count(b"\n", done, offset - start)
            done = offset - start
            lines.append(line)
            offset = next(wanted, None)
        line += chunk.count(b"\n", done)
        start += len(chunk)
    return lines


def _inspect_text(path: Path, label: str, given: LenderFile, digest: str) -> DropFile:
    quote = given.quote if given.format == "csv" else None
    found, head = _Lines(), b""
    for chunk in plain_chunks(path, given.encoding):
        if len(head) < LONGEST_HEADER:
            head += chunk
        _count(found, chunk, quote)
    if found.returns and not found.feeds:
        raise SourceError(f"{path}: its lines end in a carriage return alone: end them in LF or CRLF.")
    header = _header(path, head, given) if given.format == "csv" else tuple(given.columns)
    is_plain = not found.returns or found.feeds == found.pairs == found.returns
    ends = _Ends() if is_plain else _ends_outside_quotes(path, given, given.encoding)
    if ends.first_return is not None:
        raise SourceError(
            f"{path}, line {ends.first_return}: a carriage return in the middle of the line: quote the value that"
            f" holds it."
        )
    return DropFile(
        path,
        label,
        digest,
        given.format,
        given,
        header,
        has_quotes=found.has_quotes,
        line_count=found.count,
        has_mixed_ends=ends.feeds > 0 and ends.pairs > 0,
    )


def _count(found: _Lines, chunk: bytes, quote: str | None) -> None:
    found.feeds += chunk.count(b"\n")
    if b"\r" in chunk:
        found.returns += chunk.count(b"\r")
        found.pairs += chunk.count(b"\r\n")
    found.has_quotes = found.has_quotes or (quote is not None and quote.encode() in chunk)
    found.last = chunk[-1:]


def _ends_outside_quotes(path: Path, given: LenderFile, encoding: str) -> _Ends:
    """Goes from quote to line end through the text: slower, so only where there is something odd to tell apart."""
    mark: bytes = b""
    before_field: tuple[bytes, ...] = ()
    if given.format == "csv":
        mark, before_field = given.quote.encode(), (b"", b"\n", b"\r", given.delimiter.encode())
    tokens = re.compile(rb"\r\n|\n|\r" + (rb"|" + re.escape(mark) if mark else b""))
    ends, blank = _Ends(), []
    line, start, line_start, closed_at, is_inside, before = 1, 0, 0, -2, False, b""
    for chunk in plain_chunks(path, encoding):
        for token in tokens.finditer(chunk):
            kind, place = token.group(), start + token.start()
            if kind == mark and is_inside:
                is_inside, closed_at = False, place
            elif kind == mark:  # it opens a value only where one begins; two in a row inside one stand for it
                left = chunk[token.start() - 1 : token.start()] if token.start() else before
                is_inside = left in before_field or closed_at == place - 1
            else:
                if not is_inside:
                    ends.feeds += kind == b"\n"
                    ends.pairs += kind == b"\r\n"
                    if kind == b"\r" and ends.first_return is None:
                        ends.first_return = line
                    if place == line_start and kind != b"\r":
                        blank.append(line)
                if kind != b"\r":
                    line += 1
                    line_start = start + token.end()
        start += len(chunk)
        before = chunk[-1:]
        _refuse_too_many_blank(path, len(blank))
    ends.blank_lines = tuple(blank)
    return ends


def blank_lines(path: Path, file: DropFile) -> tuple[int, ...]:
    """Numbers of the lines with nothing on them, those inside quotes left out.

    Args:
        path: the file, or its copy in UTF-8.
        file: what is known of it.

    Raises:
        SourceError: there are too many of them.
    """
    if file.has_quotes:
        return _ends_outside_quotes(path, file.format, "utf-8").blank_lines
    found: list[int] = []
    line, before = 1, b""
    for chunk in plain_chunks(path):
        text, done = before + chunk, len(before)
        for blank in BLANK.finditer(text):
            line += text.count(b"\n", done, blank.start())
            done = blank.start()
            found.append(line)
        line += text.count(b"\n", done)
        before = chunk[-1:]
        _refuse_too_many_blank(path, len(found))
    return tuple(found)


def _refuse_too_many_blank(path: Path, count: int) -> None:
    if count > MOST_BLANK_LINES:
        raise SourceError(f"{path}: more than {MOST_BLANK_LINES} blank lines; this is not the file it should be.")


def _header(path: Path, head: bytes, given: LenderFile) -> tuple[str, ...]:
    first = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = first.decode()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}, line 1: not UTF-8; write it so, or say its encoding in source.yml.") from error
    if "\x00" in text:
        raise SourceError(f"{path}, line 1: holds NUL bytes: not UTF-8 text, or UTF-16 that source.yml does not name.")
    reader = csv.reader(io.StringIO(text), delimiter=given.delimiter, quotechar=given.quote, strict=True)
    try:
        names = tuple(name.strip() for name in next(reader, []))
    except csv.Error as error:
        raise SourceError(f"{path}, line 1: the header must stand on one line, each name in closed quotes.") from error
    if not any(names):
        raise SourceError(f"{path}: empty, not even a header line.")
    check_header(f"{path}, line 1", names)
    return names


def check_header(place: str, names: tuple[str, ...]) -> None:
    """Refuses a header in which a column has no name, or two have the same.

    Raises:
        SourceError: names the place and the column.
    """
    if "" in names:
        raise SourceError(f"{place}: column {names.index('') + 1} of the header has no name.")
    lowered = [name.lower() for name in names]  # DuckDB tells columns apart without regard to case
    twice = sorted({name for name in names if lowered.count(name.lower()) > 1})
    if twice:
        raise SourceError(f"{place}: column {twice[0]} stands twice in the header.")
