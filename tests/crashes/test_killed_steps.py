"""Killed at any moment, the day is run again and is as if nothing had happened."""

from collections.abc import Iterator, Sequence

import pytest

from arrears.orchestration import STEPS
from tests.crashes.killing import CrashHome, Killed, Point, a_crash_home, points
from tests.crashes.portfolio import FIRST, SECOND, write_days
from tests.day import bytes_below

SEED = 20260401
# A step that is run again takes as long as the first time: who waits for a lock that nobody holds, waits longer.
SOON_SECONDS = 60

SAMPLE = (
    Point("assign_agencies", "worker", 0.5),
    Point("build_queues", "postmaster", 0.5),
    Point("publish", "worker", moment="the export is staged"),
    Point("export_queues", "worker", moment="the export is visible"),
)
NAMED = (
    Point("extract", "worker", moment="the step begins"),
    Point("extract", "worker", moment="the batch is loaded"),
    Point("gate_raw", "worker", moment="the batch is accepted"),
    Point("build_marts", "worker", moment="dbt writes its manifest"),
    Point("build_queues", "worker", moment="dbt writes its manifest"),
    Point("publish", "worker", moment="files are rendered"),
    Point("publish", "postmaster", moment="the export is staged"),
    Point("publish", "worker", moment="the export is intended"),
    Point("export_queues", "postmaster", moment="the export is visible"),
)
REPLACING = (
    Point("publish", "worker", moment="the export is intended"),
    Point("publish", "postmaster", moment="the export is staged"),
    Point("export_queues", "worker", moment="the revisions change places"),
    Point("export_queues", "postmaster", moment="the revisions change places"),
)
RANDOM = points(SEED, STEPS, of_worker=2, of_postmaster=1)


@pytest.fixture(scope="module")
def first_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashHome]:
    """A home on its first day, with the states before its last steps."""
    drops = write_days(tmp_path_factory.mktemp("drops"))
    with a_crash_home(FIRST, drops) as home:
        home.run_undisturbed(keep=sorted({point.step for point in SAMPLE}))
        yield home


@pytest.fixture(scope="module")
def second_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashHome]:
    """A home on its second day, with the states before each step."""
    drops = write_days(tmp_path_factory.mktemp("drops"))
    with a_crash_home(FIRST, drops) as home:
        assert home.run_day().code == 0
        home.day = SECOND
        home.run_undisturbed()
        yield home


@pytest.fixture(scope="module")
def replaced_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashHome]:
    """A home whose day is exported a second time, with a reason, with the states before the last steps."""
    drops = write_days(tmp_path_factory.mktemp("drops"))
    with a_crash_home(SECOND, drops) as home:
        assert home.run_day().code == 0
        home.drop, home.replace = drops / "again", "the lender sent the wrong bookings"
        home.run_undisturbed(keep=sorted({point.step for point in REPLACING}))
        yield home


@pytest.mark.parametrize("point", SAMPLE, ids=str)
def test_killed_in_one_of_the_last_steps_the_day_goes_on_from_it(first_day: CrashHome, point: Point) -> None:
    killed = first_day.killed(point, again_from=point.step)

    assert_as_if_nothing_had_happened(first_day, killed)


@pytest.mark.slow
@pytest.mark.parametrize("point", [*NAMED, *SAMPLE, *RANDOM], ids=str)
def test_killed_in_any_step_the_day_is_as_if_nothing_had_happened(second_day: CrashHome, point: Point) -> None:
    killed = second_day.killed(point)

    assert_as_if_nothing_had_happened(second_day, killed)


@pytest.mark.slow
@pytest.mark.parametrize("point", REPLACING, ids=str)
def test_killed_while_an_export_is_replaced_it_is_replaced_once(replaced_day: CrashHome, point: Point) -> None:
    killed = replaced_day.killed(point, again_from=point.step)

    assert_as_if_nothing_had_happened(replaced_day, killed, exports=[(1, "replaced"), (2, "done")])


def assert_as_if_nothing_had_happened(
    home: CrashHome, killed: Killed, exports: Sequence[tuple[int, str]] = ((1, "done"),)
) -> None:
    """One export, once, whole at every look; tables, results, findings and ledger as of the undisturbed day."""
    assert killed.again.code == 0, killed.again.output
    assert killed.again.seconds < SOON_SECONDS
    assert killed.seen.faults == []
    assert len(killed.seen.versions) == len(exports)
    assert killed.seen.whole > 0
    for name in sorted(home.told | killed.told):
        assert killed.told.get(name) == home.told.get(name), name
    assert killed.told["lock"] == killed.told["running"] == []
    assert not (home.home.exports / ".staging").exists()
    with home.admin("arrears") as connection:
        found = connection.execute(
            "select revision, state from ops.exports where as_of_date = %s order by 1", [home.day]
        ).fetchall()
    assert found == list(exports)
    verified = home.workers.start(["ledger", "verify"]).end()
    assert verified.code == 0, verified.output
    assert bytes_below(home.home.exports) == home.told["exports"]
