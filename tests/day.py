"""Runs the steps of a day in this process, as the DAG's tasks do, without Airflow's seconds of start."""

from datetime import date
from pathlib import Path
from typing import Any

from arrears import steps
from arrears.orchestration import STEPS


def run_day(drop: Path | None, as_of: date, *, source: str = "contract", replace: str | None = None) -> dict[str, Any]:
    """All steps of a date in order; gives their counts by step."""
    done = {}
    for name in STEPS:
        done[name] = run_step(name, as_of, drop=drop, source=source, replace=replace)
    return done


def run_step(
    name: str, as_of: date, *, drop: Path | None = None, source: str | None = None, replace: str | None = None
) -> Any:
    """One step of a date."""
    return steps.run(name, as_of, run_id=f"test-{as_of}", source=source, drop=drop, replace=replace)


def bytes_below(folder: Path) -> dict[str, bytes]:
    """Every file's content, by its path below the folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
