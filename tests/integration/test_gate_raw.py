"""The raw gate on a real PostgreSQL: what becomes known, what is held, what is closed, what blocks."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from arrears import gate
from arrears.errors import GateBlocked
from arrears.extraction import batches
from arrears.gate import checking, thresholds
from arrears.settings import get_settings
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.catalogue import row_of, set_in_first, set_value
from tests.defects.clean_portfolio import Drop, clean_drop
from tests.defects.gate_warehouse import FIRST, SECOND, THIRD, GateWarehouse


@pytest.fixture
def warehouse(workplace: Workplace, tmp_path: Path) -> GateWarehouse:
    """The clean portfolio's first drop is accepted."""
    del workplace
    delivered = GateWarehouse(tmp_path)
    first = delivered.deliver(clean_drop(), FIRST)
    with connect() as connection:
        batches.accept(connection, first)
    return delivered


def a_drop_with_an_unknown_product() -> Drop:
    drop = clean_drop()
    set_value("loans", "product", "karaoke", loan_id="L05")(drop)
    return drop


def a_drop_with_fifteen_of_twenty_products_wrong() -> Drop:
    drop = clean_drop()
    set_in_first("loans", 15, "product", "karaoke")(drop)
    return drop


def test_a_first_clean_drop_becomes_known(workplace: Workplace, tmp_path: Path) -> None:
    del workplace
    delivered = GateWarehouse(tmp_path)

    verdict = delivered.judge(clean_drop(), FIRST)

    assert not verdict.is_blocked
    assert verdict.failures == ()
    assert delivered.rows("select count(*) from versions.loans where _known_to is null") == [(20,)]
    assert delivered.state(verdict.accepted_batches[0]) == "accepted"
    assert {result.suite for result in verdict.results} >= {"raw.deliveries", "raw.loans", "raw.fx_rates"}
    assert all(result.checked_count > 0 for result in verdict.results)


def test_a_bad_row_is_held_with_place_and_reason_and_the_good_version_stays(warehouse: GateWarehouse) -> None:
    drop = a_drop_with_an_unknown_product()
    row_of(drop, "loans", loan_id="L06")["grace_days"] = "3"

    verdict = warehouse.judge(drop, SECOND)

    assert not verdict.is_blocked
    assert verdict.held_count == 1
    (found,) = warehouse.rows(
        "select table_name, rule, reason, loan_id, borrower_id, key, row_data ->> 'product', file, line, opened_on,"
        " closed_on from quarantine.rows"
    )
    # L05 is the sixth line of loans.csv: the header, then L01 to L05.
    assert found == (
        "loans",
        "product-values",
        "product is karaoke, allowed are consumer, mortgage, auto, revolving, sme_term, project_finance, trade_finance",
        "L05",
        None,
        {"loan_id": "L05"},
        "karaoke",
        "loans.csv",
        6,
        SECOND,
        None,
    )
    assert warehouse.rows(
        "select loan_id, product, grace_days from versions.loans where _known_to is null and loan_id in ('L05', 'L06')"
        " order by loan_id"
    ) == [("L05", "consumer", 0), ("L06", "consumer", 3)]


def test_a_mended_row_closes_its_finding_on_the_day_it_is_delivered(warehouse: GateWarehouse) -> None:
    warehouse.judge(a_drop_with_an_unknown_product(), SECOND)

    verdict = warehouse.judge(clean_drop(), THIRD)

    assert verdict.counts["mended"] == 1
    assert warehouse.rows("select opened_on, closed_on, closed_by from quarantine.rows") == [
        (SECOND, THIRD, verdict.accepted_batches[0])
    ]


def test_a_row_that_stays_wrong_is_found_again_in_every_batch(warehouse: GateWarehouse) -> None:
    drop = a_drop_with_an_unknown_product()
    warehouse.judge(drop, SECOND)
    row_of(drop, "loans", loan_id="L06")["grace_days"] = "3"

    warehouse.judge(drop, THIRD)

    assert warehouse.rows("select opened_on, closed_on from quarantine.rows order by opened_on") == [
        (SECOND, THIRD),
        (THIRD, None),
    ]


