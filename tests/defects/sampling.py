"""Which kinds of defects `make test` injects; `make test-all` injects them all."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest

SEED, ONE_IN = "9", 5


def sampled(kinds: Sequence[object]) -> list[Any]:
    """All kinds as parameters; all but about a fifth are marked slow, whichever others there are."""
    return [pytest.param(kind, marks=() if _is_kept(str(kind)) else pytest.mark.slow, id=str(kind)) for kind in kinds]


def _is_kept(name: str) -> bool:
    return int.from_bytes(sha256((SEED + name).encode()).digest()) % ONE_IN == 0
