"""What is kept from day to day equals what a plain replay says, and what a build from nothing makes of the same day.

A lender's books change a little every day, with bookings that reach years back, late schedules, pauses and charges,
terms that change, loans that are deleted and rows that break and are mended; days are left out, delivered late or
again, an earlier day is built once more, and builds are killed in the middle.
"""

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import steps, warehouse
from arrears.errors import TransformError
from arrears.warehouse.embedded import Server
from tests.conftest import DATABASE, Workplace, url
from tests.oracle.delinquency_days import (
    build,
    delinquency,
    differences,
    held_back,
    histories,
    kept_models,
    loans_held_back,
    take_in,
    wrong_histories,
    wrong_month_ends,
)
from tests.oracle.delinquency_replay import Replayed
from tests.oracle.lender import Drop, Known, Lender, loans_of, write, write_delta

FIRST = date(2026, 1, 28)
TABLES = ("loan_delinquency", "loan_delinquency_history", "int_delinquency__month_ends")


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


@dataclass(slots=True)
class Days:
    """The days of a lender in a warehouse, and what is known of them."""

    workplace: Workplace
    server: Server
    folder: Path
    lender: Lender
    replayed: Replayed
    known: Known = field(default_factory=Known)
    drops: dict[date, Drop] = field(default_factory=dict)
    number: int = 0

    def deliver(self, day: date, drop: Drop, *, is_delta: bool = False, replace: str | None = None) -> None:
        """Takes a drop in."""
        self.number += 1
        folder = self.folder / str(self.number)
        before = self.drops[max(on for on in self.drops if on < day)] if is_delta else None
        brought = write_delta(folder, before, drop) if before else None
        if not is_delta:
            write(folder, drop)
        take_in(folder, day, replace=replace)
        self.known.take_in(day, drop, brought)
        self.drops[day] = drop

    def compare(self, day: date, what: str) -> None:
        """Every loan's row, every day of its life and every month end, against the replay of what is known."""
        loans = self.known.loans(day)
        assert loans_held_back(self.workplace, day) == self.known.held_back(day), f"{day}, {what}"
        expected = held_back(self.replayed.rows(loans, day), self.known.held_back(day))
        assert differences(delinquency(self.workplace), expected) == [], f"{day}, {what}"
        assert wrong_histories(histories(self.workplace), loans, self.replayed, day) == [], f"{day}, {what}"
        wrong = "select loan_id from working.loan_delinquency_history where is_reconstructed <> (valid_from < %s)"
        assert self.workplace.rows(wrong, min(self.drops)) == [], f"{day}, {what}"
        assert wrong_month_ends(self.workplace, loans, self.replayed, day) == [], f"{day}, {what}"
        assert len(expected) > 10

    def compare_with_rebuild(self, day: date, what: str) -> None:
        """Every row of the kept tables against a build from nothing, which leaves no trace in them."""
        made = self._everything()
        with a_copy(self.server):
            build(day, anew=True)
            rebuilt = self._everything()
        for table in TABLES:
            assert made[table] - rebuilt[table] == set(), f"{day}, {what}: {table}"
            assert rebuilt[table] - made[table] == set(), f"{day}, {what}: {table}"

    def _everything(self) -> dict[str, set[tuple[object, ...]]]:
        found = {}
        for table in TABLES:
            rows = self.workplace.rows(f"select * from working.{table}")
            found[table] = set(rows)
            assert len(found[table]) == len(rows)
        return found


@contextmanager
def a_copy(server: Server) -> Iterator[None]:
    """A copy of the test's warehouse in its place; the warehouse comes back as it was."""
    kept = sql.Identifier(f"{DATABASE}_kept")
    own = sql.Identifier(DATABASE)
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [DATABASE])
        admin.execute(sql.SQL("alter database {} rename to {}").format(own, kept))
        try:
            admin.execute(sql.SQL("create database {} template {}").format(own, kept))
            yield
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(own))
            admin.execute(sql.SQL("alter database {} rename to {}").format(kept, own))


def kill_a_build(day: date, model: str) -> None:
    """Begins to build a day and ends its session in the middle, where it wants to change a model's table."""
    is_over = threading.Event()

    def kill_who_waits() -> None:
        with warehouse.connect(role="admin", autocommit=True) as admin:
            while not is_over.wait(0.02):
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
                    " and datname = current_database() and usename = 'arrears_pipeline'"
                )

    with warehouse.connect(role="admin") as holder:
        holder.execute(sql.SQL("lock table {} in share mode").format(sql.Identifier("working", model)))
        killer = threading.Thread(target=kill_who_waits)
        killer.start()
        try:
            with pytest.raises(TransformError):
                build(day)
        finally:
            is_over.set()
            killer.join()


