"""The day: one function per task of the DAG, which is what `arrears step NAME` calls too.

A step is a transaction: run again, it leaves the same state. Every step is recorded in `ops.step_runs`, obeys the run
lock, and refuses to work on what another date left in the working schema.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from arrears import warehouse
from arrears.errors import (
    AlreadyExported,
    ArrearsError,
    GateBlocked,
    SourceError,
    UsageError,
    WarehouseBusy,
    WarehouseError,
    is_worth_retrying,
)
from arrears.extraction import batches, sources
from arrears.ledger.recording import record_export, record_models
from arrears.orchestration import STEPS
from arrears.settings import get_settings
from arrears.transform import dbt, publishing
from arrears.transform import kept as kept_models
from arrears.warehouse import run_lock
from arrears.warehouse.bootstrap import keep, kept
from arrears.warehouse.connections import connect

log = logging.getLogger(__name__)

# Who holds the warehouse between steps: the scheduler's run, or the one process of a command (the commands say so).
owner_kind: run_lock.OwnerKind = "dag_run"


@dataclass(frozen=True, slots=True)
class Day:
    """What a step is told: the date, the run it belongs to, and the run's parameters."""

    as_of: date
    run_id: str
    source: str | None = None
    drop: Path | None = None
    replace: str | None = None
    is_late: bool = False


def run(
    name: str,
    as_of: date,
    *,
    run_id: str,
    source: str | None = None,
    drop: Path | None = None,
    replace: str | None = None,
    is_late: bool = False,
) -> Any:
    """Runs one step for a date and records how it ended.

    Returns:
        The step's counts; names of sources for `list_sources`.

    Raises:
        ArrearsError: whatever ends the step, with its exit code.
    """
    if name not in FUNCTIONS:
        raise UsageError(f"There is no step {name}: steps are {', '.join(STEPS)}.")
    warehouse.ready()
    day = Day(as_of, run_id, source, drop, replace, is_late)
    if name not in STEPS:
        return _run_aside(day, name)
    with run_lock.step_at_work(run_id, as_of, owner_kind):
        step_run_id = _begin(day, name)
        try:
            _need_predecessors(day, name)
            result = FUNCTIONS[name](day, step_run_id)
        except BaseException as error:
            _end_in_error(step_run_id, error)
            if owner_kind == "dag_run" and not is_worth_retrying(error):
                run_lock.release(run_id)
            if isinstance(error, psycopg.OperationalError):
                raise WarehouseError(
                    f"The warehouse failed in step {name} of {as_of}: {_said(error)}; nothing of the step is left:"
                    f" run it, or the whole day, again."
                ) from error
            raise
        _end(step_run_id, result)
    if name == STEPS[-1] and owner_kind == "dag_run":
        run_lock.release(run_id)
    log.info("step=%s as_of=%s %s", name, as_of, result)
    return result


def _run_aside(day: Day, name: str) -> Any:
    """Runs what comes before the first step or after the last: it takes nothing of the warehouse, which another date
    may be using."""
    step_run_id = _begin(day, name, is_alone=False)
    try:
        result = FUNCTIONS[name](day, step_run_id)
    except BaseException as error:
        _end_in_error(step_run_id, error)
        raise
    _end(step_run_id, result if isinstance(result, Mapping) else {name.removeprefix("list_"): len(result)})
    return result


def list_sources(day: Day, step_run_id: int) -> list[str]:
    """Names of the sources to extract: one of the portfolio's if it is asked for, else all of them."""
    del step_run_id
    with connect() as connection:
        names = sources.portfolio(connection, day.source)
    return [day.source] if day.source else names


def extract(day: Day, step_run_id: int) -> dict[str, Any]:
    """Loads one source's drop as differences into schema raw."""
    with connect() as connection:
        names = sources.portfolio(connection, day.source)
        if day.source is None and len(names) > 1:
            raise UsageError(f"Step extract takes one source at a time: name one of {', '.join(names)} with --source.")
        source = sources.load_source(day.source or names[0])
        connection.execute("update ops.step_runs set source = %s where step_run_id = %s", [source.name, step_run_id])
        return batches.extract(
            connection,
            source,
            day.drop,
            day.as_of,
            run_id=day.run_id,
            may_replace=day.replace is not None,
            is_late=day.is_late,
        )


