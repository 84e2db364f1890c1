"""Tree heads: size and root of the ledger at a moment, signed where a key is set, kept outside of the database.

Whoever rewrites the whole ledger, with all its hashes, cannot make it fit a head that somebody else holds.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from arrears.credentials import ed25519_key
from arrears.errors import LedgerError, UsageError
from arrears.ledger.merkle import Tree
from arrears.settings import get_settings

FORMAT = "arrears-ledger-head/1"


@dataclass(frozen=True, slots=True)
class Head:
    """What is published: bytes as hex, the signature (of `signed`) and public key as base64; null without a key.

    `last_leaf` is the hash of the newest entry, `at` when the head was made.
    """

    log_id: str
    size: int
    root: str
    last_leaf: str
    at: str
    public_key: str | None = None
    signature: str | None = None
    format: str = FORMAT

    @property
    def signed(self) -> bytes:
        """What a signature is made over: the head without it, as JSON with sorted keys and no blanks."""
        return _signed(asdict(self))

    @property
    def line(self) -> str:
        """As one line of a file of heads."""
        return json.dumps(asdict(self), sort_keys=True)


def make(connection: psycopg.Connection) -> Head:
    """The head of the ledger as it is now, signed if ARREARS_LEDGER_KEY is set."""
    rows = connection.execute("select leaf_hash from ledger.entries order by position").fetchall()
    if not rows:
        raise LedgerError("The ledger is empty, even of its first entry: restore it from a backup.")
    leaves = [bytes(row[0]) for row in rows]
    head = Head(log_id(connection), len(leaves), Tree(leaves).root().hex(), leaves[-1].hex(), _now())
    return sign(head, key()) if get_settings().ledger_key else head


def log_id(connection: psycopg.Connection) -> str:
    """What tells this ledger from every other."""
    row = connection.execute(
        "select cast(leaf as jsonb) -> 'content' ->> 'log_id' from ledger.entries where kind = 'opened' limit 1"
    ).fetchone()
    return str(row[0]) if row else ""


def sign(head: Head, with_key: Ed25519PrivateKey) -> Head:
    """The head with a signature and the public key that checks it."""
    public = with_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    unsigned = asdict(head) | {"public_key": b64encode(public).decode(), "signature": None}
    return Head(**(unsigned | {"signature": b64encode(with_key.sign(_signed(unsigned))).decode()}))


def is_signed_well(head: Head) -> bool:
    """Whether the signature fits the head and the public key in it."""
    try:
        public = Ed25519PublicKey.from_public_bytes(b64decode(head.public_key or ""))
        public.verify(b64decode(head.signature or ""), head.signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def key() -> Ed25519PrivateKey:
    """The key that signs heads, as ARREARS_LEDGER_KEY says.

    Raises:
        UsageError: there is none, or it is no ed25519 key; says nothing of what it holds.
    """
    return ed25519_key(get_settings().ledger_key, setting="ARREARS_LEDGER_KEY")


def keep(head: Head) -> Path:
    """Adds a head to the file of heads, where `arrears ledger verify` looks for them; gives the file."""
    file = get_settings().ledger_heads_file
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as kept:
        kept.write(head.line + "\n")
    return file


def write(head: Head, file: Path) -> None:
    """Writes one head to a file of its own, to be handed to somebody."""
    try:
        file.write_text(head.line + "\n", encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"{file} cannot be written: {error.strerror}.") from error


def read(file: Path) -> Iterator[Head]:
    """The heads of a file, one a line.

    Raises:
        UsageError: it cannot be read, or a line is no head.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                found: Mapping[str, Any] = json.loads(line)
                yield Head(**{name: found[name] for name in Head.__dataclass_fields__})
            except (ValueError, TypeError, KeyError) as error:
                raise UsageError(f"{file}, line {number}: no tree head as `arrears ledger head` prints it.") from error


def _signed(head: Mapping[str, Any]) -> bytes:
    told = {name: value for name, value in head.items() if name != "signature"}
    return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
