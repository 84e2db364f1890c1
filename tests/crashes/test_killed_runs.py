"""`arrears run` itself, killed with the whole Airflow run in it, is simply run again."""

import random
import signal
from collections.abc import Iterator

import pytest

from tests.crashes.killing import CrashHome, a_crash_home, ended_run, told
from tests.crashes.portfolio import FIRST, SECOND, write_days
from tests.crashes.test_killed_steps import SEED, assert_as_if_nothing_had_happened

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

CHANCE = random.Random(SEED)  # noqa: S311
# Of the time that an undisturbed run takes, of which Airflow's start is about the first third.
SHARES = [round(CHANCE.uniform(*part), 2) for part in ((0.2, 0.45), (0.45, 0.7), (0.7, 0.95))]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrashHome]:
    """A home before its second day, which was run once undisturbed."""
    drops = write_days(tmp_path_factory.mktemp("drops"))
    with a_crash_home(FIRST, drops) as made:
        first = ended_run(made.start_run())
        assert first.code == 0, first.output
        made.day = SECOND
        made.keep("run")
        undisturbed = ended_run(made.start_run())
        assert undisturbed.code == 0, undisturbed.output
        made.seconds["run"] = undisturbed.seconds
        made.told = told(made)
        yield made


@pytest.mark.parametrize("share", SHARES)
def test_a_run_that_is_killed_is_run_again_and_is_as_if_nothing_had_happened(home: CrashHome, share: float) -> None:
    killed = home.killed_run("run", share, home.seconds["run"])

    assert killed.worker.code == -signal.SIGKILL
    assert_as_if_nothing_had_happened(home, killed)
