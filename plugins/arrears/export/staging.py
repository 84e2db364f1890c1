"""Renders a day's export beside the visible ones: `EXPORTS/.staging/AS_OF-<sha256 of the manifest>/`."""

import hashlib
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from arrears.errors import ExportError
from arrears.export import manifest, signing
from arrears.export.policy import Policy, policies
from arrears.export.rendering import Relations, relations, write_csv, write_parquet
from arrears.export.writing import PRIVATE_FOLDER, in_one_sentence, make_folder, remove, sync_folder, synced
from arrears.settings import Settings
from arrears.warehouse.bootstrap import kept

STAGING = ".staging"
REVISIONS = ".revisions"
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
TAKEN_NAMES = ("manifest", "notices")

# dbt's model of recipients holds the internal teams that a source lacks, too.
RECIPIENTS = """
select queue.recipient_id, recipients.kind
from (select distinct recipient_id from working.collection_queue) as queue
left join working.int_assignment__recipients as recipients on queue.recipient_id = recipients.agency_id
order by queue.recipient_id collate "C"
"""

TOTALS = """
select
    queue.recipient_id, queue.currency, count(*),
    cast(sum(round(queue.arrears_amount, coalesce(units.minor_units, 2))) as text)
from working.collection_queue as queue
left join seeds.currency_minor_units as units on queue.currency = units.currency
group by queue.recipient_id, queue.currency
"""


@dataclass(frozen=True, slots=True)
class StagedExport:
    """An export that is rendered whole and on disk, but not visible yet.

    `files` are the names of all files, the manifest included and its signature not, relative to `folder`.
    """

    as_of_date: date
    exports: Path
    folder: Path
    manifest_sha256: str
    files: tuple[str, ...]


def stage(connection: psycopg.Connection, as_of_date: date, settings: Settings) -> StagedExport:
    """Renders all files of a day from the working schema; fsynced, nothing visible.

    Args:
        connection: in whose transaction the day's rows are read.
        as_of_date: the day that stands in the working schema.
        settings: where exports are.

    Raises:
        ExportError: the folder cannot be written, a recipient is unknown, or the column policy does not fit.
    """
    found = relations(connection)
    _refuse_another_day(connection, as_of_date)
    building = settings.exports / STAGING / f"{as_of_date}.building"
    remove(building)
    try:
        with in_one_sentence(building, "Writing the export to"):
            make_folder(building, settings.exports)
            files = _render(connection, building, found)
            batches = manifest.batches_used(connection, as_of_date)
            content: dict[str, Any] = {
                "as_of_date": as_of_date.isoformat(),
                "batches": batches,
                "code_version": manifest.code_version(),
                "files": files,
                "gate": manifest.gate_result(connection, as_of_date),
                "reporting_currency": kept(connection, "reporting_currency"),
                "totals": _added_up(files),
            }
            if any("is_reconstructed" in batch for batch in batches):
                content["is_reconstructed"] = True  # the date lies before a source's first delivery
            rendered = manifest.render(content)
            with synced(building / manifest.MANIFEST) as file:
                file.write(rendered)
            signing.sign(building)
            sync_folder(building)
            sha256 = hashlib.sha256(rendered).hexdigest()
            folder = settings.exports / STAGING / f"{as_of_date}-{sha256}"
            remove(folder)
            building.rename(folder)
            sync_folder(folder.parent)
    except BaseException:
        remove(building)
        raise
    return StagedExport(as_of_date, settings.exports, folder, sha256, (*sorted(files), manifest.MANIFEST))


def folder_name(recipient_id: str) -> str:
    """A recipient's folder: its id where that is a plain name, else what is plain of it and a hash of the whole."""
    if PLAIN_NAME.fullmatch(recipient_id) and recipient_id.lower() not in TAKEN_NAMES:
        return recipient_id
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", recipient_id).strip("-")[:40] or "recipient"
    return f"{plain}-{hashlib.sha256(recipient_id.encode()).hexdigest()[:12]}"


def _refuse_another_day(connection: psycopg.Connection, as_of_date: date) -> None:
    other = connection.execute(
        "select as_of_date from working.collection_queue where as_of_date <> %s limit 1", [as_of_date]
    ).fetchone()
    if other is not None:
        raise ExportError(
            f"The working schema holds the queues of {other[0]}, not of {as_of_date}: run `arrears step build_queues "
            f"--as-of {as_of_date}` and the steps before it."
        )


def _render(connection: psycopg.Connection, building: Path, found: Relations) -> dict[str, dict[str, Any]]:
    """Writes all files; gives what the manifest says of each."""
    totals: dict[str, dict[str, dict[str, Any]]] = {}
    for recipient_id, currency, count, arrears in connection.execute(TOTALS).fetchall():
        totals.setdefault(recipient_id, {})[currency] = {"count": count, "arrears_amount": arrears}
    files: dict[str, dict[str, Any]] = {}
    for recipient_id, kind in connection.execute(RECIPIENTS).fetchall():
        columns = found.of(kind, _policy(recipient_id, kind))
        name = folder_name(recipient_id)
        folder = building / name
        if folder.exists():
            raise ExportError(f"Two recipients would share the export folder {name}: {recipient_id} is one; rename it.")
        folder.mkdir(mode=PRIVATE_FOLDER)
        for file, write in (("queue.csv", write_csv), ("queue.parquet", write_parquet)):
            rendered = write(connection, folder / file, columns, found.line, recipient_id)
            files[f"{name}/{file}"] = {
                "recipient_id": recipient_id,
                "rows": rendered.row_count,
                "sha256": rendered.sha256,
                "totals": totals[recipient_id],
            }
            counted = sum(total["count"] for total in totals[recipient_id].values())
            if rendered.row_count != counted:
                raise ExportError(
                    f"{name}/{file} has {rendered.row_count} lines where the queue has {counted}: "
                    f"queue_contact_details holds a line more than once."
                )
        sync_folder(folder)
    return files


def _policy(recipient_id: str, kind: str | None) -> Policy:
    if kind is None:
        raise ExportError(f"The queue names the recipient {recipient_id}, which is no agency and no internal team.")
    if kind not in policies():
        raise ExportError(f"recipient_columns.yml has no key {kind} (recipient {recipient_id}): say what it may see.")
    return policies()[kind]


def _added_up(files: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Control totals over all recipients, by currency."""
    added: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        if name.endswith(".csv"):
            for currency, total in file["totals"].items():
                so_far = added.setdefault(currency, {"count": 0, "arrears_amount": Decimal(0)})
                so_far["count"] += total["count"]
                so_far["arrears_amount"] += Decimal(total["arrears_amount"])
    return {currency: total | {"arrears_amount": str(total["arrears_amount"])} for currency, total in added.items()}
