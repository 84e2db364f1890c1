"""What the gates catch: every kind of defect of the catalogue in a simulated portfolio, and clean days beside them.

Each kind is put into a clean day's drop at a share of 0.1 % of the rows of its table (one row at least), or, where it
is about a file or a whole day, at the rate that the table states; the raw gate judges the drop in a copy of the
warehouse. What is made wrong between the gates is made in the working tables of a built day. Then clean days go through
the raw gate, and some through all steps: whatever a gate finds there is a false alarm.

    python -m benchmarks gate-recall                   # writes docs/quality-measured.md; some 15 minutes on two cores
    python -m benchmarks gate-recall --json            # prints everything measured as JSON, too
    ARREARS_BENCH_LOANS=500 ARREARS_BENCH_KINDS=drift: python -m benchmarks gate-recall    # part of it; writes nothing
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

LOANS = int(os.environ.get("ARREARS_BENCH_LOANS", "2000"))
WORKERS = int(os.environ.get("ARREARS_BENCH_WORKERS", "2"))
ONLY = os.environ.get("ARREARS_BENCH_KINDS", "")
SEED, MONTHS = 7, 24
# Day and month can change places, and payments were booked and bounced.
DAY = date(2026, 3, 12)
DAYS_BEFORE = 30  # four of each weekday, for what is compared with them
PAGE = Path(__file__).parents[1] / "docs/quality-measured.md"
COMMAND = "python -m benchmarks gate-recall"
EMPTY, KNOWN, BUILT_DAY = "arrears_bench_empty", "arrears_bench_known", "arrears_bench_built"


@dataclass(frozen=True, slots=True)
class CleanDays:
    """Consecutive clean days of a portfolio of their own."""

    name: str
    loans: int
    seed: int
    first: date
    last: date
    deltas: bool
    is_whole: bool = False

    @property
    def count(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1


SERIES = (
    CleanDays("Christmas and the year's end", 400, 11, date(2025, 12, 19), date(2026, 1, 10), deltas=False),
    CleanDays("summer time, quarter's end, Easter", 400, 12, date(2026, 3, 20), date(2026, 4, 12), deltas=True),
    CleanDays("winter time, month's end", 1_000, 13, date(2025, 10, 18), date(2025, 11, 6), deltas=False),
    CleanDays("29 February", 2_000, 14, date(2024, 2, 20), date(2024, 3, 12), deltas=True),
    CleanDays("half-year's end", 400, 15, date(2026, 6, 22), date(2026, 7, 5), deltas=False),
    CleanDays("all steps over the year's end", 400, 16, date(2025, 12, 29), date(2026, 1, 2), False, is_whole=True),
    CleanDays("all steps over summer time", 400, 17, date(2026, 3, 27), date(2026, 3, 31), True, is_whole=True),
)


@dataclass(frozen=True, slots=True)
class Line:
    """What was measured of one kind."""

    name: str
    family: str
    severity: str
    rate: str
    outcome: str
    rule: str
    injected: int
    found: int
    wrong: int
    is_caught: bool
    slips: str
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a gate found on a clean day."""

    series: str
    day: str
    stage: str
    severity: str
    told: str


