"""A sample of what a source gives for a contract table, and what is missing or wrong in it, column by column.

The engines type and check every value as they do when it is loaded; here it is only counted and told. No value of a
personal column is told.
"""

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import available_timezones

from arrears.contract.servicing import Column, Table
from arrears.gate.thresholds import Threshold
from arrears.onboarding.report import ColumnReport, Finding, TableReport

MOST_SHOWN = 3
LONGEST_SHOWN = 40
MISSING = Finding("ok", "missing, read as null")
CURRENCY = re.compile(r"[A-Za-z]{3}")


@dataclass(frozen=True, slots=True)
class SampledColumn:
    """One delivered column: what came, as text, and which of it is no value of the contract's type.

    `values` are typed (null where nothing came or it does not fit), `given` is what the source holds.
    """

    type_name: str
    values: Sequence[str | None]
    given: Sequence[str | None]
    is_bad: Sequence[bool]
    complaint: str


@dataclass(frozen=True, slots=True)
class References:
    """Of one column, which of its values name no row of the table that it refers to."""

    unknown: frozenset[str] = frozenset()
    not_checked: str | None = None  # why


@dataclass(slots=True)
class Sample:
    """Rows of one contract table.

    Attributes:
        table: the contract's.
        place: the SELECT's file, the delivered file or the database table.
        columns: the delivered ones.
        refused: delivered columns that can never be read as the contract's type, with the reason.
        unknown: delivered columns that the contract does not have.
        row_count: how many rows there are in it.
        is_whole: whether these are all.
        lines: file and line of each row, where that is known.
        references: by column.
        findings: what the engine has to say of the table beyond its columns.
        writes_selects: whether a SELECT makes it, in which `null as column` can be written.
    """

    table: Table
    place: str
    columns: Mapping[str, SampledColumn] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    row_count: int = 0
    is_whole: bool = True
    lines: Sequence[str] = ()
    references: dict[str, References] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    writes_selects: bool = True

    def row(self, index: int) -> str:
        """Which row it is, for people: file and line, else its key."""
        if self.lines and self.lines[index]:
            return self.lines[index]
        key = [f"{name} {self._key_value(name, index)}" for name in self.table.primary_key]
        return ", ".join(key)

    def _key_value(self, name: str, index: int) -> str:
        value = self.columns[name].given[index] if name in self.columns else None
        return "(empty)" if value is None else value[:LONGEST_SHOWN]


@dataclass(slots=True)
class _Judgement:
    """What is said of a table's columns, and the rows that the raw gate would keep out."""

    sample: Sample
    threshold: Threshold
    wrong_rows: set[int] = field(default_factory=set)

    def wrong(self, rows: Sequence[int], said: str) -> Finding:
        """Some rows break a rule: an error where the raw gate would not let the rest through."""
        self.wrong_rows.update(rows)
        sample = self.sample
        if len(rows) == sample.row_count:
            where = "in the only row" if len(rows) == 1 else f"in all {len(rows):,} rows"
        else:
            where = f"in {len(rows):,} of {sample.row_count:,} rows, the first: {sample.row(rows[0])}"
        return Finding("error" if self.is_too_much(len(rows)) else "warning", f"{said} {where}")

    def is_too_much(self, count: int) -> bool:
        """Whether the raw gate would stop the day: of a part of the table only the share can be told."""
        of = self.sample.row_count
        if count == of or self.sample.is_whole:
            return count == of or self.threshold.is_exceeded(count, of)
        return count > self.threshold.share * of


def judge(sample: Sample, threshold: Threshold) -> TableReport:
    """Says what is missing or wrong.

    Args:
        sample: what the source gave.
        threshold: beyond which so many wrong rows stop the day.
    """
    table = sample.table
    judgement = _Judgement(sample, threshold)
    columns = [_of_column(judgement, column) for column in table.columns]
    findings = [*sample.findings, *_of_missing(sample, columns)]
    missing = [column.name for column in table.columns if column.name not in sample.columns]
    for name in sample.unknown:
        near = difflib.get_close_matches(name, missing, n=1)
        hint = f"; {near[0]} is missing: is it that?" if near else ""
        findings.append(Finding("warning", f"column {name} is not in the contract and is ignored{hint}"))
    if sample.row_count == 0 and not any(one.verdict == "error" for one in findings):
        findings.append(_of_no_rows(table))
    findings += _of_keys(judgement)
    wrong = len(judgement.wrong_rows)
    is_told = any(one.verdict == "error" for one in [*findings, *(one for each in columns for one in each.findings)])
    if wrong and not is_told and judgement.is_too_much(wrong):
        findings.append(
            Finding("error", f"{wrong:,} of {sample.row_count:,} rows break a rule: the raw gate would stop the day")
        )
    return TableReport(table.name, sample.place, sample.row_count, sample.is_whole, findings, columns)


