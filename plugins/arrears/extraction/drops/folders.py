"""A drop: the folder that a lender delivered for a date, and the files in it."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from arrears.contract.servicing import contract
from arrears.errors import NotDelivered, SourceError
from arrears.extraction.delivery import Mode
from arrears.extraction.drops.description import NAME, DropDescription, check_names, read_description
from arrears.extraction.drops.whole_files import DropFile, inspect
from arrears.extraction.sources import LenderFile, Source
from arrears.extraction.yaml_files import place_of

DATED = re.compile(r"\d{4}-\d{2}-\d{2}")
ENDINGS = (".csv", ".csv.gz", ".parquet", ".xlsx")


@dataclass(frozen=True, slots=True)
class Drop:
    """The files of one date, by contract table or by the lender's name, and what `drop.yml` says of them."""

    folder: Path
    files: dict[str, DropFile]
    description: DropDescription = field(default_factory=DropDescription)

    @property
    def mode(self) -> Mode:
        """Full, or only what changed since the drop before; a table may be delivered in another mode."""
        return self.description.mode

    @property
    def after(self) -> date | None:
        """Of a delta: the date of the drop that it says it follows."""
        return self.description.after

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, by its name; of drop.yml only what it changes of the drop, and only where it does."""
        hashes = {file.label: file.sha256 for file in self.files.values()}
        said = self.description.content()
        return hashes | ({NAME: hashlib.sha256(said.encode()).hexdigest()} if said else {})

    @property
    def content_sha256(self) -> str:
        """One hash over the names and contents of all files, and what drop.yml changes of them."""
        digest = hashlib.sha256()
        for name, file in sorted(self.files.items()):
            digest.update(f"{name}\0{file.sha256}{file.reading}\n".encode())
        digest.update(self.description.content().encode())
        return digest.hexdigest()

    def reading_of(self, table: str) -> str:
        """What drop.yml and source.yml say of how a table is read; empty for full tables of CSV and Parquet."""
        named = self.description.tables.get(table)
        checks = named.model_dump_json(include={"rows", "totals"}) if named is not None and named.needs_reading else ""
        files = [self.files[table]] if table in self.files else self.files.values()
        return self.description.reading_of(table) + checks + "".join(file.reading for file in files)


def find_drop_folder(source: Source, drop: Path | None, as_of: date) -> Path:
    """The folder with the files for a date: `DROP/DATE/` where DROP has dated folders, else DROP itself.

    Raises:
        NotDelivered: there is none for that date yet.
        SourceError: there are two, or `drop.yml` says it is of a later date or of another source.
    """
    root = drop or (source.folder / source.drop if source.drop is not None else None)
    if root is None:
        raise NotDelivered(f"Source {source.name} names no drop folder: give one with --drop DIR.")
    root = root.expanduser().absolute()
    try:
        if not root.is_dir():
            raise SourceError(f"The drop folder {root} of source {source.name} does not exist or is not a folder.")
        folder = _folder_of(source, root, as_of)
        if source.marker is not None and not _has_marker(source, folder):
            raise NotDelivered(
                f"The drop {folder} of source {source.name} has not arrived yet: no file {source.marker} in it."
            )
        _check_date_and_source(source, folder, as_of, is_dated=folder != root)
    except OSError as error:
        raise SourceError(f"{error.filename or root}: cannot be read: {error.strerror or error}.") from error
    return folder


def has_arrived(source: Source, drop: Path | None, as_of: date) -> bool:
    """Whether the drop of a date is there, marker and all: a look into folders, for whoever waits for it.

    Raises:
        SourceError: what is there cannot be the drop, however long one waits.
    """
    try:
        folder = find_drop_folder(source, drop, as_of)
    except NotDelivered:
        return False
    return bool(_candidates(source, folder))


def _folder_of(source: Source, root: Path, as_of: date) -> Path:
    dated = sorted(path.name for path in root.iterdir() if path.is_dir() and DATED.fullmatch(path.name))
    if not dated:
        return root
    folder = root / as_of.isoformat()
    beside = [path for path in _candidates(source, root) if not DATED.fullmatch(path.relative_to(root).parts[0])]
    if beside and source.marker is not None and not _has_marker(source, root):
        beside = []
    date_beside = read_description(root).as_of if beside else None
    if folder.name in dated:
        if beside and date_beside in (None, as_of):
            raise SourceError(
                f"Source {source.name} has two drops of {as_of}: the folder {folder} and {beside[0]} beside it; take"
                f" one away, or say in {root / NAME} of which date the other is."
            )
        return folder
    if date_beside == as_of:
        return root
    last = max((name for name in dated if name < as_of.isoformat()), default=None)
    raise NotDelivered(
        f"Source {source.name} has no drop for {as_of} in {root}"
        + (f" (the last one before it is {last})." if last else ".")
    )


def _candidates(source: Source, folder: Path) -> list[Path]:
    """Whatever stands under a name that a table or a lender's file would have."""
    if source.is_contract_form:
        names = {path.name for path in folder.iterdir()}
        return [folder / f"{name}{ending}" for name in contract() for ending in ENDINGS if f"{name}{ending}" in names]
    return [path for given in source.files.values() for path in sorted(folder.glob(given.pattern))]


