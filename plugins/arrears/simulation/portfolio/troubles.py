"""Deliveries that go wrong, made from a series of full drops: one skipped, one late, one delivered twice.

What goes wrong and what an operator does about it stands in OUT/troubles.txt.
"""

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import polars as pl

from arrears.errors import UsageError
from arrears.simulation.portfolio.drops import TIMESTAMP, Format

FEWEST_DAYS = 5
SAID = "troubles.txt"
LATE, AGAIN = "late", "again"


def check_troubles(days: Sequence[date], *, deltas: bool) -> None:
    """Refuses a series on which they cannot be shown.

    Raises:
        UsageError: it is too short, or of deltas, of which none may be missing.
    """
    if deltas:
        raise UsageError(
            "--troubles needs full drops: a delta that follows a missing one ends with 4; leave --deltas away."
        )
    if len(days) < FEWEST_DAYS:
        raise UsageError(f"--troubles needs --daily over {FEWEST_DAYS} days or more: one skipped, one twice, one late.")


def make_troubles(out: Path, days: Sequence[date], form: Format) -> list[str]:
    """Takes drops away or apart; gives a sentence for each trouble.

    The second day comes twice, at first without a third of its bookings; the third day never comes; the day before the
    last comes late.
    """
    twice, skipped, late = days[1], days[2], days[-2]
    again = out / AGAIN / twice.isoformat()
    again.parent.mkdir()
    shutil.copytree(out / twice.isoformat(), again)
    _without_a_third(out / twice.isoformat() / f"transactions.{form}", twice)
    shutil.rmtree(out / skipped.isoformat())
    (out / LATE).mkdir()
    (out / late.isoformat()).rename(out / LATE / late.isoformat())
    said = [
        f"{twice} comes twice: its first drop lacks a third of the day's bookings, the second one lies in {AGAIN}/; run"
        f" {twice} with --drop {AGAIN} and --replace REASON (--late while it is the newest day).",
        f"{skipped} never comes: a run for it ends with 4; go on with the next day, whose drop is full.",
        f"{late} comes after {days[-1]}: it lies in {LATE}/; run it with --drop {LATE}.",
    ]
    (out / SAID).write_text("\n".join(said) + "\n", encoding="utf-8")
    return said


def _without_a_third(path: Path, day: date) -> None:
    rows = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema=False)
    on = pl.col("booked_at").cast(pl.String).str.slice(0, 10)
    number = pl.int_range(pl.len()).over(on == day.isoformat())
    kept = rows.filter((on != day.isoformat()) | (number % 3 != 0))
    if path.suffix == ".parquet":
        kept.write_parquet(path)
    else:
        kept.write_csv(path, datetime_format=TIMESTAMP)
