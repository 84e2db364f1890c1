"""Past days as they were known then and as they are known now: history, loan_delinquency_at() and the corrections."""

import random
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import pytest
from psycopg import sql

from arrears import steps, warehouse
from arrears.transform import dbt, publishing
from tests.conftest import Workplace
from tests.oracle.delinquency_days import (
    CELLS,
    SHOWN,
    build,
    delinquency,
    differences,
    histories,
    loans_held_back,
    rows,
    take_in,
    wrong_histories,
    wrong_month_ends,
)
from tests.oracle.delinquency_replay import ONE_DAY, Loan, Replayed, Row
from tests.oracle.lender import Drop, Known, Lender, key_of, write
from tests.oracle.random_loans import a_random_loan, tables_of

FIRST = date(2026, 1, 28)
SIZES = [(1, 5, 40), *(pytest.param(*size, marks=pytest.mark.slow) for size in ((2, 14, 250), (3, 14, 250)))]
READING = ("days_past_due", "days_delinquent", "arrears_amount")
NOTHING: tuple[object, ...] = (0, 0, 0)
NONE: tuple[object, ...] = (None, None, None)


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


@dataclass(slots=True)
class Exported:
    """Days that went out, with the rows of loan_delinquency that were built for each."""

    known: Known
    replayed: Replayed
    days: dict[date, dict[str, Row]] = field(default_factory=dict)
    queued: dict[date, set[str]] = field(default_factory=dict)
    corrected: set[tuple[date, str]] = field(default_factory=set)


