"""Delivers drops of the clean portfolio to a test's warehouse and runs the raw gate on them."""

import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from arrears.extraction import batches, sources
from arrears.gate import Verdict, judge_batches
from arrears.settings import get_settings
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.clean_portfolio import Drop, clean_drop, write_drop


def add_source(workplace: Workplace, monkeypatch: pytest.MonkeyPatch, key_prefix: str | None = None) -> None:
    """Another lender's system, `other`, beside the first."""
    folder = workplace.sources / "other"
    shutil.copytree(workplace.sources / "contract", folder)
    if key_prefix is not None:
        with (folder / "source.yml").open("a", encoding="utf-8") as file:
            file.write(f'key_prefix: "{key_prefix}"\n')
    monkeypatch.setenv("ARREARS_SOURCES", "contract,other")
    get_settings.cache_clear()


FIRST, SECOND, THIRD = date(2026, 3, 31), date(2026, 4, 1), date(2026, 4, 2)


class GateWarehouse:
    """Delivers drops, runs the raw gate, reads what came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0

    def deliver(
        self,
        drop: Drop,
        day: date,
        source: str = "contract",
        said: Mapping[str, Any] | None = None,
        is_late: bool = False,
    ) -> str:
        """Extracts a drop for a day; gives the batch's id. What is said of it stands in its drop.yml."""
        self._count += 1
        folder = write_drop(self.folder / f"drop-{self._count}", drop)
        if said is not None:
            (folder / "drop.yml").write_text(yaml.safe_dump(dict(said)))
        return self.deliver_folder(folder, day, source, is_late)

    def deliver_folder(self, folder: Path, day: date, source: str = "contract", is_late: bool = False) -> str:
        """Extracts a drop's folder for a day; gives the batch's id."""
        with connect() as connection:
            sources.portfolio(connection, source)
            loaded = batches.extract(
                connection,
                sources.load_source(source),
                folder,
                day,
                run_id="test",
                may_replace=not is_late,
                is_late=is_late,
            )
        return str(loaded["batch_id"])

    def judge(self, drop: Drop, day: date, said: Mapping[str, Any] | None = None) -> Verdict:
        """Delivers a drop and runs the raw gate of the day."""
        self.deliver(drop, day, said=said)
        return judge_batches(day)

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """What a query on the warehouse gives."""
        with connect() as connection:
            return connection.execute(query.encode(), list(given)).fetchall()

    def state(self, batch_id: str) -> str:
        """The state of a batch."""
        return str(self.rows("select state from ops.batches where batch_id = %s", batch_id)[0][0])


def with_first_drop(folder: Path) -> GateWarehouse:
    """A warehouse in which the clean portfolio's first drop is accepted."""
    delivered = GateWarehouse(folder)
    first = delivered.deliver(clean_drop(), FIRST)
    with connect() as connection:
        batches.accept(connection, first)
    return delivered
