"""A source that delivers on working days: weekends, a day that was skipped, and its drop that comes late."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from arrears import steps
from arrears.errors import SourceError
from tests.conftest import Workplace
from tests.day import bytes_below, run_day, run_step
from tests.portfolio import a_repayment

FRIDAY = date(2026, 3, 27)
SATURDAY, MONDAY, TUESDAY = (FRIDAY + timedelta(days=n) for n in (1, 3, 4))


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


@pytest.fixture
def drops(workplace: Workplace, tmp_path: Path) -> Path:
    """The folder to which the source's drops come, one for each working day."""
    folder = tmp_path / "drops"
    folder.mkdir()
    with (workplace.sources / "contract" / "source.yml").open("a", encoding="utf-8") as file:
        file.write(f"drop: {folder}\ndeliveries: {{days: [mon, tue, wed, thu, fri], by: '05:00'}}\n")
    return folder


def queue(workplace: Workplace, day: date) -> dict[object, object]:
    """Days past due by loan, as the day's queue says."""
    rows = workplace.rows("select loan_id, days_past_due from marts.collection_queue where as_of_date = %s", day)
    return dict(rows)  # type: ignore[arg-type]


def test_a_weekend_goes_out_on_fridays_data_and_a_late_drop_leaves_the_days_after_it_alone(
    workplace: Workplace, drops: Path, drop: Callable[..., Path]
) -> None:
    drop(f"drops/{FRIDAY}")
    run_day(None, FRIDAY)

    saturday = run_day(None, SATURDAY)
    assert saturday["extract"] == {"state": "not_due"}
    # The date moves on, the data do not: L1's March instalment was due on the 1st, L2's February one too.
    assert queue(workplace, SATURDAY) == {"L1": 27, "L2": 55}
    manifest = json.loads((workplace.exports / SATURDAY.isoformat() / "manifest.json").read_text())
    assert [batch["batch_date"] for batch in manifest["batches"]] == [FRIDAY.isoformat()]

    with pytest.raises(SourceError, match=r"has not delivered for 2026-03-30, due by 2026-03-31 05:00 UTC; its newest"):
        run_step("extract", MONDAY, source="contract")

    # Tuesday is delivered; by then the lender knew that L2 paid both instalments on Monday.
    paid = a_repayment("T2", "L2", "2026-03-30", "200.00", booked_at="2026-03-31T08:00:00Z")
    drop(f"drops/{TUESDAY}", transactions=[a_repayment(), paid])
    run_day(None, TUESDAY)
    assert queue(workplace, TUESDAY) == {"L1": 30}
    tuesday = bytes_below(workplace.exports / TUESDAY.isoformat())

    drop(f"drops/{MONDAY}")
    run_day(None, MONDAY)
    assert queue(workplace, MONDAY) == {"L1": 29, "L2": 57}  # nobody knew of T2 on Monday

    assert run_day(None, TUESDAY)["publish"]["is_unchanged"]
    assert bytes_below(workplace.exports / TUESDAY.isoformat()) == tuesday
