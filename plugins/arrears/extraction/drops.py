"""A drop: the folder that a lender delivered for a date, and the files in it."""

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from arrears.contract.servicing import contract
from arrears.errors import SourceError
from arrears.extraction.sources import LenderFile, Source

CHUNK = 4 * 1024**2
DATED = re.compile(r"\d{4}-\d{2}-\d{2}")
ENDINGS = (".csv", ".csv.gz", ".parquet")


class DropDescription(BaseModel):
    """What an optional `drop.yml` beside the files says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: date | None = None
    mode: str = "full"


@dataclass(frozen=True, slots=True)
class DropFile:
    """One delivered file, checked to be whole."""

    path: Path
    label: str  # as findings name it: relative to the drop
    sha256: str
    format: LenderFile | None  # None: Parquet
    header: tuple[str, ...]
    has_quotes: bool


@dataclass(frozen=True, slots=True)
class Drop:
    """The files of one date, by contract table or by the lender's name."""

    folder: Path
    files: dict[str, DropFile]

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, by its name."""
        return {file.label: file.sha256 for file in self.files.values()}

    @property
    def content_sha256(self) -> str:
        """One hash over the names and contents of all files."""
        digest = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            digest.update(f"{name}\0{file.sha256}\n".encode())
        return digest.hexdigest()


def find_drop_folder(source: Source, drop: Path | None, as_of: date) -> Path:
    """The folder with the files for a date: `DROP/DATE/` where DROP has dated folders, else DROP itself.

    Raises:
        SourceError: there is none for that date, or `drop.yml` says it is of another date.
    """
    root = drop or (source.folder / source.drop if source.drop is not None else None)
    if root is None:
        raise SourceError(f"Source {source.name} names no drop folder: give one with --drop DIR.")
    root = root.expanduser().absolute()
    if not root.is_dir():
        raise SourceError(f"The drop folder {root} of source {source.name} does not exist or is not a folder.")
    dated = sorted(path.name for path in root.iterdir() if path.is_dir() and DATED.fullmatch(path.name))
    folder = root
    if dated:
        if as_of.isoformat() not in dated:
            last = max((name for name in dated if name < as_of.isoformat()), default=None)
            raise SourceError(
                f"Source {source.name} has no drop for {as_of} in {root}"
                + (f" (the last one before it is {last})." if last else ".")
            )
        folder = root / as_of.isoformat()
    description = _description(folder)
    if description.mode != "full":
        raise SourceError(
            f"{folder / 'drop.yml'}, key mode: {description.mode} drops are not supported; deliver full ones."
        )
    if description.as_of is not None and description.as_of != as_of:
        which = "later" if description.as_of > as_of else "earlier"
        raise SourceError(
            f"{folder / 'drop.yml'}, key as_of: the drop is of {description.as_of}, {which} than the date asked for,"
            f" {as_of}."
        )
    return folder


def _description(folder: Path) -> DropDescription:
    file = folder / "drop.yml"
    if not file.exists():
        return DropDescription()
    try:
        return DropDescription.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        raise SourceError(f"{file}: not YAML: {getattr(error, 'problem', error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise SourceError(f"{file}, key {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error


def open_drop(source: Source, folder: Path) -> Drop:
    """Finds, hashes and checks the files of a drop.

    Raises:
        SourceError: no file at all, a required one missing, or one that cannot be read to its end; names it.
    """
    files: dict[str, DropFile] = {}
    if source.is_contract_form:
        for name in contract():
            found = [folder / f"{name}{ending}" for ending in ENDINGS if (folder / f"{name}{ending}").is_file()]
            if len(found) > 1:
                raise SourceError(f"{folder}: table {name} is delivered twice: {' and '.join(f.name for f in found)}.")
            if found:
                files[name] = inspect(found[0], found[0].name, LenderFile(pattern=found[0].name))
        if not files:
            raise SourceError(
                f"The drop {folder} is empty: no TABLE.csv, TABLE.csv.gz or TABLE.parquet of the contract."
            )
        for table in contract().values():
            if table.required and table.name not in files:
                raise SourceError(
                    f"The drop {folder} lacks the required table {table.name} ({table.name}.csv, .csv.gz or .parquet)."
                )
        return Drop(folder, files)
    for name, given in source.files.items():
        found = sorted(path for path in folder.glob(given.pattern) if path.is_file())
        if len(found) != 1:
            raise SourceError(
                f"{folder}: {len(found)} files match {given.pattern} (file {name} of source {source.name});"
                f" exactly one must."
            )
        files[name] = inspect(found[0], found[0].name, given)
    return Drop(folder, files)


def inspect(path: Path, label: str, given: LenderFile) -> DropFile:
    """Hashes a file and reads it once to its end.

    Raises:
        SourceError: it cannot be read, is truncated, has no header, or names a column twice.
    """
    try:
        if path.suffix == ".parquet":
            return _inspect_parquet(path, label)
        digest, has_quotes, head = hashlib.sha256(), False, b""
        with path.open("rb") as stored:
            for chunk in iter(lambda: stored.read(CHUNK), b""):
                digest.update(chunk)
        for chunk in _plain_chunks(path):
            if len(head) < CHUNK:
                head += chunk
            has_quotes = has_quotes or given.quote.encode() in chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(f"{path}: not a whole gzip file ({error}); deliver it again.") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}.") from error
    header = _header(path, head, given)
    return DropFile(path, label, digest.hexdigest(), given, header, has_quotes)


def _plain_chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        yield from iter(lambda: stream.read(CHUNK), b"")


def lines_at(file: DropFile, offsets: list[int]) -> list[int]:
    """Line numbers (from 1) at ascending byte offsets of a file's plain content."""
    lines, line, start, wanted = [], 1, 0, iter(offsets)
    offset = next(wanted, None)
    for chunk in _plain_chunks(file.path):
        done = 0
        while offset is not None and offset < start + len(chunk):
            line += chunk.count(b"\n", done, offset - start)
            done = offset - start
            lines.append(line)
            offset = next(wanted, None)
        line += chunk.count(b"\n", done)
        start += len(chunk)
    return lines


def _header(path: Path, head: bytes, given: LenderFile) -> tuple[str, ...]:
    first = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = first.decode("utf-8" if given.encoding == "utf-8" else given.encoding)
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}, line 1: not {given.encoding}.") from error
    import csv

    names = tuple(
        name.strip() for name in next(csv.reader([text], delimiter=given.delimiter, quotechar=given.quote), [])
    )
    if not any(names):
        raise SourceError(f"{path}: empty, not even a header line.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{path}, line 1: column {twice[0]} stands twice in the header.")
    return names


def _inspect_parquet(path: Path, label: str) -> DropFile:
    digest = hashlib.sha256()
    with path.open("rb") as stored:
        for chunk in iter(lambda: stored.read(CHUNK), b""):
            digest.update(chunk)
    try:
        names = tuple(pq.read_schema(path).names)
    except Exception as error:  # pyarrow raises several kinds, all meaning the same
        raise SourceError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
    return DropFile(path, label, digest.hexdigest(), None, names, has_quotes=False)
