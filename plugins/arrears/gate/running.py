"""Runs one gate for one date: suites, quarantine, verdict, docs. It writes in one transaction and may be redone."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from arrears.contract.servicing import contract
from arrears.errors import AlreadyExported
from arrears.gate import batches, checking, holding, profiles, quarantine, suites, waiting, waivers
from arrears.gate.advice import owner_of
from arrears.gate.batches import Batch, Loaded
from arrears.gate.checking import Found
from arrears.gate.data_docs import DocsSite
from arrears.gate.thresholds import Threshold, Thresholds, row_findings, thresholds
from arrears.gate.verdict import KEYS_KEPT, Result, Stage, Verdict
from arrears.ledger.recording import record
from arrears.settings import get_settings
from arrears.warehouse.connections import connect

LOG = logging.getLogger(__name__)


def run_gate(stage: Stage, as_of_date: date, *, may_replace: bool = True) -> Verdict:
    """Checks a stage for a date and says whether the day may go on; raises nothing for what it finds.

    Args:
        stage: `raw` judges the batches that wait (as `judge_batches`); `marts` and `queues` check what dbt built.
        as_of_date: the business date D.
        may_replace: whether what `marts` and `queues` found for an exported date may be replaced.

    Raises:
        AlreadyExported: the date is exported, `may_replace` is false, and the gate would now end otherwise; its results
            and findings stay as they were.
    """
    if stage == "raw":
        return judge_batches(as_of_date)
    return _check_built(stage, as_of_date, may_replace=may_replace)


def judge_batches(as_of_date: date) -> Verdict:
    """Judges the batches that are loaded up to a date: accepts those that may be known, rejects the others.

    Rows that break a rule are quarantined, findings of earlier batches that a batch mended are closed, and good rows
    become versions (`extraction.batches.accept`), all in one transaction. A source whose latest batch was rejected is
    judged again. Where nothing waits, the verdict is the one recorded for the date.

    Results are recorded by source: those of sources that are not judged now stay, and count for the verdict. A batch
    that was to replace an accepted one and is rejected leaves no results and no open findings: the old one holds again.

    Returns:
        The verdict, with `accepted_batches` and `rejected_batches`. Where the gate could not run, it is blocked and the
        batches stay as they were, to be judged again.
    """
    tables = contract()
    in_force = thresholds(as_of_date)
    with connect(as_of_date) as connection:
        judged_now = batches.waiting(connection, as_of_date)
        if not judged_now:
            return _recorded(connection, "raw", as_of_date)
        waived = waivers.in_force(connection, as_of_date)
        if waiting.may_bring(connection, judged_now):
            waiting.bring_again(connection, batches.loaded(connection, judged_now, tables), tables, as_of_date)
        checks, loaded = _raw_checks(connection, judged_now, in_force, waived)
        profiles.write(connection, loaded, tables)
        batches.analyse(connection, loaded)

    site = DocsSite(get_settings().data_docs)
    results, found = checking.check("raw", as_of_date, checks, site)

    with connect(as_of_date) as connection:
        set_aside = waivers.not_passed(waived, results, found)
        results += quarantine.write_raw(connection, as_of_date, loaded, set_aside, tables)
        results += _beyond_threshold(connection, loaded, in_force) + _clashing(connection, loaded, in_force)
        results += _incomplete(connection, loaded, in_force, found)
        results = waivers.passed(waived, results, found)
        accepted, rejected = _split(results, judged_now, found)
        counts: Counter[str] = Counter()
        counts["held"] = _count_held(connection, loaded)
        for batch in accepted:
            counts["mended"] += quarantine.close_mended(connection, batch.batch_id, tables)
            counts.update(_accept(connection, batch))
        for batch in rejected:
            _reject(connection, batch)
        judged = {_mark(suffix) for suffix in loaded.suffixes.values()}
        holding_again = {_mark(loaded.suffixes[batch.source]) for batch in rejected if _holds_again(connection, batch)}
        for day, marks in _days_told(loaded, as_of_date).items():
            _record(connection, "raw", day, results, marks - holding_again)
        results += [
            result for result in _results(connection, "raw", as_of_date) if _mark_of(result.suite) not in judged
        ]
        verdict = Verdict(
            "raw",
            as_of_date,
            tuple(results),
            held_count=counts["held"],
            accepted_batches=tuple(batch.batch_id for batch in accepted),
            rejected_batches=tuple(batch.batch_id for batch in rejected),
            data_docs=site.index,
            counts=_counted(results) | dict(counts),
        )
        record(connection, "gate", f"{as_of_date}/raw", verdict.told)
    site.tell(verdict)
    _log(verdict)
    return verdict


def _days_told(loaded: Loaded, as_of_date: date) -> dict[date, set[str]]:
    """Under which date results are kept, by the sources' marks: the one run.

    A batch that is known from a later date on, because its own went out before, is told with that one: what is said of
    the exported date stays.
    """
    days: dict[date, set[str]] = {}
    for batch in loaded.batches:
        days.setdefault(max(as_of_date, batch.known_from), set()).add(_mark(loaded.suffixes[batch.source]))
    return days


def _raw_checks(
    connection: psycopg.Connection,
    judged_now: Sequence[Batch],
    in_force: Thresholds,
    waived: Sequence[waivers.Waiver],
) -> tuple[list[checking.Check], Loaded]:
    """The suites, once it is known of which tables nothing is deleted: references depend on it."""
    from arrears.gate import engine

    engine.load()
    from expectations.raw import deliveries

    tables = contract()
    loaded = batches.loaded(connection, judged_now, tables)
    parts = {batch.source: loaded for batch in judged_now}
    if len(parts) > 1:
        parts = {
            source: batches.loaded(connection, [batch for batch in judged_now if batch.source == source], tables)
            for source in parts
        }
    beyond = set()
    for source, part in parts.items():
        delivered = f"({deliveries.query(part, in_force, tables)}) as deliveries"
        query = deliveries.refused_deletions(part, in_force).replace("{batch}", delivered)
        confirmed = waivers.tables_waived(waived, f"raw.deliveries{part.suffixes[source]}", "deletions")
        beyond |= {(source, str(row[1])) for row in connection.execute(query.encode()).fetchall()}
        beyond -= {(source, table) for table in confirmed}
    loaded = loaded.refusing(frozenset(beyond), tables)
    return [check for part in parts.values() for check in suites.raw(loaded, part, in_force, tables)], loaded


def _beyond_threshold(connection: psycopg.Connection, loaded: Loaded, in_force: Thresholds) -> list[Result]:
    """For each table with findings: whether so many rows are wrong that the delivery is."""
    suffixes = {batch.batch_id: loaded.suffixes[batch.source] for batch in loaded.batches}
    return [
        row_findings(
            f"raw.{table}{suffixes[batch_id]}",
            f"row-findings {batch_id}",
            table,
            wrong,
            delivered,
            in_force.of("row_findings", table),
            _first_held(connection, batch_id, table),
        )
        for batch_id, table, wrong, delivered in quarantine.held_shares(connection, loaded)
    ]


def _clashing(connection: psycopg.Connection, loaded: Loaded, in_force: Thresholds) -> list[Result]:
    """For each table with keys of two sources: whether these are single rows, or two systems with one numbering.

    Counted against the rows delivered or, of a delta, those known: one loan that moved is no whole portfolio.
    """
    found = []
    for clash in quarantine.clashes(connection, loaded):
        threshold = in_force.of("keys_of_two_sources", clash.table)
        of = _delivered_or_known(
            connection, loaded, clash.source, clash.table, clash.delivered_count, clash.row_count, threshold
        )
        found.append(
            Result(
                suite=f"raw.{clash.table}{loaded.suffixes[clash.source]}",
                expectation="keys_of_two_sources_within_threshold",
                rule=f"key-of-one-source {clash.batch_id}",
                scope="table",
                severity="critical",
                is_passed=not threshold.is_exceeded(clash.row_count, of),
                checked_count=of,
                failed_count=clash.row_count,
                sentence=(
                    f"{clash.row_count} keys of {clash.table} come from two sources; the export stops above a share of"
                    f" {threshold.share.normalize():f} and from {threshold.minimum_count} rows on: key_prefix in"
                    " source.yml keeps them apart."
                ),
                failing_keys=tuple({"found": one} for one in clash.first),
            )
        )
    return found


# Of a loan that was delivered whole: its schedule up to its maturity, adding up to its principal, and its disbursement.
RULES_ON_WHOLE_LOANS = ("has-instalments", "schedule-reaches-maturity", "first-version-adds-up", "has-disbursement")


def _incomplete(
    connection: psycopg.Connection, loaded: Loaded, in_force: Thresholds, found: Sequence[Found]
) -> list[Result]:
    """For each batch with such loans: whether so many lack a part that a file was cut off.

    A later drop is compared with the one before; of a first one nothing else tells. Counted against the loans
    delivered, or known where that is more, so that a delta of some new loans is no whole portfolio. Where most loans
    lack the end of their schedule, no file was cut off: the lender states schedules otherwise, and it stays with the
    warnings. A loan without any instalment is never stated so.
    """
    threshold = in_force.of("loans_incomplete", "loans")
    results = []
    for batch in loaded.batches:
        reasons: dict[str, str] = {}
        bare: set[str] = set()
        for one in found:
            if one.rule in RULES_ON_WHOLE_LOANS and one.identity["_batch_id"] == batch.batch_id:
                loan_id = str(one.identity["loan_id"])
                reasons.setdefault(loan_id, one.reason)
                if one.rule == "has-instalments":
                    bare.add(loan_id)
        if not reasons:
            continue
        row = connection.execute(
            "select row_count from ops.batch_tables where batch_id = %s and table_name = 'loans'", [batch.batch_id]
        ).fetchone()
        delivered = max(len(reasons), row[0] if row is not None else 0)
        of = _delivered_or_known(connection, loaded, batch.source, "loans", delivered, len(reasons), threshold)
        results.append(
            Result(
                suite=f"raw.loans{loaded.suffixes[batch.source]}",
                expectation="loans_incomplete_within_threshold",
                rule=f"loans-whole {batch.batch_id}",
                scope="table",
                severity="critical",
                is_passed=not (
                    threshold.is_exceeded(len(bare), of)
                    or (threshold.is_exceeded(len(reasons), of) and 2 * len(reasons) <= of)
                ),
                checked_count=of,
                failed_count=len(reasons),
                sentence=(
                    f"{len(reasons)} of {of} loans lack a part of their schedule or their disbursement; the export"
                    f" stops above a share of {threshold.share.normalize():f} and from {threshold.minimum_count} on."
                ),
                failing_keys=tuple({"found": reasons[loan]} for loan in sorted(reasons)[:KEYS_KEPT]),
                is_waivable=True,
            )
        )
    return results


def _delivered_or_known(
    connection: psycopg.Connection,
    loaded: Loaded,
    source: str,
    table: str,
    delivered: int,
    wrong: int,
    threshold: Threshold,
) -> int:
    """What so many wrong rows are a share of: the rows delivered or, where those are more, the rows known.

    Known ones are counted only as far as the threshold needs.
    """
    if not threshold.share:
        return delivered
    most = int(wrong / threshold.share) + 1
    return max(delivered, quarantine.known_count(connection, loaded, source, table, most))


def _first_held(connection: psycopg.Connection, batch_id: str, table: str) -> tuple[dict[str, str], ...]:
    rows = connection.execute(
        "select coalesce(key, '{}'), file, line from quarantine.rows where batch_id = %s and table_name = %s"
        " and stage in ('extract', 'raw') and rule not in ('deletions', 'key-of-one-source')"
        " and rule not like '%%-held' group by key, file, line order by file, line, cast(key as text) limit 20",
        [batch_id, table],
    ).fetchall()
    return tuple(
        {name: str(value) for name, value in (key or {}).items()} | ({"line": str(line)} if line is not None else {})
        for key, _, line in rows
    )


def _split(
    results: Sequence[Result], judged_now: Sequence[Batch], found: Sequence[Found]
) -> tuple[list[Batch], list[Batch]]:
    """Batches to accept and to reject; none of either where the gate itself could not run."""
    blamed: set[str] = set()
    ids = {batch.batch_id for batch in judged_now}
    for result in results:
        if not result.is_blocking:
            continue
        _, _, batch_id = result.rule.partition(" ")
        if batch_id in ids:  # a threshold's result names its batch
            blamed.add(batch_id)
            continue
        named = {
            str(one.identity["_batch_id"]) for one in found if one.suite == result.suite and one.rule == result.rule
        }
        if not named:  # no row says which batch it is: it could not run, or there are too many
            if result.failed_count == 0:
                return [], []
            named = ids
        blamed |= named
    return (
        [batch for batch in judged_now if batch.batch_id not in blamed],
        [batch for batch in judged_now if batch.batch_id in blamed],
    )


def _accept(connection: psycopg.Connection, batch: Batch) -> dict[str, int]:
    from arrears.extraction.batches import accept

    return dict(accept(connection, batch.batch_id))


def _reject(connection: psycopg.Connection, batch: Batch) -> None:
    from arrears.extraction.batches import reject

    reject(connection, batch.batch_id)
    if batch.until is not None:  # a late one's findings bear on no day on which a later batch is known
        connection.execute(
            "update quarantine.rows set closed_on = greatest(%s, opened_on), closed_by = %s"
            " where batch_id = %s and closed_on is null",
            [batch.until, f"delivered anew on {batch.until}", batch.batch_id],
        )


def _count_held(connection: psycopg.Connection, loaded: Loaded) -> int:
    row = connection.execute(
        "select count(*) from quarantine.rows where batch_id = any(%s) and stage in ('extract', 'raw')",
        [loaded.batch_ids],
    ).fetchone()
    assert row is not None
    return int(row[0])


def _holds_again(connection: psycopg.Connection, rejected: Batch) -> bool:
    """Whether what a rejected batch was to replace is accepted again; then closes the rejected one's findings."""
    holds = connection.execute(
        "select 1 from ops.batches where source = %s and batch_date = %s and state = 'accepted'",
        [rejected.source, rejected.batch_date],
    ).fetchone()
    if holds is None:
        return False
    connection.execute(
        "update quarantine.rows set closed_on = opened_on, closed_by = %s where batch_id = %s and closed_on is null",
        [f"rejected {rejected.batch_id}", rejected.batch_id],
    )
    return True


