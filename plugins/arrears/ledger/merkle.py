"""Merkle trees by RFC 6962 (section 2.1): roots, and proofs of inclusion and of consistency, from leaf hashes alone.

A leaf's hash is sha256(0x00 + data), a node's sha256(0x01 + left + right): no leaf can pass for a node. Checking
follows RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from collections.abc import Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of a node above two others."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """The tree over some leaf hashes; roots and proofs of any earlier size cost a few look-ups."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [list(leaves)]  # of level k: the roots of all whole subtrees of 2**k leaves
        hashed = sha256
        while len(level := self._levels[-1]) > 1:
            pairs = zip(level[::2], level[1::2], strict=False)
            self._levels.append([hashed(b"\x01" + left + right).digest() for left, right in pairs])

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves; of all of them without one."""
        size = self.size if size is None else size
        return self._root(0, size) if size else EMPTY

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The proof that leaf `index` is one of the first `size`: its sister nodes from the leaf to the root."""
        size = self.size if size is None else size
        self._need(0 <= index < size <= self.size, f"leaf {index} of {size}")
        path, start, end = [], 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, first: int, second: int | None = None) -> list[bytes]:
        """The proof that the tree of the first `first` leaves was only added to, up to `second` leaves."""
        second = self.size if second is None else second
        self._need(0 < first <= second <= self.size, f"trees of {first} and {second}")
        path, start, end, is_whole = [], 0, second, True
        while first != end:
            middle = start + _split(end - start)
            if first <= middle:
                path.append(self._root(middle, end))
                end = middle
            else:
                path.append(self._root(start, middle))
                start, is_whole = middle, False
        return ([] if is_whole else [self._root(start, end)]) + path[::-1]

    def _root(self, start: int, end: int) -> bytes:
        level = (end - start).bit_length() - 1
        if end - start == 1 << level and start % (end - start) == 0:
            return self._levels[level][start >> level]
        middle = start + _split(end - start)
        return node_hash(self._root(start, middle), self._root(middle, end))

    def _need(self, is_so: bool, what: str) -> None:
        if not is_so:
            raise ValueError(f"There is no proof for {what}: the tree has {self.size} leaves.")


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """The root that a proof of inclusion leads to; None where its length does not fit index and size."""
    if not 0 <= index < size:
        return None
    node, last, found = index, size - 1, leaf
    for sister in path:
        if last == 0:
            return None
        if node % 2 or node == last:
            found = node_hash(sister, found)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sister)
        node, last = node >> 1, last >> 1
    return found if last == 0 else None


def is_consistent(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether a proof shows that the tree of the first root was only added to, to become that of the second."""
    if first == second:
        return not path and first_root == second_root
    if not 0 < first < second or not path:
        return False
    proof = list(path)
    if first & (first - 1) == 0:
        proof.insert(0, first_root)
    node, last = first - 1, second - 1
    while node % 2:
        node, last = node >> 1, last >> 1
    old = new = proof[0]
    for sister in proof[1:]:
        if last == 0:
            return False
        if node % 2 or node == last:
            old, new = node_hash(sister, old), node_hash(sister, new)
            while not node % 2 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sister)
        node, last = node >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _split(count: int) -> int:
    """The largest power of two below a count."""
    return 1 << (count - 1).bit_length() - 1
