"""Which suites a gate runs, and on which rows. Imports `expectations`, so Great Expectations is loaded first."""

import importlib
import importlib.util
from collections.abc import Sequence
from datetime import date

from arrears.contract.servicing import Contract, Table
from arrears.gate import engine
from arrears.gate.batches import Loaded
from arrears.gate.checking import Check
from arrears.gate.thresholds import Thresholds

WORKING = "working"
MARTS = ("loan_delinquency", "portfolio_at_risk", "loan_risk_score", "drift")
QUEUES = ("agency_assignment", "collection_queue", "drift")


def raw(loaded: Loaded, part: Loaded, thresholds: Thresholds, tables: Contract) -> list[Check]:
    """The suite of one source's deliveries, and one for each table that has new, changed or vanished rows in them.

    Args:
        loaded: all batches that are judged together; what they bring may refer to one another.
        part: those of one source, whose rows are checked.
        thresholds: those in force on the date.
        tables: the contract's.
    """
    engine.load()
    from expectations.raw import deletions, deliveries, drift

    checks = [
        Check(
            deliveries.suite(loaded, thresholds),
            deliveries.query(part, thresholds, tables),
            "deliveries",
            ("table_name",),
        )
    ]
    for table in tables.values():
        if table.name in part.tables:
            checks.append(_of_table(table, loaded, part))
        if deletions.is_watched(table) and table.name in part.shrunk_tables:
            checks.append(
                Check(
                    deletions.suite(table, loaded),
                    _rows(table, part, "_is_deleted"),
                    table.name,
                    ("_batch_id", "_row_hash", *table.primary_key),
                )
            )
    if not any(batch.is_first for batch in part.batches):
        checks.append(Check(drift.suite(thresholds), drift.query(part, thresholds), "drift", drift.IDENTITY))
    (suffix,) = part.suffixes.values()
    for check in checks:
        check.suite.name += suffix
    return checks


def _of_table(table: Table, loaded: Loaded, part: Loaded) -> Check:
    """The table's own module where it has one, else the contract's rules alone."""
    from expectations.raw import from_contract

    own = importlib.util.find_spec(f"expectations.raw.{table.name}")
    suite = importlib.import_module(f"expectations.raw.{table.name}").suite if own else from_contract.suite
    return Check(
        suite(table, loaded),
        _rows(table, part, "not _is_deleted"),
        table.name,
        ("_batch_id", "_row_hash", *table.primary_key),
    )


def _rows(table: Table, part: Loaded, which: str) -> str:
    return f"select * from raw.{table.name} where _batch_id in {part.batches_sql} and {which}"


def built(names: Sequence[str], stage: str, as_of_date: date) -> list[Check]:
    """The suites on what dbt built for a date, whole tables: a row of another date is a finding.

    A module is named for its table, or names it (`TABLE`).
    """
    engine.load()
    checks = []
    for name in names:
        module = importlib.import_module(f"expectations.{stage}.{name}")
        table = getattr(module, "TABLE", name)
        checks.append(
            Check(module.suite(WORKING, as_of_date), f"select * from {WORKING}.{table}", table, tuple(module.KEY))
        )
    return checks
