"""A borrower's values in rows that were kept out: as they were delivered, and what was said of them."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from arrears.contract.servicing import Table, contract
from arrears.gate.quarantine import content_hash
from arrears.privacy.blanking import (
    BLANK,
    BORROWERS,
    belongs_to,
    blank_line,
    blank_record,
    is_unread_line,
    names,
    owners,
    personal_columns,
    scrub,
)

CANDIDATES = """
select
    finding_id, stage, source, table_name, batch_id, suite, rule, file, line, loan_id, borrower_id, key, row_data,
    reason
from quarantine.rows as findings
where borrower_id = %(borrower)s or loan_id = any(%(loans)s) or exists (
    select 1 from unnest(%(needles)s::text[]) as needles (needle)
    where position(needle in concat_ws(
        ' ', findings.loan_id, findings.borrower_id, findings.key, findings.row_data, findings.reason
    )) > 0
)
order by finding_id
"""


@dataclass(frozen=True, slots=True)
class Person:
    """The borrower, the ids that stay (the borrower's own, of loans, of contact points), and the values that go.

    `prefixes`: by source, where the lender's own files have the ids without one.
    """

    borrower_id: str
    ids: frozenset[str]
    loan_ids: frozenset[str]
    values: frozenset[str]
    prefixes: Mapping[str, str] = field(default_factory=dict)

    def as_delivered(self, source: str | None) -> tuple[frozenset[str], frozenset[str]]:
        """The borrower's id and all ids that stay, as the warehouse and as the source's own files write them."""
        prefix = self.prefixes.get(source or "", "")
        own = {self.borrower_id, self.borrower_id.removeprefix(prefix)}
        return frozenset(own), self.ids | {one.removeprefix(prefix) for one in self.ids}


@dataclass(slots=True)
class _Finding:
    finding_id: str
    stage: str
    source: str | None
    table_name: str
    batch_id: str | None
    suite: str | None
    rule: str
    file: str | None
    line: int | None
    loan_id: str | None
    borrower_id: str | None
    key: dict[str, Any] | None
    row_data: dict[str, Any] | None
    reason: str


def blank_findings(connection: psycopg.Connection, person: Person) -> int:
    """Blanks the findings on the borrower's rows; gives how many were not blank yet."""
    own = set().union(*(person.as_delivered(source)[0] for source in (None, *person.prefixes)))
    given = {
        "borrower": person.borrower_id,
        "loans": sorted(person.loan_ids),
        "needles": sorted({*own, *person.values, *map(_as_in_json, person.values)}),
    }
    count = 0
    for row in connection.execute(CANDIDATES, given).fetchall():
        before, after = _Finding(*row), _blanked(_Finding(*row), person)
        if before == after:
            continue
        if before.stage == "raw":
            after.finding_id = _free_id(connection, after)
        connection.execute(
            "update quarantine.rows set finding_id = %s, loan_id = %s, borrower_id = %s, key = %s, row_data = %s,"
            " reason = %s where finding_id = %s",
            [
                after.finding_id,
                after.loan_id,
                after.borrower_id,
                None if after.key is None else Jsonb(after.key),
                None if after.row_data is None else Jsonb(after.row_data),
                after.reason,
                before.finding_id,
            ],
        )
        count += 1
    return count


def _as_in_json(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _blanked(finding: _Finding, person: Person) -> _Finding:
    row = finding.row_data or {}
    own, ids = person.as_delivered(finding.source)
    if finding.stage == "extract" and is_unread_line(finding.table_name, row):
        if any(names(str(value), own | person.values) for value in row.values() if value is not None):
            finding.row_data = blank_line(row, ids)
            finding.key = None if finding.key is None else blank_line(finding.key, ids)
            # What was guessed to be an id may be anything.
            finding.loan_id = _id_or_blank(finding.loan_id, ids)
            finding.borrower_id = _id_or_blank(finding.borrower_id, ids)
            finding.reason = scrub(finding.reason, ids, person.values)
        return finding
    table = contract().get(finding.table_name)
    if table is None:
        return finding  # of a table that dbt built, none of whose rows with a loan's key holds personal columns
    if belongs_to(table, row, own) or _names_nobody_else(table, row, person):
        blanked, values = blank_record(table, row)
        if "_row_hash" in blanked:
            blanked["_row_hash"] = None
        finding.row_data = blanked
        finding.reason = scrub(finding.reason, ids, {*values, *person.values})
    return finding


def _id_or_blank(value: str | None, ids: Set[str]) -> str | None:
    return value if value is None or value in ids else BLANK


def _names_nobody_else(table: Table, row: dict[str, Any], person: Person) -> bool:
    """Whether a row that says no borrower has a personal value of this one."""
    if any(row.get(name) is not None for name in owners(table)):
        return False
    return any(row.get(column.name) in person.values for column in personal_columns(table))


def _free_id(connection: psycopg.Connection, finding: _Finding) -> str:
    """An id that is no hash of the erased row, as that of the gate's findings is: its place makes one."""
    parts: Sequence[object] = [
        finding.batch_id,
        finding.table_name,
        finding.suite,
        finding.rule,
        finding.key,
        finding.file,
        finding.line,
    ]
    number = 0
    while True:
        wanted = content_hash([BORROWERS, *parts, number])
        taken = connection.execute("select 1 from quarantine.rows where finding_id = %s", [wanted]).fetchone()
        if taken is None or wanted == finding.finding_id:
            return wanted
        number += 1
