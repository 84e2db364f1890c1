"""Files and folders that survive a power cut, and one sentence where they cannot be written.

They hold names, telephone numbers and addresses, so they are made for their owner's eyes alone, whatever the umask.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from arrears.errors import ExportError

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


@contextmanager
def synced(path: Path) -> Iterator[BinaryIO]:
    """A new file to write that only its owner may read, on disk when the block ends."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE)) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sha256_of(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Puts a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, exports: Path) -> None:
    """Makes a folder below the exports with what is missing above it, their entries on disk.

    The exports folder and all below are made for their owner alone; what stands already keeps its mode, and what is
    missing above the exports gets that of the process.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        is_ours = path == exports or exports in path.parents
        path.mkdir(mode=PRIVATE_FOLDER if is_ours else 0o777, exist_ok=True)
        sync_folder(path.parent)


def remove(path: Path) -> None:
    """Removes a file, or a folder and all in it; that it is gone already, or cannot go, is no fault here."""
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def in_one_sentence(folder: Path, doing: str) -> Iterator[None]:
    """Turns what the operating system says into an ExportError: what could not be done, where, and why."""
    try:
        yield
    except OSError as error:
        # Arrow raises OSErrors without a strerror.
        why = error.strerror or str(error).splitlines()[0]
        raise ExportError(
            f"{doing} {folder} failed: {why}; nothing became visible and earlier exports are as they were: "
            f"make room or rights there and run the date again."
        ) from error
