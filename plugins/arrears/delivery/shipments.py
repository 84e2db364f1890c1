"""What a day's export has for each target: files with their places, and the recipient's own manifest, which comes last.

The manifest names the recipient's files alone, with their hashes, lines and totals; nobody gets another's figures.
"""

import hashlib
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from io import BufferedIOBase
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, cast

import psycopg

from arrears import export
from arrears.delivery.configuration import Delivery, refuse_two_in_one_place
from arrears.errors import ExportChanged, UsageError
from arrears.export import manifest
from arrears.export.signing import SIGNATURE, signature
from arrears.settings import get_settings

# As known at the date; the seed's teams stand in where a source has none.
KINDS = """
select agency_id, kind
from versions.agencies
where _known_from <= %(as_of)s and (_known_to is null or _known_to > %(as_of)s)

union all

select agency_id, 'internal'
from seeds.internal_teams
where agency_id not in (
    select agency_id
    from versions.agencies
    where _known_from <= %(as_of)s and (_known_to is null or _known_to > %(as_of)s)
)
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """The visible export of a date, as it was exported."""

    as_of_date: date
    revision: int
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def recipients(self) -> list[str]:
        """Ids of all that have a queue."""
        return sorted({str(about["recipient_id"]) for about in self.manifest["files"].values()})


@dataclass(frozen=True, slots=True)
class Item:
    """One file for one target: its name, where it goes, and what it is (a file of the export, or made bytes)."""

    recipient_id: str
    file: str
    path: str
    sha256: str
    source: Path | bytes

    @contextmanager
    def opened(self) -> Iterator[BufferedIOBase]:
        """The bytes, compared with their hash; held open, so that what is sent is what was compared.

        Raises:
            ExportChanged: they are others by now.
        """
        with _file_of(self.source) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != self.sha256:
                raise ExportChanged(f"{self.path} was changed while it was delivered: run `arrears deliver` again.")
            file.seek(0)
            yield file


def _file_of(source: Path | bytes) -> BufferedIOBase:
    if isinstance(source, bytes):
        return _in_a_file(source)
    try:
        return source.open("rb")
    except OSError as error:
        raise ExportChanged(f"{source} cannot be read ({error.strerror}): it was not delivered.") from error


def _in_a_file(content: bytes) -> BufferedIOBase:
    """A nameless file, because not every target takes bytes."""
    file = TemporaryFile()  # noqa: SIM115 (the caller closes it)
    file.write(content)
    file.flush()
    file.seek(0)
    return cast(BufferedIOBase, file)


def exported(connection: psycopg.Connection, as_of: date) -> Exported:
    """The visible export of a date, if it is what was exported.

    Raises:
        UsageError: the date is not exported, or is being exported at this moment.
        ExportChanged: somebody edited it; names the files.
    """
    rows = connection.execute(
        "select state, revision, manifest_sha256 from ops.exports where as_of_date = %s and state <> 'replaced'",
        [as_of],
    ).fetchall()
    by_state = {str(state): (int(revision), str(sha256)) for state, revision, sha256 in rows}
    folder = get_settings().exports / as_of.isoformat()
    if "intended" in by_state and manifest.sha256_of(folder) == by_state["intended"][1]:
        raise UsageError(
            f"The export of {as_of} is not finished: run the date again (`arrears run --as-of {as_of}`), then deliver."
        )
    if "done" not in by_state:
        raise UsageError(
            f"{as_of} is not exported, so nothing was delivered: `arrears status --as-of {as_of}` says why."
        )
    revision, sha256 = by_state["done"]
    changed = export.changed_since(folder, sha256)
    if changed:
        raise ExportChanged(
            f"{folder / changed[0]} is not what was exported{_and_others(changed)}, so nothing of {as_of} was"
            f" delivered: put it back from a backup, or export the date again with --replace REASON."
        )
    content = manifest.read(folder)
    assert content is not None
    return Exported(as_of, revision, folder, content)


def _and_others(changed: list[str]) -> str:
    return f" (nor are {', '.join(changed[1:])})" if len(changed) > 1 else ""


def plan(
    connection: psycopg.Connection, made: Exported, deliveries: Mapping[str, Delivery]
) -> dict[str, dict[str, list[Item]]]:
    """By delivery and recipient the files to deliver, in their order: the manifest last, after its signature.

    Raises:
        UsageError: two files would have one place, or the manifest's key is none.
    """
    kinds: dict[str, str] = {}
    if any(delivery.kind for delivery in deliveries.values()):
        kinds = dict(connection.execute(KINDS, {"as_of": made.as_of_date}).fetchall())
    found = {
        name: {
            recipient: _items(made, delivery, recipient)
            for recipient in made.recipients
            if delivery.is_for(recipient, kinds.get(recipient))
        }
        for name, delivery in deliveries.items()
    }
    refuse_two_in_one_place(
        [
            (name, f"{deliveries[name].target}/{item.path}")
            for name, by_recipient in found.items()
            for items in by_recipient.values()
            for item in items
        ]
    )
    return found


def _items(made: Exported, delivery: Delivery, recipient_id: str) -> list[Item]:
    def place(file: str) -> str:
        return delivery.template.format(
            as_of_date=made.as_of_date,
            revision=made.revision,
            recipient=export.folder_name(recipient_id),
            file=file,
        )

    items, told = [], {}
    for name, about in sorted(made.manifest["files"].items()):
        file = posixpath.basename(name)
        if about["recipient_id"] == recipient_id and file.rsplit(".", 1)[-1] in delivery.files:
            items.append(Item(recipient_id, file, place(file), about["sha256"], made.folder / name))
            told[posixpath.basename(place(file))] = {key: about[key] for key in ("rows", "sha256", "totals")}
    content = manifest.render(
        {
            "as_of_date": made.as_of_date.isoformat(),
            "files": told,
            "recipient_id": recipient_id,
            "reporting_currency": made.manifest["reporting_currency"],
            "revision": made.revision,
        }
        | {key: made.manifest[key] for key in ("is_reconstructed",) if key in made.manifest}
    )
    signed = signature(content)
    for file, made_bytes in ((SIGNATURE, signed), (manifest.MANIFEST, content)):
        if made_bytes is not None:
            sha256 = hashlib.sha256(made_bytes).hexdigest()
            items.append(Item(recipient_id, file, place(file), sha256, made_bytes))
    return items
