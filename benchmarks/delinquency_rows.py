"""A portfolio of N loans over 24 monthly instalments with what goes wrong in one, as Parquet and in `versions`.

Loans are made 25,000 at a time, each chunk from a seed of its own, so that memory is bounded and a smaller portfolio is
the beginning of a larger one. Instalments lie loan by loan, bookings in the order in which they were booked, as a
lender's tables do. Every row is known at D; bookings of the next days that touch every twentieth loan lie apart.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet as pq

AS_OF = date(2026, 1, 15)
MONTHS = 24
CHUNK = 25_000
SEED = 20_260_115
SOURCE = "bench"
TABLES = ("loans", "instalments", "transactions", "charges", "forbearances")
NEXT = "transactions_next"  # known two days after D

EPOCH = date(1970, 1, 1)
D = (AS_OF - EPOCH).days
NEXT_KNOWN_ON = AS_OF + timedelta(days=2)
DAY_IN_MICROSECONDS = 86_400_000_000

# Kinds of borrowers, and what each does with an instalment: the shares that pay it, miss it, pay part of it; the share
# that pays all it owes once it is behind; and by how many days it pays late at most.
BORROWERS = ((0.72, 0.97, 0.02, 0.01, 0.80, 4), (0.20, 0.75, 0.13, 0.12, 0.40, 21), (0.08, 0.25, 0.55, 0.20, 0.03, 28))
ORDERS = ("penalty>fee>interest>principal", "interest>principal>fee>penalty")

Rows = dict[str, np.ndarray]


def write(folder: Path, loans: int) -> dict[str, int]:
    """Writes a Parquet file per table; gives the rows of each."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, pq.ParquetWriter] = {}
    for first in range(0, loans, CHUNK):
        for name, table in _chunk(first, min(CHUNK, loans - first)).items():
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema, compression="zstd")
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()
    with duckdb.connect() as session:
        session.execute("set memory_limit = '4GB'")
        session.execute("set enable_progress_bar = false")
        session.execute(f"set temp_directory = '{folder}/sorting'")
        file, in_order = folder / "transactions.parquet", folder / "in_order.parquet"
        session.execute(f"copy (from '{file}' order by booked_at, transaction_id) to '{in_order}' (compression zstd)")
        in_order.rename(file)
    return {name: pq.read_metadata(folder / f"{name}.parquet").num_rows for name in (*TABLES, NEXT)}


def load(folder: Path) -> None:
    """Copies the rows of D into `versions` of the warehouse as one accepted batch, without the DAG."""
    from arrears.warehouse.connections import connect

    with connect(role="admin") as connection:
        _register(connection, AS_OF, is_first=True)
        for name in TABLES:
            connection.execute("select ops.set_current_index_aside(%s)", [name])
            _copy(connection, folder / f"{name}.parquet", name, AS_OF)
            connection.execute("select ops.put_current_index_back(%s)", [name])
            connection.commit()
    _vacuum()


def load_next(folder: Path) -> None:
    """Copies the bookings that became known two days later, as a second accepted batch."""
    from arrears.warehouse.connections import connect

    with connect(role="admin") as connection:
        _register(connection, NEXT_KNOWN_ON, is_first=False)
        _copy(connection, folder / f"{NEXT}.parquet", "transactions", NEXT_KNOWN_ON)


def _register(connection: psycopg.Connection, as_of: date, *, is_first: bool) -> None:
    connection.execute(
        "insert into ops.batches (batch_id, source, batch_date, mode, is_first, state, content_sha256, files,"
        " drop_path, run_id, known_from, loaded_at, decided_at)"
        " values (%s, %s, %s, 'full', %s, 'accepted', '', '{}', '', 'bench', %s, %s, %s)",
        [_batch(as_of), SOURCE, as_of, is_first, as_of, *[datetime(2026, 1, as_of.day, 22, tzinfo=UTC)] * 2],
    )


def _batch(as_of: date) -> str:
    return f"{SOURCE}-{as_of}-0123456789ab"


