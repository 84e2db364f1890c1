"""The warehouse that an earlier release left behind: tests/data/upgrade/README.md says how it was made."""

import csv
import gzip
import shutil
import subprocess
from datetime import date
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from arrears.warehouse.embedded import Server, client_program

DATA = Path(__file__).parent / "data" / "upgrade"
DROPS, EXPORTS, WAREHOUSE = DATA / "drops", DATA / "exports", DATA / "0001.sql.gz"
LAST_DAY, NEXT_DAY = date(2026, 3, 31), date(2026, 4, 1)


def load(server: Server, database: str) -> None:
    """Makes a database of the released state; the roles must be there."""
    where = f"host={quote(str(server.socket_folder), safe='')}&port={server.port}"
    with psycopg.connect(f"postgresql://postgres@/postgres?{where}", autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} owner arrears_owner").format(sql.Identifier(database)))
    subprocess.run(
        [
            str(client_program("psql")),
            *("--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--output=/dev/null"),
            f"--dbname=postgresql://postgres@/{database}?{where}",
        ],
        input=gzip.decompress(WAREHOUSE.read_bytes()),
        check=True,
        capture_output=True,
    )


def next_drop(folder: Path) -> Path:
    """The day after the last one: the booking that could not be read is mended, and one more has come."""
    shutil.copytree(DROPS / LAST_DAY.isoformat(), folder)
    file = folder / "transactions.csv"
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    mended = [row | {"amount": "10.00"} if row["transaction_id"] == "N3" else row for row in rows]
    added = rows[-1] | {"transaction_id": "N4", "loan_id": "L04", "effective_on": "2026-04-01", "amount": "110.00"}
    added["booked_at"] = "2026-04-01T10:00:00+00:00"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*mended, added])
    return folder