def _check_built(stage: Stage, as_of_date: date, *, may_replace: bool) -> Verdict:
    """The gates on what dbt built: a row that breaks a rule is taken out and its loan held back for the day."""
    names = suites.MARTS if stage == "marts" else suites.QUEUES
    with connect(as_of_date) as connection:
        is_kept = not may_replace and waivers.is_exported(connection, as_of_date)
        before = holding.put_back(connection, stage, as_of_date)
    site = DocsSite(get_settings().data_docs)
    results, found = checking.check(stage, as_of_date, suites.built(names, stage, as_of_date), site)
    in_force = thresholds(as_of_date)
    try:
        return _judge_built(stage, as_of_date, results, found, in_force, site, before if is_kept else None)
    except AlreadyExported:
        with connect(as_of_date) as connection:
            holding.keep_findings(connection, before)
        raise


def _judge_built(
    stage: Stage,
    as_of_date: date,
    results: list[Result],
    found: Sequence[Found],
    in_force: Thresholds,
    site: DocsSite,
    kept: Sequence[Mapping[str, Any]] | None,
) -> Verdict:
    """Takes out and records what was found; where `kept` (an exported date's findings) is given, it must be those."""
    with connect(as_of_date) as connection:
        waived = waivers.in_force(connection, as_of_date)
        set_aside = waivers.not_passed(waived, results, found)
        held = holding.take_out(connection, stage, as_of_date, [one for one in set_aside if one.scope == "row"])
        results += holding.beyond_threshold(held, results, in_force)
        results = waivers.passed(waived, results, found)
        verdict = Verdict(
            stage,
            as_of_date,
            tuple(results),
            held_count=sum(held.values()),
            data_docs=site.index,
            counts=_counted(results) | {"held": sum(held.values())},
        )
        if kept is None:
            _record(connection, stage, as_of_date, results, {""})
            record(connection, "gate", f"{as_of_date}/{stage}", verdict.told)
        else:
            ids = {str(finding["finding_id"]) for finding in kept}
            _need_same(connection, verdict, is_same_held=ids == holding.finding_ids(connection, stage, as_of_date))
    site.tell(verdict)
    _log(verdict)
    return verdict


