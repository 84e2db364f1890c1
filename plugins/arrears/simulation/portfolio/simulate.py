"""A portfolio from a number of loans, of months and a seed: block by block into drops, and the truth beside."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import yaml

from arrears.errors import UsageError
from arrears.simulation.portfolio.bookings import ledger
from arrears.simulation.portfolio.collecting import collecting
from arrears.simulation.portfolio.defects import injector
from arrears.simulation.portfolio.dice import Dice
from arrears.simulation.portfolio.drops import Drops, Format, Truth
from arrears.simulation.portfolio.events import History
from arrears.simulation.portfolio.frames import Frames
from arrears.simulation.portfolio.lending import NEW_LOANS, Block, lend, schedule
from arrears.simulation.portfolio.parameters import parameters
from arrears.simulation.portfolio.people import people
from arrears.simulation.portfolio.projects import projects
from arrears.simulation.portfolio.recipients import tables as recipients
from arrears.simulation.portfolio.repaying import repay
from arrears.simulation.portfolio.security import security
from arrears.simulation.portfolio.troubles import AGAIN, LATE, check_troubles, make_troubles
from arrears.simulation.portfolio.truth import truth
from arrears.simulation.portfolio.watching import watching
from arrears.simulation.portfolio.world import Calendar, World, make_world

BLOCK_LOANS = 20_000
FEWEST_LOANS, MOST_LOANS = 100, 20_000_000
FEWEST_MONTHS, MOST_MONTHS = 6, 120
LONGEST_DAYS = 366
PERIOD_DAYS = 30  # loans after the anchor are granted in portions of so many days
NEW_LOANS_A_PERIOD = 1_000_000
LENDER_STEP = 7_919  # between the seeds of two lenders' borrowers
LENDERS = ("north", "south", "east", "west")
MARK = "simulation.yml"
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What one portfolio is made of; the same one gives the same bytes.

    Attributes:
        loans: granted by the anchor.
        months: of history before the anchor.
        seed: of every draw.
        anchor: the day around which it is built; loans go on being granted after it.
        lender: further lenders of one world have the same cycle, rates and agencies, other borrowers, and the same
            keys.
    """

    loans: int
    months: int
    seed: int
    anchor: date
    lender: int = 0

    def check(self) -> None:
        """Refuses numbers that make no portfolio.

        Raises:
            UsageError: says which and why.
        """
        if not FEWEST_LOANS <= self.loans <= MOST_LOANS:
            raise UsageError(
                f"--loans {self.loans}: between {FEWEST_LOANS} and {MOST_LOANS:,}, for every product to be there."
            )
        if not FEWEST_MONTHS <= self.months <= MOST_MONTHS:
            raise UsageError(f"--months {self.months}: between {FEWEST_MONTHS} and {MOST_MONTHS} months of history.")


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was written: rows of the last day by table, and where."""

    folder: Path
    days: tuple[date, ...]
    rows: Mapping[str, int]
    defects: int = 0
    troubles: tuple[str, ...] = ()


def days_from(first: date, last: date) -> list[date]:
    """Every day, both ends included.

    Raises:
        UsageError: they are no series.
    """
    if not timedelta(0) <= last - first < timedelta(days=LONGEST_DAYS):
        raise UsageError(f"--daily {first} {last}: no series of 1 to {LONGEST_DAYS} days; give a first and a last day.")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def world_of(portfolio: Portfolio, last: date) -> World:
    """The surroundings up to a day."""
    calendar = Calendar.of(portfolio.anchor, last, portfolio.months)
    world = make_world(calendar, Dice(portfolio.seed), parameters())
    return replace(world, dice=Dice(portfolio.seed + LENDER_STEP * portfolio.lender))


def _periods(world: World) -> int:
    """How many portions of loans are granted after the anchor."""
    return -(-int((world.calendar.last - world.calendar.anchor).astype(np.int64)) // PERIOD_DAYS)


def _a_period(portfolio: Portfolio) -> int:
    return max(1, round(portfolio.loans / portfolio.months))


def progress(world: World, portfolio: Portfolio, report: Report) -> Callable[[int], None]:
    """A function to be told how many loans are done."""
    total = portfolio.loans + _periods(world) * _a_period(portfolio)
    return lambda done: report(f"{done:,} of {total:,} loans")


def blocks(world: World, portfolio: Portfolio) -> Iterator[Block]:
    """The portfolio in blocks: the loans granted by the anchor, then those of each month after it."""
    for first in range(0, portfolio.loans, BLOCK_LOANS):
        yield lend(world, np.arange(first, min(first + BLOCK_LOANS, portfolio.loans)))
    a_period = _a_period(portfolio)
    for period in range(_periods(world)):
        begin = world.calendar.anchor + 1 + period * PERIOD_DAYS
        start = NEW_LOANS + period * NEW_LOANS_A_PERIOD
        for first in range(0, a_period, BLOCK_LOANS):
            numbers = start + np.arange(first, min(first + BLOCK_LOANS, a_period))
            yield lend(world, numbers, granted=(begin, begin + PERIOD_DAYS - 1))


def tables_of(world: World, block: Block) -> tuple[Frames, Frames, History]:
    """The contract's tables of a block, its truth, and what happened."""
    plan = schedule(block, world.calendar.months)
    history = repay(world, block, plan)
    frames = {
        **people(world, block),
        **ledger(world, block, plan, history),
        **projects(world, block, history),
        **security(world, block, history),
        **watching(world, block, history),
        **collecting(world, block, history),
    }
    return frames, truth(world, block, plan, history), history


