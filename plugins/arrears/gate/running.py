"""Runs one gate for one date: suites, quarantine, verdict, docs. It writes in one transaction and may be redone."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from arrears.contract.servicing import contract
from arrears.gate import batches, checking, holding, quarantine, suites
from arrears.gate.batches import Batch, Loaded
from arrears.gate.checking import Found
from arrears.gate.data_docs import DocsSite
from arrears.gate.thresholds import Threshold, Thresholds, thresholds
from arrears.gate.verdict import Result, Stage, Verdict
from arrears.settings import get_settings
from arrears.warehouse.connections import connect

LOG = logging.getLogger(__name__)


def run_gate(stage: Stage, as_of_date: date) -> Verdict:
    """Checks a stage for a date and says whether the day may go on; raises nothing for what it finds.

    Args:
        stage: `raw` judges the batches that wait (as `judge_batches`); `marts` and `queues` check what dbt built.
        as_of_date: the business date D.
    """
    if stage == "raw":
        return judge_batches(as_of_date)
    return _check_built(stage, as_of_date)


def judge_batches(as_of_date: date) -> Verdict:
    """Judges the batches that are loaded up to a date: accepts those that may be known, rejects the others.

    Rows that break a rule are quarantined, findings of earlier batches that a batch mended are closed, and good rows
    become versions (`extraction.batches.accept`), all in one transaction. A source whose latest batch was rejected is
    judged again. Where nothing waits, the verdict is the one recorded for the date.

    Returns:
        The verdict, with `accepted_batches` and `rejected_batches`. Where the gate could not run, it is blocked and the
        batches stay as they were, to be judged again.
    """
    tables = contract()
    in_force = thresholds(as_of_date)
    with connect(as_of_date) as connection:
        waiting = batches.waiting(connection, as_of_date)
        if not waiting:
            return _recorded(connection, "raw", as_of_date)
        loaded = batches.loaded(connection, waiting, tables)
        checks, loaded = _raw_checks(connection, loaded, in_force)
        batches.analyse(connection, loaded)

    site = DocsSite(get_settings().data_docs)
    results, found = checking.check("raw", as_of_date, checks, site)

    with connect(as_of_date) as connection:
        results += quarantine.write_raw(connection, as_of_date, loaded, found, tables)
        results += _beyond_threshold(connection, loaded, in_force)
        verdict = Verdict("raw", as_of_date, tuple(results), data_docs=site.index)
        accepted, rejected = _split(verdict, waiting, found)
        counts: Counter[str] = Counter()
        counts["held"] = _count_held(connection, loaded)
        for batch in accepted:
            counts["mended"] += quarantine.close_mended(connection, batch.batch_id, tables)
            counts.update(_accept(connection, batch))
        for batch in rejected:
            _reject(connection, batch)
        _record(connection, verdict)
    verdict = replace(
        verdict,
        held_count=counts["held"],
        accepted_batches=tuple(batch.batch_id for batch in accepted),
        rejected_batches=tuple(batch.batch_id for batch in rejected),
        counts=_counted(results) | dict(counts),
    )
    site.tell(verdict)
    _log(verdict)
    return verdict


def _raw_checks(
    connection: psycopg.Connection, loaded: Loaded, in_force: Thresholds
) -> tuple[list[checking.Check], Loaded]:
    """The suites, once it is known of which tables nothing is deleted: references depend on it."""
    from arrears.gate import engine

    engine.load()
    from expectations.raw import deliveries

    tables = contract()
    delivered = f"({deliveries.query(loaded, in_force, tables)}) as deliveries"
    query = deliveries.refused_deletions(in_force).replace("{batch}", delivered)
    beyond = frozenset(str(row[1]) for row in connection.execute(query.encode()).fetchall())
    loaded = loaded.refusing(beyond, tables)
    return suites.raw(loaded, in_force, tables), loaded


def _beyond_threshold(connection: psycopg.Connection, loaded: Loaded, in_force: Thresholds) -> list[Result]:
    """For each table with findings: whether so many rows are wrong that the delivery is."""
    results = []
    for batch_id, table, wrong, delivered in quarantine.held_shares(connection, loaded):
        threshold = in_force.of("row_findings", table)
        exceeded = threshold.is_exceeded(wrong, delivered)
        results.append(
            Result(
                suite=f"raw.{table}" if table in contract() else "raw.deliveries",
                expectation="row_findings_within_threshold",
                rule=f"row-findings {batch_id}",
                scope="table",
                severity="critical",
                is_passed=not exceeded,
                checked_count=delivered,
                failed_count=wrong,
                sentence=_threshold_sentence(table, wrong, delivered, threshold),
                failing_keys=_first_held(connection, batch_id, table),
            )
        )
    return results


def _threshold_sentence(table: str, wrong: int, delivered: int, threshold: Threshold) -> str:
    return (
        f"{wrong} of {delivered} rows of {table} break a rule; the export stops above a share of"
        f" {threshold.share.normalize():f} and from {threshold.minimum_count} rows on."
    )


def _first_held(connection: psycopg.Connection, batch_id: str, table: str) -> tuple[dict[str, str], ...]:
    rows = connection.execute(
        "select coalesce(key, '{}'), file, line from quarantine.rows where batch_id = %s and table_name = %s"
        " and stage in ('extract', 'raw') and rule <> 'deletions' and rule not like '%%-held'"
        " group by key, file, line order by file, line, cast(key as text) limit 20",
        [batch_id, table],
    ).fetchall()
    return tuple(
        {name: str(value) for name, value in (key or {}).items()} | ({"line": str(line)} if line is not None else {})
        for key, _, line in rows
    )


def _split(verdict: Verdict, waiting: Sequence[Batch], found: Sequence[Found]) -> tuple[list[Batch], list[Batch]]:
    """Batches to accept and to reject; none of either where the gate itself could not run."""
    if not verdict.is_blocked:
        return list(waiting), []
    blamed: set[str] = set()
    for result in verdict.results:
        if not result.is_blocking:
            continue
        if result.rule.startswith("row-findings "):
            blamed.add(result.rule.removeprefix("row-findings "))
            continue
        named = {
            str(one.identity["_batch_id"]) for one in found if one.suite == result.suite and one.rule == result.rule
        }
        if not named:  # no row says which batch it is: it could not run, or there are too many
            if result.failed_count == 0:
                return [], []
            named = {batch.batch_id for batch in waiting}
        blamed |= named
    return (
        [batch for batch in waiting if batch.batch_id not in blamed],
        [batch for batch in waiting if batch.batch_id in blamed],
    )


def _accept(connection: psycopg.Connection, batch: Batch) -> dict[str, int]:
    from arrears.extraction.batches import accept

    return dict(accept(connection, batch.batch_id))


def _reject(connection: psycopg.Connection, batch: Batch) -> None:
    from arrears.extraction.batches import reject

    reject(connection, batch.batch_id)


def _count_held(connection: psycopg.Connection, loaded: Loaded) -> int:
    row = connection.execute(
        "select count(*) from quarantine.rows where batch_id = any(%s) and stage in ('extract', 'raw')",
        [loaded.batch_ids],
    ).fetchone()
    assert row is not None
    return int(row[0])


def _check_built(stage: Stage, as_of_date: date) -> Verdict:
    """The gates on what dbt built: a row that breaks a rule is taken out and its loan held back for the day."""
    names = suites.MARTS if stage == "marts" else suites.QUEUES
    with connect(as_of_date) as connection:
        holding.put_back(connection, stage, as_of_date)
    site = DocsSite(get_settings().data_docs)
    results, found = checking.check(stage, as_of_date, suites.built(names, stage, as_of_date), site)
    in_force = thresholds(as_of_date)
    with connect(as_of_date) as connection:
        held = holding.take_out(connection, stage, as_of_date, [one for one in found if one.scope == "row"])
        results += holding.beyond_threshold(held, results, in_force)
        verdict = Verdict(
            stage,
            as_of_date,
            tuple(results),
            held_count=sum(held.values()),
            data_docs=site.index,
            counts=_counted(results) | {"held": sum(held.values())},
        )
        _record(connection, verdict)
    site.tell(verdict)
    _log(verdict)
    return verdict


def _counted(results: Sequence[Result]) -> dict[str, int]:
    return {"expectations": len(results), "failed": sum(not result.is_passed for result in results)}


def _record(connection: psycopg.Connection, verdict: Verdict) -> None:
    """Replaces the date's results of the stage."""
    connection.execute(
        "delete from ops.gate_results where as_of_date = %s and stage = %s", [verdict.as_of_date, verdict.stage]
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.gate_results (as_of_date, stage, suite, expectation, rule, scope, severity, is_passed,"
            " checked_count, failed_count, failing_keys, sentence)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                [
                    verdict.as_of_date,
                    verdict.stage,
                    result.suite,
                    result.expectation,
                    result.rule,
                    result.scope,
                    result.severity,
                    result.is_passed,
                    result.checked_count,
                    result.failed_count,
                    Jsonb([dict(key) for key in result.failing_keys]),
                    result.sentence,
                ]
                for result in verdict.results
            ],
        )