def between(chance: random.Random, one: Drop, other: Drop) -> Drop:
    """Books that lie between two others: every loan as the one or the other has it."""
    loans = loans_of(one.tables).keys() | loans_of(other.tables).keys()
    chosen = {loan: chance.choice((one, other)) for loan in sorted(loans)}
    tables = {
        table: {
            key: row
            for drop in (one, other)
            for key, row in drop.tables[table].items()
            if table == "borrowers" or chosen[str(row["loan_id"])] is drop
        }
        for table in one.tables
    }
    broken = {place: loan for drop in (one, other) for place, loan in drop.broken.items() if chosen.get(loan) is drop}
    return Drop(tables, broken)


def without(drop: Drop, loans: Sequence[str]) -> Drop:
    """Books in which some loans are not there."""
    tables = {
        table: {key: row for key, row in rows.items() if table == "borrowers" or row["loan_id"] not in loans}
        for table, rows in drop.tables.items()
    }
    return Drop(tables, {place: loan for place, loan in drop.broken.items() if loan not in loans})


@pytest.mark.parametrize(
    ("seed", "day_count", "loan_count", "rebuilt_share"),
    [(1, 6, 30, 0.2), *(pytest.param(seed, 60, 120, 0.3, marks=pytest.mark.slow) for seed in (2, 3))],
)
def test_what_is_kept_equals_a_replay_and_a_build_from_nothing(
    workplace: Workplace,
    server: Server,
    tmp_path: Path,
    seed: int,
    day_count: int,
    loan_count: int,
    rebuilt_share: float,
) -> None:
    chance = random.Random(seed)  # noqa: S311
    lender = Lender(seed, loan_count, FIRST, FIRST + timedelta(2 * day_count))
    days = Days(workplace, server, tmp_path, lender, Replayed(FIRST + timedelta(4 * day_count)))
    day = FIRST
    done: Counter[str] = Counter()

    def check(on: date, what: str) -> None:
        days.compare(on, f"seed {seed}, {what}")
        done[what] += 1
        if chance.random() < rebuilt_share:
            days.compare_with_rebuild(on, f"seed {seed}, {what}")
            done["rebuilt"] += 1

    days.deliver(day, lender.turn(day, 0))
    build(day)
    check(day, "first")
    # What happens beside the next day's drop; at least once each, also in a few days.
    beside = ["killed and gone on", "earlier", "late", "again", "before the first", "killed", "nothing"]
    plan = [beside[n] if n < len(beside) else chance.choice(beside) for n in range(day_count - 1)]
    chance.shuffle(plan)
    for what in plan:
        before = day
        day += timedelta(2 if what == "late" else chance.choice([1, 1, 1, 2, 3]))
        is_delta = what not in ("late", "again") and chance.random() < 0.4
        days.deliver(day, lender.turn(day, loan_count // 4), is_delta=is_delta)
        if what.startswith("killed"):
            kill_a_build(day, chance.choice(kept_models()))
        if what == "killed and gone on":
            day += timedelta(1)
            days.deliver(day, lender.turn(day, loan_count // 8))
        build(day)
        check(day, "delta" if is_delta else "full")
        if what == "earlier":
            earlier = FIRST + timedelta(chance.randint(-40, (day - FIRST).days - 1))
            build(earlier)
            check(earlier, what)
            build(day)
            check(day, "forward again")
        if what == "late":
            missed = before + timedelta(1)
            days.deliver(missed, between(chance, days.drops[before], days.drops[day]))
            if chance.random() < 0.5:
                build(missed)
                check(missed, what)
            build(day)
            check(day, "after a late one")
        if what == "before the first":
            missed = min(days.drops) - timedelta(3)
            earlier_books = between(chance, days.drops[FIRST], days.drops[day])
            days.deliver(missed, without(earlier_books, chance.sample(sorted(loans_of(earlier_books.tables)), 4)))
            build(day)
            check(day, "after one before the first")
        if what == "again":
            days.deliver(day, lender.turn(day, loan_count // 4))
            build(day)
            check(day, what)
    assert done["rebuilt"] > 0
    assert {"earlier", "forward again", "after a late one", "after one before the first", "again"} <= done.keys()
