"""`arrears ledger prove`: shows whoever has no database that an export, or a loan's line of it, is in the ledger.

The proof is JSON: what was hashed, its salt, and the sister nodes up to the root of a tree head.
scripts/check_ledger_proof.py checks it with nothing but Python.
"""

import json
from dataclasses import asdict
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from arrears.errors import LedgerError, UsageError
from arrears.export.manifest import MANIFEST
from arrears.ledger import heads
from arrears.ledger.heads import Head
from arrears.ledger.merkle import Tree

FORMAT = "arrears-ledger-proof/1"


def target(connection: psycopg.Connection, what: str) -> tuple[date, int | None, dict[str, Any]]:
    """What is to be proved: a date, or a file of an export, found again by its hash.

    Returns:
        The date, the revision (None: the newest) and, of a file, what the proof says of it.

    Raises:
        UsageError: it is neither.
        LedgerError: the file is not as it was exported.
    """
    try:
        return date.fromisoformat(what), None, {}
    except ValueError:
        pass
    file = Path(what)
    folder = next((place for place in file.absolute().parents if (place / MANIFEST).is_file()), None)
    if not file.is_file() or folder is None:
        raise UsageError(f"{what} is neither a date nor a file of an export: give 2026-03-31, or a file below it.")
    manifest = (folder / MANIFEST).read_bytes()
    digest = sha256(manifest).hexdigest()
    row = connection.execute(
        "select as_of_date, revision from ops.exports where manifest_sha256 = %s and state <> 'intended'", [digest]
    ).fetchone()
    if row is None:
        raise LedgerError(f"{folder / MANIFEST} is not as it was exported: this warehouse has no export of its hash.")
    told: dict[str, Any] = {"manifest": manifest.decode()}
    if file.name != MANIFEST:
        name = file.absolute().relative_to(folder).as_posix()
        found = sha256(file.read_bytes()).hexdigest()
        if json.loads(manifest)["files"].get(name, {}).get("sha256") != found:
            raise LedgerError(f"{file} is not as it was exported: its hash is not the one in {folder / MANIFEST}.")
        told["file"] = {"name": name, "sha256": found}
    return row[0], int(row[1]), told


def prove(
    connection: psycopg.Connection,
    what: str,
    *,
    loan: str | None = None,
    revision: int | None = None,
    held: Head | None = None,
) -> dict[str, Any]:
    """The proof of an export, or of a loan's lines in it.

    Args:
        connection: of a role that reads the ledger, in one snapshot for all.
        what: a date, or a file of an export.
        loan: whose lines are proved; without one the export is.
        revision: of the date; without one the newest.
        held: the head that the proof shall lead to, because whoever checks it holds it; without one that of now.

    Raises:
        LedgerError: it is not in the ledger, or what opens the line was erased.
    """
    day, found, told = target(connection, what)
    if loan is not None:
        told = {}
    wanted = revision if revision is not None else found
    entry = connection.execute(
        "select position, leaf, salt, subject from ledger.entries where kind in ('export', 'export_blanked')"
        " and subject like %(day)s || '/%%' and (%(subject)s::text is null or subject = %(subject)s)"
        " and (%(manifest)s::text is null"
        "   or cast(leaf as jsonb) -> 'content' ->> 'manifest_sha256' = %(manifest)s)"
        " and (kind = 'export' or %(manifest)s::text is not null)"
        " order by cast(cast(leaf as jsonb) -> 'content' ->> 'revision' as int) desc, position desc limit 1",
        {
            "day": day.isoformat(),
            "subject": f"{day}/{wanted}" if wanted is not None else None,
            "manifest": sha256(told["manifest"].encode()).hexdigest() if told else None,
        },
    ).fetchone()
    if entry is None:
        which = f" revision {wanted}" if wanted is not None else ""
        raise LedgerError(
            f"The ledger has no export of {day}{which}: `arrears status --as-of {day}` says whether it went out;"
            f" exports from before the ledger was opened have no entry."
        )
    position, leaf, salt, subject = entry
    tree = _tree(connection)
    head = held or heads.make(connection)
    if held is not None:
        _need_goes_on(connection, tree, held)
        if position >= held.size:
            raise LedgerError(f"The head of {held.at} is older than the entry of {subject}: give a newer one.")
    proof = {"format": FORMAT, "head": asdict(head), "entry": _opened(leaf, salt, position, tree, head.size), **told}
    if loan is not None:
        proof["lines"] = _lines(connection, day, int(str(subject).split("/")[1]), loan)
    return proof


def extension(connection: psycopg.Connection, since: Head) -> dict[str, Any]:
    """The head as it is now, and the proof that the ledger was only added to since an earlier one.

    Raises:
        LedgerError: it was not; or the earlier head is of another ledger.
    """
    head = heads.make(connection)
    tree = _tree(connection)
    _need_goes_on(connection, tree, since)
    path = [node.hex() for node in tree.consistency(since.size)]
    return {"format": FORMAT, "head": asdict(head), "since": asdict(since), "consistency": path}


def _tree(connection: psycopg.Connection) -> Tree:
    rows = connection.execute("select leaf_hash from ledger.entries order by position").fetchall()
    return Tree([bytes(row[0]) for row in rows])


def _need_goes_on(connection: psycopg.Connection, tree: Tree, earlier: Head) -> None:
    log_id = heads.log_id(connection)
    if earlier.log_id != log_id:
        raise LedgerError(f"The head of {earlier.at} is of another ledger ({earlier.log_id}, this is {log_id}).")
    if not 0 < earlier.size <= tree.size or tree.root(earlier.size).hex() != earlier.root:
        raise LedgerError(f"The ledger does not go on from the head of {earlier.at}: see `arrears ledger verify`.")


def _opened(leaf: str, salt: bytes, index: int, tree: Tree, size: int) -> dict[str, Any]:
    path = [node.hex() for node in tree.inclusion(index, size)]
    return {"leaf": leaf, "salt": bytes(salt).hex(), "index": index, "path": path}


def _lines(connection: psycopg.Connection, day: date, revision: int, loan: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        "select line_number, leaf, salt from ledger.line_openings"
        " where as_of_date = %s and revision = %s and loan_id = %s order by line_number",
        [day, revision, loan],
    ).fetchall()
    if not rows:
        raise LedgerError(
            f"No line of loan {loan} can be opened in the export of {day} revision {revision}: it was in no queue"
            f" (`arrears explain {loan} --as-of {day}`), or its borrower was erased."
        )
    hashes = connection.execute(
        "select leaf_hash from ledger.lines where as_of_date = %s and revision = %s order by line_number",
        [day, revision],
    ).fetchall()
    tree = Tree([bytes(row[0]) for row in hashes])
    return [_opened(leaf, salt, number, tree, tree.size) for number, leaf, salt in rows]
