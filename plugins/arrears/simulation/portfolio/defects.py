"""Known defects of data, injected into the last day's drop on request, and written down in truth/injected_defects.

A defect of rows changes, doubles or removes some rows of one table; a defect of files changes the file as a whole.
Adding one is adding an entry to `DEFECTS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from arrears.contract.servicing import Table
from arrears.errors import UsageError
from arrears.simulation.portfolio.dice import Dice, Floats

DEFAULT_RATE = 0.001
CODE_PAGE = "cp1250"


@dataclass(frozen=True, slots=True)
class Defect:
    """One kind.

    Attributes:
        said: what is wrong, for people.
        table: in which it happens.
        column: the one that is changed; empty where a whole row or file is.
        changed: the column's new value, for the rows chosen.
        eligible: which rows may be chosen; None: all.
        rows: what becomes of the rows chosen, where not a column changes: "removed", "doubled" or "contradicted".
        file: what becomes of the file.
    """

    said: str
    table: str
    column: str = ""
    changed: pl.Expr | None = None
    eligible: Callable[[date], pl.Expr] | None = None
    rows: str = ""
    file: Callable[[Path], None] | None = None


def _amount(expression: pl.Expr) -> pl.Expr:
    return expression.cast(pl.Decimal(20, 4))


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 7 // 10])


def _rename_header(path: Path) -> None:
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first.replace(b",amount", b",amt") + b"\n" + rest)


def _add_column(path: Path) -> None:
    first, *rest = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first + b",mood", *(line + b",fair" for line in rest)]) + b"\n")


def _drop_last_column(path: Path) -> None:
    pl.read_csv(path, infer_schema=False).pipe(lambda rows: rows.drop(rows.columns[-1])).write_csv(path)


def _re_encode(path: Path) -> None:
    path.write_bytes(path.read_text(encoding="utf-8").encode(CODE_PAGE, errors="replace"))


def _known_before(day: date) -> pl.Expr:
    return pl.col("booked_at").dt.date() < day


def _amount_finer(day: date) -> pl.Expr:
    del day
    return pl.col("kind") == "repayment"


_SWAPPED = pl.date(pl.col("effective_on").dt.year(), pl.col("effective_on").dt.day(), pl.col("effective_on").dt.month())

DEFECTS: dict[str, Defect] = {
    "null_in_required": Defect("a required column is empty", "loans", "currency", pl.lit(None, dtype=pl.String)),
    "duplicate_key": Defect("two rows that differ have one key", "transactions", "amount", rows="contradicted"),
    "duplicate_row": Defect("a row is there twice, the same", "transactions", rows="doubled"),
    "broken_reference": Defect("a row names a loan that is not there", "transactions", "loan_id", pl.lit("L99999999")),
    "wrong_currency": Defect("a currency is no ISO 4217 code", "loans", "currency", pl.lit("EURO")),
    "negative_amount": Defect("an amount is below 0", "transactions", "amount", _amount(-pl.col("amount"))),
    "zero_amount": Defect("a promise of nothing", "promises", "amount", _amount(pl.lit(0))),
    "amount_too_fine": Defect(
        "an amount is finer than the currency's minor unit", "transactions", "amount",
        _amount(pl.col("amount") + pl.lit("0.0005").cast(pl.Decimal(20, 4))), _amount_finer,
    ),
    "amount_times_100": Defect(
        "an amount is in minor units", "transactions", "amount", _amount(pl.col("amount") * 100), _amount_finer
    ),
    "year_0206": Defect("a due date in the year 206", "instalments", "due_on", pl.col("due_on").dt.replace(year=206)),
    "swapped_day_month": Defect(
        "day and month of a value date have changed places", "transactions", "effective_on", _SWAPPED,
        lambda day: (pl.col("effective_on").dt.day() <= 12)
        & (pl.col("effective_on").dt.day() != pl.col("effective_on").dt.month()),
    ),
    "future_date": Defect(
        "a value date five years ahead", "transactions", "effective_on", pl.col("effective_on").dt.offset_by("5y")
    ),
    "unknown_value": Defect("a value that the contract does not allow", "transactions", "kind", pl.lit("payement")),
    "share_above_one": Defect(
        "a share above 1", "agency_contracts", "commission_share", pl.lit("1.2").cast(pl.Decimal(9, 8))
    ),
    "unknown_time_zone": Defect("a time zone that nobody has", "borrowers", "time_zone", pl.lit("Europe/Atlantis")),
    "reversal_of_unknown": Defect(
        "a reversal of a booking that is not there", "transactions", "reverses_transaction_id", pl.lit("T-unknown"),
        lambda day: pl.col("kind") == "reversal",
    ),
    "maturity_before_disbursement": Defect(
        "a loan matures before it is disbursed", "loans", "maturity_on", pl.col("disbursed_on").dt.offset_by("-1y")
    ),
    "schedule_not_adding_up": Defect(
        "a schedule adds up to more than its principal", "instalments", "principal_amount",
        _amount(pl.col("principal_amount") * 2 + 1000),
        lambda day: (pl.col("instalment_number") == 1) & (pl.col("schedule_version") == 1),
    ),
    "changed_known_row": Defect(
        "a booking known before reads otherwise", "transactions", "amount", _amount(pl.col("amount") + 1), _known_before
    ),
    "removed_known_row": Defect(
        "a booking known before is gone", "transactions", eligible=_known_before, rows="removed"
    ),
    "missing_table": Defect("a table delivered before is missing", "suppressions", file=Path.unlink),
    "truncated_file": Defect("a file ends in the middle of a line", "instalments", file=_cut),
    "renamed_header": Defect("a required column has another name", "transactions", file=_rename_header),
    "unknown_column": Defect("a column that the contract does not know", "charges", file=_add_column),
    "missing_column": Defect("a column delivered before is missing", "borrowers", file=_drop_last_column),
    "wrong_encoding": Defect("a file is not in UTF-8", "borrowers", file=_re_encode),
}  # fmt: skip


@dataclass(slots=True)
class Injector:
    """Spoils the last day's drop and remembers how; its draws are its own, so that the portfolio stays the same."""

    rates: dict[str, float]
    dice: Dice
    records: list[pl.DataFrame] = field(default_factory=list)
    _seen: dict[str, int] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def spoil(self, day: date, table: Table, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of a table with the defects of rows in them."""
        offset = self._seen.get(table.name, 0)
        self._seen[table.name] = offset + len(rows)
        for number, (kind, defect) in enumerate(DEFECTS.items()):
            if kind in self.rates and defect.table == table.name and defect.file is None and len(rows):
                rows = self._apply(
                    kind, defect, day, table, rows, self.dice.uniform(kind, offset + np.arange(len(rows)), number)
                )
        return rows

    def _apply(
        self, kind: str, defect: Defect, day: date, table: Table, rows: pl.DataFrame, draw: Floats
    ) -> pl.DataFrame:
        may = np.ones(len(rows), dtype=bool)
        if defect.eligible is not None:
            may = rows.select(defect.eligible(day).fill_null(False)).to_series().to_numpy()
        draw = np.resize(draw, len(rows))  # an earlier defect may have doubled or removed rows
        chosen = may & (draw < self.rates[kind])
        if kind not in self._done and not chosen.any() and may.any():
            chosen[np.flatnonzero(may)[may.sum() // 2]] = True  # at least one
        if not chosen.any():
            return rows
        self._done.add(kind)
        mask = pl.Series(chosen)
        self._record(kind, defect, day, table, rows.filter(mask))
        if defect.changed is not None:
            dtype = rows.schema[defect.column]
            value = pl.when(mask).then(defect.changed.cast(dtype)).otherwise(pl.col(defect.column))
            return rows.with_columns(value.alias(defect.column))
        if defect.rows == "removed":
            return rows.filter(~mask)
        again = rows.filter(mask)
        if defect.rows == "contradicted":
            again = again.with_columns(_amount(pl.col(defect.column) + 1).alias(defect.column))
        return pl.concat([rows, again])

    def _record(self, kind: str, defect: Defect, day: date, table: Table, rows: pl.DataFrame) -> None:
        key = pl.concat_str([pl.col(name).cast(pl.String) for name in table.primary_key], separator="|")
        self.records.append(
            rows.select(
                pl.lit(kind).alias("kind"),
                pl.lit(table.name).alias("table"),
                key.alias("key"),
                pl.lit(defect.column or None, dtype=pl.String).alias("column"),
                pl.lit(day).alias("day"),
                pl.lit(defect.said).alias("said"),
            )
        )

    def spoil_files(self, day: date, folder: Path) -> None:
        """The files of the drop with the defects of files in them."""
        for kind, defect in DEFECTS.items():
            path = folder / f"{defect.table}.csv"
            if kind in self.rates and defect.file is not None and path.is_file():
                defect.file(path)
                self.records.append(
                    pl.DataFrame(
                        {
                            "kind": [kind],
                            "table": [defect.table],
                            "key": [None],
                            "column": [None],
                            "day": [day],
                            "said": [defect.said],
                        },
                        schema_overrides={"key": pl.String, "column": pl.String},
                    )
                )

    def recorded(self) -> pl.DataFrame:
        """All that was injected."""
        columns = {
            "kind": pl.String,
            "table": pl.String,
            "key": pl.String,
            "column": pl.String,
            "day": pl.Date,
            "said": pl.String,
        }
        return pl.concat([pl.DataFrame(schema=columns), *self.records])


def injector(asked: Sequence[str], seed: int, form: str = "csv") -> Injector:
    """What `--defects KIND[:RATE]` asks for.

    Raises:
        UsageError: there is no such kind, the rate is no share, or the format has no such defect.
    """
    rates = {}
    for one in asked:
        kind, _, rate = one.partition(":")
        if kind not in DEFECTS:
            raise UsageError(f"--defects {kind}: there is no such defect; there are {', '.join(DEFECTS)}.")
        try:
            rates[kind] = float(rate) if rate else DEFAULT_RATE
        except ValueError:
            rates[kind] = -1.0
        if not 0 < rates[kind] <= 1:
            raise UsageError(
                f"--defects {one}: the rate is a share of the rows, above 0 and up to 1, as in {kind}:0.01."
            )
        if form != "csv" and DEFECTS[kind].file is not None:
            raise UsageError(f"--defects {kind} spoils a text file; with --format {form} there is none.")
    return Injector(rates, Dice(seed + 1_000_003))
