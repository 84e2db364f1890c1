"""A home of a test's own, and the program called on it as people call it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tests.day import bytes_below

ARREARS = Path(sys.executable).with_name("arrears")


@dataclass(frozen=True)
class Home:
    """One ARREARS_HOME with settings of its own, and nothing of the caller's beside them."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def exports(self) -> Path:
        """Where its exports appear."""
        return self.folder / "exports"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of its processes."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ARREARS_", "AIRFLOW"))}
        return kept | {"ARREARS_HOME": str(self.folder)} | dict(self.settings) | more

    def arrears(
        self, *arguments: object, seconds: float = 600, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        """Runs the program to its end."""
        return subprocess.run(
            [str(ARREARS), *map(str, arguments)],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def exported(self, day: date) -> dict[str, bytes]:
        """The files of a day's export by name."""
        return bytes_below(self.exports / day.isoformat())


@contextmanager
def a_home() -> Iterator[Home]:
    """A home that the server's user can reach; stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="arrears-e2e-"))
    folder.chmod(0o755)
    home = Home(folder)
    try:
        yield home
    finally:
        home.arrears("stop", seconds=120)
        shutil.rmtree(folder)