def gate_raw(day: Day, step_run_id: int) -> dict[str, Any]:
    """Judges the loaded batches; accepts them, less the rows that are quarantined, or blocks the day."""
    del step_run_id
    from arrears import gate

    dbt.prepare()  # the gate's thresholds are seeds
    missing: SourceError | None = None
    with connect(day.as_of) as connection:
        for name in sources.portfolio(connection):
            try:
                _need_delivery(connection, name, day.as_of)
            except SourceError as error:
                missing = missing or error
        if missing is not None and not batches.are_waiting(connection):
            raise missing
    # What the other sources delivered is judged all the same: their next deliveries follow it.
    verdict = gate.judge_batches(day.as_of)
    verdict.raise_if_blocked()
    if missing is not None:
        raise missing
    return dict(verdict.counts)


def _need_delivery(connection: psycopg.Connection, source: str, as_of: date) -> None:
    """A day is exported once all sources of the portfolio have delivered, or owe nothing."""
    is_judged = connection.execute(
        "select 1 from ops.batches where source = %s and batch_date = %s and state in ('loaded', 'rejected')",
        [source, as_of],
    ).fetchone()
    if is_judged is not None:
        return
    standing = batches.standing(connection, sources.load_source(source), as_of)
    if standing.state == "missing":
        raise SourceError(
            f"{standing.sentence.rstrip('.')}; a day is exported once all sources of the portfolio have delivered"
            f" (`arrears run --source {source} --as-of {as_of}`)."
        )
    if standing.state == "missing_but_fresh_enough":
        log.warning("source=%s as_of=%s %s", source, as_of, standing.sentence)


def build_marts(day: Day, step_run_id: int) -> dict[str, Any]:
    """Builds everything up to the solver's input in the working schema."""
    _finish_interrupted_exports()  # the marts read their own past from exported days
    with connect() as connection:
        _keep_reporting_currency(connection)
        _refresh_holidays(connection, day.as_of)
    dbt.prepare()
    with connect() as connection:
        reason = kept_models.why_anew(connection)
    if reason is not None:
        log.info("as_of=%s delinquency is built from nothing: %s", day.as_of, reason)
    counts = _built(step_run_id, dbt.build("marts", day.as_of, anew=reason is not None))
    return counts | ({"built_from_nothing": reason} if reason else {})


def gate_marts(day: Day, step_run_id: int) -> dict[str, Any]:
    """Judges the marts that were built."""
    del step_run_id
    from arrears import gate

    verdict = gate.run_gate("marts", day.as_of, may_replace=day.replace is not None)
    verdict.raise_if_blocked()
    return dict(verdict.counts)


def assign_agencies(day: Day, step_run_id: int) -> dict[str, Any]:
    """Gives every account in collection to the recipient that makes the total expected net recovery largest."""
    del step_run_id
    from arrears import assignment

    with connect(day.as_of) as connection:
        return dict(assignment.assign(connection, day.as_of))


def build_queues(day: Day, step_run_id: int) -> dict[str, Any]:
    """Builds assignment and work queues from the solver's decisions."""
    return _built(step_run_id, dbt.build("queues", day.as_of))


def gate_queues(day: Day, step_run_id: int) -> dict[str, Any]:
    """Judges the work queues: the last look before anybody receives them."""
    del step_run_id
    from arrears import gate

    verdict = gate.run_gate("queues", day.as_of, may_replace=day.replace is not None)
    verdict.raise_if_blocked()
    return dict(verdict.counts)


