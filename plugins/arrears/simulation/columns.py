"""Columns of made-up tables: amounts as text with their currency's decimals, values that are sometimes null."""

import numpy as np
import numpy.typing as npt

MINOR_DIGITS = {"EUR": 2, "USD": 2, "CZK": 2, "JPY": 0}

Objects = npt.NDArray[np.object_]


def minor_digits(currencies: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Decimal digits of each row's currency."""
    return np.array([MINOR_DIGITS[currency] for currency in np.asarray(currencies)], dtype=np.int64)


def as_amounts(minor: npt.NDArray[np.int64], digits: npt.NDArray[np.int64]) -> Objects:
    """Amounts as text with the currency's decimals, from whole minor units; exact below 2^53."""
    whole = np.char.mod("%d", minor)
    with_cents = np.char.mod("%.2f", minor / 100)
    return np.where(digits == 0, whole, with_cents).astype(object)


def where(condition: npt.ArrayLike, values: npt.ArrayLike) -> Objects:
    """The values where the condition holds, else null."""
    held = np.asarray(condition, dtype=bool)
    column: Objects = np.full(held.shape, None, dtype=object)
    column[held] = np.broadcast_to(np.asarray(values, dtype=object), held.shape)[held]
    return column
