"""A borrower's personal cells in all kept exports: visible, replaced, and staged but not visible yet.

Each folder is built anew beside the one that stands there (unchanged files are linked), then the two change places, so
that a reader sees the old or the new one, whole. ops.exports says before which hash the manifest will have and after
it which it has: killed in between, the next call finds out which of the two stands there and goes on.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from arrears.errors import ExportError
from arrears.export import manifest, signing
from arrears.export.staging import REVISIONS, STAGING
from arrears.export.switching import exchange
from arrears.export.writing import PRIVATE_FOLDER, make_folder, sync_folder, synced
from arrears.ledger.recording import record_blanked_export
from arrears.privacy.queue_files import Lines, Whom, blank

# Beside the kept revisions: nothing else is ever cleared away there.
BUILT, ASIDE = "erasing-", "erased-"


@dataclass(slots=True)
class Found:
    """What was found in the exports, in the order of their dates.

    `lines`: lines blanked by file, relative to the exports. `handed_to`: dates on which a recipient got the
    borrower's lines. `missing`: exports that are not where this warehouse put them. `foreign`: folders that it did not
    make. `unsearched`: files that are no tables of lines.
    """

    lines: dict[str, int] = field(default_factory=dict)
    handed_to: dict[str, set[date]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    unsearched: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Export:
    """A row of ops.exports."""

    as_of_date: date
    revision: int
    state: str
    sha256: str
    becomes_sha256: str | None


class KeptExports:
    """The exports of this warehouse; the caller holds the run lock, and `connection` commits by itself."""

    def __init__(self, connection: psycopg.Connection, exports: Path, whom: Whom, *, is_dry_run: bool) -> None:
        self._connection = connection
        self._exports = exports
        self._whom = whom
        self._is_dry_run = is_dry_run
        self.found = Found()

    def blank(self) -> Found:
        """Blanks them one by one.

        Raises:
            ExportError: a folder cannot be read or written; what is done so far is done, and another call goes on.
        """
        for export in self._recorded():
            with _in_one_sentence(self._exports / export.as_of_date.isoformat()):
                if not self._is_dry_run:
                    export = self._finish(export)
                self._blank(export)
        with _in_one_sentence(self._exports):
            if not self._is_dry_run:
                self._remove_left_over()
            self._look_for_foreign()
        return self.found

    def _recorded(self) -> list[_Export]:
        rows = self._connection.execute(
            "select as_of_date, revision, state, manifest_sha256, becomes_sha256 from ops.exports order by 1, 2"
        ).fetchall()
        return [_Export(*row) for row in rows]

    def _beside(self, export: _Export) -> Path:
        return self._exports / REVISIONS / export.as_of_date.isoformat()

    def _places(self, export: _Export, sha256: str) -> list[Path]:
        """Where it may be: where it belongs first, then wherever a killed run may have left it."""
        visible = self._exports / export.as_of_date.isoformat()
        staged = self._exports / STAGING / f"{export.as_of_date}-{sha256}"
        kept = self._beside(export)
        there = [place for place in sorted(kept.glob("*")) if not place.name.startswith((BUILT, ASIDE))]
        first = {"done": visible, "replaced": kept / str(export.revision), "intended": staged}[export.state]
        return [first, *(place for place in (staged, visible, *there) if place != first)]

    def _place(self, export: _Export, sha256: str) -> Path | None:
        return next((place for place in self._places(export, sha256) if manifest.sha256_of(place) == sha256), None)

    def _finish(self, export: _Export) -> _Export:
        """Goes on with what a killed erasure, perhaps of another borrower, has begun on this export."""
        becomes = export.becomes_sha256
        built = self._beside(export) / f"{BUILT}{export.revision}"
        if becomes is not None:
            is_nowhere = self._place(export, becomes) is None and self._place(export, export.sha256) is None
            if is_nowhere and manifest.sha256_of(built) == becomes:
                # Killed between two renames, where the file system cannot exchange.
                target = self._places(export, becomes)[0]
                built.rename(target)
                sync_folder(target.parent)
            if self._place(export, becomes) is not None:
                self._record(export, becomes)
                export = _Export(export.as_of_date, export.revision, export.state, becomes, None)
            else:
                self._announce(export, None)
        for left in (built, self._beside(export) / f"{ASIDE}{export.revision}"):
            _remove(left)
        return export

    def _announce(self, export: _Export, sha256: str | None) -> None:
        self._connection.execute(
            "update ops.exports set becomes_sha256 = %s where as_of_date = %s and revision = %s",
            [sha256, export.as_of_date, export.revision],
        )

    def _record(self, export: _Export, sha256: str) -> None:
        with self._connection.transaction():
            self._connection.execute(
                "update ops.exports set manifest_sha256 = %s, becomes_sha256 = null"
                " where as_of_date = %s and revision = %s",
                [sha256, export.as_of_date, export.revision],
            )
            if export.state != "intended":  # one that is not visible yet is recorded when it is
                record_blanked_export(self._connection, export.as_of_date, export.revision, export.sha256, sha256)

    def _blank(self, export: _Export) -> None:
        place = self._place(export, export.sha256)
        if place is None:
            self.found.missing.append(f"{export.as_of_date} revision {export.revision}")
            return
        content = manifest.read(place) or {}
        lines = self._search(export, place, content)
        to_blank = [name for name, found in lines.items() if found.blanked]
        for name in to_blank:
            self.found.lines[(place / name).relative_to(self._exports).as_posix()] = lines[name].blanked
        if not to_blank or self._is_dry_run:
            return
        built = self._beside(export) / f"{BUILT}{export.revision}"
        sha256 = self._build(place, built, to_blank, content)
        self._announce(export, sha256)
        if place.parent.name == STAGING:
            target = place.with_name(f"{export.as_of_date}-{sha256}")
            _remove(target)
            built.rename(target)
            sync_folder(target.parent)
        elif not exchange(built, place):
            aside = self._beside(export) / f"{ASIDE}{export.revision}"
            place.rename(aside)
            built.rename(place)
        sync_folder(place.parent)
        sync_folder(built.parent)
        self._record(export, sha256)
        for old in (built, self._beside(export) / f"{ASIDE}{export.revision}"):
            _remove(old)
        if place.parent.name == STAGING:
            _remove(place)

    def _search(self, export: _Export, place: Path, content: dict[str, Any]) -> dict[str, Lines]:
        found = {}
        for name, about in content.get("files", {}).items():
            if not (place / name).exists():
                self.found.missing.append((place / name).relative_to(self._exports).as_posix())
                continue
            lines = blank(place / name, self._whom)
            if lines is None:
                self.found.unsearched.append((place / name).relative_to(self._exports).as_posix())
                continue
            found[name] = lines
            if lines.named and export.state != "intended":
                self.found.handed_to.setdefault(str(about["recipient_id"]), set()).add(export.as_of_date)
        return found

    def _build(self, place: Path, built: Path, to_blank: list[str], content: dict[str, Any]) -> str:
        """The folder as it shall be, on disk; gives its manifest's hash."""
        make_folder(built.parent, self._exports)
        _remove(built)
        built.mkdir(mode=PRIVATE_FOLDER)
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place).as_posix()
            if path.is_dir():
                (built / name).mkdir(mode=PRIVATE_FOLDER)
            elif name in to_blank:
                blank(path, self._whom, built / name)
                with (built / name).open("rb") as file:
                    content["files"][name]["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            elif name not in (manifest.MANIFEST, signing.SIGNATURE):
                _link(path, built / name)
        rendered = manifest.render(content)
        with synced(built / manifest.MANIFEST) as file:
            file.write(rendered)
        signing.sign(built)
        for folder in (*(path for path in built.rglob("*") if path.is_dir()), built, built.parent):
            sync_folder(folder)
        return hashlib.sha256(rendered).hexdigest()

    def _remove_left_over(self) -> None:
        """What is staged and not meant to become visible is never read again, only rendered again."""
        meant = {f"{export.as_of_date}-{export.sha256}" for export in self._recorded() if export.state == "intended"}
        staging = self._exports / STAGING
        for left in staging.glob("*"):
            if left.name not in meant:
                _remove(left)
        for empty in (staging, *(self._exports / REVISIONS).glob("*"), self._exports / REVISIONS):
            with suppress(OSError):  # it is not there, or not empty
                empty.rmdir()

    def _look_for_foreign(self) -> None:
        ours = {export.as_of_date.isoformat() for export in self._recorded()}
        for folder in sorted(self._exports.glob("*")):
            if (folder / manifest.MANIFEST).exists() and folder.name not in ours:
                self.found.foreign.append(folder.name)


def _link(path: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system links none."""
    try:
        os.link(path, target)
    except OSError:
        with path.open("rb") as source, synced(target) as copy:
            shutil.copyfileobj(source, copy)


def _remove(path: Path) -> None:
    """Removes a folder with all that is in it; one that stays is an error here, because it names the borrower."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _in_one_sentence(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error).splitlines()[0]
        raise ExportError(
            f"Blanking the export {folder} failed: {why} ({error.filename or 'no file named'}); the database is blank "
            f"already: make room or rights there and run the same `arrears erase` again, which goes on from here."
        ) from error