def _has_marker(source: Source, folder: Path) -> bool:
    return any(path.is_file() for path in folder.glob(source.marker or "*"))


def _check_date_and_source(source: Source, folder: Path, as_of: date, *, is_dated: bool) -> None:
    said = read_description(folder)
    if said.source is not None and said.source != source.name:
        raise SourceError(
            f"{place_of(folder / NAME, ['source'])}: a drop of the wrong lender: of source {said.source}, where"
            f" {source.name} was asked for."
        )
    if said.as_of is None or said.as_of == as_of:
        return
    place = place_of(folder / NAME, ["as_of"])
    if is_dated:
        raise SourceError(f"{place}: the drop is of {said.as_of}, but stands in the folder of {as_of}.")
    if said.as_of > as_of:
        raise SourceError(f"{place}: the drop is of {said.as_of}, later than the date asked for, {as_of}.")
    raise NotDelivered(f"{place}: the drop is of {said.as_of}, earlier than the date asked for, {as_of}.")


def open_drop(source: Source, folder: Path) -> Drop:
    """Finds, hashes and checks the files of a drop.

    Raises:
        SourceError: no file at all, a required one missing, one that cannot be read to its end or is another than
            `drop.yml` says; names it.
    """
    said = read_description(folder)
    try:
        found = _tables(folder, said) if source.is_contract_form else _lenders_files(source, folder, said)
    except OSError as error:
        raise SourceError(f"{error.filename or folder}: cannot be read: {error.strerror or error}.") from error
    check_names(folder, said, source, found)
    files = {name: inspect(path, path.name, given) for name, (path, given) in found.items()}
    for name, file in files.items():
        told = said.tables[name].sha256 if name in said.tables else None
        if told is not None and told.lower() != file.sha256:
            raise SourceError(
                f"{place_of(folder / NAME, ['tables', name, 'sha256'])}: {file.path} has SHA-256 {file.sha256},"
                f" drop.yml says {told.lower()}; it was changed or cut on its way: deliver it again."
            )
    return Drop(folder, files, said)


def _tables(folder: Path, said: DropDescription) -> dict[str, tuple[Path, LenderFile]]:
    names = {path.name for path in folder.iterdir()}
    files = {}
    for name in contract():
        found = [folder / f"{name}{ending}" for ending in ENDINGS if f"{name}{ending}" in names]
        if len(found) > 1:
            raise SourceError(f"{folder}: table {name} is delivered twice: {' and '.join(f.name for f in found)}.")
        if found:
            kind = "excel" if found[0].suffix == ".xlsx" else "csv"
            files[name] = (found[0], LenderFile(pattern=found[0].name, format=kind))  # type: ignore[arg-type]
    if not files:
        raise SourceError(
            f"The drop {folder} is empty: no TABLE.csv, TABLE.csv.gz, TABLE.parquet or TABLE.xlsx of the contract."
        )
    for table in contract().values():
        if table.required and table.name not in files and said.mode == "full":
            raise SourceError(
                f"The drop {folder} lacks the required table {table.name}"
                f" ({table.name}.csv, .csv.gz, .parquet or .xlsx)."
            )
    return files


def _lenders_files(source: Source, folder: Path, said: DropDescription) -> dict[str, tuple[Path, LenderFile]]:
    files = {}
    for name, given in source.files.items():
        matching = sorted(folder.glob(given.pattern))
        if not matching and os.path.lexists(folder / given.pattern):
            matching = [folder / given.pattern]  # a link that leads nowhere: a plain name finds only what it leads to
        found = [path for path in matching if path.is_file()] or matching
        if not found and said.mode == "delta":
            continue
        if len(found) != 1:
            raise SourceError(
                f"{folder}: {len(found)} files match {given.pattern} (file {name} of source {source.name});"
                f" exactly one must{': ' + ', '.join(path.name for path in found) if found else ''}."
            )
        files[name] = (found[0], given)
    if not files:
        raise SourceError(f"The drop {folder} is empty: none of the files of source {source.name} is there.")
    return files