def _copy(connection: psycopg.Connection, file: Path, name: str, as_of: date) -> None:
    """What is the same in every row comes from defaults that hold in this transaction only."""
    defaults = {
        "_source": SOURCE,
        "_batch_id": _batch(as_of),
        "_row_hash": "00000000-0000-0000-0000-000000000000",
        "_known_from": "0001-01-01",
        "_file": f"{name}.parquet",
        "_line": "1",
    }
    for column, value in defaults.items():
        connection.execute(f"alter table versions.{name} alter column {column} set default '{value}'".encode())
    reader = pq.ParquetFile(file)
    columns = ", ".join(reader.schema_arrow.names)
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")
    with connection.cursor().copy(f"copy versions.{name} ({columns}) from stdin (format csv)".encode()) as copy:
        for batch in reader.iter_batches(batch_size=100_000):
            sink = pa.BufferOutputStream()
            pyarrow.csv.write_csv(pa.Table.from_batches([batch]), sink, options)
            copy.write(sink.getvalue().to_pybytes())
    for column in defaults:
        connection.execute(f"alter table versions.{name} alter column {column} drop default".encode())


def _vacuum() -> None:
    from arrears.warehouse.connections import connect

    with connect(role="admin", autocommit=True) as connection:
        for name in TABLES:
            connection.execute(f"vacuum (analyze, parallel 0) versions.{name}".encode())
        connection.execute("checkpoint")


def _chunk(first: int, count: int) -> dict[str, pa.Table]:
    random = np.random.default_rng([SEED, first])
    number = np.arange(first, first + count)
    ids = _text("L", number)
    month, day = random.integers(0, 6, count), random.integers(1, 29, count)
    disbursed = _date(month, day)
    instalment = np.arange(1, MONTHS + 1)
    due = _date(month[:, None] + instalment[None, :], day[:, None])
    principal = np.broadcast_to(random.integers(5_000, 30_000, count)[:, None], (count, MONTHS))
    interest = principal * (MONTHS + 1 - instalment)[None, :] * 8 // 1200
    fee = np.broadcast_to(np.where(random.random(count) < 0.1, 150, 0)[:, None], (count, MONTHS))
    claim = principal + interest + fee

    is_component_first = random.random(count) < 0.01
    with_exception = random.random(count)
    has_waiver, has_refund = with_exception < 0.005, (with_exception >= 0.005) & (with_exception < 0.01)
    is_rescheduled = random.random(count) < 0.02
    status, status_on = _statuses(random, disbursed)

    charges, charged, is_lapsing = _charges(random, number, ids, due, has_waiver)
    is_plain = ~(is_component_first | has_waiver | has_refund | is_lapsing)
    loans = {
        "loan_id": _strings(ids),
        "borrower_id": _strings(_text("B", number)),
        "product": pa.array(np.where(number % 3 == 0, "auto", "consumer")),
        "currency": pa.array(["EUR"] * count),
        "principal_amount": _money(principal.sum(axis=1)),
        "disbursed_on": _dates(disbursed),
        "maturity_on": _dates(due[:, -1]),
        "interest_rate": pa.array(np.full(count, 0.08)),
        "allocation_order": pa.array(np.where(random.random(count) < 0.8, *ORDERS)),
        "allocation_mode": pa.array(np.where(is_component_first, "component_first", "oldest_first")),
        "grace_days": pa.array(np.where(number % 5 == 0, 3, 0).astype(np.int32)),
        "tolerance_amount": _money(np.where(random.random(count) < 0.1, 500, 0)),
        "governing_law": pa.array(["CZ"] * count),
        "branch_code": pa.array(np.where(is_plain, "plain", "replayed")),  # what the peers leave out
        "is_green": pa.array(np.zeros(count, bool)),
        "status": pa.array(status),
        "status_on": _dates(status_on),
    }
    return {
        "loans": pa.table(loans),
        "instalments": _instalments(random, ids, disbursed, due, (principal, interest, fee), is_rescheduled),
        "transactions": _bookings(
            random, number, ids, disbursed, due, claim + charged, principal, has_waiver, has_refund
        ),
        "charges": charges,
        "forbearances": _pauses(random, number, ids, due),
        NEXT: _next_bookings(random, number, ids, claim),
    }


