"""A real bank's loans through the whole DAG: the figures of its README, the queues, and the same bytes again."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from arrears.settings import CHECKOUT
from tests.e2e.home import Home, a_home

pytestmark = pytest.mark.e2e

BERKA = CHECKOUT / "sources/berka"
DAY = date(1998, 12, 31)
RUN = ("run", "--source", "berka", "--as-of", DAY.isoformat())

# The bank's status of a loan at the end of 1998, the pipeline's bucket; worked out a second time in tests/oracle.
CONFUSION = {
    ("A", "paid off"): 201,
    ("A", "360+"): 2,
    ("B", "90-179"): 3,
    ("B", "180-359"): 3,
    ("B", "360+"): 25,
    ("C", "current"): 385,
    ("C", "1-29"): 16,
    ("C", "30-59"): 1,
    ("C", "60-89"): 1,
    ("D", "1-29"): 10,
    ("D", "30-59"): 8,
    ("D", "60-89"): 11,
    ("D", "90-179"): 8,
    ("D", "180-359"): 6,
    ("D", "360+"): 2,
}
ARREARS_BY_BUCKET = {
    "current": "0.0000",
    "1-29": "126087.3000",
    "30-59": "83343.2000",
    "60-89": "191940.9000",
    "90-179": "250419.0000",
    "180-359": "378242.8000",
    "360+": "1137409.0000",
}


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Berka, run for the end of 1998."""
    with a_home() as made:
        done = made.arrears(*RUN)
        assert done.returncode == 0, done.stderr
        yield made


def query_rows(home: Home, query: str) -> list[dict[str, str]]:
    """A query's result, as analysts get it."""
    done = home.arrears("sql", query)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_arrears_by_bucket_are_those_of_the_readme(home: Home) -> None:
    rows = query_rows(home, "select bucket, sum(arrears_amount) as arrears from marts.loan_delinquency group by bucket")

    assert {row["bucket"]: row["arrears"] for row in rows} == ARREARS_BY_BUCKET
    readme = (BERKA / "README.md").read_text(encoding="utf-8")
    for bucket, arrears in ARREARS_BY_BUCKET.items():
        assert f"| {bucket} | " in readme
        assert f"| {Decimal(arrears):,.2f} |" in readme


def test_buckets_against_the_banks_own_verdict_are_those_of_the_readme(home: Home) -> None:
    buckets = {
        row["loan_id"]: row["bucket"] for row in query_rows(home, "select loan_id, bucket from marts.loan_delinquency")
    }
    with duckdb.connect() as session:
        verdicts = session.execute(
            f"select loan_id, status from read_csv('{BERKA}/data/loan.asc.gz', delim = ';', all_varchar = true)"
        ).fetchall()

    assert Counter((status, buckets.get(loan_id, "paid off")) for loan_id, status in verdicts) == CONFUSION


def test_every_late_account_is_in_one_queue_with_its_arrears(home: Home) -> None:
    late = query_rows(
        home, "select loan_id, arrears_amount from marts.loan_delinquency where days_delinquent > 0 order by loan_id"
    )
    assigned = {
        row["loan_id"]: row["agency_id"]
        for row in query_rows(home, "select loan_id, agency_id from marts.agency_assignment")
    }
    lines = [
        (Path(name).parent.name, line)
        for name, content in home.exported(DAY).items()
        if name.endswith("queue.csv")
        for line in csv.DictReader(io.StringIO(content.decode()))
    ]

    assert len(late) == 96
    # Who costs more than it can bring is given to nobody; everybody else stands in exactly one queue.
    assert {line["loan_id"]: recipient for recipient, line in lines} == assigned
    assert len(lines) == len(assigned) > 80
    arrears = {row["loan_id"]: Decimal(row["arrears_amount"]) for row in late}
    assert all(Decimal(line["arrears_amount"]) == arrears[line["loan_id"]] for _, line in lines)
    totals = json.loads(home.exported(DAY)["manifest.json"])["totals"]
    assert totals == {
        "CZK": {"count": len(lines), "arrears_amount": str(sum(Decimal(line["arrears_amount"]) for _, line in lines))}
    }


@pytest.mark.slow
def test_run_again_it_is_the_same_bytes_and_no_error(home: Home) -> None:
    before = home.exported(DAY)
    done = home.arrears(*RUN)

    assert done.returncode == 0, done.stderr
    assert home.exported(DAY) == before
