"""The raw gate on a real PostgreSQL: what becomes known, what is held, what is closed, what blocks."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from arrears import gate
from arrears.contract.servicing import contract
from arrears.errors import GateBlocked
from arrears.gate import checking, thresholds
from arrears.settings import get_settings
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.defects.clean_portfolio import GONE, Drop, clean_drop
from tests.defects.delivery import row_of, set_in_first, set_value
from tests.defects.gate_warehouse import FIRST, SECOND, THIRD, GateWarehouse, with_first_drop


@pytest.fixture
def warehouse(workplace: Workplace, tmp_path: Path) -> GateWarehouse:
    """The clean portfolio's first drop is accepted."""
    del workplace
    return with_first_drop(tmp_path)


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
        " loan_id=L03, line=4: see `arrears status --as-of 2026-04-01`. Likely cause: A column changed its format or"
        " its meaning in the lender's export, or many rows are of a new kind; next: look at the reasons in `arrears"
        " status --as-of 2026-04-01`, have the file delivered again, then `arrears run --as-of 2026-04-01`."
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
    with pytest.raises(
        GateBlocked, match=r"raw.borrowers@other key-of-one-source .* first delivered by other and contract"
    ):
        verdict.raise_if_blocked()


def test_a_few_bookings_that_vanish_hold_their_loans(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    gone = [row for row in drop["transactions"] if row["loan_id"] == "L08"][:4]
    drop["transactions"] = [row for row in drop["transactions"] if row not in gone]

    verdict = warehouse.judge(drop, SECOND)

    assert not verdict.is_blocked
    assert warehouse.rows("select distinct rule, loan_id from quarantine.rows") == [("known-row-vanishes", "L08")]


def test_a_file_of_bookings_cut_off_beyond_the_threshold_blocks_the_day(warehouse: GateWarehouse) -> None:
    known = len(clean_drop()["transactions"])
    drop = clean_drop()
    drop["transactions"] = drop["transactions"][: known - 14]  # a tenth: fewer than a fall of row counts is

    verdict = warehouse.judge(drop, SECOND)

    assert 0.05 * known < 14 < 0.2 * known
    assert [(result.suite, result.rule.split(" ")[0], result.failed_count) for result in verdict.failures] == [
        ("raw.transactions", "row-findings", 14),
        ("raw.transactions.deletions", "known-row-vanishes", 14),
    ]
    assert verdict.is_blocked
    assert warehouse.rows("select count(*) from versions.transactions where _known_to is null") == [(known,)]


def test_bookings_of_loans_whose_deletion_is_refused_stay_and_others_that_vanish_hold_their_loan(
    warehouse: GateWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = tmp_path / "gate_thresholds.csv"
    seed.write_text(thresholds.THRESHOLDS.read_text().replace("row_count_fall,*,0.20,20", "row_count_fall,*,0.20,1000"))
    monkeypatch.setattr(thresholds, "THRESHOLDS", seed)
    drop = clean_drop()
    drop["transactions"].remove(row_of(drop, "transactions", transaction_id="L05-R01"))
    gone = {f"L{number:02}" for number in range(9, 21)}
    for table, rows in drop.items():
        drop[table] = [row for row in rows if row.get("loan_id") not in gone]

    verdict = warehouse.judge(drop, SECOND)

    known = len(clean_drop()["transactions"])
    assert not verdict.is_blocked
    assert warehouse.rows("select count(*) from versions.transactions where _known_to is null") == [(known,)]
    assert warehouse.rows("select rule, key from quarantine.rows where loan_id is not null") == [
        ("known-row-vanishes", {"transaction_id": "L05-R01"})
    ]
    assert warehouse.rows('select count(*) from quarantine.rows where key = \'{"transaction_id": "L05-R01"}\'') == [
        (1,)
    ]


def test_a_rejected_batch_is_not_judged_again_once_a_later_one_is_accepted(warehouse: GateWarehouse) -> None:
    rejected = warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), SECOND).rejected_batches
    warehouse.judge(clean_drop(), THIRD)
    before = warehouse.rows("select * from versions.loans order by loan_id, _known_from")

    again = gate.judge_batches(SECOND)

    assert again.is_blocked
    assert (again.accepted_batches, again.rejected_batches) == ((), ())
    assert warehouse.state(rejected[0]) == "rejected"
    assert warehouse.rows("select * from versions.loans order by loan_id, _known_from") == before