def publish(day: Day, step_run_id: int) -> dict[str, Any]:
    """Stages the export beside the others and puts the day into the marts, in one transaction with the intent."""
    del step_run_id
    from arrears import export

    settings = get_settings()
    _finish_interrupted_exports()
    with connect(day.as_of) as connection:
        folder = settings.exports / day.as_of.isoformat()
        rows = connection.execute(
            "select state, revision, manifest_sha256 from ops.exports where as_of_date = %s and state <> 'replaced'",
            [day.as_of],
        ).fetchall()
        exports = {str(state): (int(revision), str(manifest_sha256)) for state, revision, manifest_sha256 in rows}
        done, intended = exports.get("done"), exports.get("intended")
        staged = export.stage(connection, day.as_of, settings)
        if done is None and export.is_foreign(staged):
            export.discard(staged)
            raise AlreadyExported(
                f"{folder} stands there with other bytes, but this warehouse did not export it: move it away, or set "
                f"ARREARS_EXPORTS to another folder; nothing was replaced."
            )
        if done is not None:
            # A manifest may differ in its code version, but not from what it was when it was exported.
            edited = export.changed_since(folder, done[1])
            differing = sorted({*export.differences(staged, folder), *edited})
            if not differing:
                export.discard(staged)
                connection.execute("delete from ops.exports where as_of_date = %s and state = 'intended'", [day.as_of])
                is_signed_anew = export.renew_signature(settings, day.as_of, done[1])
                counts = {"published": 0, "files": len(staged.files), "is_unchanged": True}
                return counts | ({"signed_anew": 1} if is_signed_anew else {})
            # A replacement that was begun with a reason and killed may go on without one, if it is the same.
            is_begun = intended is not None and intended[1] == staged.manifest_sha256
            if day.replace is None and not is_begun:
                export.discard(staged)
                raise AlreadyExported(
                    f"{day.as_of} is already exported with other bytes: {', '.join(differing)} would differ; nothing "
                    f"was replaced: say --replace REASON to export it again."
                )
        revision = intended[0] if intended else done[0] + 1 if done else 1
        counts = publishing.publish(connection, dbt.manifest(), day.as_of, day.run_id)
        record_models(connection, day.as_of)
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, reason, run_id)"
            " values (%s, %s, 'intended', %s, %s, %s, %s) on conflict (as_of_date, revision) do update"
            " set manifest_sha256 = excluded.manifest_sha256, code_version = excluded.code_version,"
            " reason = coalesce(excluded.reason, ops.exports.reason), run_id = excluded.run_id, intended_at = now()",
            [day.as_of, revision, staged.manifest_sha256, export.code_version(), day.replace, day.run_id],
        )
    return {"published": sum(counts.values()), "marts": len(counts), "files": len(staged.files)}


def export_queues(day: Day, step_run_id: int) -> dict[str, Any]:
    """Makes the staged export visible with one rename, and says that it is done."""
    del step_run_id
    from arrears import export

    settings = get_settings()
    with connect(day.as_of) as connection:
        intended = connection.execute(
            "select revision, manifest_sha256 from ops.exports where as_of_date = %s and state = 'intended'"
            " order by revision desc limit 1",
            [day.as_of],
        ).fetchone()
        if intended is None:
            return {"exported": 0, "is_unchanged": True, "folder": str(settings.exports / day.as_of.isoformat())}
        revision, manifest_sha256 = intended
        staged = export.find_staged(day.as_of, manifest_sha256, settings)
        export.make_visible(staged, replace_revision=revision - 1 if revision > 1 else None)
        _say_exported(connection, day.as_of, revision)
    _keep_ledger_head()
    return {"exported": 1, "revision": revision, "folder": str(settings.exports / day.as_of.isoformat())}


