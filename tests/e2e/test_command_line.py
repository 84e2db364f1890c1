"""The program as people call it, through the real DAG: exit codes, one sentence of error, earlier exports untouched."""

import json
import subprocess
from collections.abc import Iterator
from datetime import date

import pandas as pd
import pytest

from tests.day import bytes_below
from tests.e2e.home import Home, a_home
from tests.portfolio import a_repayment, write_drop
from tests.webhook import a_webhook

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """One home for the tests of this module, in their order."""
    with a_home() as one:
        (one.folder / "outbox").mkdir()
        (one.folder / "delivery.yml").write_text(
            f"deliveries:\n  outbox: {{recipient: '*', url: 'file://{one.folder}/outbox', files: [csv]}}\n"
        )
        yield one


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What an error says."""
    return done.stderr.strip().splitlines()[-1]


def test_a_range_of_dates_is_run_in_order_and_exported(home: Home) -> None:
    for day in ("2026-03-30", "2026-03-31"):
        write_drop(home.folder / "drops" / day)

    done = home.arrears(
        "run",
        "--source",
        "contract",
        "--drop",
        home.folder / "drops",
        "--as-of",
        "2026-03-30",
        "--to",
        "2026-03-31",
        "--json",
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [day["as_of_date"] for day in found] == ["2026-03-30", "2026-03-31"]
    assert [day["gate_failed"] for day in found] == [0, 0]
    assert sorted(path.name for path in home.exports.iterdir()) == ["2026-03-30", "2026-03-31"]
    manifest = json.loads((home.exports / "2026-03-31" / "manifest.json").read_text())
    assert sum(file["rows"] for name, file in manifest["files"].items() if name.endswith(".csv")) == 2
    delivered = bytes_below(home.folder / "outbox")
    assert sorted(delivered) == [
        f"{day}/internal-collections/{name}"
        for day in ("2026-03-30", "2026-03-31")
        for name in ("manifest.json", "queue.csv")
    ]
    exported = home.exported(date(2026, 3, 31))
    assert delivered["2026-03-31/internal-collections/queue.csv"] == exported["internal-collections/queue.csv"]
    status = json.loads(home.arrears("status", "--as-of", "2026-03-31", "--json").stdout)
    assert status["steps"][-1]["step"] == "deliver"
    assert (status["steps"][-1]["state"], status["steps"][-1]["counts"]["sent"]) == ("done", 2)


@pytest.mark.slow
def test_the_same_range_again_is_the_same_bytes(home: Home) -> None:
    before = bytes_below(home.exports)

    done = home.arrears("run", "--drop", home.folder / "drops", "--as-of", "2026-03-30", "--to", "2026-03-31")

    assert done.returncode == 0, done.stderr
    assert bytes_below(home.exports) == before


def test_another_drop_for_an_exported_date_ends_with_6(home: Home) -> None:
    before = bytes_below(home.exports)
    other = write_drop(home.folder / "other", transactions=[a_repayment(amount="1.00")])

    done = home.arrears("run", "--source", "contract", "--drop", other, "--as-of", "2026-03-31")

    assert done.returncode == 6
    assert "2026-03-31 is already exported" in last_line(done)
    assert "transactions.csv" in last_line(done)
    assert bytes_below(home.exports) == before


def test_a_blocked_gate_ends_with_3_and_leaves_the_last_export(home: Home) -> None:
    before = bytes_below(home.exports)
    rows = [a_repayment(), *(a_repayment(f"X{n}", "NOBODY") for n in range(30))]
    broken = write_drop(home.folder / "broken", transactions=rows)

    with a_webhook() as webhook:
        done = home.arrears(
            "run", "--source", "contract", "--drop", broken, "--as-of", "2026-04-01", ARREARS_NOTIFY=webhook.url
        )

    assert done.returncode == 3
    (told,) = webhook.messages
    assert told["title"] == "collections_daily 2026-04-01: gate_raw failed"
    assert "raw.transactions row-findings" in told["message"]
    assert "likely cause: A column changed its format" in told["message"]
    assert "The raw gate blocked 2026-04-01" in last_line(done)
    assert "X0" in last_line(done)  # the first failing key
    assert bytes_below(home.exports) == before
    status = json.loads(home.arrears("status", "--as-of", "2026-04-01", "--json").stdout)
    assert {step["step"]: step["state"] for step in status["steps"]}["gate_raw"] == "blocked"
    assert not (home.folder / "outbox" / "2026-04-01").exists()
    refused = home.arrears("deliver", "--as-of", "2026-04-01")
    assert (refused.returncode, "is not exported, so nothing was delivered" in last_line(refused)) == (2, True)


def test_a_quarantined_row_lets_the_rest_out_with_a_warning(home: Home) -> None:
    drop = write_drop(home.folder / "row", transactions=[a_repayment(), a_repayment("T2", "L2", amount="x")])

    done = home.arrears("run", "--source", "contract", "--drop", drop, "--as-of", "2026-04-01")

    assert done.returncode == 0, done.stderr
    assert "warning: rows were quarantined; loans held back from the queues of 2026-04-01: 1;" in done.stderr
    status = home.arrears("status", "--as-of", "2026-04-01").stdout
    assert "quarantined: transactions.csv, line 3: column amount is no number with at most 4 decimals: x" in status
    (file,) = (home.exports / "2026-04-01").glob("*/queue.csv")
    assert list(pd.read_csv(file)["loan_id"]) == ["L1"]


def test_a_missing_table_ends_with_4(home: Home) -> None:
    drop = write_drop(home.folder / "missing", loans=None)

    done = home.arrears("run", "--source", "contract", "--drop", drop, "--as-of", "2026-04-02")

    assert done.returncode == 4
    assert "lacks the required table loans" in last_line(done)


def test_an_unknown_source_ends_with_2(home: Home) -> None:
    done = home.arrears("run", "--source", "nobody", "--as-of", "2026-04-02")

    assert done.returncode == 2
    assert "Unknown source nobody" in last_line(done)


def test_a_source_of_another_portfolio_ends_with_2(home: Home) -> None:
    done = home.arrears("run", "--source", "berka", "--as-of", "2026-04-02")

    assert done.returncode == 2
    assert "ARREARS_SOURCES=contract,berka" in last_line(done)


def test_a_database_that_is_down_ends_with_4(home: Home) -> None:
    done = home.arrears("status", ARREARS_DATABASE_URL="postgresql://arrears_pipeline@127.0.0.1:9/arrears")

    assert done.returncode == 4
    assert "127.0.0.1:9/arrears cannot be reached" in last_line(done)


def test_a_wrong_date_ends_with_2(home: Home) -> None:
    assert home.arrears("run", "--source", "contract", "--as-of", "31.3.2026").returncode == 2
    assert home.arrears("step", "dance", "--as-of", "2026-03-31").returncode == 2


def test_a_wrong_setting_ends_with_2_and_names_its_variable(home: Home) -> None:
    done = home.arrears("status", ARREARS_BUSINESS_TIME_ZONE="Mars/Base")

    assert done.returncode == 2
    assert last_line(done) == (
        "arrears: ARREARS_BUSINESS_TIME_ZONE: Mars/Base is not an IANA time zone; give one like Europe/Prague."
    )


def test_explain_leads_from_the_queue_to_the_file(home: Home) -> None:
    done = home.arrears("explain", "L1", "--as-of", "2026-04-01", "--json")

    found = json.loads(done.stdout)
    assert found["verdict"].startswith("in the queue of internal")
    assert found["bookings"][0]["transaction_id"] == "T1"
    assert (found["bookings"][0]["_file"], found["bookings"][0]["_line"]) == ("transactions.csv", 2)


def test_analysts_query_the_marts_only(home: Home) -> None:
    done = home.arrears("sql", "select loan_id, bucket from marts.loan_delinquency order by loan_id")
    refused = home.arrears("sql", "select * from raw.loans")

    assert done.stdout.splitlines()[0] == "loan_id,bucket"
    assert refused.returncode == 2
    assert "permission denied" in last_line(refused)


def test_doctor_says_what_is_off(home: Home) -> None:
    done = home.arrears("doctor", "--json")

    checks = {check["what"]: check["verdict"] for check in json.loads(done.stdout)}
    assert done.returncode == 0
    assert checks["warehouse"] == "ok"
    assert checks["table suppressions"] == "off"


def test_stop_stops_the_database(home: Home) -> None:
    assert home.arrears("stop").stdout.strip() == "stopped"
    assert home.arrears("stop").stdout.strip() == "nothing was running"