def run_days(workplace: Workplace, folder: Path, seed: int, day_count: int, loan_count: int) -> Exported:
    """Consecutive days of a lender's books, each built and said to be exported."""
    last = FIRST + timedelta(day_count - 1)
    lender = Lender(seed, loan_count, FIRST, last)
    exported = Exported(Known(), Replayed(last + timedelta(30)))
    for number in range(day_count):
        day = FIRST + timedelta(number)
        drop = lender.turn(day, loan_count // 3 if number else 0)
        take_in(write(folder / str(number), drop), day)
        exported.known.take_in(day, drop)
        assert loans_held_back(workplace, day) == exported.known.held_back(day), day
        build(day, "delinquency_corrections")
        check_corrections(workplace, exported, day)
        exported.days[day] = delinquency(workplace)
        say_exported(exported, day, number + 1)
    return exported


def say_exported(exported: Exported, day: date, number: int) -> None:
    """Puts a day's corrections and a queue of every second loan into the marts, and the day among those exported."""
    loans = sorted(exported.days[day])[::2]
    with warehouse.connect(day) as connection:
        (corrections,) = (mart for mart in publishing.marts(dbt.manifest()) if mart.name == "delinquency_corrections")
        columns = sql.SQL(", ").join(map(sql.Identifier, corrections.columns))
        connection.execute(
            sql.SQL("insert into {} ({}) select {} from {}").format(
                corrections.table, columns, columns, corrections.built
            )
        )
        connection.execute(
            "insert into marts.collection_queue (as_of_date, recipient_id, loan_id, party_borrower_id)"
            " select %s, 'early', loan_id, 'B' from unnest(cast(%s as text [])) as loans (loan_id)",
            [day, loans],
        )
        connection.execute(
            "insert into ops.exports"
            " (as_of_date, revision, state, manifest_sha256, code_version, run_id, export_number)"
            " values (%s, 1, 'done', '', '', 'test', %s)",
            [day, number],
        )
    exported.queued[day] = set(loans)


def check_corrections(workplace: Workplace, exported: Exported, day: date) -> None:
    """The loan-days that went out and read otherwise by what is known since the day before, no more and no fewer.

    A loan without a state on a day has nothing past due then; a state that is lost is told all the same, and one
    that comes back after such a loss was told.
    """
    expected = {}
    now, before = exported.known.loans(day), exported.known.loans(day - ONE_DAY)
    for earlier, then in exported.days.items():
        for loan_id in now.keys() | before.keys():
            read_now = reading(exported, now.get(loan_id), earlier)
            read_before = reading(exported, before.get(loan_id), earlier)
            is_lost = read_before is not None and read_now is None
            is_back = read_before is None and read_now is not None and (earlier, loan_id) in exported.corrected
            if is_lost or is_back or (read_now or NOTHING) != (read_before or NOTHING):
                row = then.get(loan_id)
                read_then = tuple(row[cell] for cell in READING) if row else None
                is_queued = loan_id in exported.queued[earlier]
                expected[earlier, loan_id] = is_queued, read_then or NONE, read_now or NONE
    made = {
        (row["as_of_date"], row["loan_id"]): (
            row["was_exported"],
            tuple(row[cell] for cell in ("days_past_due_then", "days_delinquent_then", "arrears_then_amount")),
            tuple(row[cell] for cell in ("days_past_due_now", "days_delinquent_now", "arrears_now_amount")),
        )
        for row in rows(workplace, "select * from working.delinquency_corrections where known_on = %s", day)
    }
    wrong = [
        f"{loan_id} on {earlier}: {made.get((earlier, loan_id))}, expected {expected.get((earlier, loan_id))}"
        for earlier, loan_id in sorted(made.keys() | expected.keys())
        if made.get((earlier, loan_id)) != expected.get((earlier, loan_id))
    ]
    assert wrong[:SHOWN] == [], f"known on {day}"
    exported.corrected |= made.keys()


def reading(exported: Exported, loan: Loan | None, day: date) -> tuple[object, ...] | None:
    row = exported.replayed.life(loan).get(day) if loan else None
    return tuple(row[cell] for cell in READING) if row else None


@pytest.mark.parametrize(
    ("seed", "loan_count"),
    [(1, 150), *[pytest.param(seed, 1500, marks=pytest.mark.slow) for seed in (2, 3)]],
)
def test_the_history_has_every_day_of_every_loans_life(
    workplace: Workplace, tmp_path: Path, seed: int, loan_count: int
) -> None:
    """From one drop: no gap, no day twice, neighbours differ, and only what is so on the last day is still so."""
    chance = random.Random(seed)  # noqa: S311
    loans = [a_random_loan(chance, number, FIRST) for number in range(loan_count)]
    drop = Drop({table: {key_of(table, row): row for row in found} for table, found in tables_of(loans).items()})
    take_in(write(tmp_path, drop), FIRST)
    known = Known()
    known.take_in(FIRST, drop)
    assert workplace.rows("select reason, loan_id from quarantine.rows") == []
    replayed = Replayed(FIRST)

    for day in (FIRST, FIRST - timedelta(100)):
        build(day)

        made = histories(workplace)
        assert wrong_histories(made, known.loans(day), replayed, day) == [], f"seed {seed}, {day}"
        assert wrong_month_ends(workplace, known.loans(day), replayed, day) == [], f"seed {seed}, {day}"
        assert sum(len(stretches) for stretches in made.values()) > 3 * len(made) > loan_count
    before = workplace.rows(
        "select loan_id from working.loan_delinquency_history where is_reconstructed <> (valid_from < %s)", FIRST
    )
    assert before == []


@pytest.mark.parametrize(("seed", "day_count", "loan_count"), SIZES)
def test_past_days_can_be_asked_for_as_known_then_and_as_known_since(
    workplace: Workplace, tmp_path: Path, seed: int, day_count: int, loan_count: int
) -> None:
    exported = run_days(workplace, tmp_path, seed, day_count, loan_count)
    assert len(exported.corrected) > loan_count // 4
    chance = random.Random(seed)  # noqa: S311
    first, last = min(exported.days), max(exported.days)

    def at(as_of: date, known_on: date) -> dict[str, Row]:
        return delinquency(workplace, "marts.loan_delinquency_at(%s, %s)", as_of, known_on)

    for day, made in exported.days.items():
        fixed = [*CELLS, "as_of_date", "held_back_reason"]
        assert differences(at(day, day), made, fixed) == [], f"seed {seed}, {day} as known then"
    with workplace.connect(role="bi") as reader:
        told = reader.execute("select count(*) from marts.loan_delinquency_at(%s)", [last]).fetchone()
        assert told == (len(exported.days[last]),)
    history = histories(workplace)
    for day in sorted(chance.sample([first - timedelta(n) for n in range(-day_count + 1, 500)], 8)):
        read = {loan_id: (row["oldest_unpaid_due_on"], row["arrears_amount"]) for loan_id, row in at(day, last).items()}
        kept = {
            loan_id: (stretch.oldest_unpaid_due_on, stretch.arrears_amount)
            for loan_id, stretches in history.items()
            for stretch in stretches
            if stretch.valid_from <= day and (stretch.valid_to is None or day <= stretch.valid_to)
        }
        assert read == kept, f"seed {seed}, {day} as known on {last}"
    for _ in range(12):
        day = first - timedelta(chance.randint(-day_count - 20, 500))
        known_on = first + timedelta(chance.randint(-100, day_count - 1))
        expected = exported.replayed.rows(exported.known.loans(known_on), day)
        cells = [cell for cell in CELLS if cell != "is_held_back"]
        assert differences(at(day, known_on), expected, cells) == [], f"seed {seed}, {day} as known on {known_on}"
