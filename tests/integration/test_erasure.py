"""Erasing a borrower's personal data: nothing of it is left, nothing else changes, and it does not come back."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from typer.testing import CliRunner

from arrears import cli, steps
from arrears.contract.servicing import contract
from arrears.errors import UsageError, WarehouseBusy
from arrears.extraction.delivery import Unreadable
from arrears.orchestration import STEPS
from arrears.privacy import kept_exports
from arrears.privacy.erasure import blank_loaded, blank_unreadable, erase
from tests.conftest import Workplace
from tests.day import bytes_below, run_day, run_step
from tests.portfolio import a_borrower, a_repayment

D = date(2026, 3, 31)
# Each stands in one personal value of B1 and nowhere else.
TRACES = ("Novotná", "777123456", "priklad", "Dlouhá", "1980-02-29", "805229", "608111222")


def b1(**more: object) -> dict[str, object]:
    """A borrower whose values need quotes in CSV and JSON."""
    return a_borrower(
        "B1",
        **{
            "name": 'Novotná, Jana "Jája"',
            "born_on": "1980-02-29",
            "phone": "+420777123456",
            "email": "jana@priklad.cz",
            "street": "Dlouhá 12, 3. patro",
            "city": "Praha",
            "national_id": "805229/1234",
            **more,
        },
    )


def b2() -> dict[str, object]:
    """Another one, who stays."""
    return a_borrower("B2", name="Petr Veselý", phone="+420602333444", email="petr@veselka.cz", born_on="1975-05-05")


def a_contact_point(contact_point_id: str, borrower_id: str, value: str, **more: object) -> dict[str, object]:
    return {
        "contact_point_id": contact_point_id,
        "borrower_id": borrower_id,
        "kind": "phone",
        "place": "mobile",
        "value": value,
        "starts_on": "2026-01-01",
        **more,
    }


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


@pytest.fixture
def portfolio(drop: Callable[..., Path]) -> Callable[..., Path]:
    """The small portfolio with personal values in every table that can hold them."""

    def write(folder: str = "drop", **tables: object) -> Path:
        guarantee = {
            "guarantee_id": "G1",
            "guarantor_id": "B1",
            "guarantor_name": "Jana Novotná",
            "guarantor_kind": "person",
            "cover_share": "1",
            "currency": "EUR",
            "starts_on": "2026-01-01",
            "clock_starts": "called",
            "demand_after_days": 30,
        }
        points = [a_contact_point("C1", "B1", "+420608111222"), a_contact_point("C2", "B2", "+420608999888")]
        standing = {"borrowers": [b1(), b2()], "contact_points": points, "guarantees": [guarantee]}
        return drop(folder, **(standing | tables))

    return write


def places_with(workplace: Workplace, *traces: str) -> list[str]:
    """Tables of all schemas, PostgreSQL's own among them, and files (Parquet decoded) that hold one of the texts."""
    found = []
    tables = workplace.rows(
        "select n.nspname, c.relname from pg_class as c inner join pg_namespace as n on c.relnamespace = n.oid"
        " where c.relkind in ('r', 'm', 'p') order by 1, 2"
    )
    with psycopg.connect(os.environ["ARREARS_ADMIN_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("set DateStyle = 'ISO,YMD'")
        for schema, name in tables:
            query = sql.SQL(
                "select exists (select 1 from {} as rows where exists ("
                " select 1 from unnest(%s::text[]) as traces (trace) where position(trace in cast(rows as text)) > 0))"
            ).format(sql.Identifier(str(schema), str(name)))
            if connection.execute(query, [list(traces)]).fetchone() == (True,):
                found.append(f"{schema}.{name}")
    needles = [trace.encode() for trace in traces] + [json.dumps(trace)[1:-1].encode() for trace in traces]
    for root in (workplace.exports, workplace.home):
        for file in root.rglob("*"):
            if file.is_symlink() or not file.is_file() or "postgres" in file.relative_to(root).parts:
                continue
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content = str(pq.read_table(file).to_pylist()).encode() + str(pq.read_schema(file).metadata).encode()
                content = content.replace(b"datetime.date(1980, 2, 29)", b"1980-02-29")
            if any(needle in content for needle in needles):
                found.append(str(file))
    return found


def queue_lines(folder: Path) -> dict[str, dict[str, str]]:
    """All recipients' lines of an export by their loan."""
    lines = {}
    for file in folder.glob("*/queue.csv"):
        with file.open(encoding="utf-8", newline="") as stream:
            lines |= {line["loan_id"]: line for line in csv.DictReader(stream)}
    return lines


@pytest.mark.slow
def test_nothing_is_left_of_an_erased_borrower_and_a_later_delivery_brings_nothing_back(
    workplace: Workplace, portfolio: Callable[..., Path]
) -> None:
    run_day(portfolio(), D)
    less = [a_repayment("T1", "L1", amount="50.00")]
    run_day(portfolio("other", transactions=less), D, replace="a booking was wrong")
    moved = b1(phone="+420777123456", street="Dlouhá 99", city="Brno")
    run_day(portfolio("next", borrowers=[moved, b2()], transactions=less), D + timedelta(days=1))
    before = {name: queue_lines(workplace.exports / name) for name in ("2026-03-31", "2026-04-01")}
    assert before["2026-03-31"]["L1"]["phone"] == "'+420777123456"
    assert before["2026-03-31"]["L1"]["channel"] == "call"
    assert places_with(workplace, "Novotná")

    foretold = erase("B1", "request 17", is_dry_run=True)
    assert before == {name: queue_lines(workplace.exports / name) for name in before}
    assert workplace.rows("select * from ops.erasures") == []
    done = erase("B1", "request 17")

    assert places_with(workplace, *TRACES) == []
    assert done.counts == foretold.counts
    (team,) = {file.parent.name for file in workplace.exports.glob("2026-*/*/queue.csv")}
    assert done.counts == {
        "marts_personal.queue_contact_details": 1,
        "raw.borrowers": 3,  # as first delivered, again by the drop that replaced that, and moved
        "raw.contact_points": 2,
        "raw.guarantees": 2,
        "versions.borrowers": 2,
        "versions.contact_points": 1,
        "versions.guarantees": 1,
        "working.queue_contact_details": 1,
        **{
            f"{folder}/{team}/{file}": 1
            for folder in (".revisions/2026-03-31/1", "2026-03-31", "2026-04-01")
            for file in ("queue.csv", "queue.parquet")
        },
    }
    assert done.handed_to == {team: [D, D + timedelta(days=1)]}
    assert workplace.rows("select borrower_id, reason, state, blank_from, counts from ops.erasures") == [
        ("B1", "request 17", "done", D + timedelta(days=2), dict(done.counts))
    ]

    # What is no personal value of B1, and all of B2, is as it was.
    for name, lines in before.items():
        after = queue_lines(workplace.exports / name)
        assert after["L2"] == lines["L2"]
        personal = ("name", "phone", "email", "street")
        assert after["L1"] == lines["L1"] | dict.fromkeys(personal, "(erased)")
    assert workplace.rows("select name, phone, born_on from versions.borrowers where borrower_id = 'B2'") == [
        ("Petr Veselý", "+420602333444", date(1975, 5, 5))
    ]
    assert workplace.rows(
        "select distinct name, phone, born_on, street, country, time_zone from raw.borrowers where borrower_id = 'B1'"
    ) == [("(erased)", "(erased)", None, "(erased)", "CZ", "Europe/Prague")]
    assert not list(workplace.exports.glob(".staging")) and not list(workplace.exports.rglob("eras*"))
    for folder in ("2026-03-31", "2026-04-01", ".revisions/2026-03-31/1"):
        assert_manifest_holds(workplace, workplace.exports / folder)

    # An exported date runs again to the same bytes: the decision of then stays, a call to somebody who had a number.
    bytes_now = bytes_below(workplace.exports)
    assert run_day(None, D)["publish"]["is_unchanged"]
    assert bytes_below(workplace.exports) == bytes_now

    # The lender delivers B1 again, with a new number: it is no difference, and there is nobody to call.
    again = b1(phone="+420777123456", street="Dlouhá 100", city="Brno")
    points = [a_contact_point("C1", "B1", "+420608111222"), a_contact_point("C3", "B1", "+420608111222")]
    third = portfolio("third", borrowers=[again, b2()], contact_points=points, transactions=less)
    run_day(third, D + timedelta(days=2))

    assert places_with(workplace, *TRACES) == []
    assert workplace.value("select count(*) from raw.borrowers where borrower_id = 'B1'") == 3
    lines = queue_lines(workplace.exports / "2026-04-02")
    assert (lines["L1"]["channel"], lines["L1"]["name"], lines["L1"]["phone"]) == ("letter", "(erased)", "")
    assert "No call: no phone number." in lines["L1"]["reason"]
    assert (lines["L2"]["channel"], lines["L2"]["phone"]) == ("call", "'+420602333444")
    assert erase("B1", "request 18").is_nothing_left
    assert workplace.rows("select reason from ops.erasures") == [("request 17",)]


def assert_manifest_holds(workplace: Workplace, folder: Path) -> None:
    """The manifest names the hashes of the files, and ops.exports its own."""
    import hashlib

    content = (folder / "manifest.json").read_bytes()
    for name, about in json.loads(content)["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == about["sha256"], name
    assert (hashlib.sha256(content).hexdigest(), None) in workplace.rows(
        "select manifest_sha256, becomes_sha256 from ops.exports"
    )


def test_rows_that_were_kept_out_are_blanked_too(workplace: Workplace, portfolio: Callable[..., Path]) -> None:
    head = "borrower_id,kind,name,born_on,country,phone,email,street,national_id,income_currency\n"
    folder = portfolio(
        contact_points=[
            a_contact_point("C1", "B1", "+420608111222", starts_on="in May"),  # a row that cannot be read
            a_contact_point("C2", "B2", "+420608999888", starts_on="in May"),
            a_contact_point("C4", "B1", "+420608111222", kind="pager"),  # a row that breaks a rule of the gate
        ],
        borrowers=head
        + 'B1,person,"Novotná, Jana",1980-02-29,CZ,+420777123456,jana@priklad.cz,Dlouhá 12,805229/1234,EUR\n'
        + "B2,person,Petr Veselý,1975-05-05,CZ,+420602333444,petr@veselka.cz,Krátká 1,755505/1,EUR\n"
        + "B1,person,Novotná, Jana,1980-02-29,CZ,+420777123456,jana@priklad.cz,Dlouhá 12,805229/1234,EUR\n",
    )
    run_step("extract", D, drop=folder, source="contract")
    run_step("gate_raw", D)
    kept = "select table_name, stage, line, loan_id, borrower_id, key from quarantine.rows order by 1, 2, 3, 6"
    before = workplace.rows(kept)
    assert len(before) == 4
    assert "quarantine.rows" in places_with(workplace, *TRACES)

    done = erase("B1", "request 17")

    assert places_with(workplace, *TRACES) == []
    assert done.counts["quarantine.rows"] == 3  # all but that of B2
    assert [row[:4] for row in workplace.rows(kept)] == [row[:4] for row in before]
    assert workplace.rows(
        "select row_data ->> 'value', row_data ->> 'place' from quarantine.rows where key ->> 'contact_point_id' = 'C2'"
    ) == [("+420608999888", "mobile")]
    assert erase("B1", "request 17").is_nothing_left


def test_what_is_delivered_of_an_erased_borrower_is_blanked_on_its_way_in(
    workplace: Workplace, portfolio: Callable[..., Path]
) -> None:
    run_step("extract", D, drop=portfolio(), source="contract")
    run_step("gate_raw", D)
    table = contract()["borrowers"]
    with workplace.connect() as connection:
        assert blank_loaded(connection, table) == 0  # nobody is erased, so load.borrowers is not even looked for
    erase("B1", "request 17")

    with workplace.connect() as connection:
        connection.execute("create table load.borrowers as select * from raw.borrowers limit 0")
        connection.execute(
            "insert into load.borrowers (borrower_id, kind, name, country, time_zone, phone, email, street,"
            " national_id, city, _row_hash, _source, _batch_id, _known_on, _is_deleted)"
            " values ('B1', 'person', 'Jana Nová', 'CZ', 'Europe/Prague', '+1', 'x', 'y', 'z', 'Praha',"
            " gen_random_uuid(), '', '', now(), false), ('B2', 'person', 'Petr', 'CZ', null, '+2', null, null, null,"
            " null, gen_random_uuid(), '', '', now(), false)"
        )
        assert blank_loaded(connection, table) == 1
        assert connection.execute(
            "select loaded.name, loaded.phone, loaded._row_hash = known._row_hash from load.borrowers as loaded"
            " inner join versions.borrowers as known using (borrower_id) order by borrower_id"
        ).fetchall() == [("(erased)", "(erased)", True), ("Petr", "+2", False)]
        connection.rollback()

    rows = [
        Unreadable("borrowers", "f", 2, "f: column born_on is no date", {"borrower_id": "B1", "name": "Jana"}, True),
        Unreadable("borrowers", "f", 3, "f: line 3", {"_text": "B1;Jana", "borrower_id": "B1;Jana"}, False),
        Unreadable("borrowers", "f", 4, "f: line 4", {"_text": "B12;Eva", "borrower_id": "B12;Eva"}, False),
        Unreadable("KLIENTI.TXT", "f", 5, "f: line 5", {"id": "B1", "jmeno": "Jana"}, False),
    ]
    prefixed = Unreadable("borrowers", "f", 6, "f: line 6", {"_text": "1;Jana", "borrower_id": "B1"}, False)
    with workplace.connect() as connection:
        found = blank_unreadable(connection, rows)
        assert blank_unreadable(connection, [prefixed], key_prefix="B")[0].row["_text"] == "(erased)"
        assert blank_unreadable(connection, [replace(prefixed, row={"_text": "1;Jana"})])[0].row["_text"] == "1;Jana"
    assert [row.row for row in found] == [
        {"borrower_id": "B1", "name": "(erased)"},
        {"_text": "(erased)", "borrower_id": "(erased)"},
        {"_text": "B12;Eva", "borrower_id": "B12;Eva"},
        {"id": "B1", "jmeno": "(erased)"},
    ]


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Ends the erasure before the nth thing that it does to the exports or to what is recorded of them."""
    calls = {"left": -1}

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            if calls["left"] == 0:
                raise Killed
            calls["left"] -= 1
            return function(*given, **more)

        return call

    for name in ("_announce", "_record", "_build"):
        monkeypatch.setattr(kept_exports.KeptExports, name, counted(getattr(kept_exports.KeptExports, name)))
    for name in ("exchange", "_remove", "sync_folder"):
        monkeypatch.setattr(kept_exports, name, counted(getattr(kept_exports, name)))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    yield lambda number: calls.update(left=number)
    calls["left"] = -1


@pytest.mark.parametrize("can_exchange", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_same_command_goes_on(
    workplace: Workplace,
    portfolio: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: Callable[[int], None],
    can_exchange: bool,
) -> None:
    run_day(portfolio(), D)
    for name in STEPS[:-1]:  # staged, but killed before it became visible
        run_step(name, D + timedelta(days=1), drop=portfolio("next"), source="contract")
    if not can_exchange:
        counted = kept_exports.exchange
        monkeypatch.setattr(kept_exports, "exchange", lambda *given: counted(*given) and exchange_back(*given))
    monkeypatch.setattr("arrears.privacy.erasure._vacuum", list)  # seconds, each time
    shutil.copytree(workplace.exports, tmp_path / "copy")
    recorded = workplace.rows("select as_of_date, revision, manifest_sha256 from ops.exports")
    erase("B1", "request 17")
    wanted, wanted_names = bytes_below(workplace.exports), sorted(map(str, workplace.exports.rglob("*")))
    wanted_rows = workplace.rows(
        "select as_of_date, manifest_sha256, becomes_sha256, state from ops.exports order by 1"
    )
    assert len([name for name in wanted if "Novot" in wanted[name].decode(errors="ignore")]) == 0

    number, killed = 0, True
    while killed:
        shutil.rmtree(workplace.exports)
        shutil.copytree(tmp_path / "copy", workplace.exports)
        for as_of, revision, sha256 in recorded:
            with workplace.connect() as connection:
                connection.execute(
                    "update ops.exports set manifest_sha256 = %s, becomes_sha256 = null"
                    " where as_of_date = %s and revision = %s",
                    [sha256, as_of, revision],
                )
        kill_at(number)
        try:
            erase("B1", "request 17")
            killed = False
        except Killed:
            kill_at(-1)
            erase("B1", "request 17")
        assert bytes_below(workplace.exports) == wanted, number
        assert sorted(map(str, workplace.exports.rglob("*"))) == wanted_names, number
        assert (
            workplace.rows("select as_of_date, manifest_sha256, becomes_sha256, state from ops.exports order by 1")
            == wanted_rows
        ), number
        number += 1
    assert number > 12

    kill_at(-1)
    run_step("export_queues", D + timedelta(days=1))  # what was staged becomes visible, blank
    assert queue_lines(workplace.exports / "2026-04-01")["L1"]["name"] == "(erased)"


def exchange_back(one: Path, other: Path) -> bool:
    """Undoes an exchange and says that the file system cannot."""
    from arrears.export.switching import exchange

    exchange(one, other)
    return False


def test_killed_in_the_database_nothing_is_changed_and_nothing_recorded(
    workplace: Workplace, portfolio: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_step("extract", D, drop=portfolio(), source="contract")
    run_step("gate_raw", D)
    with monkeypatch.context() as patch:
        patch.setattr("arrears.privacy.erasure.blank_findings", lambda *given: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            erase("B1", "request 17")
    assert workplace.rows("select * from ops.erasures") == []
    assert "raw.borrowers" in places_with(workplace, *TRACES)

    erase("B1", "request 17")

    assert places_with(workplace, *TRACES) == []


def test_wrong_use_is_told_in_one_sentence(workplace: Workplace, portfolio: Callable[..., Path]) -> None:
    run_step("extract", D, drop=portfolio(), source="contract")

    with pytest.raises(UsageError, match="No borrower B9 was ever delivered"):
        erase("B9", "request 17")
    with pytest.raises(UsageError, match="needs a reason"):
        erase("B1", " ")
    with workplace.connect() as connection:
        connection.execute("delete from ops.run_lock")
        connection.execute(
            "insert into ops.run_lock (run_id, owner_kind, host, pid, process_started_at, as_of_date)"
            " values ('scheduled', 'dag_run', 'elsewhere', 1, 0, %s)",
            [D],
        )
    with pytest.raises(WarehouseBusy, match="The run scheduled for 2026-03-31 holds the warehouse"):
        erase("B1", "request 17")
    with workplace.connect() as connection:
        connection.execute("delete from ops.run_lock")
    assert workplace.rows("select * from ops.erasures") == []


def test_the_command_prints_what_it_did_and_what_is_out_of_reach(
    workplace: Workplace, portfolio: Callable[..., Path]
) -> None:
    event = {"credit_event_id": "E1", "borrower_id": "B1", "kind": "fraud", "occurred_on": "2026-01-01"}
    folder = portfolio(credit_events=[event | {"evidence": "wrote from jana@priklad.cz on Monday"}])
    run_step("extract", D, drop=folder, source="contract")
    with workplace.connect() as connection:
        connection.execute("update ops.step_runs set message = 'Key (email)=(jana@priklad.cz) is there'")
    log = workplace.home / "logs" / "erasure-test.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("DETAIL: jana@priklad.cz stands here\n")

    printed = CliRunner().invoke(cli.app, ["erase", "B1", "--reason", "request 17", "--json"])

    assert printed.exit_code == 0, printed.output
    told = json.loads(printed.stdout)
    assert told["counts"] == {"raw.borrowers": 1, "raw.contact_points": 1, "raw.guarantees": 1}
    assert told["mentions"] == ["logs/erasure-test.log", "raw.credit_events.evidence: rows 1", "ops.step_runs: rows 1"]
    assert told["drops"] == [str(folder)]
    assert any("backups" in limit for limit in told["limits"])
    log.unlink()
    again = CliRunner().invoke(cli.app, ["erase", "B1", "--reason", "request 17"])
    assert "B1 is erased already; nothing was left to blank." in again.stdout
