"""Says which entry of a hash-chained sequence was changed, removed, inserted or moved.

Every row tells the hash of the row before it. What stands at the end is trusted (or known from outside), so the links
are followed from there to the beginning: that gives the order that once was, whatever the positions say now. Where a
link leads nowhere, a row is gone, or another one stands in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

What = Literal["changed", "removed", "inserted", "moved"]

START = bytes(32)


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands there.

    `stored`: the hash that it says it has; `computed`: the hash of what it holds, None where that is erased. `link`:
    the hash of the row before it. `claimed`: the position that is part of what was hashed, None where that is erased.
    """

    position: int
    stored: bytes
    computed: bytes | None
    link: bytes
    claimed: int | None

    @property
    def is_whole(self) -> bool:
        """Whether what it holds gives its hash."""
        return self.computed is None or self.computed == self.stored


@dataclass(frozen=True, slots=True)
class Finding:
    """What happened to one row: `place` is where it belongs, of an inserted one where it stands."""

    what: What
    place: int
    stands_at: int | None = None


def diagnose(rows: Sequence[Row], *, size: int | None = None, last: bytes | None = None) -> list[Finding]:
    """What differs from the sequence that once was; one tampered row is named exactly, of many at least one.

    Args:
        rows: as they stand there.
        size: how many there must be, where that is known from outside.
        last: the hash of the last one, where that is known from outside.
    """
    ordered = sorted(rows, key=lambda row: row.position)
    were = _followed(ordered, _size(ordered, size), last)
    there = {index for index in were if index is not None}
    missing = [number for number, index in enumerate(were) if index is None]
    extra = [index for index in range(len(ordered)) if index not in there]
    findings = [Finding("changed", number) for number, index in enumerate(were) if _is_broken(ordered, index)]
    for index in extra:
        if missing:  # it stands for one of those
            place = _stands_for(ordered[index], index, missing)
            missing.remove(place)
            findings.append(Finding("changed", place))
        else:
            findings.append(Finding("inserted", ordered[index].position))
    findings += [Finding("removed", number) for number in missing]
    kept = [(number, index) for number, index in enumerate(were) if index is not None]
    for (number, index), in_order in zip(kept, sorted(index for _, index in kept), strict=True):
        if index != in_order:
            findings.append(Finding("moved", number, ordered[index].position))
    if not findings:
        findings = [
            Finding("moved", number, row.position) for number, row in enumerate(ordered) if row.position != number
        ]
    return sorted(findings, key=lambda finding: (finding.place, finding.what))


def _size(ordered: Sequence[Row], size: int | None) -> int:
    """How many rows there were: as is known from outside, else as the last one says."""
    if size is not None or not ordered:
        return size or 0
    end = ordered[-1]
    if end.is_whole and end.claimed is not None:
        return end.claimed + 1
    return max(end.position + 1, len(ordered))


def _followed(ordered: Sequence[Row], size: int, last: bytes | None) -> list[int | None]:
    """By number from the first to the last: the index of the row that was it; None where it is not there."""
    by_hash: dict[bytes, int] = {}
    for is_at_home in (True, False):
        for index, row in enumerate(ordered):
            if (row.claimed == row.position) == is_at_home:
                by_hash.setdefault(row.stored, index)
    by_hash |= {row.computed: at for at, row in enumerate(ordered) if row.computed and row.computed not in by_hash}
    found: list[int | None] = []
    used: set[int] = set()
    at = len(ordered)
    wanted = last if last is not None else _stored(ordered, len(ordered) - 1)
    for number in range(size - 1, -1, -1):
        here = by_hash.get(wanted) if wanted is not None else None
        if here is not None and here not in used:
            found.append(here)
            used.add(here)
            at = here
            wanted = ordered[here].link if ordered[here].is_whole else _stored(ordered, here - 1)
            continue
        found.append(None)
        before = at - 1
        while before in used:
            before -= 1
        if before < 0:
            wanted = None
        elif _is_in_its_place(ordered[before], before, number):
            at = before
            link = ordered[before].link
            wanted = link if link in by_hash and ordered[before].is_whole else _stored(ordered, before - 1)
        else:
            wanted = ordered[before].stored
    return found[::-1]


def _stored(ordered: Sequence[Row], index: int) -> bytes | None:
    return ordered[index].stored if index >= 0 else None


def _is_in_its_place(row: Row, index: int, number: int) -> bool:
    """Whether a row stands where the missing one was, or is the one before it."""
    if row.claimed is not None and row.is_whole:
        return row.claimed == number
    return index >= number


def _stands_for(row: Row, index: int, missing: Sequence[int]) -> int:
    candidates = (place for place in (row.claimed, row.position, index) if place is not None)
    return next((place for place in candidates if place in missing), missing[0])


def _is_broken(ordered: Sequence[Row], index: int | None) -> bool:
    return index is not None and not ordered[index].is_whole
