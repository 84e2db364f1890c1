"""Rows as the lender's books held them: every row with the days on which that version of it stood there.

A frame has columns of its contract table, `_from` (first day) and `_to` (first day no more; null: still there). A full
drop of a day is a filter; a delta is the rows that begin on that day and the keys that end on it. So both series say
the same, whatever happens to a row.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from arrears.contract.servicing import Table
from arrears.simulation.portfolio.dice import Bools, Dates, Floats, Ints

FROM, TO, DELETED = "_from", "_to", "_deleted"
NEVER = np.datetime64("NaT", "D")
Frames = dict[str, pl.DataFrame]

TYPES: dict[str, Any] = {
    "text": pl.String,
    "date": pl.Date,
    "boolean": pl.Boolean,
    "integer": pl.Int64,
    "timestamptz": pl.Datetime("us", "UTC"),
    "numeric(20,4)": pl.Decimal(20, 4),
    "numeric(14,8)": pl.Decimal(14, 8),
    "numeric(9,8)": pl.Decimal(9, 8),
}


def _decimal(whole: Ints, precision: int, scale: int, is_there: Bools | None) -> pl.Series:
    """Decimals from whole numbers of the last digit, exactly: the words of each 128-bit number are put in place."""
    words = np.empty((len(whole), 2), dtype=np.int64)
    words[:, 0] = whole
    words[:, 1] = whole >> 63
    array = pa.Array.from_buffers(pa.decimal128(precision, scale), len(whole), [None, pa.py_buffer(words)])
    series = pl.Series(pl.from_arrow(array))
    return series if is_there is None else series.zip_with(pl.Series(is_there), pl.Series([None], dtype=series.dtype))


def money(minor: Ints, digits: Ints, is_there: Bools | None = None) -> pl.Series:
    """Amounts from whole minor units of currencies with so many digits; null where `is_there` is false."""
    return _decimal(np.asarray(minor, dtype=np.int64) * 10 ** (4 - np.asarray(digits)), 20, 4, is_there)


def ratio(value: Floats, is_there: Bools | None = None) -> pl.Series:
    """A rate or ratio with six digits."""
    whole = np.rint(np.nan_to_num(np.asarray(value, dtype=np.float64)) * 1e6).astype(np.int64) * 100
    return _decimal(whole, 14, 8, is_there)


def share(value: Floats, is_there: Bools | None = None) -> pl.Series:
    """A share in 0..1 with six digits."""
    whole = np.rint(np.clip(np.nan_to_num(np.asarray(value, dtype=np.float64)), 0, 1) * 1e6).astype(np.int64) * 100
    return _decimal(whole, 9, 8, is_there)


def days(value: Dates) -> pl.Series:
    """Dates; NaT is null."""
    return pl.Series(np.asarray(value).astype("datetime64[D]").astype("datetime64[ms]")).cast(pl.Date)


def instants(on: Dates, seconds: Ints) -> pl.Series:
    """Instants in UTC: a day and the seconds since its midnight."""
    at = np.asarray(on).astype("datetime64[D]").astype("datetime64[s]") + np.asarray(seconds).astype("timedelta64[s]")
    return pl.Series(at.astype("datetime64[us]")).dt.replace_time_zone("UTC")


def texts(values: Sequence[str | None], index: Ints, is_there: Bools | None = None) -> pl.Series:
    """One of a few values by index; null where `is_there` is false."""
    chosen = pl.Series(list(values), dtype=pl.String).gather(pl.Series(np.asarray(index).astype(np.uint32)))
    return where(chosen, is_there)


def where(values: pl.Series, is_there: Bools | None) -> pl.Series:
    """The values where the condition holds, else null."""
    if is_there is None:
        return values
    return values.zip_with(pl.Series(np.asarray(is_there)), pl.Series([None], dtype=values.dtype))


def ids(prefix: str, number: npt.ArrayLike, *more: tuple[npt.ArrayLike, int], digits: int = 8) -> pl.Series:
    """Keys such as L00000012-007: a prefix, a number with leading zeros, and further numbers of so many digits."""
    text = prefix + pl.Series(np.asarray(number, dtype=np.int64)).cast(pl.String).str.zfill(digits)
    for part, width in more:
        text = text + "-" + pl.Series(np.asarray(part, dtype=np.int64)).cast(pl.String).str.zfill(width)
    return text


def frame(begins: Dates, columns: Mapping[str, Any], ends: Dates | None = None) -> pl.DataFrame:
    """A frame of one version a row, there from `begins` and, where it is given, until before `ends`.

    Columns are numpy arrays, polars series, or one value for all rows.
    """
    count = len(begins)
    made = {}
    for name, values in columns.items():
        if isinstance(values, pl.Series):
            made[name] = values.alias(name)
        elif isinstance(values, np.ndarray):
            if np.issubdtype(values.dtype, np.datetime64):
                made[name] = days(values).alias(name)
            elif values.dtype == object:
                made[name] = pl.Series(name, values.tolist())
            else:
                made[name] = pl.Series(name, values)
        else:
            dtype = pl.String if values is None else None
            made[name] = pl.Series(name, [values], dtype=dtype).new_from_index(0, count).alias(name)
    made[FROM] = days(begins).alias(FROM)
    made[TO] = days(np.full(count, NEVER) if ends is None else ends).alias(TO)
    return pl.DataFrame(made)


def revealed(rows: pl.DataFrame, key: Sequence[str], known: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Versions of rows some of whose columns are known later than the row.

    Args:
        rows: one row a key, with `_from` and the final values.
        key: its primary key.
        known: by a column with the day (a date column of `rows`, or a helper that begins with `_`): the columns that
            are empty before that day.
    """
    stages = [rows]
    for day in known:
        stages.append(
            rows.filter(pl.col(day).is_not_null() & (pl.col(day) > pl.col(FROM))).with_columns(
                pl.col(day).alias("_stage")
            )
        )
    every = (
        pl.concat(stages, how="diagonal").with_columns(pl.coalesce("_stage", FROM).alias("_stage"))
        if len(stages) > 1
        else rows
    )
    shown = [
        pl.when(pl.col(day) <= pl.col("_stage")).then(pl.col(column)).otherwise(None).alias(column)
        for day, columns in known.items()
        for column in columns
    ]
    return chained(every.with_columns(shown).with_columns(pl.col("_stage").alias(FROM)), key).select(
        name for name in rows.columns if not name.startswith("_") or name in (FROM, TO)
    )


