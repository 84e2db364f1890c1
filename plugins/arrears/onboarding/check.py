"""Checks a source before anything is loaded: runs its SELECTs on a sample and says what is missing or wrong."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Protocol

from arrears.contract.servicing import Table, contract
from arrears.errors import SourceError, UsageError
from arrears.extraction.sources import Source, load_source
from arrears.gate.thresholds import thresholds
from arrears.onboarding.report import Finding, Report, TableReport
from arrears.onboarding.sample import Sample, judge
from arrears.settings import get_settings

ROW_LIMIT = 1000
OPEN = re.compile(r"--\s*TODO")


class Sampler(Protocol):
    """What an engine offers to be looked at."""

    place: str

    def tables(self) -> list[str]:
        """The contract tables that the source delivers."""

    def findings(self) -> list[Finding]:
        """What is to be said of the source as a whole."""

    def sample(self, table: Table) -> Sample:
        """Rows of a table; what makes its reading fail is among the findings."""

    def find_references(self, sample: Sample, tables: Sequence[str]) -> None:
        """Looks a sample's references up."""


def check(name: str, *, drop: Path | None = None, as_of: date | None = None, row_limit: int = ROW_LIMIT) -> Report:
    """Looks at a source; writes nothing, and needs no warehouse.

    Args:
        name: the source.
        drop: of engine files: the folder with the drop, in place of the one in source.yml.
        as_of: of engine files: the drop's date; None: the last one that is there.
        row_limit: how many rows of each table are looked at.

    Raises:
        UsageError: there is no such source, or a drop is named for a database.
        SourceError: source.yml is wrong, the database cannot be reached or the drop not be opened.
    """
    source = load_source(name)
    if drop is not None and source.engine != "files":
        raise UsageError(f"Source {name} is a database: it has no drop; leave --drop out.")
    with _open(source, drop, as_of, row_limit) as sampler:
        delivered = sampler.tables()
        findings = [*sampler.findings(), *_missing(source, sampler.place, delivered)]
        limits = thresholds(as_of or datetime.now(get_settings().zone).date())
        tables: list[TableReport] = []
        for table in delivered:
            sample = sampler.sample(contract()[table])
            sampler.find_references(sample, delivered)
            sample.findings += _still_open(source, table)
            tables.append(judge(sample, limits.of("row_findings", table)))
        optional = [one.name for one in contract().values() if not one.required and one.name not in delivered]
        return Report(name, source.engine, sampler.place, findings, tables, optional)


def refuse(report: Report) -> None:
    """Ends the command where something would make an extraction fail.

    Raises:
        SourceError: names the first.
    """
    first = next(report.told("error"), None)
    if first is not None:
        more = report.error_count - 1
        rest = f" ({more} more above)" if more else ""
        raise SourceError(f"source {report.source} is not ready to be run: {first}{rest}.")


@contextmanager
def _open(source: Source, drop: Path | None, as_of: date | None, row_limit: int) -> Iterator[Sampler]:
    if source.engine == "postgres":
        from arrears.onboarding import database_sample

        with database_sample.open_sampler(source, row_limit) as sampler:
            yield sampler
        return
    from arrears.onboarding import drop_sample

    with drop_sample.open_sampler(source, drop, as_of, row_limit) as files:
        yield files


def _missing(source: Source, place: str, delivered: Sequence[str]) -> list[Finding]:
    """Required tables that nothing makes."""
    missing = [one.name for one in contract().values() if one.required and one.name not in delivered]
    if source.engine == "postgres" and source.database_schema is not None:
        return [
            Finding("error", f"{place}: schema {source.database_schema} has no table {name}, which is required")
            for name in missing
        ]
    if source.is_contract_form:  # of files: a full drop without a required table is refused when it is opened
        return []
    return [
        Finding("error", f"{source.folder / name}.sql: there is no SELECT for the required table {name}")
        for name in missing
        if source.select(name) is None
    ]


def _still_open(source: Source, table: str) -> list[Finding]:
    """What `arrears source new` left to be decided and nobody has."""
    count = len(OPEN.findall(source.select(table) or ""))
    return [Finding("warning", f"{count} TODO left in it")] if count else []
