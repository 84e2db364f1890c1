"""What a check of a source found: by source, by table and by column."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from arrears.doctor import NEEDED_FOR

Verdict = Literal["ok", "warning", "error"]
SEVEREST: tuple[Verdict, ...] = ("error", "warning", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was seen; an error would make the extraction fail, or the raw gate stop the day."""

    verdict: Verdict
    said: str


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """One column of a contract table; `found_type` is what the source gives, None where it gives nothing."""

    column: str
    contract_type: str
    is_required: bool
    found_type: str | None
    findings: Sequence[Finding] = ()

    @property
    def verdict(self) -> Verdict:
        """The severest of its findings."""
        return _severest(self.findings)


@dataclass(frozen=True, slots=True)
class TableReport:
    """One contract table; `row_count` rows were looked at, which are all there are where `is_whole`."""

    table: str
    place: str
    row_count: int = 0
    is_whole: bool = False
    findings: Sequence[Finding] = ()
    columns: Sequence[ColumnReport] = ()

    @property
    def verdict(self) -> Verdict:
        """The severest of all that was found in it."""
        return _severest([*self.findings, *(one for column in self.columns for one in column.findings)])

    def all_findings(self) -> Iterator[tuple[str, Finding]]:
        """Each finding of it and its columns, with a text that says of which column."""
        for one in self.findings:
            yield "", one
        for column in self.columns:
            for one in column.findings:
                yield f"column {column.column} ", one


@dataclass(frozen=True, slots=True)
class Report:
    """One source. `not_delivered` are the optional tables that it leaves out."""

    source: str
    engine: str
    place: str
    findings: Sequence[Finding] = ()
    tables: Sequence[TableReport] = ()
    not_delivered: Sequence[str] = field(default_factory=tuple)

    def as_document(self) -> dict[str, Any]:
        """All of it, with what is told of its parts, for a program."""
        document = asdict(self)
        for table, told in zip(self.tables, document["tables"], strict=True):
            told["verdict"] = table.verdict
            for column, its in zip(table.columns, told["columns"], strict=True):
                its["verdict"] = column.verdict
        return document | {
            "error_count": self.error_count,
            "warning_count": self.warning_count,
            "summary": self.summary,
        }

    def told(self, verdict: Verdict) -> Iterator[str]:
        """The sentences of one verdict, each with where it belongs."""
        for one in self.findings:
            if one.verdict == verdict:
                yield one.said
        for table in self.tables:
            for of, one in table.all_findings():
                if one.verdict == verdict:
                    yield f"{table.place}: {of}{one.said}"

    @property
    def switched_off(self) -> list[tuple[str, str]]:
        """Optional tables that are left out, and what is off without them; those that nothing needs are no loss."""
        return [(name, NEEDED_FOR[name]) for name in self.not_delivered if name in NEEDED_FOR]

    @property
    def error_count(self) -> int:
        """How many things would make the extraction fail, or the raw gate stop the day."""
        return len(list(self.told("error")))

    @property
    def warning_count(self) -> int:
        """How many things are worth a look."""
        return len(list(self.told("warning")))

    @property
    def summary(self) -> str:
        """The whole in one sentence."""
        columns = sum(len(table.columns) for table in self.tables)
        rows = sum(table.row_count for table in self.tables)
        return (
            f"Source {self.source}: {_counted(len(self.tables), 'table')}, {_counted(columns, 'column')} and"
            f" {_counted(rows, 'row')} looked at in {self.place}: {_counted(self.error_count, 'error')},"
            f" {_counted(self.warning_count, 'warning')}; nothing was loaded."
        )


def _severest(findings: Sequence[Finding]) -> Verdict:
    return next((verdict for verdict in SEVEREST if any(one.verdict == verdict for one in findings)), "ok")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
