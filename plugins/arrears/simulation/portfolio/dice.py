"""Randomness without a sequence: every draw is a function of the seed, of what is drawn, and of whom it is drawn for.

A generator that deals numbers in order gives a loan another fate as soon as one more loan, month or kind of event is
drawn before it. Here a draw is a hash of its keys, so a longer series begins with the shorter one, a block of loans
does not depend on its size, and the same seed gives the same bytes. The hash is the finaliser of SplitMix64 (Steele,
Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014), once for each key.
"""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Dates = npt.NDArray[np.datetime64]
Texts = npt.NDArray[np.object_]
Keys = npt.NDArray[Any] | int

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def _mixed(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = value + _GAMMA
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


class Dice:
    """Draws of one seed. `what` names the draw; the keys (whole numbers, broadcast) say for whom and when."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._start = _mixed(np.array([seed % 2**64], dtype=np.uint64))

    def _hash(self, what: str, *keys: Keys) -> npt.NDArray[np.uint64]:
        value = _mixed(self._start ^ np.uint64(zlib.crc32(what.encode())))
        with np.errstate(over="ignore"):
            for key in keys:
                value = _mixed(value ^ np.asarray(key, dtype=np.int64).astype(np.uint64))
        return value

    def uniform(self, what: str, *keys: Keys) -> Floats:
        """Between 0 and 1, neither included."""
        return ((self._hash(what, *keys) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, what: str, *keys: Keys) -> Floats:
        """Mean 0, deviation 1 (Box and Muller)."""
        angle = 2 * np.pi * self.uniform(what + "/angle", *keys)
        drawn: Floats = np.sqrt(-2 * np.log(self.uniform(what, *keys))) * np.cos(angle)
        return drawn

    def integers(self, what: str, low: int, high: int, *keys: Keys) -> Ints:
        """From low to high, high not included."""
        return low + np.floor(self.uniform(what, *keys) * (high - low)).astype(np.int64)

    def pick(self, what: str, shares: npt.ArrayLike, *keys: Keys) -> Ints:
        """An index, each with its share; shares need not add up to 1."""
        upto = np.cumsum(np.asarray(shares, dtype=np.float64))
        drawn: Ints = np.searchsorted(upto, self.uniform(what, *keys) * upto[-1], side="right").clip(0, len(upto) - 1)
        return drawn