def deliver(day: Day, step_run_id: int) -> dict[str, Any]:
    """Brings the visible export to its recipients, as delivery.yml says; nothing where there is none."""
    from arrears import delivery

    if not delivery.configured():
        return {"sent": 0, "is_configured": False}
    with delivery.alone(day.as_of) as session:
        # Nobody else is at work on it: a delivery that seems to run was killed.
        session.execute(
            "update ops.step_runs set state = 'failed', finished_at = clock_timestamp(), error_kind = 'Killed',"
            " message = 'The process ended before the step did.' where state = 'running' and step = 'deliver'"
            " and as_of_date = %s and step_run_id < %s",
            [day.as_of, step_run_id],
        )
        done = delivery.deliver(day.as_of, day.run_id)
    if done["sent"] or done["found_there"]:
        _keep_ledger_head()
    return done


def _finish_interrupted_exports() -> None:
    """Where a run was killed between the rename and its record, the visible export is done: say so now."""
    from arrears import export

    with connect() as connection:
        rows = connection.execute(
            "select as_of_date, revision, manifest_sha256 from ops.exports where state = 'intended' order by 1"
        ).fetchall()
        for as_of, revision, manifest_sha256 in rows:
            if not export.changed_since(get_settings().exports / as_of.isoformat(), manifest_sha256):
                _say_exported(connection, as_of, revision)


def _say_exported(connection: psycopg.Connection, as_of: date, revision: int) -> None:
    connection.execute(
        "update ops.exports set state = 'replaced' where as_of_date = %s and revision < %s and state = 'done'",
        [as_of, revision],
    )
    connection.execute(
        """
        update ops.exports set
            state = 'done', done_at = now(),
            export_number = coalesce(
                (select min(export_number) from ops.exports where as_of_date = %(as_of)s),
                (select 1 + coalesce(max(export_number), 0) from ops.exports)
            )
        where as_of_date = %(as_of)s and revision = %(revision)s
        """,
        {"as_of": as_of, "revision": revision},
    )
    record_export(connection, as_of, revision)


def _keep_ledger_head() -> None:
    """Keeps the ledger's head outside of the database; what went out stays out where that fails."""
    from arrears.ledger import heads

    try:
        with connect() as connection:
            heads.keep(heads.make(connection))
    except (OSError, ArrearsError) as error:
        log.warning("the audit ledger's head was not kept: %s", error)


FUNCTIONS: Mapping[str, Callable[[Day, int], Any]] = {
    "list_sources": list_sources,
    "extract": extract,
    "gate_raw": gate_raw,
    "build_marts": build_marts,
    "gate_marts": gate_marts,
    "assign_agencies": assign_agencies,
    "build_queues": build_queues,
    "gate_queues": gate_queues,
    "publish": publish,
    "export_queues": export_queues,
    "deliver": deliver,
}


