"""A signed manifest: anybody can check it with openssl or Python, and the export is the same with and without it."""

import subprocess
from base64 import b64encode
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner

from arrears import cli, steps, warehouse
from arrears.errors import UsageError
from arrears.privacy.kept_exports import KeptExports
from arrears.privacy.queue_files import Whom
from tests.conftest import Workplace, forget_settings
from tests.day import bytes_below
from tests.exported import a_day, export_lines

D = date(2026, 3, 31)
ONE, OTHER = bytes(range(32)), bytes(range(1, 33))


@pytest.fixture
def use_key(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | None], None]:
    """Sets ARREARS_MANIFEST_KEY, or takes it away."""

    def use(key: bytes | None) -> None:
        monkeypatch.setenv("ARREARS_MANIFEST_KEY", b64encode(key).decode() if key else "")
        forget_settings()

    return use


def openssl_verifies(folder: Path, public: Path) -> bool:
    """As docs/how-to/deliver-exports.md tells a recipient to check."""
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]  # noqa: RUF005
        + ["-in", folder / "manifest.json", "-sigfile", folder / "manifest.json.sig"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Verified Successfully" in done.stdout or "Verification Failure" in done.stdout, done.stderr
    return done.returncode == 0


def test_a_signature_is_checked_by_openssl_and_is_no_part_of_the_export(
    workplace: Workplace, tmp_path: Path, use_key: Callable[[bytes | None], None]
) -> None:
    folder, public = workplace.exports / D.isoformat(), tmp_path / "public.pem"
    use_key(None)
    export_lines(workplace, {}, {"recipient_id": "aster", "loan_id": "L2"})
    unsigned = bytes_below(folder)
    assert "manifest.json.sig" not in unsigned
    unchanged = {"published": 0, "files": 5, "is_unchanged": True}

    # Turned on: the date is the same, and signed.
    use_key(ONE)
    assert steps.publish(a_day(), 0) == unchanged | {"signed_anew": 1}
    signed = bytes_below(folder)
    assert {name: content for name, content in signed.items() if name != "manifest.json.sig"} == unsigned
    assert signed["manifest.json.sig"] == Ed25519PrivateKey.from_private_bytes(ONE).sign(unsigned["manifest.json"])
    public.write_text(CliRunner().invoke(cli.app, ["manifest-key"]).stdout)
    assert openssl_verifies(folder, public)
    key = load_pem_public_key(public.read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(signed["manifest.json.sig"], signed["manifest.json"])
    with pytest.raises(InvalidSignature):
        key.verify(signed["manifest.json.sig"], signed["manifest.json"] + b" ")
    assert steps.publish(a_day(), 0) == unchanged
    assert bytes_below(workplace.exports) == {f"{D}/{name}": content for name, content in signed.items()}

    # Rotated: the same again.
    use_key(OTHER)
    assert steps.publish(a_day(), 0) == unchanged | {"signed_anew": 1}
    assert not openssl_verifies(folder, public)
    public.write_text(CliRunner().invoke(cli.app, ["manifest-key"]).stdout)
    assert openssl_verifies(folder, public)

    # Turned off: what stands there stays.
    before = bytes_below(workplace.exports)
    use_key(None)
    assert steps.publish(a_day(), 0) == unchanged
    assert bytes_below(workplace.exports) == before
    assert workplace.rows("select revision, state from ops.exports") == [(1, "done")]


def test_a_day_is_signed_when_it_is_exported_and_anew_when_an_erasure_rewrites_it(
    workplace: Workplace, tmp_path: Path, use_key: Callable[[bytes | None], None]
) -> None:
    folder, public = workplace.exports / D.isoformat(), tmp_path / "public.pem"
    use_key(ONE)
    public.write_text(CliRunner().invoke(cli.app, ["manifest-key"]).stdout)
    export_lines(workplace, {})
    before = (folder / "manifest.json").read_bytes()
    assert openssl_verifies(folder, public)

    whom = Whom("B1", frozenset({"L1"}), {"name": True})
    with warehouse.connect(role="admin", autocommit=True) as connection:
        KeptExports(connection, workplace.exports, whom, is_dry_run=False).blank()

    assert (folder / "manifest.json").read_bytes() != before
    assert openssl_verifies(folder, public)
    assert (folder / "manifest.json.sig").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_none_stops_the_export_before_anything_is_visible(
    workplace: Workplace, use_key: Callable[[bytes | None], None]
) -> None:
    use_key(b"too short")

    with pytest.raises(UsageError, match="ARREARS_MANIFEST_KEY is no ed25519 key"):
        export_lines(workplace, {})

    assert bytes_below(workplace.exports) == {}


def test_without_a_key_there_is_no_public_key(use_key: Callable[[bytes | None], None]) -> None:
    use_key(None)

    done = CliRunner().invoke(cli.app, ["manifest-key"])

    assert isinstance(done.exception, UsageError)
