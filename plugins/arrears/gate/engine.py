"""Great Expectations, imported once a process, without its telemetry, its logs and its progress bars."""

import importlib.util
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from typing import Any

from arrears.settings import CHECKOUT

EXPECTATIONS = CHECKOUT / "expectations"


@cache
def load() -> Any:
    """Imports Great Expectations (6 to 12 s, the first time) and makes the package `expectations` importable."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with quiet():
        import great_expectations
    _make_importable()
    return great_expectations


@contextmanager
def quiet() -> Iterator[None]:
    """Great Expectations tells at length what it does, under Airflow's logging in hundreds of lines."""
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Fetching rows shows a bar that no setting turns off; it is drawn on stderr. Errors are exceptions, not lost."""
    with redirect_stderr(io.StringIO()):
        yield


def _make_importable() -> None:
    """The suites stand in the checkout's top folder, which is not on the path: others' folders there must not be."""
    if "expectations" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "expectations", EXPECTATIONS / "__init__.py", submodule_search_locations=[str(EXPECTATIONS)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["expectations"] = module
    spec.loader.exec_module(module)