def _recorded(connection: psycopg.Connection, stage: Stage, as_of_date: date) -> Verdict:
    """The verdict as recorded for a date. Fails closed: without any accepted batch up to the date it is blocked."""
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(
        "select suite, expectation, rule, scope, severity, is_passed, checked_count, failed_count, sentence,"
        " failing_keys from ops.gate_results where as_of_date = %s and stage = %s order by suite, rule",
        [as_of_date, stage],
    ).fetchall()
    results = tuple(Result(**(row | {"failing_keys": tuple(row["failing_keys"])})) for row in rows)
    accepted = connection.execute(
        "select 1 from ops.batches where state = 'accepted' and batch_date <= %s limit 1", [as_of_date]
    ).fetchone()
    if accepted is None:
        results += (
            Result(
                suite="raw.deliveries",
                expectation="batch_is_there",
                rule="batch-due",
                scope="table",
                severity="critical",
                is_passed=False,
                checked_count=0,
                failed_count=0,
                sentence="No source has delivered up to this date.",
            ),
        )
    site = DocsSite(get_settings().data_docs)
    docs = site.index if site.index.exists() else None
    return Verdict(stage, as_of_date, results, data_docs=docs, counts=_counted(results))


def _log(verdict: Verdict) -> None:
    failed = len(verdict.failures)
    LOG.info(
        "gate stage=%s as_of_date=%s expectations=%s failed=%s held=%s blocked=%s",
        verdict.stage,
        verdict.as_of_date,
        len(verdict.results),
        failed,
        verdict.held_count,
        verdict.is_blocked,
    )
