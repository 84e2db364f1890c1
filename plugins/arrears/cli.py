"""The command line: parses, calls, prints, exits with the error's code; nothing else."""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn, Self

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from arrears.errors import ArrearsError, UsageError
from arrears.settings import get_settings

app = typer.Typer(
    name="arrears",
    help="Every night: who is late and by how much, who collects it, and a work queue for each recipient.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
sources = typer.Typer(
    help="Add a lender's system: write its folder, check its SELECTs.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(sources, name="source")
servicing = typer.Typer(
    help="The reference servicing database: a lender's system to try the postgres engine on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(servicing, name="servicing")
simulation = typer.Typer(
    help="Simulate a lender's whole portfolio in contract form, with the truth beside it.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(simulation, name="simulate")
ledger = typer.Typer(
    help="The audit ledger: check it, prove what went out, publish its head.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(ledger, name="ledger")
gate = typer.Typer(
    help="The quality gate: let a finding pass on one date, with a name and a reason.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(gate, name="gate")
console = Console()
complaints = Console(stderr=True, highlight=False, soft_wrap=True)

AsOf = Annotated[datetime, typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="The business date.")]
MaybeAsOf = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="The business date; without it the last one."),
]
SourceName = Annotated[str | None, typer.Option("--source", metavar="NAME", help="A folder of sources/.")]
DropFolder = Annotated[
    Path | None,
    typer.Option("--drop", metavar="DIR", help="Folder with the source's files, perhaps in dated subfolders."),
]
Replace = Annotated[
    str | None,
    typer.Option("--replace", metavar="REASON", help="Why an exported date may be exported again with other bytes."),
]
Late = Annotated[
    bool,
    typer.Option(
        "--late",
        help="The drop of an exported date is known from the first date not exported; no effect on a date that is not.",
    ),
]
SIMULATED_DAY = date(2026, 3, 31)  # a fixed one, so that the same command gives the same bytes

# Of a step's results: what is no count and too long for a column.
NOT_COUNTS = ("batch_id", "folder", "solver", "warning")

AsJson = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]


def _print_json(value: Any) -> None:
    from arrears.summary import as_json

    print(json.dumps(as_json(value), ensure_ascii=False, indent=2))


def _need_one_decision(replace: str | None, late: bool) -> None:
    """What to do about a date that went out: one of both, and a reason that says something."""
    if replace is not None and not replace.strip():
        raise UsageError("--replace needs a reason that whoever reads the record later understands.")
    if replace is not None and late:
        raise UsageError("--replace exports the date again, --late leaves it as it is: say one of them.")


@app.command()
def run(
    as_of: AsOf,
    to: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="The last date of a range, in order."),
    ] = None,
    source: SourceName = None,
    drop: DropFolder = None,
    replace: Replace = None,
    late: Late = False,
    as_json: AsJson = False,
) -> None:
    """Run the daily DAG for a date, or for each date of a range, through Airflow; stops at the first that fails."""
    from arrears import summary, warehouse
    from arrears.extraction.sources import load_source, portfolio
    from arrears.scheduling.run_days import run_days

    _need_one_decision(replace, late)
    if source is not None:
        load_source(source)
    warehouse.ready()
    with warehouse.connect() as connection:
        portfolio(connection, source)
        connection.rollback()  # only asked: the first run keeps it
    days = (as_of.date(), (to or as_of).date())
    with _Progress(is_quiet=as_json) as started:
        done = run_days(
            days[0], days[1], source=source, drop=drop, replace=replace, is_late=late, report=started.report
        )
    found = [summary.findings(day.as_of_date) for day in done]
    if as_json:
        _print_json(
            [{**summary.as_json(one), "seconds": round(day.seconds, 1)} for one, day in zip(found, done, strict=True)]
        )
        return
    for one in found[:-1]:
        _warn(one)
    for one in found[-1:]:
        _print_findings(one)


class _Spinner:
    """A spinner on a terminal; elsewhere nothing turns, and an heir's `report` prints lines, unless it is quiet."""

    _begins: ClassVar[str]

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._status = complaints.status(self._begins) if complaints.is_terminal and not is_quiet else None

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status:
            self._status.stop()


class _Progress(_Spinner):
    """Says which step works, or a line for each step that ended."""

    _begins = "starting Airflow"

    def report(self, event: Any) -> None:
        """One event of a task, as scheduling.run_days reports it."""
        name = f"{event.task} {event.source}" if event.source else event.task
        if event.state == "running":
            if self._status:
                self._status.update(f"{event.as_of_date}  {name}")
        elif not self._is_quiet:
            took = f"{event.seconds:6.1f} s" if event.seconds is not None else ""
            complaints.print(f"{event.as_of_date}  {name:<24} {event.state:<7} {took}")


