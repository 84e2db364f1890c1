"""Erases a borrower's personal data on a legal request: the one exception to "what was known stays readable".

First the database, in one transaction that also records the erasure, then the kept exports one by one, then the pages
of the database in which blanked rows were. Each part finds by itself what is left to do: killed at any moment, the
same command goes on from there, and once nothing is left it says so.
"""

import getpass
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from arrears import warehouse
from arrears.contract.servicing import contract
from arrears.errors import SourceError, UsageError
from arrears.extraction.sources import load_source
from arrears.ledger.recording import forget_lines
from arrears.privacy.blanking import (
    BLANK,
    BORROWERS,
    SHORTEST,
    belongs_to,
    blank_loaded,
    blank_rows,
    blank_unreadable,
    is_of,
    is_unread_line,
    owners,
    personal_columns,
    personal_names,
    personal_tables,
)
from arrears.privacy.kept_exports import Found, KeptExports
from arrears.privacy.mentions import mentions, mentions_in_tables
from arrears.privacy.quarantined import Person, blank_findings
from arrears.privacy.queue_files import PARTY, Whom
from arrears.settings import get_settings
from arrears.warehouse import run_lock
from arrears.warehouse.bootstrap import OWNER
from arrears.warehouse.connections import LOGINS, connect

__all__ = ["Erasure", "blank_loaded", "blank_unreadable", "erase"]

PIPELINE = LOGINS["pipeline"]
BEFORE_ALL_TIME = date(1, 1, 1)
# What a run builds, or leaves behind when it is killed; the rows of queue_contact_details above all.
BUILT_SCHEMAS = ("load", "working", "marts_personal")
TAKEN_OUT = "working.gate_taken_out"
OPENINGS = "ledger.line_openings"

