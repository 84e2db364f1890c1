"""`arrears ledger verify`: reads the whole ledger anew and says of every entry that was tampered with which it is.

Three things are compared: the ledger with itself (every leaf with its hash, every link, every tree of lines with the
root in its export's entry), with the tree heads that were published, and with what the warehouse says has happened.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from arrears.ledger import heads
from arrears.ledger.diagnosis import START, Finding, Row, diagnose
from arrears.ledger.merkle import Tree, leaf_hash
from arrears.settings import get_settings

ROWS_AT_A_TIME = 50_000
NAMED = 20  # findings that one export can have


@dataclass(slots=True)
class Report:
    """What was looked at and what was found; `is_whole` without findings."""

    entries: int = 0
    exports: int = 0
    lines: int = 0
    erased_lines: int = 0
    heads: int = 0
    root: str = ""
    findings: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it stands there; `told` is its leaf, empty where that is no JSON."""

    row: Row
    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.told.get('kind', '?')} {self.told.get('subject', '?')}"


def verify(connection: psycopg.Connection, heads_file: Path | None = None) -> Report:
    """Checks the whole ledger.

    Args:
        connection: of a role that reads it, in one snapshot for all.
        heads_file: tree heads to compare with; without it those that this home has kept.
    """
    report = Report()
    entries = _entries(connection)
    report.entries = len(entries)
    report.findings += [_told(finding, entries) for finding in diagnose([entry.row for entry in entries])]
    if not entries:
        report.findings.append("the ledger is empty: even the entry that opened it was removed")
    tree = Tree([entry.row.stored for entry in entries])
    report.root = tree.root().hex()
    report.findings += _against_heads(connection, tree, entries, report, heads_file)
    erased = _erased(entries)
    for entry in entries:
        if entry.told.get("kind") == "export" and entry.row.is_whole:
            try:
                _check_lines(connection, entry, erased, report)
            except (KeyError, TypeError, ValueError) as error:
                report.findings.append(f"entry {entry.row.position} ({entry.name}) cannot be read: {error!r}")
    report.findings += _lines_without_entry(connection)
    report.findings += _against_warehouse(connection, entries)
    return report


def _entries(connection: psycopg.Connection) -> list[Entry]:
    found = []
    for position, leaf, salt, stored in _stream(
        connection, "select position, leaf, salt, leaf_hash from ledger.entries order by position", []
    ):
        told = _json(leaf)
        link = _bytes(told.get("previous"))
        computed = leaf_hash(salt + leaf.encode())
        found.append(Entry(Row(position, stored, computed, link, _whole_number(told.get("position"))), told))
    return found


def _told(finding: Finding, entries: Sequence[Entry]) -> str:
    """A finding about an entry, with what is known of it."""
    at = finding.stands_at if finding.stands_at is not None else finding.place
    name = next((f" ({entry.name})" for entry in entries if entry.row.position == at), "")
    if finding.what == "removed":
        return f"entry {finding.place} was removed"
    if finding.what == "moved":
        return f"entry {finding.place}{name} was moved: it stands at position {at}"
    return f"entry {finding.place}{name} was {finding.what}"


def _against_heads(
    connection: psycopg.Connection, tree: Tree, entries: Sequence[Entry], report: Report, heads_file: Path | None
) -> list[str]:
    file = heads_file or get_settings().ledger_heads_file
    if heads_file is None and not file.exists():
        return []
    findings, log_id, fits = [], heads.log_id(connection), 0
    for head in sorted(heads.read(file), key=lambda head: head.size):
        report.heads += 1
        if head.signature is not None and not heads.is_signed_well(head):
            findings.append(f"the head of {head.at} in {file} has a signature that does not fit it")
        elif head.log_id != log_id:
            findings.append(f"the head of {head.at} in {file} is of another ledger ({head.log_id}, this is {log_id})")
        elif head.size > tree.size:
            findings.append(f"entries {tree.size} to {head.size - 1} were removed: the head of {head.at} has them")
        elif tree.root(head.size).hex() != head.root:
            if not report.findings:  # whoever did it made all hashes anew
                findings.append(
                    f"one of the entries {fits} to {head.size - 1} was changed, with every hash after it:"
                    f" the head of {head.at} does not fit"
                )
            else:
                findings.append(f"the head of {head.at} ({head.size} entries) does not fit")
            break
        else:
            fits = head.size
    return findings


def _erased(entries: Sequence[Entry]) -> set[tuple[str, int, int]]:
    """Lines that an erasure has recorded to be closed for good."""
    return {
        (str(day), int(revision), int(number))
        for entry in entries
        if entry.told.get("kind") == "erasure" and entry.row.is_whole
        for day, revision, number in entry.told.get("content", {}).get("lines", ())
    }


