"""Tree heads: signed by cryptography, checked by the script that has nothing but Python."""

import importlib.util
import json
from base64 import b64encode
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from arrears.errors import UsageError
from arrears.ledger import heads
from arrears.ledger.heads import Head
from arrears.ledger.merkle import Tree, leaf_hash
from arrears.settings import CHECKOUT, get_settings

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LEAVES = [leaf_hash(bytes([number])) for number in range(11)]


@pytest.fixture
def script() -> ModuleType:
    """The script for third parties, as a module."""
    spec = importlib.util.spec_from_file_location("check", CHECKOUT / "scripts" / "check_ledger_proof.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_head(size: int = 11) -> Head:
    return Head("log", size, Tree(LEAVES).root(size).hex(), LEAVES[size - 1].hex(), "2026-04-01T00:00:00+00:00")


def test_a_signature_holds_for_the_head_alone(script: ModuleType) -> None:
    signed = heads.sign(a_head(), KEY)

    assert heads.is_signed_well(signed)
    assert script.check_signature(asdict(signed), signed.public_key).startswith("signed by")
    forged = replace(signed, size=10)
    assert not heads.is_signed_well(forged)
    with pytest.raises(script.Wrong, match="the signature does not fit the head"):
        script.check_signature(asdict(forged), None)
    with pytest.raises(script.Wrong, match="signed with another key"):
        script.check_signature(asdict(signed), b64encode(bytes(32)).decode())
    assert script.check_signature(asdict(a_head()), None) == "not signed"


@pytest.mark.parametrize("form", ["base64", "pem"])
def test_the_key_is_read_as_base64_or_pem(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    pem = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    monkeypatch.setenv("ARREARS_LEDGER_KEY", pem if form == "pem" else b64encode(bytes(range(32))).decode())
    get_settings.cache_clear()

    assert heads.key().private_bytes_raw() == bytes(range(32))
    assert "AAEC" not in repr(get_settings())


def test_a_key_that_is_none_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARREARS_LEDGER_KEY", "c2VjcmV0")
    get_settings.cache_clear()

    with pytest.raises(UsageError, match="ARREARS_LEDGER_KEY is no ed25519 key") as told:
        heads.key()
    assert "c2VjcmV0" not in str(told.value)


@pytest.fixture(autouse=True)
def _forget_settings() -> object:
    yield
    get_settings.cache_clear()


def test_a_file_of_heads_is_read_back_and_a_bad_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    heads.write(heads.sign(a_head(), KEY), file)
    assert list(heads.read(file)) == [heads.sign(a_head(), KEY)]

    file.write_text(a_head().line + "\n{}\n")
    with pytest.raises(UsageError, match=r"heads\.jsonl, line 2: no tree head"):
        list(heads.read(file))


@pytest.mark.parametrize("earlier", range(1, 12))
def test_the_script_follows_a_ledger_that_was_only_added_to(script: ModuleType, earlier: int) -> None:
    tree = Tree(LEAVES)
    path = [node.hex() for node in tree.consistency(earlier)]
    proof = {"head": asdict(a_head()), "since": asdict(a_head(earlier)), "consistency": path}

    assert script.check(proof, asdict(a_head(earlier)), None, None)[-1].endswith("was only added to")
    other = json.loads(json.dumps(proof))
    other["since"]["root"] = LEAVES[0].hex() if earlier > 1 else LEAVES[1].hex()
    with pytest.raises(script.Wrong):
        script.check(other, None, None, None)


@pytest.mark.parametrize("index", range(11))
def test_the_script_follows_an_inclusion(script: ModuleType, index: int) -> None:
    tree = Tree(LEAVES)
    path = tree.inclusion(index)

    assert script.root_by_inclusion(index, 11, LEAVES[index], path) == tree.root()
    with pytest.raises(script.Wrong):
        script.root_by_inclusion(index, 11, LEAVES[index], path[1:])