LIMITS = (
    "backups of the database, of its write-ahead log and of the exports: erase there, or let them expire",
    "the lender's own systems: what they deliver of the borrower from now on is blanked on its way in",
    "disk blocks that the database and the file system have freed but not overwritten yet",
)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did, or (a dry run) would do.

    `counts`: rows by table and lines by export file that were blanked now. `handed_to`: by recipient the dates whose
    queues, already handed over, held the borrower's lines. `mentions`: files of the home, and columns that the contract
    does not mark, that hold a personal value and are not rewritten. `drops`: deliveries that are still where they came
    from. `limits`: what no command can reach.
    """

    borrower_id: str
    is_dry_run: bool
    is_nothing_left: bool
    counts: Mapping[str, int]
    handed_to: Mapping[str, list[date]]
    mentions: list[str]
    drops: list[str]
    warnings: list[str]
    limits: tuple[str, ...] = LIMITS


def erase(borrower_id: str, reason: str, *, is_dry_run: bool = False) -> Erasure:
    """Blanks a borrower's personal columns wherever this warehouse keeps them.

    Args:
        borrower_id: as the warehouse knows it, with the source's `key_prefix`.
        reason: kept in ops.erasures; it should name the request, not the person.
        is_dry_run: counts what would be blanked and changes nothing.

    Raises:
        UsageError: nobody of that id was ever delivered, no reason is given, or no administrator's login is set.
        WarehouseBusy: a run works on the warehouse.
        ExportError: a kept export cannot be rewritten; the same command goes on from there.
    """
    if not reason.strip():
        raise UsageError("An erasure needs a reason: say --reason TEXT, and name the request in it, not the person.")
    warehouse.ready()
    try:
        with run_lock.step_at_work(f"erase-{os.getpid()}", _newest_date(), "process"):
            return _erase(borrower_id, reason.strip(), is_dry_run=is_dry_run)
    finally:
        run_lock.release_of_process()


def _erase(borrower_id: str, reason: str, *, is_dry_run: bool) -> Erasure:
    settings = get_settings()
    if not is_dry_run:
        _remove_scratch(settings.home / "tmp")
    with _as_owner() as connection:
        person = _person(connection, borrower_id)
        was_done = _record(connection, borrower_id, reason)
        drops = _drops(connection)
        told = mentions(settings.home, person.values, apart_from=[settings.exports, *map(Path, drops)])
        counts = _blank_database(connection, person)
        told += mentions_in_tables(connection, person.values)
        _become(connection, PIPELINE)  # whose the rest is: what runs build, and the marts
        counts |= _blank_built_tables(connection, borrower_id)
        handed_to = _handed_to(connection, borrower_id)
        _become(connection, OWNER)
        others = connection.execute(
            "select borrower_id from ops.erasures where state = 'begun' and borrower_id <> %s order by 1", [borrower_id]
        ).fetchall()
        if is_dry_run:
            connection.rollback()
        else:
            _add_counts(connection, borrower_id, counts, state=None)
    found = _blank_exports(settings.exports, person, is_dry_run=is_dry_run)
    counts |= found.lines
    for recipient, days in found.handed_to.items():
        handed_to.setdefault(recipient, set()).update(days)
    warnings = _warnings(found, [str(row[0]) for row in others])
    if not is_dry_run:
        if counts or not was_done:
            warnings += _vacuum()
        with _as_owner() as connection:
            _add_counts(connection, borrower_id, found.lines, state="done")
    return Erasure(
        borrower_id,
        is_dry_run,
        was_done and not counts,
        dict(sorted(counts.items())),
        {recipient: sorted(days) for recipient, days in sorted(handed_to.items())},
        told,
        [place for place in drops if Path(place).exists()],
        warnings,
    )


def _newest_date() -> date:
    with connect() as connection:
        row = connection.execute("select max(batch_date) from ops.batches").fetchone()
    return row[0] if row and row[0] else BEFORE_ALL_TIME


@contextmanager
def _as_owner() -> Iterator[psycopg.Connection]:
    """One transaction of the role that owns raw, which is append-only for everybody else.

    Raises:
        UsageError: the administrator's login may not become it.
    """
    with connect(role="admin") as connection:
        _become(connection, OWNER)
        yield connection


def _become(connection: psycopg.Connection, role: str) -> None:
    try:
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
    except psycopg.errors.InsufficientPrivilege as error:
        raise UsageError(
            f"Erasing needs the role {role}, because raw is append-only for the pipeline: set "
            f"ARREARS_ADMIN_DATABASE_URL to a login that is a member of it."
        ) from error


def _person(connection: psycopg.Connection, borrower_id: str) -> Person:
    """The borrower's ids and personal values, from all that was ever delivered.

    Raises:
        UsageError: there is no trace of such a borrower.
    """
    loans = _texts(
        connection,
        "select loan_id from raw.loans where borrower_id = %(id)s"
        " union select loan_id from raw.loan_parties where borrower_id = %(id)s",
        borrower_id,
    )
    ids, values = {borrower_id, *loans}, set[str]()
    is_known = bool(_texts(connection, "select borrower_id from ops.erasures where borrower_id = %(id)s", borrower_id))
    for table in personal_tables():
        texts = [column.name for column in personal_columns(table) if column.data_type == "text"]
        for schema in ("raw", "versions"):
            rows = connection.execute(
                sql.SQL("select {} from {} as rows where {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, (*table.primary_key, *texts))),
                    sql.Identifier(schema, table.name),
                    is_of(table, "rows", sql.Placeholder("ids")),
                ),
                {"ids": [borrower_id]},
            ).fetchall()
            keys = len(table.primary_key)
            ids |= {str(value) for row in rows for value in row[:keys]}
            values |= {str(value) for row in rows for value in row[keys:] if value is not None}
            is_known = is_known or (bool(rows) and table.name == BORROWERS)
    findings = connection.execute(
        "select table_name, row_data from quarantine.rows"
        " where borrower_id = %(id)s or row_data ->> 'borrower_id' = %(id)s",
        {"id": borrower_id},
    ).fetchall()
    for name, row in findings:
        is_known = True
        if not is_unread_line(name, row or {}) and belongs_to(contract()[name], row or {}, {borrower_id}):
            ids |= {str(row[key]) for key in contract()[name].primary_key if row.get(key) is not None}
            columns = personal_columns(contract()[name])
            values |= {str(row[column.name]) for column in columns if row.get(column.name) is not None}
    if not is_known:
        raise UsageError(
            f"No borrower {borrower_id} was ever delivered to this warehouse: ids are as in `arrears explain LOAN_ID`, "
            f"with the key_prefix of their source."
        )
    told = frozenset(value for value in values if value != BLANK and len(value) >= SHORTEST)
    return Person(borrower_id, frozenset(ids - told), frozenset(loans), told, _prefixes(connection))


def _prefixes(connection: psycopg.Connection) -> dict[str, str]:
    """Key prefixes by source; one whose folder is gone, or cannot be read, has none that could be known."""
    prefixes = {}
    for (name,) in connection.execute("select distinct source from ops.batches order by 1").fetchall():
        with suppress(UsageError, SourceError):
            prefixes[name] = load_source(name).key_prefix or ""
    return {name: prefix for name, prefix in prefixes.items() if prefix}


def _texts(connection: psycopg.Connection, query: str, borrower_id: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query.encode(), {"id": borrower_id}).fetchall()]


def _record(connection: psycopg.Connection, borrower_id: str, reason: str) -> bool:
    """Records the erasure; gives whether it was done once already, whose reason and dates then stay.

    Dates that are exported keep their decisions: values count as missing from the day after the newest of them.
    """
    row = connection.execute("select max(as_of_date) from ops.exports").fetchone()
    newest = row[0] if row else None
    connection.execute(
        "insert into ops.erasures (borrower_id, reason, erased_by, blank_from, state)"
        " values (%s, %s, %s, %s, 'begun') on conflict (borrower_id) do nothing",
        [borrower_id, reason, _user(), newest + timedelta(days=1) if newest else BEFORE_ALL_TIME],
    )
    state = connection.execute("select state from ops.erasures where borrower_id = %s", [borrower_id]).fetchone()
    return state == ("done",)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def _add_counts(
    connection: psycopg.Connection, borrower_id: str, counts: Mapping[str, int], *, state: str | None
) -> None:
    row = connection.execute("select counts from ops.erasures where borrower_id = %s", [borrower_id]).fetchone()
    assert row is not None
    added = {name: row[0].get(name, 0) + counts.get(name, 0) for name in row[0].keys() | counts.keys()}
    connection.execute(
        "update ops.erasures set counts = %s, state = coalesce(%s, state) where borrower_id = %s",
        [Jsonb(added), state, borrower_id],
    )


def _blank_database(connection: psycopg.Connection, person: Person) -> dict[str, int]:
    counts = {}
    for table in personal_tables():
        for schema in ("raw", "versions"):
            counts[f"{schema}.{table.name}"] = blank_rows(connection, schema, table, [person.borrower_id])
    counts["quarantine.rows"] = blank_findings(connection, person)
    counts[OPENINGS] = forget_lines(connection, person.borrower_id)
    return {place: count for place, count in counts.items() if count}


def _blank_built_tables(connection: psycopg.Connection, borrower_id: str) -> dict[str, int]:
    counts = {}
    for schema, name, columns in _built_tables(connection):
        counts[f"{schema}.{name}"] = _blank_built(connection, schema, name, columns, borrower_id)
    counts[TAKEN_OUT] = _blank_taken_out(connection, borrower_id)
    return {place: count for place, count in counts.items() if count}


def _built_tables(connection: psycopg.Connection) -> list[tuple[str, str, list[str]]]:
    """Tables that a run builds, with a personal column and one that says whose it is: schema, name, columns."""
    of = {PARTY, *(name for table in personal_tables() for name in owners(table))}
    rows = connection.execute(
        "select n.nspname, c.relname, array_agg(cast(a.attname as text) order by a.attnum) from pg_class as c"
        " inner join pg_namespace as n on c.relnamespace = n.oid inner join pg_attribute as a on c.oid = a.attrelid"
        " where n.nspname = any(%s) and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped"
        " group by n.nspname, c.relname order by 1, 2",
        [list(BUILT_SCHEMAS)],
    ).fetchall()
    return [
        (str(schema), str(name), columns)
        for schema, name, columns in rows
        if of & set(columns) and personal_names().keys() & set(columns)
    ]


def _blank_built(connection: psycopg.Connection, schema: str, name: str, columns: list[str], borrower_id: str) -> int:
    # Contact details on a line are the party's, who need not be the loan's borrower.
    whose = [PARTY] if PARTY in columns else [c for t in personal_tables() for c in owners(t) if c in columns]
    personal = [(column, is_text) for column, is_text in personal_names().items() if column in columns]
    new = {
        column: sql.SQL("case when {} is not null then {} end").format(sql.Identifier(column), sql.Literal(BLANK))
        if is_text
        else sql.SQL("null")
        for column, is_text in personal
    }
    return connection.execute(
        sql.SQL("update {} set {} where ({}) and ({})").format(
            sql.Identifier(schema, name),
            sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(column), new[column]) for column in new),
            sql.SQL(" or ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(borrower_id)) for column in set(whose)
            ),
            sql.SQL(" or ").join(
                sql.SQL("{} is distinct from {}").format(sql.Identifier(column), new[column]) for column in new
            ),
        )
    ).rowcount


def _blank_taken_out(connection: psycopg.Connection, borrower_id: str) -> int:
    """Lines that the last gate took out of the queues stand beside them as JSON."""
    if not _is_there(connection, TAKEN_OUT):
        return 0
    count = 0
    rows = connection.execute(
        "select ctid, row_data from working.gate_taken_out"
        " where coalesce(row_data ->> 'party_borrower_id', row_data ->> 'borrower_id') = %s for update",
        [borrower_id],
    ).fetchall()
    is_text = personal_names()
    for ctid, row in rows:
        blank: dict[str, Any] = {
            name: (BLANK if is_text[name] and value is not None else None) if name in is_text else value
            for name, value in row.items()
        }
        if blank != row:
            connection.execute("update working.gate_taken_out set row_data = %s where ctid = %s", [Jsonb(blank), ctid])
            count += 1
    return count


def _handed_to(connection: psycopg.Connection, borrower_id: str) -> dict[str, set[date]]:
    """Recipients and dates by the marts: exports that somebody moved away are known here still."""
    found: dict[str, set[date]] = {}
    if not _is_there(connection, "marts.collection_queue"):
        return found
    for recipient, day in connection.execute(
        "select distinct queue.recipient_id, queue.as_of_date from marts.collection_queue as queue"
        " inner join ops.exports as exports on queue.as_of_date = exports.as_of_date and exports.state = 'done'"
        " where queue.party_borrower_id = %s",
        [borrower_id],
    ).fetchall():
        found.setdefault(str(recipient), set()).add(day)
    return found


def _is_there(connection: psycopg.Connection, relation: str) -> bool:
    return connection.execute("select to_regclass(%s)", [relation]).fetchone() != (None,)


def _drops(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("select distinct drop_path from ops.batches order by 1").fetchall()
    return [str(row[0]) for row in rows]


def _blank_exports(exports: Path, person: Person, *, is_dry_run: bool) -> Found:
    columns = {column.name: column.data_type == "text" for column in personal_columns(contract()[BORROWERS])}
    whom = Whom(person.borrower_id, person.loan_ids, columns)
    with connect(autocommit=True) as connection:
        return KeptExports(connection, exports, whom, is_dry_run=is_dry_run).blank()


def _warnings(found: Found, others: list[str]) -> list[str]:
    told = []
    if found.missing:
        told.append(f"no longer where they were exported, so not blanked: {', '.join(found.missing)}")
    if found.foreign:
        told.append(f"made by another warehouse, so not touched: exports {', '.join(found.foreign)}")
    if found.unsearched:
        told.append(f"no tables of lines, so not searched: {', '.join(found.unsearched)}")
    if others:
        told.append(f"the erasure of {', '.join(others)} was begun and killed: run it again, too")
    return told


def _remove_scratch(folder: Path) -> None:
    """What a killed extraction left of the files that it read."""
    for left in folder.glob("read-*"):
        shutil.rmtree(left)


def _vacuum() -> list[str]:
    """Rewrites the tables, so that old versions of blanked rows are gone, and their statistics, which quote values."""
    warnings = []
    with connect(role="admin", autocommit=True) as connection:
        connection.execute("set lock_timeout = '30s'")
        kept = [(schema, table.name) for table in personal_tables() for schema in ("raw", "versions")]
        built = [(schema, name) for schema, name, _ in _built_tables(connection)]
        if _is_there(connection, TAKEN_OUT):
            built.append(("working", "gate_taken_out"))
        for schema, name in (*kept, ("quarantine", "rows"), ("ledger", "line_openings"), *built):
            try:
                connection.execute(sql.SQL("vacuum (full, analyze) {}").format(sql.Identifier(schema, name)))
            except psycopg.errors.LockNotAvailable:
                warnings.append(f"{schema}.{name} was in use, so its old pages stay: run `vacuum full` on it")
        with suppress(psycopg.errors.InsufficientPrivilege):
            connection.execute("vacuum pg_catalog.pg_statistic")
    return warnings
