"""The command line: parses, calls, prints, exits with the error's code; nothing else."""

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

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
# Of a step's results: what is no count and too long for a column.
NOT_COUNTS = ("batch_id", "folder", "solver")

AsJson = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]


def _print_json(value: Any) -> None:
    from arrears.summary import as_json

    print(json.dumps(as_json(value), ensure_ascii=False, indent=2))


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
    as_json: AsJson = False,
) -> None:
    """Run the daily DAG for a date, or for each date of a range, through Airflow; stops at the first that fails."""
    from arrears import summary, warehouse
    from arrears.extraction.sources import load_source, portfolio
    from arrears.scheduling.run_days import run_days

    if source is not None:
        load_source(source)
    warehouse.ready()
    with warehouse.connect() as connection:
        portfolio(connection, source)
        connection.rollback()  # only asked: the first run keeps it
    days = (as_of.date(), (to or as_of).date())
    with _Progress(is_quiet=as_json) as started:
        done = run_days(days[0], days[1], source=source, drop=drop, replace=replace, report=started.report)
    found = [summary.findings(day.as_of_date) for day in done]
    if as_json:
        _print_json(
            [{**summary.as_json(one), "seconds": round(day.seconds, 1)} for one, day in zip(found, done, strict=True)]
        )
        return
    for one in found[-1:]:
        _print_findings(one)


class _Progress:
    """Says which step works: a spinner on a terminal, a line for each step that ended elsewhere."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._status = complaints.status("starting Airflow") if complaints.is_terminal and not is_quiet else None

    def __enter__(self) -> "_Progress":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status:
            self._status.stop()

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
    console.print(table)
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
    as_json: AsJson = False,
) -> None:
    """Run one step by hand, for repair: the same function that the DAG's task calls."""
    from arrears import steps
    from arrears.warehouse import run_lock

    steps.owner_kind = "process"
    run_id = f"step-{name}-{as_of.date()}-{os.getpid()}"
    try:
        result = steps.run(name, as_of.date(), run_id=run_id, source=source, drop=drop, replace=replace)
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
    for one in found.steps:
        if one.message:
            console.print(f"{one.step} {one.state}: {one.message}", markup=False, soft_wrap=True)
    for failure in found.failures:
        keys = "; ".join(json.dumps(key, ensure_ascii=False) for key in failure.failing_keys[:3])
        console.print(
            f"{failure.severity} ({failure.scope}) {failure.suite} {failure.rule}: {failure.sentence} "
            f"[{failure.failed_count} of {failure.checked_count}{', first ' + keys if keys else ''}]",
            markup=False,
            soft_wrap=True,
        )
    if found.held_back_loans:
        console.print(f"Loans held back: {found.held_back_loans}; `{_command()} explain LOAN_ID` says why of each.")
    for reason in found.held_back_reasons:
        console.print(f"quarantined: {reason}", markup=False, soft_wrap=True)
    if found.slowest_models:
        console.print(
            "Slowest models: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.slowest_models)
        )
    console.print(f"Export: {found.export or 'none'}")


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
