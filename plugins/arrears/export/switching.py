"""Makes a staged export visible by one atomic switch, and keeps the revision that it replaces.

    EXPORTS/AS_OF/                      what everybody sees, whole or not at all
    EXPORTS/.staging/AS_OF-<sha256>/    rendered, not visible
    EXPORTS/.revisions/AS_OF/<n>/       revision n, replaced

A replacement is first moved to where the old revision will be kept, then the two change places in one system call
(renameat2 with RENAME_EXCHANGE). Whatever moment the process dies at, one of the three places holds the wanted export
and the next call goes on from there. Where a file system cannot exchange, the old one is moved away and the new one
moved in: for that moment, and after a crash in it until the next call, nothing is visible for the date.
"""

import ctypes
import errno
import os
from datetime import date
from pathlib import Path

from arrears.errors import AlreadyExported, ExportError
from arrears.export import manifest, signing
from arrears.export.staging import REVISIONS, STAGING, StagedExport
from arrears.export.writing import in_one_sentence, make_folder, remove, sha256_of, sync_folder, synced
from arrears.settings import Settings

AT_FDCWD = -100  # <fcntl.h>: paths are relative to the working folder
RENAME_EXCHANGE = 2  # <linux/fs.h>
CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


def differences(staged: StagedExport, exported_folder: Path) -> list[str]:
    """Names of files whose bytes differ, are missing or are too many in the visible export.

    A manifest that differs in nothing but the code version counts as the same: other code that gives the same queues
    leaves the export, and the record of the code that made it, as they are. So does its signature, which says who
    vouches for the bytes and is none of them.
    """
    made = set(staged.files)
    there = _files(exported_folder)
    differing = made ^ there
    for name in made & there:
        if sha256_of(staged.folder / name) != sha256_of(exported_folder / name) and not (
            name == manifest.MANIFEST and _without_code(staged.folder) == _without_code(exported_folder)
        ):
            differing.add(name)
    return sorted(differing)


def changed_since(exported_folder: Path, manifest_sha256: str) -> list[str]:
    """Names of files of a visible export that are not what was exported: changed, missing or too many.

    Args:
        exported_folder: EXPORTS/AS_OF.
        manifest_sha256: the hash of its manifest, as ops.exports has it.
    """
    if manifest.sha256_of(exported_folder) != manifest_sha256:
        return [manifest.MANIFEST]  # nothing that it says of the others counts
    told = (manifest.read(exported_folder) or {}).get("files", {})
    there = _files(exported_folder) - {manifest.MANIFEST}
    changed = {name for name in told.keys() & there if sha256_of(exported_folder / name) != told[name]["sha256"]}
    return sorted(changed | (told.keys() ^ there))


def renew_signature(settings: Settings, as_of_date: date, manifest_sha256: str) -> bool:
    """Puts the present key's signature beside a visible manifest that has none of it; False where nothing is changed.

    Without a key the signature that stands there stays.
    """
    visible = settings.exports / as_of_date.isoformat()
    if manifest.sha256_of(visible) != manifest_sha256:
        return False
    there = visible / signing.SIGNATURE
    made = signing.signature((visible / manifest.MANIFEST).read_bytes())
    if made is None or (there.is_file() and there.read_bytes() == made):
        return False
    beside = settings.exports / STAGING / f"{as_of_date}.signature"
    with in_one_sentence(visible, "Signing the export"):
        make_folder(beside.parent, settings.exports)
        beside.unlink(missing_ok=True)
        with synced(beside) as file:
            file.write(made)
        beside.rename(there)
        sync_folder(visible)
    _remove_if_empty(beside.parent)
    return True


def is_foreign(staged: StagedExport) -> bool:
    """Whether another export stands where that of a date that this warehouse never exported would become visible.

    Asked before publishing, for a date that is not done in ops.exports: another warehouse with the same
    ARREARS_EXPORTS, or this one before it was restored, made what stands there. --replace cannot replace it, because
    there is no revision to keep. The same bytes are nobody's but this date's.
    """
    visible = staged.exports / staged.as_of_date.isoformat()
    return visible.exists() and (
        manifest.sha256_of(visible) != staged.manifest_sha256 or bool(differences(staged, visible))
    )


