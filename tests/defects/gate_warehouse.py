"""Delivers drops of the clean portfolio to a test's warehouse and runs the raw gate on them."""

from datetime import date
from pathlib import Path
from typing import Any

from arrears.extraction import batches, sources
from arrears.gate import Verdict, judge_batches
from arrears.warehouse.connections import connect
from tests.defects.clean_portfolio import Drop, write_drop

FIRST, SECOND, THIRD = date(2026, 3, 31), date(2026, 4, 1), date(2026, 4, 2)


class GateWarehouse:
    """Delivers drops, runs the raw gate, reads what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def deliver(self, drop: Drop, day: date, source: str = "contract") -> str:
        """Extracts a drop for a day; gives the batch's id."""
        self._count += 1
        folder = write_drop(self.folder / f"drop-{self._count}", drop)
        with connect() as connection:
            sources.portfolio(connection, source)
            loaded = batches.extract(
                connection, sources.load_source(source), folder, day, run_id="test", may_replace=True
            )
        return str(loaded["batch_id"])

    def judge(self, drop: Drop, day: date) -> Verdict:
        """Delivers a drop and runs the raw gate of the day."""
        self.deliver(drop, day)
        return judge_batches(day)

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """What a query on the warehouse gives."""
        with connect() as connection:
            return connection.execute(query.encode(), list(given)).fetchall()

    def state(self, batch_id: str) -> str:
        """The state of a batch."""
        return str(self.rows("select state from ops.batches where batch_id = %s", batch_id)[0][0])