def chained(versions: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Versions of rows in order of their beginning: each stands until the next of its key begins; `_to` ends the last.

    Of two that begin on one day the later in the frame stands.
    """
    ordered = (
        versions.with_row_index("_order")
        .sort([*key, FROM, "_order"])
        .unique([*key, FROM], keep="last", maintain_order=True)
    )
    following = pl.col(FROM).shift(-1).over(list(key))
    return (
        ordered.with_columns(pl.min_horizontal(pl.coalesce(following, TO), TO).alias(TO))
        .drop("_order")
        .filter(pl.col(TO).is_null() | (pl.col(TO) > pl.col(FROM)))
    )


def full_on(rows: pl.DataFrame, day: date) -> pl.DataFrame:
    """What stands in the books at the end of a day."""
    return rows.filter((pl.col(FROM) <= day) & (pl.col(TO).is_null() | (pl.col(TO) > day)))


def delta_of(rows: pl.DataFrame, table: Table, day: date) -> pl.DataFrame:
    """What a day changed: rows that begin, and keys that end without a successor, marked in `_deleted`."""
    key = list(table.primary_key)
    new = rows.filter((pl.col(FROM) == day) & (pl.col(TO).is_null() | (pl.col(TO) > day)))
    gone = rows.filter((pl.col(TO) == day) & (pl.col(FROM) < day)).join(new, on=key, how="anti", nulls_equal=True)
    return pl.concat(
        [new.with_columns(pl.lit(False).alias(DELETED)), gone.with_columns(pl.lit(True).alias(DELETED))],
        how="vertical",
    )


def in_contract_form(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The contract's columns in its order and types; what the frame lacks is null; `_deleted` stays at the end."""
    columns = [
        pl.col(column.name).cast(TYPES[column.data_type])
        if column.name in rows.columns
        else pl.lit(None, dtype=TYPES[column.data_type]).alias(column.name)
        for column in table.columns
    ]
    return rows.select(columns + ([pl.col(DELETED)] if DELETED in rows.columns else []))
