"""What a simulated portfolio costs: rows, seconds and memory, beside a bare write of the same rows."""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

SIZES = (10_000, 100_000)


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Prints the table; the peer reads the finished drop and writes it again with polars alone."""
    print("| loans | rows | simulate s | peak MB | read and write alone s | ratio |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for loans in sizes:
        folder = Path(tempfile.mkdtemp(prefix="arrears-simulation-"))
        try:
            print(_measured(loans, folder))
        finally:
            shutil.rmtree(folder)


def _measured(loans: int, folder: Path) -> str:
    started = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    out = folder / "out"
    command = [sys.executable, "-m", "arrears.cli", "simulate", "--loans", str(loans), "--out", str(out), "--json"]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    started, rows = time.perf_counter(), 0
    for path in sorted(out.glob("*/*.csv")):
        table = pl.read_csv(path, infer_schema=False)
        rows += len(table)
        table.write_csv(folder / "again.csv")
    alone = time.perf_counter() - started
    return f"| {loans:,} | {rows:,} | {seconds:.1f} | {peak:,.0f} | {alone:.1f} | {seconds / alone:.1f} |"