def _need_same(connection: psycopg.Connection, verdict: Verdict, *, is_same_held: bool) -> None:
    """Refuses another outcome than the one that an exported date's manifest tells: it names the rules that failed.

    A rule that is new since and holds makes no difference.
    """
    was = _told_in_manifest(_results(connection, verdict.stage, verdict.as_of_date))
    now = _told_in_manifest(verdict.results)
    if was == now and is_same_held:
        return
    first = " ".join(min(was ^ now)[:2]) if was != now else "the rows that are held"
    raise AlreadyExported(
        f"{verdict.as_of_date} is already exported, and the {verdict.stage} gate would now end otherwise, first in"
        f" {first}, so manifest.json would differ; nothing was replaced: say --replace REASON to export it"
        " again."
    )


def _told_in_manifest(results: Sequence[Result]) -> set[tuple[str, str, str, int, int]]:
    return {
        (result.suite, result.rule, result.severity, result.failed_count, result.waived_count)
        for result in results
        if not result.is_passed
    }


def _mark(suffix: str) -> str:
    return suffix.removeprefix(batches.MARK_OF_SOURCE)


def _mark_of(suite: str) -> str:
    """The source that a suite's name is marked with; empty for the portfolio's first."""
    return suite.partition(batches.MARK_OF_SOURCE)[2]


