"""Who has the warehouse: one run at a time, scheduled ones by date, and those who wait leave no trace in the steps."""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from arrears import steps
from arrears.errors import WarehouseBusy
from arrears.warehouse import run_lock
from tests.conftest import Workplace
from tests.day import run_step

D = date(2026, 3, 31)
NEXT = D + timedelta(days=1)
AFTER_NEXT = D + timedelta(days=2)


@pytest.fixture(autouse=True)
def _other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scheduled step is a process of its own: no run is held by this one."""
    monkeypatch.setattr(run_lock.Holder, "is_this_process", property(lambda self: False))


def holder(workplace: Workplace) -> str | None:
    with workplace.connect() as connection:
        held = run_lock.holder(connection)
    return held.run_id if held else None


def test_scheduled_runs_that_wait_are_served_by_date(workplace: Workplace) -> None:
    run_lock.take("first", D, "dag_run")
    for run_id, as_of in (("third", AFTER_NEXT), ("second", NEXT)):
        with pytest.raises(WarehouseBusy, match=r"The run first for 2026-03-31 holds the warehouse since"):
            run_lock.take(run_id, as_of, "dag_run")
    run_lock.release("first")

    with pytest.raises(WarehouseBusy, match="The run second for 2026-04-01 waits for the warehouse and comes first"):
        run_lock.take("third", AFTER_NEXT, "dag_run")
    run_lock.take("second", NEXT, "dag_run")
    run_lock.release("second")
    run_lock.take("third", AFTER_NEXT, "dag_run")

    assert holder(workplace) == "third"
    assert workplace.rows("select run_id from ops.waiting_runs") == []


def test_a_run_by_hand_does_not_queue_behind_those_that_wait(workplace: Workplace) -> None:
    run_lock.take("first", D, "dag_run")
    with pytest.raises(WarehouseBusy):
        run_lock.take("second", NEXT, "dag_run")
    with pytest.raises(WarehouseBusy):
        run_lock.take("by hand", AFTER_NEXT, "process")
    run_lock.release("first")

    run_lock.take("by hand", AFTER_NEXT, "process")

    assert holder(workplace) == "by hand"


@pytest.mark.parametrize("ends", ["fails", "is killed"])
def test_a_run_that_waited_and_ended_holds_nobody_up(workplace: Workplace, ends: str) -> None:
    run_lock.take("first", D, "dag_run")
    with pytest.raises(WarehouseBusy):
        run_lock.take("second", NEXT, "dag_run")
    run_lock.release("first")
    if ends == "fails":
        run_lock.release("second")
    else:
        with workplace.connect() as connection:
            connection.execute("update ops.waiting_runs set seen_at = clock_timestamp() - interval '4 minutes'")

    run_lock.take("third", AFTER_NEXT, "dag_run")

    assert holder(workplace) == "third"


def test_sources_are_listed_while_another_date_is_at_work(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_step("extract", D, drop=drop(), source="contract")
    assert holder(workplace) == f"test-{D}"

    assert run_step("list_sources", NEXT) == ["contract"]

    assert holder(workplace) == f"test-{D}"


def test_a_step_that_could_not_begin_does_not_stop_the_run_that_was_at_work(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_step("extract", D, drop=drop(), source="contract")
    with pytest.raises(WarehouseBusy) as busy:
        run_step("extract", NEXT, drop=drop(), source="contract")
    steps.record_busy("extract", NEXT, f"test-{NEXT}", busy.value)

    run_step("gate_raw", D)

    assert workplace.rows("select as_of_date, state, error_kind from ops.step_runs order by step_run_id") == [
        (D, "done", None),
        (NEXT, "failed", "WarehouseBusy"),
        (D, "done", None),
    ]