def _of_missing(sample: Sample, columns: Sequence[ColumnReport]) -> list[Finding]:
    """One sentence for all optional columns that are missing; none where nothing could be read at all."""
    names = [one.column for one in columns if MISSING in one.findings]
    if not names or not sample.columns:
        return []
    hint = "; where that is meant, write `null as` it" if sample.writes_selects else ""
    return [Finding("warning", f"it lacks columns that are read as null then: {', '.join(names)}{hint}")]


def _of_no_rows(table: Table) -> Finding:
    if table.required and not table.only_grows:
        return Finding("error", "it gives no row, and an empty required table is refused")
    return Finding("warning", "it gives no row")


def _of_column(judgement: _Judgement, column: Column) -> ColumnReport:
    sample, name = judgement.sample, column.name
    if name in sample.refused:
        return _report(column, None, [Finding("error", sample.refused[name])])
    found = sample.columns.get(name)
    if found is None:
        is_missing = Finding("error", "is missing, and it is required") if column.required else MISSING
        return _report(column, None, [is_missing])
    findings = []
    bad = [index for index, is_bad in enumerate(found.is_bad) if is_bad]
    if bad:
        shown = _shown(column, found.given[bad[0]])
        findings.append(judgement.wrong(bad, f"{found.complaint}{shown}"))
    empty = [index for index, given in enumerate(found.given) if given is None]
    if empty and (column.required or name in sample.table.primary_key):
        said = "is empty, and it is part of the key," if name in sample.table.primary_key else "is empty"
        findings.append(judgement.wrong(empty, said))
    elif empty and len(empty) == sample.row_count:
        findings.append(Finding("ok", "all null"))
    findings += _of_values(judgement, column, found)
    return _report(column, found.type_name, findings)


def _of_values(judgement: _Judgement, column: Column, found: SampledColumn) -> list[Finding]:
    """What the raw gate would say of values that are of the right type."""
    sample, findings = judgement.sample, []
    there = [
        (index, value) for index, value in enumerate(found.values) if value is not None and not found.is_bad[index]
    ]
    if column.values:
        allowed = ", ".join(column.values)
        findings += _outside(judgement, column, there, set(column.values), f"is none of {allowed}")
    if column.name == "time_zone":
        findings += _outside(judgement, column, there, available_timezones(), "is no IANA time zone")
    if column.is_share:
        rows = [index for index, value in there if not 0 <= float(value) <= 1]
        if rows:
            findings.append(judgement.wrong(rows, f"lies outside 0..1{_shown(column, found.values[rows[0]])}"))
    if column.name in ("currency", "base_currency") or column.name.endswith("_currency"):
        rows = [index for index, value in there if not CURRENCY.fullmatch(value)]
        if rows:
            findings.append(judgement.wrong(rows, f"is no ISO 4217 code{_shown(column, found.values[rows[0]])}"))
    references = sample.references.get(column.name)
    if references is not None and references.not_checked is not None:
        findings.append(Finding("ok", f"not looked up in {column.references}: {references.not_checked}"))
    elif references is not None:
        rows = [index for index, value in there if value in references.unknown]
        if rows:
            said = f"names no row of {column.references}{_shown(column, found.values[rows[0]])}"
            findings.append(judgement.wrong(rows, said))
    return findings


def _outside(
    judgement: _Judgement, column: Column, there: Sequence[tuple[int, str]], allowed: set[str], said: str
) -> list[Finding]:
    rows = [index for index, value in there if value not in allowed]
    if not rows:
        return []
    counted = Counter(value for _, value in there if value not in allowed).most_common(MOST_SHOWN)
    shown = (
        "" if column.personal else ": " + ", ".join(f"{value[:LONGEST_SHOWN]} ({count:,})" for value, count in counted)
    )
    return [judgement.wrong(rows, f"{said}{shown}")]


def _of_keys(judgement: _Judgement) -> list[Finding]:
    """Keys that stand twice: identical rows count once, of differing ones none is taken in."""
    sample = judgement.sample
    if any(name not in sample.columns for name in sample.table.primary_key):
        return []
    first: dict[tuple[str, ...], int] = {}
    differing: dict[int, None] = {}
    identical = 0
    for index in range(sample.row_count):
        key = [sample.columns[name].values[index] for name in sample.table.primary_key]
        whole = tuple(value for value in key if value is not None)
        if len(whole) < len(key):
            continue
        before = first.setdefault(whole, index)
        if before == index:
            continue
        if all(column.given[index] == column.given[before] for column in sample.columns.values()):
            identical += 1
        else:
            differing |= {before: None, index: None}
    findings = []
    names = ", ".join(sample.table.primary_key)
    if differing:
        findings.append(
            judgement.wrong(list(differing), f"the key ({names}) stands more than once, on other contents,")
        )
    if identical:
        findings.append(Finding("warning", f"{identical:,} rows repeat another one and count once"))
    return findings


def _shown(column: Column, value: str | None) -> str:
    return "" if column.personal or value is None else f" ({value[:LONGEST_SHOWN]})"


def _report(column: Column, found_type: str | None, findings: Sequence[Finding]) -> ColumnReport:
    return ColumnReport(column.name, column.data_type, column.required, found_type, tuple(findings))