def test_too_many_bad_rows_block_the_day_and_nothing_becomes_known(warehouse: GateWarehouse) -> None:
    verdict = warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), SECOND)

    assert verdict.is_blocked
    assert warehouse.state(verdict.rejected_batches[0]) == "rejected"
    assert warehouse.rows("select distinct product from versions.loans") == [("consumer",)]
    with pytest.raises(GateBlocked) as blocked:
        verdict.raise_if_blocked()
    assert str(blocked.value) == (
        "The raw gate blocked 2026-04-01: raw.loans row-findings contract-2026-04-01-"
        + verdict.rejected_batches[0].rsplit("-", 1)[1]
        + " (row_findings_within_threshold) failed for 15 of 20 rows, first loan_id=L01, line=2; loan_id=L02, line=3;"
        " loan_id=L03, line=4: see `arrears status --as-of 2026-04-01`."
    )
    assert warehouse.rows(
        "select failed_count, checked_count, scope, severity, sentence from ops.gate_results"
        " where stage = 'raw' and expectation = 'row_findings_within_threshold'"
    ) == [
        (
            15,
            20,
            "table",
            "critical",
            "15 of 20 rows of loans break a rule; the export stops above a share of 0.05 and from 10 rows on.",
        )
    ]
    # The rows stand in quarantine with the reason, for whoever is called at night.
    assert warehouse.rows("select count(*) from quarantine.rows where rule = 'product-values'") == [(15,)]


def test_a_rejected_day_stays_shut_until_another_drop_comes(warehouse: GateWarehouse) -> None:
    warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), SECOND)

    again = gate.judge_batches(SECOND)
    mended = warehouse.judge(a_drop_with_an_unknown_product(), SECOND)

    assert again.is_blocked
    assert not mended.is_blocked
    assert warehouse.rows("select count(*) from quarantine.rows where closed_on is null") == [(1,)]


def test_judging_again_leaves_the_same_findings_and_results(warehouse: GateWarehouse) -> None:
    query = "select * from quarantine.rows order by finding_id"
    results = "select * from ops.gate_results order by suite, rule"
    warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), SECOND)
    before = warehouse.rows(query), warehouse.rows(results)

    gate.judge_batches(SECOND)

    assert (warehouse.rows(query), warehouse.rows(results)) == before


def test_a_day_whose_batch_is_accepted_gives_the_recorded_verdict(warehouse: GateWarehouse) -> None:
    first = warehouse.judge(a_drop_with_an_unknown_product(), SECOND)

    again = gate.judge_batches(SECOND)

    assert again.accepted_batches == ()
    assert not again.is_blocked
    assert {(result.suite, result.rule) for result in again.failures} == {
        (result.suite, result.rule) for result in first.failures
    }


def test_a_day_on_which_nothing_was_ever_delivered_is_blocked(workplace: Workplace) -> None:
    del workplace

    verdict = gate.judge_batches(FIRST)

    with pytest.raises(GateBlocked, match="batch-due"):
        verdict.raise_if_blocked()