def common_tables(world: World, portfolio: Portfolio) -> Frames:
    """Tables that belong to no block."""
    return {**world.frames, **recipients(world, portfolio.loans)}


def simulate(
    portfolio: Portfolio,
    out: Path,
    *,
    days: Sequence[date],
    form: Format = "csv",
    deltas: bool = False,
    defects: Sequence[str] = (),
    troubles: bool = False,
    report: Report = lambda _: None,
) -> Simulated:
    """Writes the drops of some days below a folder, and the truth into OUT/truth.

    Args:
        portfolio: what is simulated.
        out: made if missing; an earlier simulation in it is replaced.
        days: consecutive; the first drop is full.
        form: of the files.
        deltas: whether the drops after the first hold only what changed.
        defects: KIND or KIND:RATE, each injected into the last day's drop.
        troubles: whether one drop is skipped, one late and one delivered twice (`troubles`).
        report: told how far it is.

    Raises:
        UsageError: a number, a defect or the folder cannot be used.
        OSError: the folder cannot be written.
    """
    portfolio.check()
    spoiler = injector(defects, portfolio.seed, form)
    if troubles:
        check_troubles(days, deltas=deltas)
    prepare(out)
    (out / MARK).write_text(yaml.safe_dump(
        {"loans": portfolio.loans, "months": portfolio.months, "seed": portfolio.seed, "anchor": portfolio.anchor,
         "days": [days[0], days[-1]], "deltas": deltas, "defects": list(defects)}, sort_keys=False
    ), encoding="utf-8")  # fmt: skip
    world = world_of(portfolio, days[-1])
    drops = Drops(out, list(days), form=form, deltas=deltas, spoil=spoiler.spoil if defects else None)
    kept = Truth(out / "truth")
    drops.add(common_tables(world, portfolio))
    done, told = 0, progress(world, portfolio, report)
    for block in blocks(world, portfolio):
        frames, known, _ = tables_of(world, block)
        drops.add(frames)
        kept.add(known)
        done += len(block)
        told(done)
    rows = drops.close()
    spoiler.spoil_files(days[-1], out / days[-1].isoformat())
    injected = spoiler.recorded()
    kept.add({"injected_defects": injected})
    kept.close()
    said = make_troubles(out, days, form) if troubles else []
    return Simulated(folder=out, days=tuple(days), rows=rows, defects=len(injected), troubles=tuple(said))


def prepare(out: Path) -> None:
    """An empty folder; what an earlier simulation left in it is removed, nothing else ever is.

    Raises:
        UsageError: the folder holds something else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder.")
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARK).is_file():
            raise UsageError(
                f"--out {out} holds something that is no simulation (no {MARK} in it); name another folder."
            )
        for path in sorted(out.iterdir()):
            if path.is_dir() and (path.name in ("truth", LATE, AGAIN) or _is_day(path.name)):
                shutil.rmtree(path)
    out.mkdir(parents=True, exist_ok=True)


def _is_day(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False