def _statuses(random: np.random.Generator, disbursed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    drawn = random.random(len(disbursed))
    status = np.where(drawn < 0.02, "closed", np.where(drawn < 0.03, "written_off", "active"))
    return status, np.where(status == "active", disbursed, D - random.integers(0, 180, len(disbursed)))


def _instalments(
    random: np.random.Generator,
    ids: np.ndarray,
    disbursed: np.ndarray,
    due: np.ndarray,
    amounts: tuple[np.ndarray, np.ndarray, np.ndarray],
    is_rescheduled: np.ndarray,
) -> pa.Table:
    """The schedule, and of a rescheduled loan a second version: what was to come by then is put off by three months."""
    chosen = np.flatnonzero(is_rescheduled)
    kept_months = random.integers(6, 18, len(chosen))
    is_kept = np.arange(MONTHS)[None, :] < kept_months[:, None]
    again = np.where(is_kept, due[chosen], due[chosen] + 91)
    effective = due[chosen, kept_months - 1] + 10
    rows = np.concatenate([np.arange(len(ids)), chosen])
    version = np.concatenate([np.ones(len(ids)), np.full(len(chosen), 2)])
    order = np.lexsort([version, rows])
    rows, version = rows[order], version[order]
    effective_on = np.concatenate([disbursed, effective])[order]
    due_on = np.concatenate([due, again])[order].ravel()
    principal, interest, fee = (amount[rows].ravel() for amount in amounts)
    return pa.table(
        {
            "loan_id": _strings(np.repeat(ids[rows], MONTHS, axis=0)),
            "schedule_version": pa.array(np.repeat(version, MONTHS).astype(np.int32)),
            "effective_on": _dates(np.repeat(effective_on, MONTHS)),
            "instalment_number": pa.array(np.tile(np.arange(1, MONTHS + 1, dtype=np.int32), len(rows))),
            "due_on": _dates(due_on),
            "principal_amount": _money(principal),
            "interest_amount": _money(interest),
            "fee_amount": _money(fee),
            "penalty_amount": _money(np.zeros(len(due_on), np.int64)),
        }
    )


def _payments(random: np.random.Generator, due: np.ndarray, claim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amounts paid for each instalment (0: missed) and the days on which they were."""
    count = len(due)
    kind = np.searchsorted(np.cumsum([row[0] for row in BORROWERS])[:-1], random.random(count))
    pays, misses, _, catches_up, latest = (np.array(column)[kind] for column in list(zip(*BORROWERS, strict=True))[1:])
    amount = np.zeros_like(claim)
    owed = np.zeros(count, np.int64)
    for month in range(claim.shape[1]):
        asked = claim[:, month]
        drawn, part = random.random(count), random.uniform(0.2, 0.8, count)
        paid = np.where(drawn < pays, asked, np.where(drawn < pays + misses, 0, (asked * part).astype(np.int64)))
        paid = np.where(random.random(count) < 0.01, 2 * asked, paid)  # in advance
        paid = np.where((owed > 0) & (random.random(count) < catches_up), owed + asked, paid)
        amount[:, month] = paid
        owed = owed + asked - paid
    shape = claim.shape
    late = (random.random(shape) * latest[:, None]).astype(np.int64) * (random.random(shape) < 0.5)
    early = np.where(random.random(shape) < 0.1, random.integers(0, 4, shape), 0)
    return amount, due + late - early


def _bookings(
    random: np.random.Generator,
    number: np.ndarray,
    ids: np.ndarray,
    disbursed: np.ndarray,
    due: np.ndarray,
    claim: np.ndarray,
    principal: np.ndarray,
    has_waiver: np.ndarray,
    has_refund: np.ndarray,
) -> pa.Table:
    count = len(number)
    amount, paid_on = _payments(random, due, claim)
    loan, month = np.nonzero((amount > 0) & (paid_on <= D))
    payment = {
        "loan": loan,
        "sequence": month + 1,
        "effective": paid_on[loan, month],
        "amount": amount[loan, month],
    }
    payment["booked"] = payment["effective"] + np.where(
        random.random(len(loan)) < 0.03, random.integers(1, 30, len(loan)), 0
    )
    reversed_ = np.flatnonzero(random.random(len(loan)) < 0.01)
    reversal = {name: values[reversed_] for name, values in payment.items()}
    reverses = _keys(number, reversal)
    reversal["effective"] = reversal["booked"] = reversal["booked"] + random.integers(1, 6, len(reversed_))
    reversal["sequence"] = reversal["sequence"] + 30
    repaid = _again(random, reversal)
    disbursement = {
        "loan": np.arange(count),
        "sequence": np.zeros(count, np.int64),
        "effective": disbursed,
        "booked": disbursed,
        "amount": principal.sum(axis=1),
    }
    waiver = _exception(random, np.flatnonzero(has_waiver), due, np.full(count, 200), 95)
    # A refund takes back what the loan paid first, so nobody gets more than he paid.
    refund = _exception(random, np.flatnonzero(has_refund & (amount[:, 0] > 0)), due, amount[:, 0], 96)
    kinds: list[tuple[str, Rows, str | None, np.ndarray | None]] = [
        ("disbursement", disbursement, None, None),
        ("repayment", payment, None, None),
        ("reversal", reversal, None, reverses),
        ("repayment", repaid, None, None),
        ("waiver", waiver, "interest", None),
        ("refund", refund, None, None),
    ]
    tables = [_booking_table(number, ids, *given) for given in kinds]
    known = pa.concat_tables(tables)
    return known.filter(pa.compute.less_equal(known["_known_from"], pa.scalar(AS_OF)))


def _again(random: np.random.Generator, reversal: Rows) -> Rows:
    """Half of those whose payment was reversed pay again some days later."""
    chosen = random.random(len(reversal["loan"])) < 0.5
    repaid = {name: values[chosen] for name, values in reversal.items()}
    repaid["sequence"] = repaid["sequence"] + 30
    repaid["effective"] = repaid["booked"] = repaid["booked"] + 4
    return repaid


def _exception(
    random: np.random.Generator, loan: np.ndarray, due: np.ndarray, amount: np.ndarray, sequence: int
) -> Rows:
    on = due[loan, random.integers(6, 16, len(loan))] + 2
    return {
        "loan": loan,
        "sequence": np.full(len(loan), sequence),
        "effective": on,
        "booked": on,
        "amount": amount[loan],
    }


def _booking_table(
    number: np.ndarray, ids: np.ndarray, kind: str, rows: Rows, component: str | None, reverses: np.ndarray | None
) -> pa.Table:
    count = len(rows["loan"])
    return pa.table(
        {
            "transaction_id": _strings(_keys(number, rows)),
            "loan_id": _strings(ids[rows["loan"]]),
            "kind": pa.array([kind] * count, pa.string()),
            "effective_on": _dates(rows["effective"]),
            "booked_at": pa.array(rows["booked"] * DAY_IN_MICROSECONDS + DAY_IN_MICROSECONDS // 2).cast(
                pa.timestamp("us", tz="UTC")
            ),
            "amount": _money(rows["amount"]),
            "component": pa.array([component] * count, pa.string()),
            "reverses_transaction_id": pa.nulls(count, pa.string()) if reverses is None else _strings(reverses),
            "channel": pa.array(["direct_debit"] * count, pa.string()),
            "_known_from": _dates(rows["booked"]),
        }
    )


def _next_bookings(random: np.random.Generator, number: np.ndarray, ids: np.ndarray, claim: np.ndarray) -> pa.Table:
    """One booking on every twentieth loan, a fifth of them with a value date some days back."""
    loan = np.flatnonzero(number % 20 == 7)
    booked = np.full(len(loan), D + 2)
    rows = {
        "loan": loan,
        "sequence": np.full(len(loan), 99),
        "effective": booked - np.where(random.random(len(loan)) < 0.2, random.integers(1, 60, len(loan)), 0),
        "booked": booked,
        "amount": claim[loan, -1],
    }
    return _booking_table(number, ids, "repayment", rows, None, None)


def _charges(
    random: np.random.Generator, number: np.ndarray, ids: np.ndarray, due: np.ndarray, has_waiver: np.ndarray
) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Charges on 2 % of the instalments, what is asked for them with the next one, and which loans have a lapsing one.

    5 % are waived before they are due and never become claims; of loans with a waiver half lapse later.
    """
    loan, month = np.nonzero((random.random(due.shape) < 0.02) & (due + 5 <= D))
    due_on = due[loan, month] + 5
    is_waived_before = random.random(len(loan)) < 0.05
    is_lapsing = has_waiver[loan] & ~is_waived_before & (random.random(len(loan)) < 0.5)
    waived_on = np.where(is_lapsing, due_on + 20, due_on - 1)
    lapsing = np.zeros(len(number), bool)
    lapsing[loan[is_lapsing]] = True
    amount = random.integers(500, 2500, len(loan))
    charged = np.zeros(due.shape, np.int64)
    is_asked = ~is_waived_before & (month + 1 < MONTHS)
    charged[loan[is_asked], month[is_asked] + 1] = amount[is_asked]
    table = pa.table(
        {
            "charge_id": _strings(_keys(number, {"loan": loan, "sequence": month + 1}, "C")),
            "loan_id": _strings(ids[loan]),
            "kind": pa.array(np.where(random.random(len(loan)) < 0.7, "penalty", "fee")),
            "due_on": _dates(due_on),
            "amount": _money(amount),
            "waived_on": pa.array(waived_on.astype(np.int32), mask=~(is_waived_before | is_lapsing)).cast(pa.date32()),
        }
    )
    return table, charged, lapsing


def _pauses(random: np.random.Generator, number: np.ndarray, ids: np.ndarray, due: np.ndarray) -> pa.Table:
    loan = np.flatnonzero(random.random(len(number)) < 0.01)
    starts = due[loan, random.integers(3, 18, len(loan))]
    return pa.table(
        {
            "forbearance_id": _strings(_text("F", number[loan])),
            "loan_id": _strings(ids[loan]),
            "kind": pa.array(["delinquency_pause"] * len(loan), pa.string()),
            "agreed_on": _dates(starts - 5),
            "starts_on": _dates(starts),
            "ends_on": _dates(starts + random.integers(30, 91, len(loan))),
            "is_distressed": pa.array(np.zeros(len(loan), bool)),
        }
    )


def _date(month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970 of a day of a month counted from January 2024."""
    first = (np.datetime64("2024-01", "M") + month).astype("datetime64[D]").astype(np.int64)
    return first + day - 1


def _text(letter: str, number: np.ndarray) -> np.ndarray:
    """Keys like L00000042, a row of bytes each."""
    digits = number[:, None] // 10 ** np.arange(7, -1, -1)[None, :] % 10 + ord("0")
    return np.concatenate([np.full((len(number), 1), ord(letter)), digits], axis=1).astype(np.uint8)


def _keys(number: np.ndarray, rows: Rows, letter: str = "T") -> np.ndarray:
    """Keys like T00000042-07: of the loan, and within it."""
    sequence = rows["sequence"][:, None] // np.array([[10, 1]]) % 10 + ord("0")
    dash = np.full((len(sequence), 1), ord("-"))
    return np.concatenate([_text(letter, number[rows["loan"]]), dash, sequence], axis=1).astype(np.uint8)


def _strings(rows: np.ndarray) -> pa.Array:
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows)))


def _dates(days: np.ndarray) -> pa.Array:
    return pa.array(days.astype(np.int32)).cast(pa.date32())


def _money(cents: np.ndarray) -> pa.Array:
    """decimal(18, 4), which the peers hold in 64 bits."""
    values = np.zeros((len(cents), 2), np.int64)
    values[:, 0] = cents * 100
    values[:, 1] = np.where(cents < 0, -1, 0)
    return pa.Array.from_buffers(pa.decimal128(18, 4), len(cents), [None, pa.py_buffer(values)])