def _command() -> str:
    """How this program is called for this home, to be pasted into a shell."""
    home = os.environ.get("ARREARS_HOME")
    given = f"ARREARS_HOME={shlex.quote(home)} " if home else ""
    program = Path(sys.argv[0])
    return given + str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _print_findings(found: Any) -> None:
    table = Table(title=f"{found.as_of_date}: accounts by bucket", title_justify="left")
    for heading in ("bucket", "currency", "accounts", "arrears"):
        table.add_column(heading, justify="left" if heading in ("bucket", "currency") else "right")
    for bucket, currency, count, arrears in found.buckets:
        table.add_row(bucket, currency, f"{count:,}", f"{arrears:,.2f}")
    if found.buckets:
        console.print(table)
    else:  # loan_delinquency keeps the latest date only
        console.print(f"{found.as_of_date}: no table of buckets, which the marts keep of the latest date only.")
    queues = Table(title="Queues", title_justify="left")
    for heading in ("recipient", "accounts", f"expected net, {found.reporting_currency}"):
        queues.add_column(heading, justify="left" if heading == "recipient" else "right")
    for recipient, count, net in found.queues:
        queues.add_row(recipient, f"{count:,}", f"{net:,.2f}")
    console.print(queues)
    held = f"; loans held back: {found.held_back_loans}" if found.held_back_loans else ""
    warned = f", {found.gate_warned} warned" if found.gate_warned else ""
    failed = f", {found.gate_failed} failed for single rows" if found.gate_failed else ""
    console.print(f"Gate: {found.gate_passed} expectations passed{warned}{failed}{held}.", soft_wrap=True)
    console.print(f"Export: {found.exports}", soft_wrap=True)
    console.print(f"Data docs: {found.data_docs}", soft_wrap=True)
    query = f"\"select * from marts.collection_queue where as_of_date = '{found.as_of_date}' limit 5\""  # noqa: S608 (shown, not run)
    console.print(f"Marts: {_command()} sql {query}", soft_wrap=True)
    console.print(f"       {_command()} db-url  (for a BI tool)", soft_wrap=True)
    _warn(found)


def _warn(found: Any) -> None:
    """What whoever ran a day should know although it went out."""
    for sentence in found.delivery_warnings:
        complaints.print(f"warning: {sentence}", markup=False)
    if found.held_back_loans:
        complaints.print(
            f"warning: rows were quarantined; loans held back from the queues of {found.as_of_date}: "
            f"{found.held_back_loans}; `{_command()} status --as-of {found.as_of_date}` says why."
        )


@app.command()
def step(
    name: Annotated[str, typer.Argument(metavar="NAME", help="extract, gate_raw, build_marts, … export_queues.")],
    as_of: AsOf,
    source: SourceName = None,
    drop: DropFolder = None,
    replace: Replace = None,
    late: Late = False,
    as_json: AsJson = False,
) -> None:
    """Run one step by hand, for repair: the same function that the DAG's task calls."""
    from arrears import steps
    from arrears.warehouse import run_lock

    _need_one_decision(replace, late)
    steps.owner_kind = "process"
    run_id = f"step-{name}-{as_of.date()}-{os.getpid()}"
    try:
        result = steps.run(name, as_of.date(), run_id=run_id, source=source, drop=drop, replace=replace, is_late=late)
    finally:
        if name in steps.FUNCTIONS:
            run_lock.release_of_process()
    if as_json:
        _print_json(result)
    else:
        console.print(f"{name} {as_of.date()}: " + ", ".join(f"{key}={value}" for key, value in result.items()))


