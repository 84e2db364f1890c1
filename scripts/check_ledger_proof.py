#!/usr/bin/env python3
"""Checks a proof of the audit ledger. Needs Python 3.9 or later and nothing else: no database, no package.

    check_ledger_proof.py PROOF.json [--head HEAD.json] [--key BASE64] [--file MANIFEST_OR_QUEUE_FILE]

PROOF.json is what `arrears ledger prove` (or `arrears ledger head --since`) printed. Give the head that you were handed
when the entry was made, and the public key that you know: a proof brings a head of its own, which proves nothing alone.
Leaf hash: sha256(00 + salt + leaf); node hash: sha256(01 + left + right) (RFC 6962). Exit code 0: it holds; 1: not.
"""

import argparse
import base64
import hashlib
import json
import sys


class Wrong(Exception):
    """The proof does not hold."""


def need(is_so: bool, sentence: str) -> None:
    if not is_so:
        raise Wrong(sentence)


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf_hash(opened: dict) -> bytes:
    return hashlib.sha256(b"\x00" + bytes.fromhex(opened["salt"]) + opened["leaf"].encode()).digest()


def root_by_inclusion(index: int, size: int, leaf: bytes, path: list) -> bytes:
    """RFC 9162, 2.1.3.2."""
    need(0 <= index < size, "the leaf lies outside of the tree")
    node, last = index, size - 1
    for sister in path:
        need(last > 0, "the path is too long")
        if node % 2 or node == last:
            leaf = node_hash(sister, leaf)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sister)
        node, last = node >> 1, last >> 1
    need(last == 0, "the path is too short")
    return leaf


def roots_by_consistency(first: int, second: int, first_root: bytes, path: list) -> tuple:
    """The two roots that the proof leads to (RFC 9162, 2.1.4.2)."""
    if first == second:
        need(not path, "the path is too long")
        return first_root, first_root
    need(0 < first < second, "the earlier head is larger")
    proof = ([first_root] if first & (first - 1) == 0 else []) + path
    need(bool(proof), "the path is too short")
    node, last = first - 1, second - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    old = new = proof[0]
    for sister in proof[1:]:
        need(last > 0, "the path is too long")
        if node % 2 or node == last:
            old, new = node_hash(sister, old), node_hash(sister, new)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sister)
        node, last = node >> 1, last >> 1
    need(last == 0, "the path is too short")
    return old, new


# --- ed25519, as RFC 8032 describes it; slow, and only for checking a signature

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add(one: tuple, other: tuple) -> tuple:
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c, d = 2 * one[3] * other[3] * D % P, 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number: int, point: tuple) -> tuple:
    found = (0, 1, 1, 0)
    while number:
        if number & 1:
            found = add(found, point)
        point = add(point, point)
        number >>= 1
    return found


def decompressed(data: bytes) -> tuple:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    need(y < P, "the key or signature is no point")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    need((x * x - square) % P == 0 and not (x == 0 and sign), "the key or signature is no point")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = decompressed((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    need(len(public) == 32 and len(signature) == 64, "the key or signature has another length")
    a, r = decompressed(public), decompressed(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    h = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % ORDER
    left, right = times(s, BASE), add(r, times(h, a))
    return (
        s < ORDER
        and (left[0] * right[2] - right[0] * left[2]) % P == 0
        and (left[1] * right[2] - right[1] * left[2]) % P == 0
    )


def check_signature(head: dict, key: str) -> str:
    """Says what the signature is worth; raises where it does not fit."""
    if not head.get("signature"):
        need(key is None, "the head is not signed")
        return "not signed"
    need(key in (None, head["public_key"]), "the head is signed with another key")
    message = json.dumps({k: v for k, v in head.items() if k != "signature"}, sort_keys=True, separators=(",", ":"))
    fits = is_signed(base64.b64decode(head["public_key"]), message.encode(), base64.b64decode(head["signature"]))
    need(fits, "the signature does not fit the head")
    return "signed by " + head["public_key"] + ("" if key else " (is it the key that you know?)")


def check(proof: dict, trusted: dict, key: str, file: bytes) -> list:
    """Every sentence that holds; raises Wrong at the first that does not."""
    head, said = proof["head"], []
    if trusted is not None:
        is_same = all(trusted[name] == head[name] for name in ("log_id", "size", "root"))
        is_earlier = "since" in proof and all(trusted[n] == proof["since"][n] for n in ("log_id", "size", "root"))
        need(is_same or is_earlier, "the proof leads to another head than the one that you gave")
    said.append(f"head: {head['size']} entries, root {head['root']}, {check_signature(head, key)}")
    if "consistency" in proof:
        since = proof["since"]
        path = [bytes.fromhex(node) for node in proof["consistency"]]
        old, new = roots_by_consistency(since["size"], head["size"], bytes.fromhex(since["root"]), path)
        need(since["log_id"] == head["log_id"], "the two heads are of two ledgers")
        need(old.hex() == since["root"] and new.hex() == head["root"], "the ledger was not only added to")
        return [*said, f"since its {since['size']} entries the ledger was only added to"]
    entry = proof["entry"]
    root = root_by_inclusion(entry["index"], head["size"], leaf_hash(entry), [bytes.fromhex(n) for n in entry["path"]])
    need(root.hex() == head["root"], "the entry does not lead to the root of the head")
    told = json.loads(entry["leaf"])
    content = told["content"]
    said.append(f"entry {entry['index']}, recorded at {told['recorded_at']}: {json.dumps(content)}")
    for line in proof.get("lines", []):
        path = [bytes.fromhex(node) for node in line["path"]]
        root = root_by_inclusion(line["index"], content["lines"], leaf_hash(line), path)
        need(root.hex() == content["lines_root"], "the line does not lead to the root in the export's entry")
        said.append(f"line {line['index']} of the export: {line['leaf']}")
    manifest = proof.get("manifest")
    if manifest is not None and "lines" not in proof:
        found = hashlib.sha256(manifest.encode()).hexdigest()
        need(found == content["manifest_sha256"], "the manifest is not the one in the entry")
        if "file" in proof:
            named = json.loads(manifest)["files"][proof["file"]["name"]]
            need(named["sha256"] == proof["file"]["sha256"], "the manifest has another hash of the file")
            said.append(f"the manifest holds {proof['file']['name']}, sha256 {named['sha256']}")
    if file is not None:
        digest = hashlib.sha256(file).hexdigest()
        known = {content.get("manifest_sha256")}
        known |= {about["sha256"] for about in json.loads(manifest or '{"files": {}}')["files"].values()}
        need(digest in known, "the file is not one of the export")
        said.append("the file is one of the export, sha256 " + digest)
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("proof")
    parser.add_argument("--head", help="a head that you hold: what `arrears ledger head` printed")
    parser.add_argument("--key", help="the public key that you know, as base64")
    parser.add_argument("--file", help="a file of the export, or its manifest.json")
    given = parser.parse_args()

    def content(name: str) -> bytes:
        with open(name, "rb") as file:  # noqa: PTH123 (short)
            return file.read()

    try:
        trusted = json.loads(content(given.head)) if given.head else None
        said = check(json.loads(content(given.proof)), trusted, given.key, content(given.file) if given.file else None)
    except (Wrong, KeyError, ValueError, TypeError) as error:
        print(f"NOT PROVED: {error if isinstance(error, Wrong) else f'it cannot be read ({error!r})'}")
        return 1
    print("\n".join([*said, "PROVED" + ("" if given.head else ", for whoever trusts the head above")]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
