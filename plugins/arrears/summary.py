"""What a person asks of a day: what was found, how far it is, what failed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg

from arrears.extraction import batches
from arrears.extraction.delivery_calendar import Standing
from arrears.extraction.sources import load_source, portfolio
from arrears.gate.advice import advise, next_step, waive_command
from arrears.gate.verdict import stops_the_day
from arrears.orchestration import STEPS
from arrears.settings import get_settings
from arrears.warehouse.bootstrap import kept
from arrears.warehouse.connections import connect

# The day went out all the same, and whoever ran it should know.
TO_BE_WARNED_OF = ("missing_but_fresh_enough", "reconstructed")


@dataclass(frozen=True, slots=True)
class StepState:
    """The last run of one step for a date; state `waiting` where there was none."""

    step: str
    source: str | None
    state: str
    started_at: datetime | None = None
    seconds: float | None = None
    counts: dict[str, Any] | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An expectation that failed at a gate."""

    stage: str
    suite: str
    rule: str
    severity: str
    scope: str
    failed_count: int
    checked_count: int
    sentence: str
    failing_keys: list[Any]
    owner: str = ""
    waived_by: str | None = None
    cause: str = ""
    next_step: str = ""
    waive_with: str | None = None

    @property
    def is_blocking(self) -> bool:
        """Whether the day stopped for it."""
        return stops_the_day(self.scope, self.severity, self.waived_by)


@dataclass(frozen=True, slots=True)
class Status:
    """How far a date is."""

    as_of_date: date | None
    deliveries: list[str]
    steps: list[StepState]
    failures: list[Failure]
    held_back_loans: int
    held_back_loan_ids: list[str]
    held_back_reasons: list[str]
    export: str | None
    slowest_models: list[tuple[str, float]]
    export_faults: list[str] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a published day holds: accounts by bucket and currency, queue lines by recipient, the gate's results."""

    as_of_date: date
    buckets: list[tuple[str, str, int, Decimal]]
    queues: list[tuple[str, int, Decimal]]
    gate_passed: int
    gate_warned: int
    gate_failed: int
    held_back_loans: int
    delivery_warnings: list[str]
    reporting_currency: str
    exports: str
    data_docs: str


def status(as_of: date | None = None) -> Status:
    """How far a date is; the date run last where none is given."""
    with connect() as connection:
        if as_of is None:
            row = connection.execute(
                "select as_of_date from ops.step_runs order by step_run_id desc limit 1"
            ).fetchone()
            if row is None:
                return nothing_yet()
            as_of = row[0]
        rows = connection.execute(
            "select distinct on (step, source) step, source, state, started_at,"
            " cast(extract(epoch from finished_at - started_at) as double precision), counts, message"
            " from ops.step_runs where as_of_date = %s order by step, source, step_run_id desc",
            [as_of],
        ).fetchall()
        there = [StepState(*row) for row in rows]
        steps = [
            state
            for step in STEPS
            for state in ([s for s in there if s.step == step] or [StepState(step, None, "waiting")])
        ]
        from arrears import delivery

        delivered = delivery.standing(connection, as_of)
        if delivered:
            steps += [s for s in there if s.step == "deliver"] or [StepState("deliver", None, "waiting")]
        failures = _failures(connection, as_of)
        exported = connection.execute(
            "select state from ops.exports where as_of_date = %s order by revision desc limit 1", [as_of]
        ).fetchone()
        models = connection.execute(
            "select model, seconds from ops.model_runs inner join ops.step_runs using (step_run_id)"
            " where as_of_date = %s and resource_type = 'model' and step_run_id in ("
            "   select max(step_run_id) from ops.step_runs where as_of_date = %s group by step)"
            " order by seconds desc, model limit 5",
            [as_of, as_of],
        ).fetchall()
        held_back = _held_back(connection, as_of)
        return Status(
            as_of,
            [standing.sentence for standing in _standings(connection, as_of)] + _taken_in_late(connection, as_of),
            steps,
            failures,
            len(held_back),
            held_back,
            _held_back_reasons(connection, as_of),
            str(exported[0]) if exported else None,
            [(str(name), float(seconds)) for name, seconds in models],
            _export_faults(connection, as_of),
            delivered,
        )


def _failures(connection: psycopg.Connection, as_of: date) -> list[Failure]:
    """What failed at the gates of a date, what blocks first, each with what to do about it."""
    rows = connection.execute(
        "select stage, suite, rule, severity, scope, failed_count, checked_count, sentence, failing_keys, owner,"
        " waived_by, is_waivable from ops.gate_results where as_of_date = %s and not is_passed"
        " order by array_position(array['critical', 'warning', 'info'], severity), scope desc, suite, rule",
        [as_of],
    ).fetchall()
    found = []
    for stage, suite, rule, severity, scope, failed, checked, sentence, keys, owner, waived_by, is_waivable in rows:
        advice = advise(suite, rule)
        first = {name: value for name, value in (keys[0] if keys else {}).items() if name not in ("found", "line")}
        found.append(
            Failure(
                stage,
                suite,
                rule,
                severity,
                scope,
                failed,
                checked,
                sentence,
                keys,
                owner,
                waived_by,
                cause=advice.cause if advice else "",
                next_step=next_step(advice, suite, rule, as_of) if advice else "",
                waive_with=waive_command(suite, rule, as_of, first if scope == "row" else None)
                if is_waivable
                else None,
            )
        )
    return found