def find_staged(as_of_date: date, manifest_sha256: str, settings: Settings) -> StagedExport:
    """The export that publishing meant to make visible, wherever a crash has left it.

    Raises:
        ExportError: it is nowhere any more.
    """
    exports = settings.exports
    staging = exports / STAGING / f"{as_of_date}-{manifest_sha256}"
    kept = exports / REVISIONS / str(as_of_date)
    places = [staging, exports / str(as_of_date), *(sorted(kept.iterdir()) if kept.is_dir() else ())]
    for place in places:
        if manifest.sha256_of(place) == manifest_sha256:
            names = (*(manifest.read(place) or {}).get("files", {}), manifest.MANIFEST)
            return StagedExport(as_of_date, exports, staging, manifest_sha256, tuple(names))
    raise ExportError(
        f"The export of {as_of_date} that was staged in {staging} is gone: "
        f"run `arrears step publish --as-of {as_of_date}` to render it again."
    )


def make_visible(staged: StagedExport, replace_revision: int | None) -> None:
    """Switches the staged export to EXPORTS/AS_OF; called again after a crash, goes on from where that was.

    Args:
        staged: what `stage` rendered or `find_staged` found.
        replace_revision: the number of the visible revision that is replaced and kept; None: the date is new.

    Raises:
        AlreadyExported: a foreign export of the date is visible.
        ExportError: the folders cannot be renamed; what was visible still is.
    """
    visible = staged.exports / staged.as_of_date.isoformat()
    with in_one_sentence(staged.exports, "Switching the export in"):
        # Of the same manifest with files edited by hand, the staged one takes the place.
        if changed_since(visible, staged.manifest_sha256):
            if not visible.exists():
                _put_in_place(staged, visible, replace_revision)
            elif replace_revision is None:
                raise AlreadyExported(
                    f"{visible} holds an export of {staged.as_of_date} that this warehouse did not make, and nothing "
                    f"was replaced: move that folder away, or set ARREARS_EXPORTS to another folder."
                )
            else:
                _replace(staged, visible, replace_revision)
            sync_folder(staged.exports)
    discard(staged)


def discard(staged: StagedExport) -> None:
    """Removes what is staged for the date."""
    staging = staged.exports / STAGING
    for left in staging.glob(f"{staged.as_of_date}[-.]*"):
        remove(left)
    _remove_if_empty(staging)


def _remove_if_empty(staging: Path) -> None:
    if staging.is_dir() and not any(staging.iterdir()):
        staging.rmdir()


def _files(folder: Path) -> set[str]:
    """The names of an export's files, without the signature."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return there - {signing.SIGNATURE}


def _put_in_place(staged: StagedExport, visible: Path, replace_revision: int | None) -> None:
    kept = _kept(staged, replace_revision) if replace_revision is not None else None
    waits_in_revisions = kept is not None and manifest.sha256_of(kept) == staged.manifest_sha256
    source = kept if kept is not None and waits_in_revisions else staged.folder
    source.rename(visible)
    sync_folder(source.parent)


def _replace(staged: StagedExport, visible: Path, replace_revision: int) -> None:
    kept = _kept(staged, replace_revision)
    make_folder(kept.parent, staged.exports)
    if manifest.sha256_of(kept) != staged.manifest_sha256:
        # What stands there while its own revision is still visible is a replacement that never became visible.
        remove(kept)
        staged.folder.rename(kept)
        sync_folder(kept.parent)
    if not exchange(kept, visible):
        kept.rename(staged.folder)
        visible.rename(kept)
        staged.folder.rename(visible)
    sync_folder(kept.parent)


def _kept(staged: StagedExport, revision: int) -> Path:
    return staged.exports / REVISIONS / staged.as_of_date.isoformat() / str(revision)


def exchange(one: Path, other: Path) -> bool:
    """Lets two folders change places in one step; False where the system or the file system cannot.

    Raises:
        OSError: it can, but not these two.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _without_code(folder: Path) -> dict[str, object] | None:
    content = manifest.read(folder)
    return {key: value for key, value in content.items() if key != "code_version"} if content is not None else None
