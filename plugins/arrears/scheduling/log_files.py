"""Logs of runs in one process: to files instead of the terminal, where Airflow's UI looks for them.

Airflow writes a task's log from the process that supervises it. In one process nobody does, so all logging of this
process is sent to a file of ours, and while a task works to that task's file, in the form that the UI reads.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


class LogStream:
    """A binary stream whose file can be changed; until one is named, what is written is dropped."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self.path: Path | None = None

    def to(self, path: Path | None) -> None:
        """Goes on in another file, at its end."""
        if self._file is not None:
            self._file.close()
        self._file, self.path = None, path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab")

    def write(self, data: bytes) -> int:
        """Appends; gives the count of bytes."""
        return self._file.write(data) if self._file is not None else len(data)

    def flush(self) -> None:
        """Hands what was written to the system."""
        if self._file is not None:
            self._file.flush()


class PrintedLines(io.TextIOBase):
    """What is printed goes to a log: dbt and others print, and the terminal is for our own lines."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Appends; gives the count of characters."""
        self._stream.write(text.encode())
        return len(text)

    def flush(self) -> None:
        """Hands what was written to the system."""
        self._stream.flush()


# One for the process: structlog keeps the stream that a logger was first used with.
STREAM = LogStream()


@contextmanager
def logging_to(path: Path) -> Iterator[LogStream]:
    """Sends all logging, Airflow's and ours, and warnings to a file; afterwards logging is as it was.

    Imports Airflow: its environment must be set before.
    """
    root = logging.getLogger()
    before: tuple[list[logging.Handler], int, Any] = (root.handlers[:], root.level, warnings.showwarning)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # until they go to the file
        import airflow.settings  # noqa: F401  configures logging to the terminal, which the next call undoes
        from airflow.sdk.log import configure_logging
    configure_logging.cache_clear()
    configure_logging(json_output=True, output=STREAM)
    STREAM.to(path)
    try:
        yield STREAM
    finally:
        STREAM.to(None)
        root.handlers[:], root.level, warnings.showwarning = before