@app.command()
def status(as_of: MaybeAsOf = None, as_json: AsJson = False) -> None:
    """Show every step of a day (done, running, failed, blocked) with counts and times, and what the gate found."""
    from arrears import summary, warehouse
    from arrears.warehouse.connections import embedded

    server = embedded()
    if server is None or server.exists:
        warehouse.ready()
        found = summary.status(as_of.date() if as_of else None)
    else:
        found = summary.nothing_yet()  # no server is made to say that there is none
    if as_json:
        _print_json(found)
        return
    home = get_settings().home
    table = Table(title=f"{found.as_of_date or 'nothing was run yet'} in {home}", title_justify="left")
    for heading in ("step", "state", "at (UTC)", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", no_wrap=True)
    table.add_column("counts", overflow="fold")
    for one in found.steps:
        counts = ", ".join(f"{key}={value}" for key, value in (one.counts or {}).items() if key not in NOT_COUNTS)
        table.add_row(
            f"{one.step} {one.source}" if one.source else one.step,
            one.state,
            f"{one.started_at:%m-%d %H:%M:%S}" if one.started_at else "",
            f"{one.seconds:.1f}" if one.seconds is not None else "",
            counts,
        )
    console.print(table)
    for sentence in found.deliveries:
        console.print(sentence, markup=False, soft_wrap=True)
    for one in found.steps:
        if one.message:
            console.print(f"{one.step} {one.state}: {one.message}", markup=False, soft_wrap=True)
    for failure in found.failures:
        _print_failure(failure)
    if found.held_back_loans:
        shown = ", ".join(found.held_back_loan_ids[:10])
        more = ", …; --json has all" if found.held_back_loans > 10 else ""
        console.print(
            f"Loans held back: {found.held_back_loans} ({shown}{more});"
            f" `{_command()} explain LOAN_ID` says why of each.",
            soft_wrap=True,
        )
    for reason in found.held_back_reasons:
        console.print(f"quarantined: {reason}", markup=False, soft_wrap=True)
    for sentence in (*found.export_faults, *found.delivered):
        console.print(sentence, markup=False, soft_wrap=True)
    if found.slowest_models:
        console.print(
            "Slowest models: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.slowest_models)
        )
    console.print(f"Export: {found.export or 'none'}")


def _print_failure(failure: Any) -> None:
    """What failed, how often, three examples; then the likely cause and what to do, where it needs a person."""

    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    keys = "; ".join(json.dumps(key, ensure_ascii=False) for key in failure.failing_keys[:3])
    state = "blocks" if failure.is_blocking else f"waived by {failure.waived_by}" if failure.waived_by else "passes"
    if failure.scope == "row" and not failure.waived_by:
        state = "held back"
    line(
        f"{failure.severity} ({failure.scope}, {state}) {failure.suite} {failure.rule}: {failure.sentence} "
        f"[{failure.failed_count} of {failure.checked_count}{', first ' + keys if keys else ''}]"
    )
    if failure.waived_by is None and failure.cause:
        line(f"    likely cause: {failure.cause}")
        line(f"    next: {failure.next_step}; asks: {failure.owner or 'nobody named'}")
        if failure.waive_with and failure.is_blocking:
            line(f"    if it is right as it is: `{failure.waive_with}`")


@app.command()
def deliver(
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="The business date; not with --check."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Try the targets; send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deliver a date's export as delivery.yml says: what has a receipt is not sent again."""
    from arrears import delivery, steps, warehouse

    if (as_of is None) != check:
        raise UsageError("Say --as-of DATE to deliver, or --check to try the targets.")
    if check:
        _check_targets(delivery.check(), as_json)
        return
    assert as_of is not None
    warehouse.ready()
    result = steps.run("deliver", as_of.date(), run_id=f"deliver-{as_of.date()}-{os.getpid()}")
    if as_json:
        _print_json(result)
    elif not result.get("is_configured", True):
        console.print(f"No delivery is configured: {get_settings().deliveries_file} would say where.", soft_wrap=True)
    else:
        with warehouse.connect() as connection:
            for sentence in delivery.standing(connection, as_of.date()):
                console.print(sentence, markup=False, soft_wrap=True)
        console.print(f"deliver {as_of.date()}: " + ", ".join(f"{key}={value}" for key, value in result.items()))


def _check_targets(checked: Any, as_json: bool) -> None:
    """Prints how each target was found; the first that was not ends the command with its error."""
    if as_json:
        _print_json(
            [{"delivery": one.delivery, "target": one.target, "error": str(one.error or "") or None} for one in checked]
        )
    else:
        for one in checked:
            console.print(f"{one.delivery}: {one.target} {'failed' if one.error else 'is there'}", soft_wrap=True)
        if not checked:
            console.print(f"No delivery is configured: {get_settings().deliveries_file} would say where.")
    for one in checked:
        if one.error is not None:
            raise one.error


@app.command("manifest-key")
def manifest_key() -> None:
    """Print the public key that checks manifest.json.sig, as PEM; it is for the recipients."""
    from arrears.export.signing import public_key

    print(public_key(), end="")


@app.command()
def explain(
    loan_id: Annotated[str, typer.Argument(metavar="LOAN_ID")], as_of: MaybeAsOf = None, as_json: AsJson = False
) -> None:
    """Show why an account is (or is not) in a queue: line, decision, score, delinquency, bookings and their files."""
    from arrears import warehouse
    from arrears.explain.account import explain as explain_account

    warehouse.ready()
    found = explain_account(loan_id, as_of.date() if as_of else None)
    if as_json:
        _print_json(found)
        return
    for title, rows in found.sections():
        console.print(f"\n[bold]{title}[/bold]")
        if not rows:
            console.print("  nothing")
        for row in rows:
            console.print(
                "  " + ", ".join(f"{key}={value}" for key, value in row.items() if value is not None), markup=False
            )


@app.command()
def erase(
    borrower_id: Annotated[str, typer.Argument(metavar="BORROWER_ID")],
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Which request asks for it; name no person in it.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be blanked; change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Blank a borrower's personal columns in raw, versions, quarantine and kept exports; say what is out of reach."""
    from arrears.privacy.erasure import erase as erase_borrower

    done = erase_borrower(borrower_id, reason, is_dry_run=dry_run)
    if as_json:
        _print_json(done)
    else:
        _print_erasure(done)


def _print_erasure(done: Any) -> None:
    if done.is_nothing_left:
        console.print(f"{done.borrower_id} is erased already; nothing was left to blank.", markup=False)
    else:
        title = "would be blanked (dry run, nothing changed)" if done.is_dry_run else "blanked"
        table = Table(title=f"{done.borrower_id}: {title}", title_justify="left")
        table.add_column("where", overflow="fold")
        table.add_column("rows or lines", justify="right")
        for place, count in done.counts.items():
            table.add_row(place, f"{count:,}")
        console.print(table)
    for recipient, days in done.handed_to.items():
        dates = ", ".join(str(day) for day in days)
        told = f"Handed over before, ask for deletion there: {recipient} ({dates})"
        console.print(told, markup=False, soft_wrap=True)
    for file in done.mentions:
        console.print(f"Holds a personal value and is not rewritten: {file}", markup=False, soft_wrap=True)
    for place in done.drops:
        console.print(f"A delivery that still holds it: {place}", markup=False, soft_wrap=True)
    for limit in done.limits:
        console.print(f"Out of reach: {limit}", markup=False, soft_wrap=True)
    for warning in done.warnings:
        complaints.print(f"warning: {warning}", markup=False)


@app.command("sql")
def sql_(query: Annotated[str, typer.Argument(metavar="QUERY")], as_json: AsJson = False) -> None:
    """Run a query on the warehouse with the BI role; prints CSV."""
    from arrears import warehouse
    from arrears.warehouse.queries import stream_csv, stream_json

    warehouse.ready()
    for chunk in stream_json(query) if as_json else stream_csv(query):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


@app.command("db-url")
def db_url(as_json: AsJson = False) -> None:
    """Print the warehouse's connection URL for a BI tool: BI role, TCP on loopback."""
    from arrears import warehouse
    from arrears.warehouse.connections import embedded, url

    warehouse.ready()
    address = url("bi", tcp=embedded() is not None)
    if as_json:
        _print_json({"url": address})
    else:
        print(address)


@app.command()
def backup(
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where it appears, whole or not at all.")],
    as_json: AsJson = False,
) -> None:
    """Back up what cannot be rebuilt: every delivery, decision and export. Refuses while a run works."""
    from arrears.warehouse import backup as backups

    _print_backup("backed up to", backups.back_up(to), as_json)


@app.command()
def restore(
    from_: Annotated[Path, typer.Option("--from", metavar="FOLDER", help="What `arrears backup` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty home or database; the next run goes on from there."""
    from arrears.warehouse import backup as backups

    _print_backup("restored from", backups.restore(from_), as_json)


def _print_backup(done: str, result: Any, as_json: bool) -> None:
    if as_json:
        _print_json(result)
        return
    console.print(
        f"{done} {result.folder}: {result.rows:,} rows of {result.tables} tables, {result.export_files:,} files of "
        f"exports, the last of {result.last_exported_on or 'no date'}.",
        soft_wrap=True,
    )


@sources.command("new")
def new_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the source and its folder.")],
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="ENGINE", help="files or postgres; without it files.")
    ] = None,
    connection: Annotated[
        str | None,
        typer.Option("--connection", metavar="VARIABLE", help="Environment variable with the database's URL."),
    ] = None,
    from_drop: Annotated[
        Path | None,
        typer.Option("--from-drop", metavar="DIR", help="Folder with files of the lender's, to take their names from."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the folder of a new source to start from: source.yml, a SELECT per required table, README.md."""
    from arrears.onboarding import new_source as onboarding

    made = onboarding.new_source(name, engine=engine, connection=connection, from_drop=from_drop)
    if as_json:
        _print_json(made)
        return
    console.print(f"{made.folder}: {', '.join(made.files)}", markup=False, soft_wrap=True)
    for note in made.notes:
        console.print(note, markup=False, soft_wrap=True)
    console.print("Next:")
    for number, one in enumerate(made.next_steps, start=1):
        console.print(f"  {number}. {one}", markup=False, soft_wrap=True)


@sources.command("check")
def check_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A folder of sources/.")],
    drop: DropFolder = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="The drop's date; without it the last one."),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, max=100_000, help="How many rows of each table.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Run a source's SELECTs on a sample and say what is missing or wrong, column by column; nothing is loaded."""
    from arrears.onboarding import check as onboarding

    report = onboarding.check(name, drop=drop, as_of=as_of.date() if as_of else None, row_limit=rows)
    if as_json:
        _print_json(report.as_document())
    else:
        _print_check(report)
    onboarding.refuse(report)


def _print_check(report: Any) -> None:
    for one in report.tables:
        rows = "rows, which are all," if one.is_whole else "rows"
        console.print(f"\n{one.table}: {one.row_count:,} {rows} from {one.place}", markup=False, soft_wrap=True)
        table = Table()
        for heading in ("", "column", "must be", "is"):
            table.add_column(heading, overflow="fold")
        for column in one.columns:
            must_be = f"{column.contract_type}{', required' if column.is_required else ''}"
            found = [
                *filter(None, [column.found_type]),
                *(each.said for each in column.findings if each.verdict == "ok"),
            ]
            table.add_row(column.verdict, column.column, must_be, Text(", ".join(found)))
        console.print(table)
        for name, finding in one.all_findings():
            if finding.verdict != "ok":
                console.print(f"{finding.verdict}: {name}{finding.said}", markup=False, soft_wrap=True)
    for name, capability in report.switched_off:
        console.print(f"off: no table {name}: {capability}", markup=False, soft_wrap=True)
    for finding in report.findings:
        console.print(f"{finding.verdict}: {finding.said}", markup=False, soft_wrap=True)
    console.print(report.summary, markup=False, soft_wrap=True)


@app.command()
def stop() -> None:
    """Stop the embedded database and whatever else runs for this ARREARS_HOME."""
    from arrears.scheduling.serve import stop_services
    from arrears.warehouse.connections import embedded

    stopped = stop_services()
    server = embedded()
    if server is None and not stopped:
        raise UsageError("ARREARS_DATABASE_URL names a server that is not ours to stop.")
    stopped = (server is not None and server.stop()) or stopped
    console.print("stopped" if stopped else "nothing was running")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what is configured, reachable and missing, and which capabilities that switches off."""
    from arrears.doctor import examine

    checks = examine()
    if as_json:
        _print_json(checks)
    else:
        table = Table(show_header=False)
        for check in checks:
            table.add_row(check.what, check.verdict, check.said)
        console.print(table)
    if any(check.verdict == "wrong" for check in checks):
        raise typer.Exit(1)


@app.command()
def docs() -> None:
    """Write dbt's documentation of models, columns, tests and lineage as one page, and print where it is."""
    from arrears import warehouse
    from arrears.transform import dbt

    warehouse.ready()
    print(dbt.write_docs())


@app.command()
def serve(
    port: Annotated[int | None, typer.Option("--port", help="TCP port of the UI; without it a free one.")] = None,
    unpause: Annotated[
        bool, typer.Option("--unpause", help="Start the nightly schedule; its run for yesterday begins at once.")
    ] = False,
) -> None:
    """Bring up Airflow's UI with its scheduler on the same database; Ctrl-C stops both."""
    from arrears.scheduling.serve import serve as serve_airflow

    serve_airflow(port=port, unpause=unpause)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def airflow(context: typer.Context) -> None:
    """Run Airflow's own command line on this home."""
    from arrears.scheduling.airflow_home import become_airflow

    become_airflow(context.args)


Suite = Annotated[str, typer.Argument(metavar="SUITE", help="As `arrears status` names it, for example raw.loans.")]
Rule = Annotated[str, typer.Argument(metavar="RULE", help="The rule's number in that suite.")]
KeyOfRow = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="COLUMN=VALUE", help="The row, for a rule on single rows; once for each column."),
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who answers for it.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; the audit ledger keeps it, name no borrower.")
]


@gate.command("waive")
def waive(
    suite: Suite, rule: Rule, as_of: AsOf, by: By, reason: Reason, key: KeyOfRow = None, as_json: AsJson = False
) -> None:
    """Let one finding pass on one date that is not exported; run the date again then."""
    from arrears import warehouse
    from arrears.gate import waivers

    warehouse.ready()
    with warehouse.connect() as connection:
        made = waivers.waive(connection, as_of.date(), suite, rule, _columns(key), by=by, reason=reason)
    if as_json:
        _print_json(made)
        return
    console.print(
        f"{suite} {rule} passes on {as_of.date()}; run the date again: `{_command()} run --as-of {as_of.date()}`.",
        markup=False,
        soft_wrap=True,
    )


@gate.command("withdraw")
def withdraw_waiver(
    suite: Suite, rule: Rule, as_of: AsOf, by: By, reason: Reason, key: KeyOfRow = None, as_json: AsJson = False
) -> None:
    """Take a waiver back, before its date is exported."""
    from arrears import warehouse
    from arrears.gate import waivers

    warehouse.ready()
    with warehouse.connect() as connection:
        taken = waivers.withdraw(connection, as_of.date(), suite, rule, _columns(key), by=by, reason=reason)
    if as_json:
        _print_json(taken)
        return
    console.print(f"{suite} {rule} does not pass on {as_of.date()} any more.", markup=False, soft_wrap=True)


@gate.command("waivers")
def list_waivers(as_of: AsOf, as_json: AsJson = False) -> None:
    """List what passes on a date by whose word."""
    from arrears import warehouse
    from arrears.gate import waivers

    warehouse.ready()
    with warehouse.connect() as connection:
        found = waivers.in_force(connection, as_of.date())
    if as_json:
        _print_json(found)
        return
    if not found:
        console.print(f"Nothing is waived for {as_of.date()}.")
    for one in found:
        named = "".join(f" {name}={value}" for name, value in one.key.items())
        console.print(f"{one.suite} {one.rule}{named}: {one.waived_by}, {one.reason}", markup=False, soft_wrap=True)


def _columns(given: list[str] | None) -> dict[str, str]:
    """COLUMN=VALUE, each once."""
    columns: dict[str, str] = {}
    for one in given or ():
        name, is_given, value = one.partition("=")
        if not is_given or not name:
            raise UsageError(f"--key {one}: say COLUMN=VALUE, as `arrears status` shows the key.")
        columns[name] = value
    return columns


@ledger.command("verify")
def verify_ledger(
    heads_file: Annotated[
        Path | None,
        typer.Option("--heads", metavar="FILE", help="Heads to compare with; without it those that this home kept."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole audit ledger; names every entry that was changed, removed, inserted or moved."""
    from arrears.errors import LedgerError
    from arrears.ledger.verification import verify

    with _ledger_read() as connection:
        report = verify(connection, heads_file)
    if as_json:
        _print_json(report)
    else:
        for finding in report.findings:
            console.print(finding, markup=False, soft_wrap=True)
        erased = f", {report.erased_lines:,} of them erased" if report.erased_lines else ""
        console.print(
            f"{report.entries:,} entries, {report.exports:,} exports with {report.lines:,} lines{erased}; compared with"
            f" {report.heads:,} heads; root {report.root}",
            soft_wrap=True,
        )
    if not report.is_whole:
        raise LedgerError(f"The audit ledger is not as it was written: findings {len(report.findings)}.")


@ledger.command("prove")
def prove_in_ledger(
    what: Annotated[str, typer.Argument(metavar="EXPORT", help="A date, or a file of an export.")],
    loan: Annotated[
        str | None, typer.Option("--loan", metavar="LOAN_ID", help="Prove this loan's lines of the export.")
    ] = None,
    revision: Annotated[int | None, typer.Option("--revision", help="Of the date; without it the newest.")] = None,
    head: Annotated[
        Path | None,
        typer.Option("--head", metavar="FILE", help="Prove it for this head; without it for the ledger as it is now."),
    ] = None,
) -> None:
    """Print a proof that an export, or a loan's line of it, is in the ledger (scripts/check_ledger_proof.py checks)."""
    from arrears.ledger.proofs import prove

    held = _one_head(head) if head else None
    with _ledger_read() as connection:
        _print_json(prove(connection, what, loan=loan, revision=revision, held=held))


@ledger.command("head")
def head_of_ledger(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write it to a file, to be handed to somebody, too.")
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option("--since", metavar="FILE", help="Print a proof that the ledger was only added to since this one."),
    ] = None,
    tell: Annotated[bool, typer.Option("--tell", help="Send it to whoever ARREARS_NOTIFY names, too.")] = False,
) -> None:
    """Print the ledger's tree head, signed if ARREARS_LEDGER_KEY is set, and keep it in the file of heads."""
    from dataclasses import asdict

    from arrears import notification
    from arrears.ledger import heads, proofs

    if tell and not notification.is_on():
        raise UsageError(f"--tell: {notification.SETTING} names nobody; set it, or write the head with --to FILE.")

    with _ledger_read() as connection:
        if since is not None:
            _print_json(proofs.extension(connection, _one_head(since)))
            return
        made = heads.make(connection)
    heads.keep(made)
    if to is not None:
        heads.write(made, to)
    if tell and not notification.send("Head of the audit ledger", made.line):
        raise ArrearsError(
            f"The head was made and kept, but not taken by all of {notification.SETTING}: the log says why."
        )
    _print_json(asdict(made))


def _ledger_read() -> Any:
    """A connection that sees the ledger at one moment."""
    import psycopg

    from arrears import warehouse

    warehouse.ready()
    connection = warehouse.connect()
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


def _one_head(file: Path) -> Any:
    """The newest head of a file."""
    from arrears.ledger import heads

    found = list(heads.read(file))
    if not found:
        raise UsageError(f"{file} holds no tree head.")
    return found[-1]


@servicing.command("create")
def create_servicing(
    drop: Annotated[
        Path | None,
        typer.Option("--drop", metavar="DIR", help="A drop in contract form; without it a small simulated portfolio."),
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d"], metavar="DATE", help="The simulated portfolio's day."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the reference servicing database in ARREARS_SERVICING_URL and fill it; refuses to overwrite one."""
    from arrears.simulation.servicing_database import FIRST_DAY, create

    if drop is not None and as_of is not None:
        raise UsageError("--as-of chooses the day of a simulated portfolio; a drop is of its own day.")
    counts = create(drop, as_of.date() if as_of else FIRST_DAY)
    if as_json:
        _print_json(counts)
    else:
        console.print(", ".join(f"{name}={count}" for name, count in counts.items()), soft_wrap=True)


@servicing.command("url")
def servicing_url(as_json: AsJson = False) -> None:
    """Print a URL for ARREARS_SERVICING_URL: of a database `servicing` on this home's embedded server, for trials."""
    from arrears.warehouse.connections import embedded, url

    if embedded() is None:
        raise UsageError("ARREARS_DATABASE_URL names a server that is not ours: name a database of your own there.")
    address = url("admin", database="servicing")
    if as_json:
        _print_json({"url": address})
    else:
        print(address)


class _Simulating(_Spinner):
    """Says how far a simulation is, or a line for each block."""

    _begins = "simulating"

    def report(self, said: str) -> None:
        """How far it is."""
        if self._status:
            self._status.update(f"simulating: {said}")
        elif not self._is_quiet:
            complaints.print(f"simulated {said}")


Postgres = Annotated[
    str | None,
    typer.Option(
        "--postgres",
        metavar="URL",
        help="A database to be made the reference servicing database; for `advance` without it ARREARS_SERVICING_URL.",
    ),
]


@simulation.callback()
def simulate(
    context: typer.Context,
    loans: Annotated[int, typer.Option("--loans", metavar="N", help="How many loans; a hundred or more.")] = 1000,
    months: Annotated[int, typer.Option("--months", metavar="M", help="Months of history before the first day.")] = 36,
    seed: Annotated[int, typer.Option("--seed", metavar="K", min=0, help="Of every draw; same seed, same bytes.")] = 7,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Gets a folder a day, and truth/; an earlier simulation is replaced."
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="csv or parquet.")] = "csv",
    postgres: Postgres = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(
            "--as-of",
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="The day; without it 2026-03-31.",
        ),
    ] = None,
    daily: Annotated[
        tuple[datetime, datetime] | None,
        typer.Option("--daily", formats=["%Y-%m-%d"], metavar="FROM TO", help="A drop for each of these days."),
    ] = None,
    deltas: Annotated[
        bool, typer.Option("--deltas", help="Drops after the first hold only what changed (drop.yml: mode: delta).")
    ] = False,
    defects: Annotated[
        list[str] | None,
        typer.Option(
            "--defects",
            metavar="KIND[:RATE]",
            help="A defect in the last day's drop, RATE a share of its rows; may be repeated; `list` shows the kinds.",
        ),
    ] = None,
    troubles: Annotated[
        bool, typer.Option("--troubles", help="With --daily: one drop skipped, one late, one delivered twice.")
    ] = False,
    lenders: Annotated[
        int,
        typer.Option(
            "--lenders", metavar="N", min=1, max=4, help="So many lenders with the same keys: DIR/north, DIR/south, …"
        ),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Simulate a lender's whole portfolio: every table of the contract as drops of files or a database, and the truth.

    OUT/DATE/TABLE.csv is the drop of a day, ready for `arrears run --source contract --drop OUT`. OUT/truth holds
    hidden states and hazards, responses to each way of collecting, losses given default and injected defects.
    """
    if context.invoked_subcommand is not None:
        return
    from arrears.simulation.portfolio.defects import DEFECTS

    if defects == ["list"]:
        for kind, defect in DEFECTS.items():
            console.print(f"{kind}: {defect.said} ({defect.table})", markup=False, soft_wrap=True)
        return
    if out is None and postgres is None:
        raise UsageError("Say where it goes: --out DIR, or --postgres URL.")
    if form not in ("csv", "parquet"):
        raise UsageError(f"--format {form}: csv or parquet.")
    if daily is not None and as_of is not None:
        raise UsageError("--daily says the days; --as-of is for one day.")
    if deltas and daily is None:
        raise UsageError("--deltas needs --daily FROM TO: a single drop is full.")
    if defects and postgres is not None:
        raise UsageError("--defects spoils drops of files; leave --postgres away.")
    days = (daily[0].date(), daily[1].date()) if daily else None
    if days is None:
        day = as_of.date() if as_of else SIMULATED_DAY
        days = (day, day)
    if lenders > 1 and (out is None or postgres is not None):
        raise UsageError("--lenders writes drops of files: give --out DIR, and no --postgres.")
    _simulate(loans, months, seed, out, form, postgres, days, deltas, defects or [], troubles, lenders, as_json)


def _simulate(
    loans: int,
    months: int,
    seed: int,
    out: Path | None,
    form: Any,
    postgres: str | None,
    series: tuple[date, date],
    deltas: bool,
    defects: list[str],
    troubles: bool,
    lenders: int,
    as_json: bool,
) -> None:
    from arrears.simulation.portfolio.reference_database import fill
    from arrears.simulation.portfolio.simulate import LENDERS, Portfolio, days_from
    from arrears.simulation.portfolio.simulate import simulate as simulate_portfolio

    days = days_from(*series)
    portfolio = Portfolio(loans=loans, months=months, seed=seed, anchor=days[0])
    rows: dict[str, int] = {}
    said: list[str] = []
    folders = [] if out is None else [out] if lenders == 1 else [out / name for name in LENDERS[:lenders]]
    with _Simulating(is_quiet=as_json) as told:
        for number, folder in enumerate(folders):
            written = simulate_portfolio(
                replace(portfolio, lender=number),
                folder,
                days=days,
                form=form,
                deltas=deltas,
                defects=defects,
                troubles=troubles,
                report=told.report,
            )
            rows = {name: rows.get(name, 0) + count for name, count in written.rows.items()}
            said += written.troubles
        if postgres is not None:
            rows = fill(postgres, portfolio, days[-1], told.report)
    if as_json:
        _print_json({"days": [days[0], days[-1]], "rows": rows, "out": str(out) if out else None})
        return
    console.print(
        f"{sum(rows.values()):,} rows of {len(rows)} tables on {days[-1]}: "
        + ", ".join(f"{name} {count:,}" for name, count in sorted(rows.items(), key=lambda one: -one[1])[:6])
        + ", …",
        soft_wrap=True,
    )
    for sentence in said:
        console.print(f"Trouble: {sentence}", markup=False, soft_wrap=True)
    for folder in folders:
        to = f" --to {days[-1]}" if len(days) > 1 else ""
        console.print(f"Truth: {folder / 'truth'}", markup=False, soft_wrap=True)
        console.print(
            f"Next: {_command()} run --source contract --drop {shlex.quote(str(folder))} --as-of {days[0]}{to}",
            markup=False,
            soft_wrap=True,
        )
    if lenders > 1:
        console.print(
            "Together: a source with key_prefix for each, and ARREARS_SOURCES (docs/concepts/deliveries.md).",
            soft_wrap=True,
        )
    if postgres is not None:
        console.print(
            f"Next: {_command()} run --source servicing --as-of {days[-1]}, with ARREARS_SERVICING_URL set to that URL;"
            " then `arrears simulate advance` for the days after.",
            markup=False,
            soft_wrap=True,
        )


@simulation.command("advance")
def advance_simulation(
    days: Annotated[int, typer.Option("--days", metavar="N", help="How many days.")] = 1,
    postgres: Postgres = None,
    as_json: AsJson = False,
) -> None:
    """Move the reference servicing database on: inserts, updates, late bookings and deletions of the next days."""
    from arrears.simulation.portfolio.reference_database import advance

    with _Simulating(is_quiet=as_json) as told:
        day, rows = advance(postgres, days, told.report)
    if as_json:
        _print_json({"day": day, "rows": rows})
        return
    console.print(f"{day}: " + ", ".join(f"{name} {count:,}" for name, count in rows.items()), soft_wrap=True)
    console.print(f"Next: {_command()} run --source servicing --as-of {day}", markup=False, soft_wrap=True)


@app.command()
def demo(
    days: Annotated[int, typer.Option("--days", min=1, help="How many consecutive days.")] = 5,
    loans: Annotated[int, typer.Option("--loans", min=10, help="How many loans.")] = 400,
    seed: Annotated[int, typer.Option("--seed")] = 7,
) -> None:
    """Make a small portfolio and run the daily DAG over consecutive days."""
    from datetime import timedelta

    from arrears.simulation.small_portfolio import write_drops

    first = date(2026, 3, 28)  # with a month's end and a change of clocks
    last = first + timedelta(days=days - 1)
    drops = get_settings().home / "drops"
    if not (drops / last.isoformat()).exists():
        write_drops(drops, first=first, last=last, loans=loans, seed=seed)
    run(
        as_of=datetime.combine(first, datetime.min.time()),
        to=datetime.combine(last, datetime.min.time()),
        source="contract",
        drop=drops,
    )


def _told(function: Callable[[], Any]) -> Callable[[], NoReturn]:
    """Turns errors into one sentence on stderr and the exit code."""

    @wraps(function)
    def wrapped() -> NoReturn:
        try:
            function()
        except ArrearsError as error:
            complaints.print(f"arrears: {error}", markup=False)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            complaints.print("arrears: interrupted")
            sys.exit(130)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            log = get_settings().home / "logs" / "arrears.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                traceback.print_exception(error, file=file)
            said = " ".join(str(error).split())[:300]
            complaints.print(f"arrears: {type(error).__name__}: {said} (traceback in {log})", markup=False)
            sys.exit(1)
        sys.exit(0)

    return wrapped


@_told
def main() -> None:
    """The program `arrears`."""
    app()


if __name__ == "__main__":
    main()