def _counted(results: Sequence[Result]) -> dict[str, int]:
    return {"expectations": len(results), "failed": sum(not result.is_passed for result in results)}


def _record(
    connection: psycopg.Connection, stage: Stage, as_of_date: date, results: Sequence[Result], marks: set[str]
) -> None:
    """Replaces the date's results of the stage, of the sources marked so."""
    connection.execute(
        "delete from ops.gate_results where as_of_date = %s and stage = %s and split_part(suite, %s, 2) = any(%s)",
        [as_of_date, stage, batches.MARK_OF_SOURCE, sorted(marks)],
    )
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.gate_results (as_of_date, stage, suite, expectation, rule, scope, severity, is_passed,"
            " checked_count, failed_count, failing_keys, sentence, is_waivable, waived_count, waived_by, owner)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                [
                    as_of_date,
                    stage,
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
                    result.is_waivable,
                    result.waived_count,
                    result.waived_by,
                    owner_of(result.suite),
                ]
                for result in results
                if _mark_of(result.suite) in marks
            ],
        )


def _results(connection: psycopg.Connection, stage: Stage, as_of_date: date) -> tuple[Result, ...]:
    """The results recorded for a date."""
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(
        "select suite, expectation, rule, scope, severity, is_passed, checked_count, failed_count, sentence,"
        " failing_keys, is_waivable, waived_count, waived_by from ops.gate_results"
        " where as_of_date = %s and stage = %s order by suite, rule",
        [as_of_date, stage],
    ).fetchall()
    return tuple(Result(**(row | {"failing_keys": tuple(row["failing_keys"])})) for row in rows)


def _recorded(connection: psycopg.Connection, stage: Stage, as_of_date: date) -> Verdict:
    """The verdict as recorded for a date. Fails closed: where no batch is known it is blocked.

    A source's first batch counts as delivered before all time, even once it is replaced: with any, every date has one.
    """
    results = _results(connection, stage, as_of_date)
    accepted = connection.execute("select 1 from ops.batches where state = 'accepted' limit 1").fetchone()
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
                sentence="No source has delivered anything yet.",
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