def test_a_rejected_batch_is_not_judged_again_once_an_earlier_date_was_accepted_since(
    warehouse: GateWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), THIRD)
    drop = a_drop_with_an_unknown_product()
    row_of(drop, "loans", loan_id="L06")["grace_days"] = "3"
    warehouse.judge(drop, SECOND)
    seed = tmp_path / "gate_thresholds.csv"  # now the rejected one would pass, with differences to another state
    seed.write_text(thresholds.THRESHOLDS.read_text().replace("row_findings,*,0.05,10", "row_findings,*,0.05,1000"))
    monkeypatch.setattr(thresholds, "THRESHOLDS", seed)

    again = gate.judge_batches(THIRD)

    assert again.accepted_batches == ()
    assert again.is_blocked


def lender_file(warehouse: GateWarehouse, batch_id: str, unreadable: int, lines: int | None) -> None:
    """Malformed lines of a lender's file that is no contract table, as the extractor leaves them."""
    with connect() as connection:
        if lines is not None:
            connection.execute(
                "insert into ops.batch_tables (batch_id, table_name, is_delivered, file, row_count, unreadable_count)"
                " values (%s, 'trans', true, 'trans.asc', %s, %s)",
                [batch_id, lines, unreadable],
            )
        for line in range(2, 2 + unreadable):
            connection.execute(
                "insert into quarantine.rows (finding_id, as_of_date, stage, source, table_name, batch_id, rule,"
                " reason, severity, key, file, line, opened_on) values (%s, %s, 'extract', 'contract', 'trans', %s,"
                " 'unreadable', 'an open quote', 'critical', 'null', 'trans.asc', %s, %s)",
                [f"{batch_id}-{line}", SECOND, batch_id, line, SECOND],
            )
    del warehouse


@pytest.mark.parametrize(
    ("unreadable", "lines", "is_blocked"), [(12, 100, True), (12, 1000, False), (9, 9, False), (12, None, True)]
)
def test_malformed_lines_of_a_lender_s_own_file_count_for_the_threshold(
    warehouse: GateWarehouse, unreadable: int, lines: int | None, is_blocked: bool
) -> None:
    drop = clean_drop()
    row_of(drop, "loans", loan_id="L06")["grace_days"] = "3"
    batch_id = warehouse.deliver(drop, SECOND)
    lender_file(warehouse, batch_id, unreadable, lines)

    verdict = gate.judge_batches(SECOND)

    assert verdict.is_blocked is is_blocked
    assert [
        (result.suite, result.is_passed, result.failed_count, result.checked_count, result.failing_keys[0])
        for result in verdict.results
        if result.expectation == "row_findings_within_threshold"
    ] == [("raw.trans", not is_blocked, unreadable, lines or unreadable, {"line": "2"})]
    assert warehouse.rows(
        "select checked_count from ops.gate_results where suite = 'raw.deliveries' and rule = 'deletions'"
    ) == [(len(contract()),)]


def test_a_column_never_delivered_is_a_warning_and_one_that_was_blocks(warehouse: GateWarehouse) -> None:
    drop = clean_drop()
    for row in drop["charges"]:
        row["waived_on"] = GONE
    warehouse.deliver(drop, SECOND)
    with connect() as connection:  # as if the first drop had lacked it
        connection.execute(
            "update ops.batch_tables set delivered_columns = array_remove(delivered_columns, 'waived_on')"
            " where table_name = 'charges'"
        )

    verdict = gate.judge_batches(SECOND)

    assert not verdict.is_blocked
    assert [(result.rule, result.severity) for result in verdict.failures] == [("columns", "warning")]

    for row in drop["charges"]:
        row["kind"] = "late"
    for row in drop["loans"]:
        row["officer_id"] = GONE
    later = warehouse.judge(drop, THIRD)
    assert later.is_blocked
    assert later.failures[0].told == (
        "raw.deliveries columns-stay (expect_no_rows) failed for 1 of 47 rows,"
        " first loans lacks column officer_id, which was there on 2026-04-01"
    )


