"""Runs the suites of one gate in one Great Expectations checkpoint and reads what it found.

First every rule is only counted, the rules on single columns of a table in one query. Then the rows of those that
failed are fetched: on a clean day nothing is.
"""

import logging
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from urllib.parse import quote

import psycopg

from arrears.errors import WarehouseUnreachable
from arrears.gate import engine
from arrears.gate.data_docs import DATASOURCE, DocsSite
from arrears.gate.verdict import KEYS_KEPT, Result, Stage
from arrears.warehouse.connections import connect, session_options, sqlalchemy_url

LOG = logging.getLogger(__name__)

# As SQLAlchemy words it: (psycopg2.errors.UndefinedTable) relation "raw.loans" does not exist
_DATABASE_ERROR = re.compile(r"\(psycopg2?\.(?:errors\.)?(\w+)\)")

# More rows than this that break one rule are no rows to set aside: the delivery is wrong, whatever its size.
MOST_FINDINGS = 250_000


@dataclass(frozen=True, slots=True)
class Check:
    """One suite and the rows it is run on: those that `query` gives. `identity` names the columns that trace a row."""

    suite: Any
    query: str
    table: str
    identity: tuple[str, ...]

    @property
    def name(self) -> str:
        """The suite's name, `<stage>.<table>`."""
        return str(self.suite.name)


@dataclass(frozen=True, slots=True)
class Found:
    """One row that breaks a rule: its identity columns by name, and what is said of it."""

    suite: str
    table: str
    rule: str
    scope: str
    severity: str
    identity: Mapping[str, Any]
    reason: str

    @property
    def key(self) -> dict[str, str]:
        """The row's key as people know it, as text: dates in ISO form, times in UTC."""
        return {name: str(value) for name, value in self.identity.items() if not name.startswith("_")}


def check(stage: Stage, as_of_date: date, checks: Sequence[Check], site: DocsSite) -> tuple[list[Result], list[Found]]:
    """Runs one checkpoint over all suites; gives a result for every expectation of every suite, and the rows found.

    Fails closed: an expectation without a result, one that raised, a suite that did not run are results that block.

    Raises:
        WarehouseUnreachable: the server went away meanwhile; what raised because of that is no finding about the data.
    """
    gx = engine.load()
    with connect(as_of_date, autocommit=True) as session, engine.quiet():
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        options = quote(session_options(as_of_date), safe="")
        url = sqlalchemy_url("pipeline")
        datasource = context.data_sources.add_postgres(
            DATASOURCE,
            connection_string=f"{url}{'&' if '?' in url else '?'}options={options}&application_name=arrears",
        )
        try:
            judged = _check(gx, context, datasource, stage, as_of_date, checks, site)
            _need_same_server(session, stage, as_of_date)
            return judged
        finally:
            # Two pools: of the data source, and of the engine that runs its queries.
            datasource.get_engine().dispose()
            datasource.get_execution_engine().engine.dispose()


def _need_same_server(session: psycopg.Connection, stage: Stage, as_of_date: date) -> None:
    try:
        session.execute("select 1")
    except psycopg.OperationalError as error:
        raise WarehouseUnreachable(
            f"The warehouse went away while the {stage} gate looked at {as_of_date}, and nothing was judged: run"
            f" `arrears step gate_{stage} --as-of {as_of_date}` and the steps after it, or the whole day again."
        ) from error


