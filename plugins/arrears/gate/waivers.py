"""Findings that an operator lets pass on one date: who, why, and what that changes of a gate's outcome.

A waiver names the rule of a suite and, for a rule on single rows, the row. It counts for one date alone: the next day
finds again what is still wrong. What the law forbids and what nothing can be computed with cannot be waived: each rule
says so itself (`is_waivable` in `expectations.rules`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from arrears.errors import UsageError
from arrears.gate.checking import Found
from arrears.gate.verdict import Result
from arrears.ledger.recording import record

# Of this rule one result tells of several tables; each is waived by itself.
BY_TABLE = {"deletions": "table_name"}


@dataclass(frozen=True, slots=True)
class Waiver:
    """One finding that passes on one date; `key` names a row by columns as text, empty: the rule as a whole."""

    as_of_date: date
    suite: str
    rule: str
    key: Mapping[str, str]
    waived_by: str
    reason: str

    def is_of(self, suite: str, rule: str, key: Mapping[str, str]) -> bool:
        """Whether it means a finding with this key."""
        return (self.suite, self.rule) == (suite, rule) and self.key.items() <= key.items()


def in_force(connection: psycopg.Connection, as_of_date: date) -> tuple[Waiver, ...]:
    """The waivers of a date that were not withdrawn."""
    with connection.cursor(row_factory=class_row(Waiver)) as cursor:
        rows = cursor.execute(
            "select as_of_date, suite, rule, key, waived_by, reason from ops.gate_waivers"
            " where as_of_date = %s and withdrawn_at is null order by suite, rule, cast(key as text)",
            [as_of_date],
        ).fetchall()
    return tuple(rows)


def passed(waivers: Sequence[Waiver], results: Iterable[Result], found: Sequence[Found]) -> list[Result]:
    """The results, each with how much of it passes and, where all of it does, by whose word."""
    return [_passed(waivers, result, found) if not result.is_passed else result for result in results]


def not_passed(waivers: Sequence[Waiver], results: Iterable[Result], found: Sequence[Found]) -> list[Found]:
    """The rows found that nobody let pass."""
    if not waivers:
        return list(found)
    waivable = {(result.suite, result.rule) for result in results if result.is_waivable}
    return [
        one
        for one in found
        if (one.suite, one.rule) not in waivable or not any(w.is_of(one.suite, one.rule, one.key) for w in waivers)
    ]


def _passed(waivers: Sequence[Waiver], result: Result, found: Sequence[Found]) -> Result:
    own = [one for one in waivers if result.is_waivable and (one.suite, one.rule) == (result.suite, result.rule)]
    if not own:
        return result
    rows = [one for one in found if (one.suite, one.rule) == (result.suite, result.rule)]
    waived = sum(any(one.is_of(row.suite, row.rule, row.key) for one in own) for row in rows)
    if any(not one.key for one in own):
        waived = result.failed_count
    is_whole = waived >= len(rows) if rows else waived >= result.failed_count
    by = ", ".join(sorted({one.waived_by for one in own})) if is_whole and waived else None
    return replace(result, waived_count=waived, waived_by=by)


def tables_waived(waivers: Sequence[Waiver], suite: str, rule: str) -> set[str]:
    """The tables that waivers of a rule on deliveries name."""
    column = BY_TABLE[rule]
    return {one.key[column] for one in waivers if (one.suite, one.rule) == (suite, rule) and column in one.key}


def waive(
    connection: psycopg.Connection,
    as_of_date: date,
    suite: str,
    rule: str,
    key: Mapping[str, str],
    *,
    by: str,
    reason: str,
) -> Waiver:
    """Lets a finding pass on a date, from the date's next run on, and writes it into the ledger.

    Args:
        connection: in whose transaction it is written.
        as_of_date: the date for which it counts, not exported yet.
        suite: the suite that found it, as `arrears status` names it.
        rule: the rule's number in that suite.
        key: columns that name the row, as `arrears status` shows them; empty for a rule on a whole table.
        by: who answers for it.
        reason: why.

    Raises:
        UsageError: nothing of the kind was found, it cannot be waived, or the date is exported.
    """
    _need_words(by, reason)
    _need_unexported(connection, as_of_date)
    scope = _found_scope(connection, as_of_date, suite, rule)
    named = f"{suite} {rule}"
    if rule in BY_TABLE and BY_TABLE[rule] not in key:
        raise UsageError(f"{named} is waived table by table: add --key {BY_TABLE[rule]}=TABLE.")
    if scope == "row":
        if not key:
            raise UsageError(f"{named} is a rule on single rows: say which, as --key COLUMN=VALUE.")
        if not _is_found(connection, as_of_date, suite, rule, key):
            told = ", ".join(f"{name}={value}" for name, value in key.items())
            raise UsageError(f"No row with {told} breaks {named} on {as_of_date}: `arrears status` shows the keys.")
    elif key and rule not in BY_TABLE:
        raise UsageError(f"{named} is a rule on a whole table: leave out --key.")
    connection.execute(
        "insert into ops.gate_waivers (as_of_date, suite, rule, key, waived_by, reason) values (%s, %s, %s, %s, %s, %s)"
        " on conflict (as_of_date, suite, rule, key) do update set waived_by = excluded.waived_by,"
        " reason = excluded.reason, waived_at = excluded.waived_at, withdrawn_by = null, withdrawn_because = null,"
        " withdrawn_at = null",
        [as_of_date, suite, rule, Jsonb(dict(key)), by, reason],
    )
    waiver = Waiver(as_of_date, suite, rule, dict(key), by, reason)
    _record(connection, waiver, "waived", by, reason)
    return waiver


def withdraw(
    connection: psycopg.Connection,
    as_of_date: date,
    suite: str,
    rule: str,
    key: Mapping[str, str],
    *,
    by: str,
    reason: str,
) -> Waiver:
    """Takes a waiver back before the date is exported; the ledger keeps both.

    Raises:
        UsageError: there is no such waiver, or the date is exported.
    """
    _need_words(by, reason)
    _need_unexported(connection, as_of_date)
    waivers = [one for one in in_force(connection, as_of_date) if (one.suite, one.rule, one.key) == (suite, rule, key)]
    if not waivers:
        raise UsageError(f"Nothing of {suite} {rule} is waived for {as_of_date}: `arrears gate waivers` lists them.")
    connection.execute(
        "update ops.gate_waivers set withdrawn_by = %s, withdrawn_because = %s, withdrawn_at = now()"
        " where as_of_date = %s and suite = %s and rule = %s and key = %s",
        [by, reason, as_of_date, suite, rule, Jsonb(dict(key))],
    )
    _record(connection, waivers[0], "withdrawn", by, reason)
    return waivers[0]


def _record(connection: psycopg.Connection, waiver: Waiver, state: str, by: str, reason: str) -> None:
    content: dict[str, Any] = {
        "as_of_date": waiver.as_of_date.isoformat(),
        "suite": waiver.suite,
        "rule": waiver.rule,
        "key": dict(sorted(waiver.key.items())),
        "state": state,
        "by": by,
        "reason": reason,
    }
    key = "".join(f"/{name}={value}" for name, value in sorted(waiver.key.items()))
    record(connection, "waiver", f"{waiver.as_of_date}/{waiver.suite}/{waiver.rule}{key}", content)


def _need_words(by: str, reason: str) -> None:
    if not by.strip() or not reason.strip():
        raise UsageError("A waiver has a name (--by) and a reason (--reason): the ledger keeps both.")


def is_exported(connection: psycopg.Connection, as_of_date: date) -> bool:
    """Whether a date went out, so that its outcome stands."""
    row = connection.execute(
        "select 1 from ops.exports where as_of_date = %s and state = 'done'", [as_of_date]
    ).fetchone()
    return row is not None


def _need_unexported(connection: psycopg.Connection, as_of_date: date) -> None:
    if is_exported(connection, as_of_date):
        raise UsageError(f"{as_of_date} is exported: what is still wrong can be waived for the next date.")


def _found_scope(connection: psycopg.Connection, as_of_date: date, suite: str, rule: str) -> str:
    """The scope of a rule that failed on the date or, where that day went on and rows still wait, before."""
    row = connection.execute(
        "select scope, is_waivable, failed_count, sentence from ops.gate_results"
        " where suite = %(suite)s and rule = %(rule)s and not is_passed and (as_of_date = %(date)s"
        " or (as_of_date < %(date)s and stage = 'raw' and (scope = 'row' or rule = any(%(by_table)s))))"
        " order by as_of_date desc limit 1",
        {"suite": suite, "rule": rule, "date": as_of_date, "by_table": list(BY_TABLE)},
    ).fetchone()
    if row is None:
        raise UsageError(
            f"{suite} {rule} did not fail on {as_of_date}: `arrears status --as-of {as_of_date}` lists what did."
        )
    scope, is_waivable, failed_count, sentence = row
    if not is_waivable:
        why = "it could not be checked" if failed_count == 0 else "no judgement makes it right"
        raise UsageError(f"{suite} {rule} cannot be waived, {why}: {sentence}")
    return str(scope)


def _is_found(connection: psycopg.Connection, as_of_date: date, suite: str, rule: str, key: Mapping[str, str]) -> bool:
    row = connection.execute(
        "select 1 from quarantine.rows where suite = %s and rule = %s and key @> %s"
        " and opened_on <= %s and (closed_on is null or closed_on > %s) limit 1",
        [suite, rule, Jsonb(dict(key)), as_of_date, as_of_date],
    ).fetchone()
    return row is not None