def _built(step_run_id: int, runs: list[dbt.NodeRun]) -> dict[str, Any]:
    """Records what dbt did, model by model."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.model_runs (step_run_id, model, resource_type, status, seconds, row_count, message)"
            " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
            [
                (step_run_id, run.name, run.resource_type, run.status, run.seconds, run.row_count, run.message)
                for run in runs
            ],
        )
    models = [run for run in runs if run.resource_type == "model"]
    tests = [run for run in runs if run.resource_type == "test"]
    return {"models": len(models), "tests": len(tests), "rows": sum(run.row_count or 0 for run in models)}


def _keep_reporting_currency(connection: psycopg.Connection) -> None:
    """Keeps the currency in which totals are told: the setting, else that of most loans on the first day."""
    wanted = get_settings().reporting_currency
    if kept(connection, "reporting_currency") is None:
        row = connection.execute(
            "select upper(currency) from versions.loans where _known_to is null"
            " group by upper(currency) order by count(*) desc, upper(currency) limit 1"
        ).fetchone()
        keep(connection, "reporting_currency", wanted or (str(row[0]) if row else "EUR"))
    holds = kept(connection, "reporting_currency")
    if wanted is not None and wanted != holds:
        raise UsageError(
            f"ARREARS_REPORTING_CURRENCY is {wanted}, but this warehouse reports in {holds}: set it back, "
            f"or use another ARREARS_HOME."
        )


def _refresh_holidays(connection: psycopg.Connection, as_of: date) -> None:
    from arrears.contact import holidays

    countries = [
        str(row[0])
        for row in connection.execute(
            "select distinct upper(country) from versions.borrowers where _known_to is null"
            " union select distinct upper(split_part(jurisdiction, '-', 1)) from versions.agency_licences"
            " where _known_to is null order by 1"
        )
    ]
    holidays.refresh(connection, countries, [as_of.year, as_of.year + 1])


def _begin(day: Day, name: str, *, is_alone: bool = True) -> int:
    with connect() as connection:
        if is_alone:
            # What a killed process left behind is over: the lock says that nobody else works.
            connection.execute(
                "update ops.step_runs set state = 'failed', finished_at = clock_timestamp(), error_kind = 'Killed',"
                " message = 'The process ended before the step did.' where state = 'running' and step = any(%s)",
                [list(STEPS)],
            )
        row = connection.execute(
            "insert into ops.step_runs (run_id, as_of_date, step, source, state) values (%s, %s, %s, %s, 'running')"
            " returning step_run_id",
            [day.run_id, day.as_of, name, day.source if name == "extract" else None],
        ).fetchone()
    assert row is not None
    return int(row[0])


def record_busy(name: str, as_of: date, run_id: str, error: WarehouseBusy) -> None:
    """Records a step that never began, because another run held the warehouse for too long."""
    with connect() as connection:
        connection.execute(
            "insert into ops.step_runs (run_id, as_of_date, step, state, finished_at, error_kind, exit_code, message)"
            " values (%s, %s, %s, 'failed', clock_timestamp(), %s, %s, %s)",
            [run_id, as_of, name, type(error).__name__, error.exit_code, str(error)],
        )


def _said(error: BaseException) -> str:
    """An error in words that may be kept: what PostgreSQL quotes of rows is left out."""
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or type(error).__name__
    return str(error)


def _end(step_run_id: int, counts: Mapping[str, Any]) -> None:
    with connect() as connection:
        connection.execute(
            "update ops.step_runs set state = 'done', finished_at = clock_timestamp(), counts = %s"
            " where step_run_id = %s",
            [Jsonb(dict(counts)), step_run_id],
        )


def _end_in_error(step_run_id: int, error: BaseException) -> None:
    """Records the error; where even that fails (the database is down) the error itself matters more."""
    state = "blocked" if isinstance(error, GateBlocked) else "failed"
    exit_code = error.exit_code if isinstance(error, ArrearsError) else 1
    with suppress(WarehouseError, psycopg.Error), connect() as connection:
        connection.execute(
            "update ops.step_runs set state = %s, finished_at = clock_timestamp(), error_kind = %s, exit_code = %s,"
            " message = %s where step_run_id = %s",
            [state, type(error).__name__, exit_code, _said(error), step_run_id],
        )


def _need_predecessors(day: Day, name: str) -> None:
    """Refuses a step unless all before it were done for the date, in order, and none was run again since.

    The working schema holds one date; a step that takes another's leftovers would export them.

    Raises:
        UsageError: names the step to run first.
    """
    if name not in STEPS:
        return
    before = STEPS[: STEPS.index(name)] if name != "export_queues" else ("publish",)
    with connect() as connection:
        rows = connection.execute(
            "select distinct on (step) step, step_run_id, as_of_date, state from ops.step_runs where step = any(%s)"
            " and error_kind is distinct from %s order by step, step_run_id desc",
            [list(before), WarehouseBusy.__name__],  # those never began: they left nothing behind
        ).fetchall()
    last = {row[0]: row[1:] for row in rows}
    newest = 0
    for step in before:
        step_run_id, as_of, state = last.get(step, (0, None, None))
        if as_of != day.as_of or state != "done" or step_run_id < newest:
            raise UsageError(
                f"Step {name} for {day.as_of} needs {step} of that date first: run"
                f" `arrears step {step} --as-of {day.as_of}` and the steps after it, or the whole day again"
                f" with `arrears run --as-of {day.as_of}`."
            )
        newest = step_run_id