def _check(
    gx: Any, context: Any, datasource: Any, stage: Stage, as_of_date: date, checks: Sequence[Check], site: DocsSite
) -> tuple[list[Result], list[Found]]:
    definitions = {
        each.name: context.validation_definitions.add(
            gx.ValidationDefinition(
                name=each.name,
                data=datasource.add_query_asset(each.name, query=each.query).add_batch_definition_whole_table("day"),
                suite=context.suites.add(each.suite),
            )
        )
        for each in checks
    }
    checkpoint = context.checkpoints.add(
        gx.Checkpoint(
            name=stage, validation_definitions=list(definitions.values()), result_format={"result_format": "SUMMARY"}
        )
    )
    run_id = gx.RunIdentifier(run_name=f"{as_of_date}-{stage}", run_time=datetime.combine(as_of_date, time(), UTC))
    ran: dict[str, Any] = {}
    broken = ""
    try:
        outcome = checkpoint.run(run_id=run_id)
        ran = {result.suite_name: result for result in outcome.run_results.values()}
    except Exception as error:  # whatever it is, the gate is shut; the reason stands in every suite's result
        broken = said(error)
        LOG.error("gate stage=%s as_of_date=%s could not run: %s\n%s", stage, as_of_date, broken, _where(error))

    results: list[Result] = []
    found: list[Found] = []
    for each in checks:
        for result, rows in _judge(gx, each, definitions[each.name], ran.get(each.name), broken):
            results.append(result)
            found += rows
    raised = {name for name, result in ran.items() if any(_exception(outcome) for outcome in result.results)}
    site.build(context, stage, as_of_date, without=raised)
    return results, found


def _judge(gx: Any, each: Check, definition: Any, ran: Any, broken: str) -> Iterable[tuple[Result, list[Found]]]:
    """A result for each expectation that the suite holds, in its order."""
    outcomes = {
        outcome.expectation_config.meta["rule"]: outcome
        for outcome in (ran.results if ran is not None else ())
        if outcome.expectation_config is not None and outcome.expectation_config.meta
    }
    row_count = _row_count(outcomes)
    for expectation in each.suite.expectations:
        outcome = outcomes.get(expectation.meta["rule"])
        raised = _exception(outcome) if outcome is not None else broken or "it did not run"
        if raised or outcome is None:
            yield _failed_to_run(each, expectation, raised), []
        elif outcome.success:
            yield _result(each, expectation, True, row_count, 0, expectation.meta["sentence"], ()), []
        else:
            yield _found(gx, each, definition, expectation, outcome, row_count)


def _found(
    gx: Any, each: Check, definition: Any, expectation: Any, outcome: Any, row_count: int
) -> tuple[Result, list[Found]]:
    meta = expectation.meta
    count = _failed_count(outcome)
    if "unexpected_count" not in outcome.result and not hasattr(expectation, "unexpected_rows_query"):
        sentence = f"{meta['sentence']} Found: {outcome.result.get('observed_value')}."
        return _result(each, expectation, False, row_count, max(count, 1), sentence, ()), []
    if count > MOST_FINDINGS:
        sentence = f"{meta['sentence']} {count} rows break it: too many to set aside one by one."
        return _blocking(each, expectation, row_count, count, sentence), []
    try:
        rows = _rows(gx, each, definition, expectation, count)
    except Exception as error:  # the rows cannot be told from the good ones, so none may go on
        why = said(error)
        LOG.error("gate suite=%s rule=%s rows not fetched: %s\n%s", each.name, meta["rule"], why, _where(error))
        return _failed_to_run(each, expectation, why), []
    found = [
        Found(
            suite=each.name,
            table=each.table,
            rule=meta["rule"],
            scope=meta["scope"],
            severity=_severity(expectation),
            identity=identity,
            reason=_reason(meta["finding"], value),
        )
        for identity, value in rows
    ]
    found.sort(key=lambda one: [str(value) for name, value in one.identity.items() if name != "_row_hash"])
    keys = tuple(_shown(one) for one in found[:KEYS_KEPT])
    return _result(each, expectation, False, row_count, count, meta["sentence"], keys), found


