"""A home of its own for every test; Airflow, where a test imports it, must not write into anybody's home folder."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from arrears.settings import get_settings

# Airflow reads it when it is first imported, which is before any fixture of a later test could set it.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="arrears-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty ARREARS_HOME."""
    monkeypatch.setenv("ARREARS_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()
