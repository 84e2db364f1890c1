"""`manifest.json.sig`: the ed25519 signature of a manifest's bytes, 64 bytes as openssl reads them.

It stands beside the manifest and is no part of the export, which is the same with one, without one, and with another
key's. A key signs the same bytes in one way only (RFC 8032): a signed date gives the same bytes whenever it is made.
"""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from arrears.credentials import ed25519_key
from arrears.export.manifest import MANIFEST
from arrears.export.writing import synced
from arrears.settings import get_settings

SIGNATURE = f"{MANIFEST}.sig"
SETTING = "ARREARS_MANIFEST_KEY"


def signature(content: bytes) -> bytes | None:
    """The signature of a manifest; None where no key is set.

    Raises:
        UsageError: what is set is no key.
    """
    given = get_settings().manifest_key
    return ed25519_key(given, setting=SETTING).sign(content) if given else None


def sign(folder: Path) -> bool:
    """Writes the signature of a folder's manifest beside it; False where no key is set."""
    made = signature((folder / MANIFEST).read_bytes())
    if made is None:
        return False
    with synced(folder / SIGNATURE) as file:
        file.write(made)
    return True


def public_key() -> str:
    """The key that checks our signatures, as PEM.

    Raises:
        UsageError: there is no key.
    """
    key = ed25519_key(get_settings().manifest_key, setting=SETTING).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