def _rows(gx: Any, each: Check, definition: Any, expectation: Any, count: int) -> list[tuple[dict[str, Any], Any]]:
    """Identity and value (the column's, or the query's `detail`) of every row that breaks the rule."""
    if hasattr(expectation, "unexpected_rows_query"):
        with engine.without_progress_bars():
            rows = definition.get_unexpected_rows(expectation)
        return [({name: value for name, value in row.items() if name != "detail"}, row.get("detail")) for row in rows]
    again = expectation.copy(update={"id": None, "rendered_content": None})
    with engine.without_progress_bars():
        batch = definition.data.get_batch()
        checked = batch.validate(
            gx.ExpectationSuite(f"{each.name}.rows", expectations=[again]),
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": list(each.identity),
                "partial_unexpected_count": count,  # the list of rows is cut at this, "complete" or not
            },
        )
    rows = checked.results[0].result["unexpected_index_list"]
    if len(rows) < count:
        raise ValueError(f"{count} rows break the rule and {len(rows)} were found")
    return [({name: row[name] for name in each.identity}, row.get(expectation.column)) for row in rows]


def _result(
    each: Check,
    expectation: Any,
    is_passed: bool,
    checked_count: int,
    failed_count: int,
    sentence: str,
    keys: tuple[Mapping[str, str], ...],
) -> Result:
    return Result(
        suite=each.name,
        expectation=_name(expectation),
        rule=expectation.meta["rule"],
        scope=expectation.meta["scope"],
        severity=_severity(expectation),
        is_passed=is_passed,
        checked_count=checked_count,
        failed_count=failed_count,
        sentence=sentence,
        failing_keys=keys,
        is_waivable=bool(expectation.meta["is_waivable"]),
    )


def _blocking(each: Check, expectation: Any, checked_count: int, failed_count: int, sentence: str) -> Result:
    return Result(
        suite=each.name,
        expectation=_name(expectation),
        rule=expectation.meta["rule"],
        scope="table",
        severity="critical",
        is_passed=False,
        checked_count=checked_count,
        failed_count=failed_count,
        sentence=sentence,
    )


def _failed_to_run(each: Check, expectation: Any, why: str) -> Result:
    return _blocking(each, expectation, 0, 0, f"Not checked, and so not passed: {why}.")


def _name(expectation: Any) -> str:
    column = getattr(expectation, "column", None)
    kind = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(expectation).__name__)
    return kind.lstrip("_") + (f"({column})" if column else "")


def _severity(expectation: Any) -> Any:
    return str(getattr(expectation.severity, "value", expectation.severity))


def _exception(outcome: Any) -> str:
    """What an expectation raised; Great Expectations gives one record, or one for each metric."""
    info = outcome.exception_info or {}
    records = [info] if "raised_exception" in info else list(info.values())
    for record in records:
        if record.get("raised_exception"):
            return said(record.get("exception_message") or "it raised an exception")
    return ""


def said(error: object) -> str:
    """An error in one line that may be kept: without what PostgreSQL quotes of rows.

    Only the first line is PostgreSQL's message; DETAIL, CONTEXT and the statement follow. Of errors about a value
    (SQLSTATE class 22) the message quotes it too, so its name alone is told.
    """
    lines = str(error).strip().splitlines()
    line = (lines[0] if lines else type(error).__name__).rstrip(".")
    named = _DATABASE_ERROR.search(line)
    kind = getattr(psycopg.errors, named[1], None) if named else None
    if named and issubclass(kind or psycopg.DataError, psycopg.DataError):
        return f"{line[: named.end()]} a value that cannot be read or computed with"
    return line


def _where(error: BaseException) -> str:
    """The stack of an error, without its message."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _failed_count(outcome: Any) -> int:
    counted = outcome.result.get("unexpected_count")
    if counted is None:
        counted = outcome.result.get("observed_value")
    return int(counted) if isinstance(counted, int) else 0


def _row_count(outcomes: Mapping[str, Any]) -> int:
    """Rows of the batch, from the expectation that counts them."""
    counted = outcomes.get("rows-due")
    observed = counted.result.get("observed_value") if counted is not None and counted.result else None
    return int(observed) if observed is not None else 0


def _reason(template: str, value: Any) -> str:
    shown = str(value).strip()[:200] if value is not None else "empty"
    return template.replace("{value}", shown)


def _shown(one: Found) -> dict[str, str]:
    """The key as people know it; of a finding on a whole table, the words."""
    if one.scope == "table" and one.reason:
        return {"found": one.reason}
    return one.key