def _check_lines(
    connection: psycopg.Connection, entry: Entry, erased: set[tuple[str, int, int]], report: Report
) -> None:
    """Compares an export's lines with what its entry says of them."""
    content = entry.told["content"]
    day, revision = str(content["as_of_date"]), int(content["revision"])
    report.exports += 1
    stored: list[bytes] = []
    doubtful = unopened = 0
    before = START
    query = (
        "select lines.line_number, lines.leaf_hash, lines.previous_hash, openings.salt, openings.leaf"
        " from ledger.lines as lines left join ledger.line_openings as openings"
        " on lines.as_of_date = openings.as_of_date and lines.revision = openings.revision"
        " and lines.line_number = openings.line_number"
        " where lines.as_of_date = %s and lines.revision = %s order by lines.line_number"
    )
    lost = []
    for number, (line_number, digest, previous, salt, leaf) in enumerate(
        _stream(connection, query, [date.fromisoformat(day), revision])
    ):
        stored.append(digest)
        if leaf is None:
            unopened += 1
            if (day, revision, line_number) not in erased:
                lost.append(line_number)
        elif leaf_hash(salt + leaf.encode()) != digest:
            doubtful += 1
        if previous != before or line_number != number:
            doubtful += 1
        before = digest
    report.lines += len(stored)
    report.erased_lines += unopened - len(lost)
    where = f"export {day} revision {revision}"
    report.findings += [f"{where}: what opens line {line} was removed, and no erasure says so" for line in lost[:NAMED]]
    root_fits = Tree(stored).root().hex() == content["lines_root"] and len(stored) == content["lines"]
    if root_fits and not doubtful:
        return
    rows = list(_rows(connection, query, day, revision))
    if root_fits:
        found = [Finding("changed", row.position) for row, link in _with_links(rows) if not row.is_whole or not link]
    else:
        found = diagnose(rows, size=int(content["lines"]), last=_bytes(content["last_line"]))
    for finding in found[:NAMED]:
        moved = f": it stands at {finding.stands_at}" if finding.stands_at is not None else ""
        loan = _loan(connection, day, revision, finding)
        report.findings.append(f"{where}: line {finding.place}{loan} was {finding.what}{moved}")
    if len(found) > NAMED or not found:
        report.findings.append(f"{where}: {len(found)} findings in its lines, whose root does not fit the entry")


def _with_links(rows: Sequence[Row]) -> Iterator[tuple[Row, bool]]:
    before = START
    for row in rows:
        yield row, row.link == before
        before = row.stored


def _rows(connection: psycopg.Connection, query: str, day: str, revision: int) -> Iterator[Row]:
    for line_number, digest, previous, salt, leaf in _stream(connection, query, [date.fromisoformat(day), revision]):
        computed = leaf_hash(salt + leaf.encode()) if leaf is not None else None
        claimed = _whole_number(_json(leaf).get("number")) if leaf is not None else None
        yield Row(line_number, digest, computed, previous, claimed)


def _loan(connection: psycopg.Connection, day: str, revision: int, finding: Finding) -> str:
    row = connection.execute(
        "select loan_id from ledger.line_openings where as_of_date = %s and revision = %s and line_number = %s",
        [day, revision, finding.place if finding.stands_at is None else finding.stands_at],
    ).fetchone()
    return f" (loan {row[0]})" if row and finding.what != "removed" else ""


def _lines_without_entry(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "select distinct lines.as_of_date, lines.revision from ledger.lines as lines where not exists ("
        " select 1 from ledger.entries as entries where entries.kind = 'export'"
        " and entries.subject = to_char(lines.as_of_date, 'YYYY-MM-DD') || '/' || lines.revision) order by 1, 2"
    ).fetchall()
    return [f"export {day} revision {revision} has lines and no entry" for day, revision in rows]


def _against_warehouse(connection: psycopg.Connection, entries: Sequence[Entry]) -> list[str]:
    """What has happened since the ledger was opened must stand in it, as it is."""
    whole = [entry.told for entry in entries if entry.row.is_whole]
    opened = next((str(told["recorded_at"]) for told in whole if told.get("kind") == "opened"), None)
    if opened is None:
        return []  # a finding already: it was removed or changed
    last = {(str(told.get("kind")), str(told.get("subject"))): told.get("content", {}) for told in whole}
    findings = []
    for batch_id, state in connection.execute(
        "select batch_id, state from ops.batches where state <> 'loaded' and decided_at > %s order by decided_at, 1",
        [opened],
    ).fetchall():
        told = last.get(("batch", batch_id), {}).get("state")
        if told != state:
            findings.append(f"batch {batch_id} is {state}, the ledger says {told or 'nothing of it'}")
    for day, revision, sha256 in connection.execute(
        "select as_of_date, revision, manifest_sha256 from ops.exports"
        " where state <> 'intended' and done_at > %s order by 1, 2",
        [opened],
    ).fetchall():
        subject = f"{day}/{revision}"
        told = last.get(("export_blanked", subject), last.get(("export", subject), {})).get("manifest_sha256")
        if told != sha256:
            findings.append(
                f"export {day} revision {revision} has the manifest {sha256[:12]}…, the ledger says"
                f" {told[:12] + '…' if told else 'nothing of it'}"
            )
    return findings + _deliveries(connection, whole)


def _deliveries(connection: psycopg.Connection, whole: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every receipt has its entry and every entry its receipt: neither is ever written or removed alone."""
    names = ("as_of_date", "revision", "recipient_id", "target", "file", "sha256")
    told = {
        tuple(str(entry.get("content", {}).get(name)) for name in names)
        for entry in whole
        if entry.get("kind") == "delivery"
    }
    known = {
        tuple(map(str, row))
        for row in connection.execute(
            "select as_of_date, revision, recipient_id, target, file, sha256 from ops.deliveries"
        ).fetchall()
    }

    def named(key: tuple[str, ...]) -> str:
        day, revision, recipient, target, file, sha256 = key
        return f"delivery of {day} revision {revision}, {file} of {recipient} to {target} ({sha256[:12]}…)"

    return [f"{named(key)} has a receipt, the ledger says nothing of it" for key in sorted(known - told)] + [
        f"{named(key)} is in the ledger, its receipt is gone" for key in sorted(told - known)
    ]


def _stream(connection: psycopg.Connection, query: str, given: Sequence[object]) -> Iterator[tuple[Any, ...]]:
    with connection.cursor(name="ledger", binary=True) as cursor:
        cursor.itersize = ROWS_AT_A_TIME
        yield from cursor.execute(query.encode(), given)


def _json(leaf: str) -> dict[str, Any]:
    try:
        told = json.loads(leaf)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _whole_number(told: object) -> int | None:
    return told if isinstance(told, int) else None


def _bytes(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        return b""
