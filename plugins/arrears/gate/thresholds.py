"""The gate's thresholds and the currencies' minor units, from the seeds of domain quality.

Read from the seeds' files, not from the warehouse: the raw gate comes before dbt has run for the first time.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

from arrears.errors import UsageError
from arrears.gate.verdict import KEYS_KEPT, Result
from arrears.settings import CHECKOUT

SEEDS = CHECKOUT / "dbt_project/seeds/quality"
THRESHOLDS = SEEDS / "gate_thresholds.csv"
TOLERANCES = SEEDS / "drift_tolerances.csv"
MINOR_UNITS = SEEDS / "currency_minor_units.csv"

Read = TypeVar("Read")
ANY_TABLE = "*"
KINDS = (
    "row_findings",
    "keys_of_two_sources",
    "deletions",
    "row_count_fall",
    "known_loans_missing",
    "loans_incomplete",
    "exposure_held",
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A count is beyond it when it is more than `share` (0..1) of all rows and at least `minimum_count`."""

    share: Decimal
    minimum_count: int

    def is_exceeded(self, count: int, of: int) -> bool:
        """Whether `count` rows of `of` are beyond it."""
        return count >= self.minimum_count and count > self.share * of


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a measure may lie from the last good days' before it is a finding of `severity`."""

    measure: str
    table: str
    severity: Literal["warning", "critical"]
    minimum_count: int
    minimum_days: int
    days_back: int
    tolerance: Decimal


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds and tolerances in force on one date."""

    by_kind: Mapping[str, Mapping[str, Threshold]]
    tolerances: tuple[Tolerance, ...] = ()

    def of(self, kind: str, table: str) -> Threshold:
        """The table's own threshold of a kind, else the one for any table."""
        tables = self.by_kind[kind]
        return tables.get(table, tables[ANY_TABLE])

    def sql(self, kind: str) -> str:
        """A relation with table_name, share, minimum_count of one kind, for a query."""
        rows = ", ".join(
            f"('{table}', cast({threshold.share} as numeric), {threshold.minimum_count})"
            for table, threshold in sorted(self.by_kind[kind].items())
        )
        return f"select * from (values {rows}) as thresholds (table_name, share, minimum_count)"


def thresholds(as_of_date: date) -> Thresholds:
    """The thresholds and tolerances in force at the end of a date.

    Raises:
        UsageError: a line of a seed is not what it must be, or a kind has none for any table; names file and line.
    """
    by_kind: dict[str, dict[str, Threshold]] = {}
    for kind, table, threshold in _in_force(
        THRESHOLDS,
        as_of_date,
        lambda row: (row["threshold"], row["table_name"], Threshold(Decimal(row["share"]), int(row["minimum_count"]))),
    ):
        by_kind.setdefault(kind, {})[table] = threshold
    for kind in KINDS:
        if ANY_TABLE not in by_kind.get(kind, {}):
            raise UsageError(
                f"{THRESHOLDS.name} has no row of {kind} for table {ANY_TABLE} in force on {as_of_date}: add one."
            )
    return Thresholds(MappingProxyType(by_kind), tuple(_in_force(TOLERANCES, as_of_date, _tolerance)))


def _tolerance(row: Mapping[str, str]) -> Tolerance:
    severity = row["severity"]
    if severity not in ("warning", "critical"):
        raise ValueError(f"severity {severity} is neither warning nor critical")
    return Tolerance(
        measure=row["measure"],
        table=row["table_name"],
        severity="critical" if severity == "critical" else "warning",
        minimum_count=int(row["minimum_count"]),
        minimum_days=int(row["minimum_days"]),
        days_back=int(row["days_back"]),
        tolerance=Decimal(row["tolerance"]),
    )


def _in_force(file: Path, as_of_date: date, read: Callable[[Mapping[str, str]], Read]) -> Iterator[Read]:
    """What the lines of a seed say that are in force at the end of a date."""
    with file.open(encoding="utf-8", newline="") as lines:
        for line, row in enumerate(csv.DictReader(lines), start=2):
            try:
                starts, ends = date.fromisoformat(row["valid_from"]), row["valid_to"]
                if starts <= as_of_date and (not ends or date.fromisoformat(ends) >= as_of_date):
                    yield read(row)
            except (KeyError, TypeError, ValueError, ArithmeticError) as error:
                raise UsageError(f"{file.name} line {line}: {error}; mend the seed.") from error


def row_findings(
    suite: str, rule: str, table: str, wrong: int, of: int, threshold: Threshold, keys: Sequence[Mapping[str, str]]
) -> Result:
    """Whether so many rows of a table break a rule that the table is wrong; `keys` are those of the first of them."""
    return Result(
        suite=suite,
        expectation="row_findings_within_threshold",
        rule=rule,
        scope="table",
        severity="critical",
        is_passed=not threshold.is_exceeded(wrong, of),
        checked_count=of,
        failed_count=wrong,
        sentence=(
            f"{wrong} of {of} rows of {table} break a rule; the export stops above a share of"
            f" {threshold.share.normalize():f} and from {threshold.minimum_count} rows on."
        ),
        failing_keys=tuple(keys[:KEYS_KEPT]),
        is_waivable=True,
    )


@cache
def minor_units() -> Mapping[str, int]:
    """Decimals by ISO 4217 currency."""
    with MINOR_UNITS.open(encoding="utf-8", newline="") as file:
        return MappingProxyType({row["currency"]: int(row["minor_units"]) for row in csv.DictReader(file)})