@pytest.fixture
def two_sources(warehouse: GateWarehouse, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> GateWarehouse:
    """Another lender's system beside the first."""
    shutil.copytree(workplace.sources / "contract", workplace.sources / "other")
    monkeypatch.setenv("ARREARS_SOURCES", "contract,other")
    get_settings.cache_clear()
    return warehouse


def other_drop(product: str = "consumer") -> Drop:
    """One loan of another lender."""
    drop = clean_drop()
    return {
        "borrowers": [row_of(drop, "borrowers", borrower_id="B01") | {"borrower_id": "X01"}],
        "loans": [row_of(drop, "loans", loan_id="L01") | {"loan_id": "X1", "borrower_id": "X01", "product": product}],
        "instalments": [row_of(drop, "instalments", loan_id="L01", instalment_number="1") | {"loan_id": "X1"}],
        "transactions": [],
    }


def test_results_do_not_depend_on_which_sources_were_judged_together_or_how_often(two_sources: GateWarehouse) -> None:
    query = "select * from ops.gate_results where as_of_date = %s order by suite, rule"
    wrong = a_drop_with_an_unknown_product()
    two_sources.deliver(wrong, SECOND)
    two_sources.deliver(other_drop("karaoke"), SECOND, source="other")
    gate.judge_batches(SECOND)
    together = two_sources.rows(query, SECOND)
    assert {row[2] for row in together if row[4] == "product-values"} == {"raw.loans", "raw.loans@other"}

    two_sources.deliver(other_drop(), SECOND, source="other")
    gate.judge_batches(SECOND)
    two_sources.deliver(other_drop("karaoke"), SECOND, source="other")
    verdict = gate.judge_batches(SECOND)

    assert two_sources.rows(query, SECOND) == together
    assert ("raw.loans", "product-values") in {(result.suite, result.rule) for result in verdict.failures}


def test_a_replacement_that_is_rejected_leaves_the_results_and_findings_of_the_batch_that_holds_again(
    warehouse: GateWarehouse,
) -> None:
    results = "select * from ops.gate_results order by as_of_date, suite, rule"
    findings = "select finding_id from quarantine.rows where closed_on is null or closed_on > opened_on order by 1"
    held = warehouse.judge(a_drop_with_an_unknown_product(), SECOND).accepted_batches
    before = warehouse.rows(results), warehouse.rows(findings)

    replacement = warehouse.judge(a_drop_with_fifteen_of_twenty_products_wrong(), SECOND)

    assert replacement.is_blocked
    assert warehouse.state(held[0]) == "accepted"
    assert (warehouse.rows(results), warehouse.rows(findings)) == before
    assert not gate.judge_batches(SECOND).is_blocked


def test_what_postgresql_quotes_of_rows_is_kept_nowhere(
    warehouse: GateWarehouse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from arrears.gate import engine

    engine.load()
    from expectations import rules
    from expectations.raw import from_contract

    drop = clean_drop()
    row_of(drop, "borrowers", borrower_id="B05")["country"] = "FR"
    query = (
        "with delivered as (select * from {batch}) select * from delivered where cast(delivered.name as date) > now()"
    )
    broken = rules.no_rows(query, rules.row("time_zone-iana", "time_zone is an IANA name."))
    monkeypatch.setattr(from_contract, "zone_is_known", lambda table: broken)
    verdict = warehouse.judge(drop, SECOND)

    told = {result.rule: result.sentence for result in verdict.failures}
    assert verdict.is_blocked
    assert "InvalidDatetimeFormat" in str(told)
    pages = " ".join(file.read_text() for file in get_settings().data_docs.rglob("*.html"))
    assert "Debtor" not in json.dumps(told) + caplog.text + pages
