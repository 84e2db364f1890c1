"""What the audit ledger costs: writing an export's lines, and verifying a million of them.

The peers: for writing, the same rows inserted into a plain table; for verifying, sha256 over the same million leaves
and nodes in a bare Python loop, without a database.

    python -m benchmarks ledger                        # 1 million lines; needs 2 GB of disk
    ARREARS_BENCH_LINES=200000 python -m benchmarks ledger
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from hashlib import sha256
from pathlib import Path

LINES = int(os.environ.get("ARREARS_BENCH_LINES", "1000000"))
DAY = date(2026, 3, 31)
QUEUE = """
create table marts.collection_queue as
select
    cast(%(day)s as date) as as_of_date, cast(%(day)s as date) + 1 as work_on, 'team-' || number %% 20 as recipient_id,
    cast(number / 20 + 1 as int) as rank, 'L' || lpad(cast(number as text), 8, '0') as loan_id,
    'B' || number as borrower_id, 'B' || number as party_borrower_id, 'call' as action, 'call' as channel,
    cast(number %% 400 as int) as days_past_due, 'EUR' as currency,
    cast(number * 1.37 as numeric(20, 4)) as arrears_amount,
    cast(number * 0.61 as numeric(20, 4)) as expected_net_amount,
    cast(%(day)s as date) + 3 as deadline_on
from generate_series(0, %(lines)s - 1) as numbers (number)
"""
EXPORT = """
insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id, export_number, done_at)
values (%s, 1, 'done', repeat('0', 64), 'bench', 'bench', 1, now())
"""


def main() -> None:
    """Prints the table."""
    home = Path(tempfile.mkdtemp(prefix="arrears-bench-ledger-"))
    os.environ["ARREARS_HOME"] = str(home)
    from arrears import warehouse
    from arrears.ledger.recording import record_export
    from arrears.ledger.verification import verify
    from arrears.warehouse.connections import embedded

    took: dict[str, float] = {}
    try:
        warehouse.ready()
        with warehouse.connect() as connection:
            connection.execute(QUEUE, {"day": DAY, "lines": LINES})
            connection.execute(EXPORT, [DAY])
            with _timed(took, "plain"):
                connection.execute("create table marts.copied as select * from marts.collection_queue")
            with _timed(took, "write"):
                record_export(connection, DAY, 1)
        with warehouse.connect() as connection, _timed(took, "verify"):
            report = verify(connection)
        assert report.is_whole and report.lines == LINES, report
        with _timed(took, "bare"):
            _bare(LINES)
    finally:
        server = embedded()
        if server is not None:
            server.stop()
        shutil.rmtree(home, ignore_errors=True)
    print("| what | lines | s | peer s | ours / peer |\n| --- | ---: | ---: | ---: | ---: |")
    for what, ours, peer in (("an export's lines and entry written", "write", "plain"), ("verified", "verify", "bare")):
        print(f"| {what} | {LINES:,} | {took[ours]:.1f} | {took[peer]:.1f} | {took[ours] / took[peer]:.1f} |")


def _bare(count: int) -> None:
    """As many leaves, of the size of a line's, and nodes."""
    leaf = bytes(420)
    level = [sha256(b"\x00" + number.to_bytes(16, "big") + leaf).digest() for number in range(count)]
    while len(level) > 1:
        level = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]


@contextmanager
def _timed(took: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    took[name] = time.perf_counter() - start


if __name__ == "__main__":
    main()