def _export_faults(connection: psycopg.Connection, as_of: date) -> list[str]:
    """Whether the visible export is what was exported."""
    from arrears import export

    row = connection.execute(
        "select manifest_sha256 from ops.exports where as_of_date = %s and state = 'done'", [as_of]
    ).fetchone()
    folder = get_settings().exports / as_of.isoformat()
    changed = export.changed_since(folder, str(row[0])) if row else []
    if not changed:
        return []
    return [
        f"The export in {folder} is not what was exported ({', '.join(changed)}): put it back from a backup, or export"
        f" the date again with --replace REASON."
    ]


def nothing_yet() -> Status:
    """The status of a home in which nothing was run."""
    return Status(None, [], [StepState(step, None, "waiting") for step in STEPS], [], 0, [], [], None, [])


def _standings(connection: psycopg.Connection, as_of: date) -> list[Standing]:
    """How each source of the portfolio stands for a date; none where no source was run yet."""
    if kept(connection, "sources") is None:
        return []
    return [batches.standing(connection, load_source(name), as_of) for name in portfolio(connection)]


def _held_back_reasons(connection: psycopg.Connection, as_of: date) -> list[str]:
    """The first reasons for which rows are kept out; a row whose loan is kept out anyway is no reason of its own."""
    rows = connection.execute(
        "select reason from quarantine.rows where opened_on <= %s and (closed_on is null or closed_on > %s)"
        " and rule not like '%%-held' group by reason order by min(stage), min(file), min(line), reason limit 10",
        [as_of, as_of],
    ).fetchall()
    return [str(row[0]) for row in rows]


def _held_back(connection: psycopg.Connection, as_of: date) -> list[str]:
    """The loans held back on a date, by id."""
    rows = connection.execute(
        "with open as (select loan_id, borrower_id from quarantine.rows"
        " where opened_on <= %(date)s and (closed_on is null or closed_on > %(date)s))"
        " select loan_id from open where loan_id is not null"
        " union select loans.loan_id from versions.loans inner join open on loans.borrower_id = open.borrower_id"
        " where open.loan_id is null and loans._known_from <= %(date)s"
        " and (loans._known_to is null or loans._known_to > %(date)s) order by loan_id",
        {"date": as_of},
    ).fetchall()
    return [str(row[0]) for row in rows]


def _taken_in_late(connection: psycopg.Connection, as_of: date) -> list[str]:
    """Drops of a date that left its export as it is."""
    rows = connection.execute(
        "select source, batch_id, known_from from ops.batches"
        " where batch_date = %s and known_from > batch_date and state = 'accepted' order by source, known_from",
        [as_of],
    ).fetchall()
    return [
        f"Batch {batch_id} of source {source} came late: {as_of} stays as it went out, and what it brought is known"
        f" from {known_from} on."
        for source, batch_id, known_from in rows
    ]


def findings(as_of: date) -> Findings:
    """What a published day holds."""
    settings = get_settings()
    with connect() as connection:
        buckets = connection.execute(
            "select d.bucket, d.currency, count(*), sum(d.arrears_amount)"
            " from marts.loan_delinquency as d left join seeds.delinquency_buckets as b on d.bucket = b.bucket"
            " where d.as_of_date = %s group by d.bucket, d.currency, b.days_from order by b.days_from, d.currency",
            [as_of],
        ).fetchall()
        queues = connection.execute(
            "select recipient_id, count(*), sum(expected_net_amount) from marts.collection_queue where as_of_date = %s"
            " group by recipient_id order by recipient_id",
            [as_of],
        ).fetchall()
        gate = connection.execute(
            "select count(*) filter (where is_passed),"
            " count(*) filter (where not is_passed and severity <> 'critical'),"
            " count(*) filter (where not is_passed and severity = 'critical')"
            " from ops.gate_results where as_of_date = %s",
            [as_of],
        ).fetchone()
        assert gate is not None
        return Findings(
            as_of,
            [tuple(row) for row in buckets],
            [tuple(row) for row in queues],
            gate[0],
            gate[1],
            gate[2],
            len(_held_back(connection, as_of)),
            [one.sentence for one in _standings(connection, as_of) if one.state in TO_BE_WARNED_OF]
            + _taken_in_late(connection, as_of),
            kept(connection, "reporting_currency") or "",
            str(settings.exports / as_of.isoformat()),
            str(settings.data_docs / "index.html"),
        )


def as_json(value: Any) -> Any:
    """The same in types that JSON has: amounts as text, dates in ISO form."""
    if isinstance(value, Decimal | date | datetime):
        return str(value) if isinstance(value, Decimal) else value.isoformat()
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [as_json(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return as_json(asdict(value))
    return value