def main() -> None:
    """Measures, prints progress to stderr, writes the page."""
    started = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="arrears-bench-gate-"))
    home.chmod(0o755)
    try:
        lines, alarms = _measure(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    page = _page(lines, alarms)
    if "--json" in sys.argv:
        told = {"lines": [asdict(line) for line in lines], "false_alarms": [asdict(alarm) for alarm in alarms]}
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        print(page)
    if ONLY or "ARREARS_BENCH_LOANS" in os.environ:
        _say("parameters are not the usual ones: the page was not written")
    else:
        PAGE.write_text(page, encoding="utf-8")
        _say(f"wrote {PAGE}")
    _say(f"took {time.monotonic() - started:.0f} s")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measure(home: Path) -> tuple[list[Line], list[Alarm]]:
    from arrears.warehouse.embedded import EmbeddedPostgres
    from tests.defects.built_catalogue import BUILT
    from tests.defects.catalogue import CATALOGUE

    server = EmbeddedPostgres(home)
    place = server.start()
    urls = {"socket": str(place.socket_folder), "port": str(place.port)}
    try:
        with psycopg.connect(_url(urls, "postgres", "postgres"), autocommit=True) as admin:
            admin.execute("alter system set fsync = off")  # these data need not survive a power cut
            admin.execute("select pg_reload_conf()")
        _simulate(home / "main", CleanDays("", LOANS, SEED, DAY - timedelta(days=DAYS_BEFORE), DAY, deltas=False))
        _prepare(home, urls)
        jobs: list[tuple[str, Any]] = [("raw", one.name) for one in CATALOGUE if ONLY in f"{one.family}: {one.name}"]
        jobs += [("built", defect.name) for defect in BUILT if ONLY in f"{defect.family}: {defect.name}"]
        jobs += [] if ONLY else [("clean", series) for series in sorted(SERIES, key=lambda series: -series.count)]
        order = {name: place for place, (_, name) in enumerate(jobs) if isinstance(name, str)}
        lines: list[Line] = []
        alarms: list[Alarm] = []
        failed: list[BaseException] = []
        context = get_context("spawn")
        number = context.Value("i", 0)
        with ProcessPoolExecutor(WORKERS, context, initializer=_begin, initargs=(home, urls, number)) as pool:
            waiting = {pool.submit(_do, kind, what): (kind, what) for kind, what in jobs}
            for done, future in enumerate(as_completed(waiting), start=1):
                kind, what = waiting[future]
                if (error := future.exception()) is not None:
                    failed.append(error)
                    _say(f"{done} of {len(jobs)}: {what}: {error!r}")
                    continue
                result = future.result()
                (alarms if kind == "clean" else lines).extend(result)  # type: ignore[arg-type]
                name = what if isinstance(what, str) else f"{what.count} clean days: {what.name}"
                _say(f"{done} of {len(jobs)}: {name}: {_shortly(kind, result)}")
        if failed:
            raise BaseExceptionGroup(f"{len(failed)} of {len(jobs)} could not be measured", failed)
        return sorted(lines, key=lambda line: order[line.name]), alarms
    finally:
        server.stop()


def _shortly(kind: str, result: Sequence[Any]) -> str:
    if kind == "clean":
        return f"{len(result)} false alarms" + "".join(f"; {one.day} {one.told}" for one in result[:3])
    (line,) = result
    by = line.rule if line.is_caught else "NOT CAUGHT"
    return f"{line.outcome}, {by}, {line.found} of {line.injected}, wrongly {line.wrong}"


# The places: one server, a database a worker, copied from a template for each kind


def _url(urls: dict[str, str], user: str, database: str) -> str:
    from urllib.parse import quote

    return f"postgresql://{user}@/{database}?host={quote(urls['socket'], safe='')}&port={urls['port']}"


def _point_to(home: Path, urls: dict[str, str], database: str) -> None:
    """Settings of this process: its database, and folders of its own below a home of its own."""
    from tests.conftest import forget_settings

    for name in [name for name in os.environ if name.startswith("ARREARS_") and "_BENCH_" not in name]:
        del os.environ[name]
    own = home / database
    own.mkdir(exist_ok=True)
    sources = own / "sources"
    if not sources.exists():
        contract = Path(__file__).parents[1] / "sources/contract"
        for lender in ("contract", "other"):
            shutil.copytree(contract, sources / lender)
    os.environ |= {
        "ARREARS_HOME": str(own),
        "ARREARS_DATABASE_URL": _url(urls, "arrears_pipeline", database),
        "ARREARS_ADMIN_DATABASE_URL": _url(urls, "postgres", database),
        "ARREARS_SOURCES_FOLDER": str(sources),
        "ARREARS_EXPORTS": str(own / "exports"),
        "ARREARS_LEDGER_HEADS": str(own / "heads.jsonl"),
    }
    forget_settings()


def _copy(urls: dict[str, str], template: str, database: str) -> None:
    """A database anew, from a template."""
    with psycopg.connect(_url(urls, "postgres", "postgres"), autocommit=True) as admin:
        names = {"name": sql.Identifier(database), "template": sql.Identifier(template)}
        admin.execute(sql.SQL("drop database if exists {name} with (force)").format(**names))
        admin.execute(sql.SQL("create database {name} template {template} strategy file_copy").format(**names))


def _keep(urls: dict[str, str], database: str, template: str) -> None:
    """A copy of a database as it is now, to be a template."""
    with psycopg.connect(_url(urls, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [database])
    _copy(urls, database, template)


def _simulate(folder: Path, series: CleanDays) -> Path:
    from arrears.simulation.portfolio.simulate import Portfolio, days_from, simulate

    portfolio = Portfolio(series.loans, MONTHS, series.seed, series.first)
    simulate(portfolio, folder, days=days_from(series.first, series.last), deltas=series.deltas)
    return folder


def _prepare(home: Path, urls: dict[str, str]) -> None:
    """The templates: an empty warehouse, one that knows the drops up to the day before, and the day built."""
    database = "arrears_bench"
    with psycopg.connect(_url(urls, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
    _point_to(home, urls, database)
    from arrears import orchestration, steps, warehouse
    from arrears.transform import dbt

    warehouse.ready()
    dbt.prepare()
    _keep(urls, database, EMPTY)
    _say(f"prepared a warehouse; {LOANS:,} loans")
    for day in _days(DAY - timedelta(days=DAYS_BEFORE), DAY - timedelta(days=1)):
        alarms = list(_judged(CleanDays("", LOANS, SEED, day, day, deltas=False), home / "main", day))
        assert not alarms, alarms
        _say(f"{day}: known")
    _keep(urls, database, KNOWN)
    steps.owner_kind = "process"
    for name in orchestration.STEPS[: orchestration.STEPS.index("gate_queues")]:
        steps.run(name, DAY, run_id="bench", source="contract", drop=home / "main" / DAY.isoformat())
        _say(f"{DAY}: {name}")
    _keep(urls, database, BUILT_DAY)


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


# What a worker does

_HERE: dict[str, Any] = {}
_COUNT = count()


def _begin(home: Path, urls: dict[str, str], number: Any) -> None:
    """A worker has a database and folders of its own."""
    import logging

    logging.disable(logging.WARNING)
    with number.get_lock():
        number.value += 1
        database = f"arrears_bench_{number.value}"
    _HERE.update(home=home, urls=urls, database=database)
    _point_to(home, urls, database)


@contextmanager
def _warehouse(template: str) -> Iterator[Path]:
    """A warehouse copied from a template, and an empty folder."""
    from tests.conftest import forget_settings

    _copy(_HERE["urls"], template, _HERE["database"])
    forget_settings()
    folder = _HERE["home"] / _HERE["database"] / f"work-{next(_COUNT)}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)
    forget_settings()


def _do(kind: str, what: Any) -> list[Any]:
    return {"raw": _raw, "built": _built, "clean": _clean}[kind](what)


def _raw(name: str) -> list[Line]:
    from arrears.extraction import sources
    from arrears.warehouse.connections import connect
    from tests.conftest import forget_settings
    from tests.defects.catalogue import CATALOGUE
    from tests.defects.delivery import FolderDrop
    from tests.defects.gate_warehouse import GateWarehouse
    from tests.defects.measuring import measure, spoilt

    (defect,) = [each for each in CATALOGUE if each.name == name]
    today = _HERE["home"] / "main" / DAY.isoformat()
    yesterday = _HERE["home"] / "main" / (DAY - timedelta(days=1)).isoformat()
    drop, before = FolderDrop(today), FolderDrop(yesterday)
    with _warehouse(KNOWN) as folder:
        gate = GateWarehouse(folder)
        if defect.source == "other":
            os.environ["ARREARS_SOURCES"] = "contract,other"
            forget_settings()
            with connect() as connection:
                sources.portfolio(connection, "contract")
            gate.deliver_folder(today, DAY)
            drop, before = _of_another_lender(drop), FolderDrop(folder / "none")
        try:
            measured = measure(defect, spoilt(defect, drop, before, DAY, seed=SEED), gate, folder / "spoilt")
        finally:
            os.environ.pop("ARREARS_SOURCES", None)
    rule = f"{defect.suite} {defect.rule}".strip() or measured.outcome
    return [
        Line(
            name, defect.family, defect.severity, defect.rate, measured.outcome, rule, measured.injected,
            measured.found, measured.wrong, measured.is_caught(defect), defect.slips, measured.told,
        )
    ]  # fmt: skip


def _of_another_lender(drop: Any) -> Any:
    from arrears.contract.servicing import contract

    for table in contract().values():
        for row in drop[table.name]:
            row |= {column: "X" + row[column] for column in table.prefixed_columns if row.get(column)}
    return drop


def _built(name: str) -> list[Line]:
    from arrears.gate import run_gate
    from arrears.warehouse.connections import connect
    from tests.defects.built_catalogue import BUILT
    from tests.defects.delivery import SHARE

    (defect,) = [each for each in BUILT if each.name == name]
    with _warehouse(BUILT_DAY):
        with connect(DAY) as connection:
            loans = defect.inject(connection, SHARE, SEED)
        verdict = run_gate(defect.stage, DAY)
        with connect() as connection:
            rows = connection.execute(
                "select distinct loan_id, rule from quarantine.rows where stage = %s and as_of_date = %s",
                [defect.stage, DAY],
            ).fetchall()
    failures = {(result.suite, result.rule.split(" ")[0]): result for result in verdict.failures}
    outcome = "block" if verdict.is_blocked else "row" if rows else "warning" if failures else "nothing"
    is_caught = (defect.suite, defect.rule) in failures
    found = len({loan for loan, rule in rows if rule == defect.rule} & set(loans))
    if defect.outcome != "row":
        found = len(loans) if is_caught else 0
    return [
        Line(
            name, defect.family, defect.severity, defect.rate, outcome, f"{defect.suite} {defect.rule}".strip(),
            0 if defect.rate else len(loans), 0 if defect.rate else found, len({loan for loan, _ in rows} - set(loans)),
            is_caught, defect.slips, tuple(result.told for result in verdict.failures),
        )
    ]  # fmt: skip


def _clean(series: CleanDays) -> list[Alarm]:
    """Everything that the gates found on these days."""
    with _warehouse(EMPTY) as folder:
        drops = _simulate(folder / "drops", series)
        found = []
        for day in _days(series.first, series.last):
            found += list(_whole_day(series, drops, day) if series.is_whole else _judged(series, drops, day))
    return found


def _judged(series: CleanDays, drops: Path, day: date) -> Iterator[Alarm]:
    """A day's drop through the raw gate."""
    from arrears.extraction import batches, sources
    from arrears.gate import judge_batches
    from arrears.warehouse.connections import connect

    with connect() as connection:
        sources.portfolio(connection, "contract")
        batches.extract(
            connection, sources.load_source("contract"), drops / day.isoformat(), day, run_id="bench", may_replace=True
        )
    yield from _alarms(series, day, judge_batches(day))


def _whole_day(series: CleanDays, drops: Path, day: date) -> Iterator[Alarm]:
    """A day through all steps, as its export."""
    from arrears import orchestration, steps
    from arrears.gate import run_gate

    steps.owner_kind = "process"
    for name in orchestration.STEPS:
        steps.run(name, day, run_id=f"bench-{day}", source="contract", drop=drops / day.isoformat())
        if name.startswith("gate_"):
            yield from _alarms(series, day, run_gate(name.removeprefix("gate_"), day))  # type: ignore[arg-type]


def _alarms(series: CleanDays, day: date, verdict: Any) -> Iterator[Alarm]:
    for result in verdict.failures:
        severity = "block" if result.is_blocking else "row" if result.scope == "row" else result.severity
        yield Alarm(series.name, day.isoformat(), verdict.stage, severity, result.told)


# The page

WORDS = {
    "refused": "drop refused",
    "block": "export stops",
    "row": "rows held back",
    "warning": "warning",
    "nothing": "nothing",
}


def _page(lines: Sequence[Line], alarms: Sequence[Alarm]) -> str:
    return "\n".join([*_head(), *_summary(lines), *_clean_days(alarms), *_slipping(lines), *_kinds(lines)]) + "\n"


def _head() -> list[str]:
    text = f"""
# Quality, measured

Made by `{COMMAND}`; not written by hand. A clean simulated portfolio of {LOANS:,} loans, {MONTHS} months and
seed {SEED} is known up to {DAY - timedelta(days=1)}; each kind of defect is put into the full drop of {DAY}, and judged
by the real gates in a copy of the warehouse. Rows are spoilt at 0.1 % of their table, one at least; where a kind is
about a file or a day, its rate is stated. The kinds are those of `tests/defects/catalogue.py` and
`tests/defects/built_catalogue.py`; the tests put the same ones into a portfolio of 20 loans.

critical: amounts, dates or persons would be wrong in a queue, or a loan would be lost. warning: somebody should look.
"""
    return [*text.strip().splitlines(), ""]


def _summary(lines: Sequence[Line]) -> list[str]:
    told = [
        "| how bad it would be | kinds | caught | of those one can tell | rows spoilt | found | share | held wrongly |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for severity in ("critical", "warning"):
        of = [line for line in lines if line.severity == severity]
        can = [line for line in of if not line.slips]
        injected, found = sum(line.injected for line in can), sum(line.found for line in can if line.is_caught)
        caught = sum(line.is_caught for line in of)
        told.append(
            f"| {severity} | {len(of)} | {caught} | {sum(line.is_caught for line in can)} of {len(can)} |"
            f" {injected:,} | {found:,} | {_percent(found, injected)} | {sum(line.wrong for line in can)} |"
        )
    harmless = [line for line in lines if line.severity == "harmless"]
    quiet = sum(line.outcome == "nothing" for line in harmless)
    return [
        *told,
        "",
        f"Of {len(harmless)} harmless kinds (a row twice, a byte order mark) {quiet} change nothing.",
        "",
    ]


def _percent(found: int, of: int) -> str:
    return f"{100 * found / of:.1f} %" if of else "–"


def _clean_days(alarms: Sequence[Alarm]) -> list[str]:
    told = [
        "## Clean days",
        "",
        "| days | loans | drops | days | export stops | rows held back | warnings |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    totals: dict[str, int] = defaultdict(int)
    for series in SERIES:
        of = [alarm for alarm in alarms if alarm.series == series.name]
        counts = {kind: sum(alarm.severity == kind for alarm in of) for kind in ("block", "row")}
        counts["warning"] = len(of) - counts["block"] - counts["row"]
        for kind, number in counts.items():
            totals[kind] += number
        mode = ("a full one, then deltas" if series.deltas else "full") + (", all steps" if series.is_whole else "")
        told.append(
            f"| {series.name}, {series.first} to {series.last} | {series.loans:,} | {mode} | {series.count} |"
            f" {counts['block']} | {counts['row']} | {counts['warning']} |"
        )
    days = sum(series.count for series in SERIES)
    told.append(f"| all | | | {days} | {totals['block']} | {totals['row']} | {totals['warning']} |")
    rules = sorted({f"{alarm.stage}: {alarm.told}" for alarm in alarms})
    return [*told, "", *(f"- {_cell(rule)}" for rule in rules[:20]), *([""] if rules else [])]


def _slipping(lines: Sequence[Line]) -> list[str]:
    """What nothing found, for known reasons and for others."""
    told = ["## What slips through", "", "| kind | how bad | rate | why |", "| --- | --- | --- | --- |"]
    for line in lines:
        if not line.is_caught and line.severity != "harmless":
            told.append(f"| {line.name} | {line.severity} | {_rate(line)} | {line.slips or '**should be found**'} |")
    return [*told, ""]


def _kinds(lines: Sequence[Line]) -> list[str]:
    told = [
        "## Every kind",
        "",
        "found: of the rows spoilt; a warning counts rows and names the first twenty. wrongly: loans (or rows, where",
        "there is none) held back, or counted, that were not spoilt.",
        "",
        "| family | kind | how bad | rate | found by | what comes of it | found | wrongly |",
        "| --- | --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for line in lines:
        by = line.rule if line.is_caught else "**nothing**"
        found = _percent(line.found, line.injected) if line.is_caught and line.injected else "–"
        if line.severity == "harmless":
            by = (
                "nothing, rightly"
                if line.outcome == "nothing"
                else f"**{line.told[0] if line.told else line.outcome}**"
            )
        told.append(
            f"| {line.family} | {line.name} | {line.severity} | {_rate(line)} | {_cell(by)} | {WORDS[line.outcome]} |"
            f" {found} | {line.wrong or ''} |"
        )
    return told


def _rate(line: Line) -> str:
    return line.rate or f"{line.injected} {'row' if line.injected == 1 else 'rows'}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_")


if __name__ == "__main__":
    main()