def test_refused_deletions_keep_the_rows_and_hold_no_loan(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    drop["suppressions"].pop()

    verdict = warehouse.judge(drop, SECOND)

    assert not verdict.is_blocked
    assert [result.told for result in verdict.failures] == [
        "raw.deliveries deletions (expect_no_rows) failed for 1 of 47 rows,"
        " first suppressions lacks 1 known rows of 2; nothing of it is deleted"
    ]
    assert warehouse.rows("select count(*) from versions.suppressions where _known_to is null") == [(2,)]
    assert warehouse.rows("select key, loan_id, borrower_id from quarantine.rows") == [
        ({"suppression_id": "S2"}, None, None)
    ]


def test_rows_that_vanish_with_their_loan_are_no_finding(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    for table in ("loans", "instalments", "transactions", "promises"):
        drop[table] = [row for row in drop[table] if row["loan_id"] != "L07"]

    verdict = warehouse.judge(drop, SECOND)

    assert verdict.failures == ()
    assert warehouse.rows("select count(*) from versions.transactions where loan_id = 'L07' and _known_to is null") == [
        (0,)
    ]


def test_a_suite_that_could_not_run_shuts_the_gate_and_decides_no_batch(
    warehouse: GateWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from arrears.gate import suites

    whole = suites.raw

    def with_a_broken_query(*given: object) -> list[checking.Check]:
        return [
            checking.Check(check.suite, check.query.replace("raw.loans", "raw.lones"), check.table, check.identity)
            for check in whole(*given)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(suites, "raw", with_a_broken_query)
    verdict = warehouse.judge(a_drop_with_an_unknown_product(), SECOND)

    assert verdict.is_blocked
    assert verdict.accepted_batches == verdict.rejected_batches == ()
    assert "lones" in " ".join(result.sentence for result in verdict.failures)
    assert warehouse.rows("select state from ops.batches where batch_date = %s", SECOND) == [("loaded",)]


def test_a_query_that_raises_is_not_passed(warehouse: GateWarehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    from arrears.gate import engine

    engine.load()
    from expectations.raw import from_contract

    monkeypatch.setattr(from_contract, "identity", lambda table, alias="delivered": "delivered.no_such_column")
    verdict = warehouse.judge(a_drop_with_an_unknown_product(), SECOND)

    assert verdict.is_blocked
    told = {result.rule: result.sentence for result in verdict.failures}
    assert told["key-unique"].startswith("Not checked, and so not passed:")
    assert "no_such_column" in told["key-unique"]


def test_the_docs_list_every_date_and_a_date_run_again_replaces_its_page(warehouse: GateWarehouse) -> None:
    warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), SECOND)
    gate.judge_batches(SECOND)
    warehouse.judge(clean_drop(), THIRD)

    docs = get_settings().data_docs
    front = (docs / "index.html").read_text()
    assert front.index("2026-04-02-raw.html") < front.index("2026-04-01-raw.html")
    page = (docs / "2026-04-01-raw.html").read_text()
    assert "raw.loans" in page
    assert len(list(docs.glob("validations/raw/loans/2026-04-01-raw/*/*.html"))) == 1


def test_no_personal_value_reaches_results_or_docs(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    set_value("borrowers", "time_zone", "Mitteleuropa", borrower_id="B05")(drop)

    warehouse.judge(drop, SECOND)

    results = json.dumps(warehouse.rows("select failing_keys, sentence from ops.gate_results"))
    pages = " ".join(file.read_text() for file in get_settings().data_docs.rglob("*.html"))
    assert "Debtor 5" not in results
    assert "Debtor 5" not in pages


def test_findings_of_a_day_are_not_open_before_it(warehouse: GateWarehouse) -> None:
    warehouse.judge(a_drop_with_an_unknown_product(), SECOND)

    open_on = "select count(*) from quarantine.rows where opened_on <= %s and (closed_on is null or closed_on > %s)"
    before = SECOND - timedelta(days=1)
    assert warehouse.rows(open_on, before, before) == [(0,)]
    assert warehouse.rows(open_on, SECOND, SECOND) == [(1,)]


def test_the_pipeline_may_not_rewrite_what_was_delivered(warehouse: GateWarehouse) -> None:
    with connect() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("delete from raw.loans")
    assert warehouse.rows("select count(*) from raw.loans") == [(20,)]


def test_what_refers_to_a_loan_that_is_not_deleted_is_not_deleted_either(
    warehouse: GateWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = tmp_path / "gate_thresholds.csv"  # so small a portfolio would be blocked for its row counts before
    seed.write_text(thresholds.THRESHOLDS.read_text().replace("row_count_fall,*,0.20,20", "row_count_fall,*,0.20,1000"))
    monkeypatch.setattr(thresholds, "THRESHOLDS", seed)
    drop = clean_drop()
    # Twelve of twenty loans are gone, with all that hangs on them: more than one in twenty, and more than ten.
    gone = {f"L{number:02}" for number in range(9, 21)}
    for table, rows in drop.items():
        drop[table] = [row for row in rows if row.get("loan_id") not in gone]

    verdict = warehouse.judge(drop, SECOND)

    told = {(result.rule, key["found"]) for result in verdict.failures for key in result.failing_keys}
    assert ("deletions", "loans lacks 12 known rows of 20; nothing of it is deleted") in told
    # 12 instalments for each of the twelve loans.
    assert ("deletions instalments", "instalments keeps 144 rows that are gone from the drop") in told
    assert not verdict.is_blocked
    assert verdict.held_count > 12 + 144
    assert warehouse.rows("select count(*) from versions.loans where _known_to is null") == [(20,)]
    assert warehouse.rows("select count(*) from versions.instalments where _known_to is null") == [(240,)]
    assert warehouse.rows("select count(*) from quarantine.rows where loan_id is not null") == [(0,)]


def test_a_key_of_two_sources_blocks_and_names_both(
    warehouse: GateWarehouse, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workplace.sources / "contract", workplace.sources / "other")
    monkeypatch.setenv("ARREARS_SOURCES", "contract,other")
    get_settings.cache_clear()
    drop = {
        "borrowers": [row_of(clean_drop(), "borrowers", borrower_id="B01")],
        "loans": [row_of(clean_drop(), "loans", loan_id="L01") | {"loan_id": "M01"}],
        "instalments": [row_of(clean_drop(), "instalments", loan_id="L01", instalment_number="1") | {"loan_id": "M01"}],
        "transactions": [],
    }
    batch_id = warehouse.deliver(drop, SECOND, source="other")

    verdict = gate.judge_batches(SECOND)

    assert verdict.rejected_batches == (batch_id,)
    with pytest.raises(GateBlocked, match=r"raw.borrowers key-of-one-source .* first delivered by other and contract"):
        verdict.raise_if_blocked()
