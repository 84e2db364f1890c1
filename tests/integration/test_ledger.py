"""The audit ledger: written with what it records, and nobody changes it unnoticed."""

import json
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from arrears import cli, steps
from arrears.errors import LedgerError
from arrears.ledger import heads
from arrears.ledger.proofs import extension, prove
from arrears.ledger.recording import record
from arrears.ledger.verification import Report, verify
from arrears.privacy.erasure import erase
from arrears.settings import CHECKOUT, get_settings
from arrears.warehouse import backup
from tests.conftest import Workplace, forget_settings
from tests.day import run_day, run_step
from tests.portfolio import a_repayment

D = date(2026, 3, 31)
SCRIPT = CHECKOUT / "scripts" / "check_ledger_proof.py"


@pytest.fixture(autouse=True)
def _owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between steps the warehouse belongs to this process."""
    monkeypatch.setattr(steps, "owner_kind", "process")


def verified(workplace: Workplace) -> Report:
    with workplace.connect() as connection:
        return verify(connection)


def kinds(workplace: Workplace) -> list[tuple[object, ...]]:
    return workplace.rows("select kind, subject, number from ledger.entries order by position")


def checked(proof: Path, *given: object) -> subprocess.CompletedProcess[str]:
    """The third party's check: another Python, no package, no database."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), str(proof), *map(str, given)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_day_is_written_once_and_whole(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)

    first = kinds(workplace)
    batch = workplace.value("select batch_id from ops.batches")
    assert first == [
        ("opened", "ledger", 1),
        ("batch", batch, 1),
        ("gate", f"{D}/raw", 1),
        ("gate", f"{D}/marts", 1),
        ("gate", f"{D}/queues", 1),
        ("model", "expert_scorecard_v1", 1),
        ("export", f"{D}/1", 1),
    ]
    lines = workplace.value("select count(*) from marts.collection_queue")
    assert lines
    report = verified(workplace)
    assert (report.findings, report.entries, report.exports, report.lines, report.heads) == ([], 7, 1, lines, 1)
    told = workplace.value("select cast(leaf as jsonb) -> 'content' from ledger.entries where kind = 'export'")
    assert isinstance(told, dict)
    assert told["lines"] == lines
    assert told["manifest_sha256"] == workplace.value("select manifest_sha256 from ops.exports")
    assert told["lines_root"] == workplace.value(
        "select encode(ledger.root_of(array_agg(leaf_hash order by line_number)), 'hex') from ledger.lines"
    )

    run_day(drop(), D)

    assert kinds(workplace) == first


def test_a_replacement_and_a_blocked_day_are_written_with_their_reason(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    more = drop("more", transactions=[a_repayment("T1"), a_repayment("T9", "L2")])
    run_day(more, D, replace="L2 paid")

    states = workplace.rows(
        "select cast(leaf as jsonb) -> 'content' ->> 'state' from ledger.entries where kind = 'batch' order by position"
    )
    assert states == [("accepted",), ("superseded",), ("accepted",)]
    assert workplace.rows(
        "select subject, cast(leaf as jsonb) -> 'content' ->> 'reason' from ledger.entries"
        " where kind = 'export' order by position"
    ) == [(f"{D}/1", None), (f"{D}/2", "L2 paid")]
    assert verified(workplace).findings == []


def test_killed_between_rename_and_record_the_export_is_written_when_it_is_said_to_be_done(
    workplace: Workplace, drop: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("extract", "gate_raw", "build_marts", "gate_marts", "assign_agencies", "build_queues", "gate_queues"):
        run_step(name, D, drop=drop(), source="contract")
    run_step("publish", D)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "record_export", lambda *given: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError):
            run_step("export_queues", D)
    assert (workplace.exports / D.isoformat()).exists()
    assert workplace.value("select state from ops.exports") == "intended"
    assert ("export", f"{D}/1", 1) not in kinds(workplace)

    run_step("publish", D)  # as every publish and build_marts, finishes what was interrupted

    assert workplace.value("select state from ops.exports") == "done"
    assert kinds(workplace)[-1] == ("export", f"{D}/1", 1)
    assert verified(workplace).findings == []


LINE_1 = "as_of_date = '2026-03-31' and line_number = 1"
FORGED_LEAF = "sha256('\\x00'::bytea || salt || convert_to(replace(leaf, '\"rank\": ', '\"rank\": 7'), 'UTF8'))"


TAMPERINGS = [
    ("update ledger.entries set leaf = replace(leaf, 'false', 'true') where position = 2", "entry 2 (gate"),
    ("update ledger.entries set salt = substr(sha256('x'), 1, 16) where position = 3", "entry 3 (gate"),
    ("update ledger.entries set leaf_hash = sha256('x') where position = 2", "entry 2 (gate"),
    (
        "update ledger.entries set leaf = replace(leaf, 'false', 'true'), leaf_hash = sha256('\\x00'::bytea || salt"
        " || convert_to(replace(leaf, 'false', 'true'), 'UTF8')) where position = 3",
        "entry 3 (gate 2026-03-31/marts) was changed",
    ),
    ("delete from ledger.entries where position = 2", "entry 2 was removed"),
    (
        "delete from ledger.entries where position = 2; update ledger.entries set position = position - 1"
        " where position = 3; update ledger.entries set position = position - 1 where position > 3",
        "entry 2 was removed",
    ),
    ("delete from ledger.entries", "the ledger is empty"),
    (
        "update ledger.entries set leaf = replace(leaf, 'lines_root', 'x'), leaf_hash = sha256('\\x00'::bytea || salt"
        " || convert_to(replace(leaf, 'lines_root', 'x'), 'UTF8')) where position = 6",
        "entry 6 (export 2026-03-31/1) cannot be read: KeyError('lines_root')",
    ),
    ("delete from ledger.entries where position = 6", "entries 6 to 6 were removed"),
    (
        "update ledger.entries set position = 99 where position = 2; update ledger.entries set position = 2"
        " where position = 3; update ledger.entries set position = 3 where position = 99",
        "entry 2 (gate 2026-03-31/raw) was moved: it stands at position 3",
    ),
    (
        "update ledger.entries set position = position + 100 where position > 2;"
        " update ledger.entries set position = position - 99 where position > 100;"
        " insert into ledger.entries (position, leaf, salt, leaf_hash) select 3, forged, salt,"
        " sha256('\\x00'::bytea || salt || convert_to(forged, 'UTF8')) from (select salt,"
        " replace(leaf, '/raw', '/forged') as forged from ledger.entries where position = 2) as made",
        "entry 3 (gate 2026-03-31/forged) was inserted",
    ),
    (f"update ledger.line_openings set leaf = replace(leaf, 'L', 'M') where {LINE_1}", "line 1 (loan"),
    (f"update ledger.line_openings set salt = uuid_send(gen_random_uuid()) where {LINE_1}", "line 1 (loan"),
    (f"update ledger.lines set leaf_hash = sha256('x') where {LINE_1}", "line 1 (loan"),
    (f"update ledger.lines set previous_hash = sha256('x') where {LINE_1}", "line 1 (loan"),
    (
        f"update ledger.lines set leaf_hash = (select {FORGED_LEAF} from ledger.line_openings where {LINE_1})"
        f" where {LINE_1}; update ledger.line_openings set leaf = replace(leaf, '\"rank\": ', '\"rank\": 7')"
        f" where {LINE_1}",
        "line 1 (loan",
    ),
    (f"delete from ledger.lines where {LINE_1}", "line 1 was removed"),
    (f"delete from ledger.line_openings where {LINE_1}", "what opens line 1 was removed, and no erasure says so"),
    ("delete from ledger.lines; delete from ledger.line_openings", "line 0 was removed"),
    ("update ops.exports set manifest_sha256 = repeat('0', 64)", "export 2026-03-31 revision 1 has the manifest"),
    ("update ops.batches set state = 'rejected'", "is rejected, the ledger says accepted"),
]


def test_a_superuser_s_tampering_is_found_and_named(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)
    for tampering, finding in TAMPERINGS:
        with workplace.connect(role="admin") as connection:
            connection.execute("set local session_replication_role = replica")  # no trigger looks
            for statement in tampering.split("; "):
                assert connection.execute(statement.encode()).rowcount, statement
            found = verify(connection).findings
            connection.rollback()
        assert any(finding in one for one in found), (tampering, found)
        assert len(found) <= 3, (tampering, found)
    assert verified(workplace).findings == []


def test_a_ledger_rewritten_with_all_its_hashes_does_not_fit_a_head(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    with workplace.connect(role="admin") as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("create temporary table kept as select * from ledger.entries order by position")
        connection.execute("delete from ledger.entries where position >= 3")
        for content, kind, subject in connection.execute(
            "select cast(leaf as jsonb) -> 'content', kind, subject from kept where position >= 3 order by position"
        ).fetchall():
            record(connection, kind, subject, content | ({"is_blocked": True} if kind == "gate" else {}))

    assert verified(workplace).findings == [
        "one of the entries 0 to 6 was changed, with every hash after it: the head of "
        f"{next(heads.read(get_settings().ledger_heads_file)).at} does not fit"
    ]


def test_the_pipeline_can_add_and_can_neither_change_nor_remove(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    for statement in (
        "update ledger.entries set salt = salt",
        "delete from ledger.entries",
        "truncate ledger.entries",
        "insert into ledger.entries (position, leaf, salt, leaf_hash) select 99, leaf, salt, leaf_hash"
        " from ledger.entries limit 1",
        "update ledger.lines set leaf_hash = leaf_hash",
        "delete from ledger.lines",
        "truncate ledger.lines",
        "update ledger.line_openings set salt = salt",
        "delete from ledger.line_openings",
        "alter table ledger.entries disable trigger all",
        "drop table ledger.lines",
    ):
        with workplace.connect() as pipeline, pytest.raises(psycopg.errors.InsufficientPrivilege):
            pipeline.execute(statement.encode())
    for statement in (
        "update ledger.entries set salt = salt",
        "delete from ledger.entries",
        "truncate ledger.entries",
        "update ledger.lines set leaf_hash = leaf_hash",
        "delete from ledger.lines",
        "truncate ledger.lines",
        "update ledger.line_openings set salt = salt",
        "truncate ledger.line_openings",
    ):
        with (
            workplace.connect(role="admin") as admin,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="The audit ledger only grows"),
        ):
            admin.execute(statement.encode())
    with workplace.connect(role="audit") as auditor:
        assert verify(auditor).is_whole


def test_two_writers_do_not_fork_the_chain(workplace: Workplace) -> None:
    def write(writer: int) -> None:
        for number in range(20):
            with workplace.connect() as connection:
                record(connection, "gate", f"{writer}/{number}", {"number": number})

    writers = [threading.Thread(target=write, args=[writer]) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    report = verified(workplace)
    assert (report.findings, report.entries) == ([], 61)


def test_a_transaction_that_is_undone_leaves_no_entry(workplace: Workplace) -> None:
    with workplace.connect() as connection:
        assert record(connection, "gate", "one", {"held": 1}) == 1
        connection.rollback()
        assert record(connection, "gate", "one", {"held": 2}) == 1
        assert record(connection, "gate", "one", {"held": 2}) == 1
        assert record(connection, "gate", "one", {"held": 1}) == 2
    assert verified(workplace).findings == []


def test_a_third_party_checks_an_export_a_file_and_a_line(
    workplace: Workplace, drop: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARREARS_LEDGER_KEY", b64encode(bytes(range(32))).decode())
    forget_settings()
    run_day(drop(), D)
    head, proof = tmp_path / "head.json", tmp_path / "proof.json"
    runner = CliRunner()
    printed = runner.invoke(cli.app, ["ledger", "head", "--to", str(head)])
    assert printed.exit_code == 0, printed.output
    key = json.loads(printed.stdout)["public_key"]
    run_day(drop(), D + timedelta(days=1))  # the ledger has grown since the head was handed over

    def proved(*given: str) -> Path:
        done = runner.invoke(cli.app, ["ledger", "prove", *given, "--head", str(head)])
        assert done.exit_code == 0, done.output
        proof.write_text(done.stdout)
        return proof

    manifest = workplace.exports / D.isoformat() / "manifest.json"
    done = checked(proved(str(D)), "--head", head, "--key", key, "--file", manifest)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "PROVED"), done.stdout
    queue = next((workplace.exports / D.isoformat()).glob("*/queue.csv"))
    done = checked(proved(str(queue)), "--head", head, "--file", queue)
    assert done.returncode == 0 and "is one of the export" in done.stdout, done.stdout
    loan = str(workplace.value("select loan_id from marts.collection_queue where as_of_date = %s limit 1", D))
    done = checked(proved(str(D), "--loan", loan), "--head", head)
    assert done.returncode == 0 and f'"loan_id": "{loan}"' in done.stdout, done.stdout

    told = json.loads(proof.read_text())
    told["lines"][0]["leaf"] = told["lines"][0]["leaf"].replace('"rank": ', '"rank": 9')
    proof.write_text(json.dumps(told))
    done = checked(proof, "--head", head)
    assert (done.returncode, done.stdout) == (
        1,
        "NOT PROVED: the line does not lead to the root in the export's entry\n",
    )
    grown = runner.invoke(cli.app, ["ledger", "head", "--since", str(head)])
    proof.write_text(grown.stdout)
    done = checked(proof, "--head", head, "--key", key)
    assert done.returncode == 0 and "was only added to" in done.stdout, done.stdout
    assert runner.invoke(cli.app, ["ledger", "verify"]).exit_code == 0


def test_what_is_not_there_is_not_proved(workplace: Workplace, drop: Callable[..., Path]) -> None:
    run_day(drop(), D)
    queue = next((workplace.exports / D.isoformat()).glob("*/queue.csv"))
    queue.write_text(queue.read_text() + "\n")
    with workplace.connect() as connection:
        with pytest.raises(LedgerError, match="is not as it was exported"):
            prove(connection, str(queue))
        connection.rollback()
        with pytest.raises(LedgerError, match="has no export of 2026-04-02"):
            prove(connection, "2026-04-02")
        connection.rollback()
        with pytest.raises(LedgerError, match="No line of loan NOBODY can be opened"):
            prove(connection, str(D), loan="NOBODY")
        connection.rollback()
        other = heads.make(connection)
        connection.rollback()
        with pytest.raises(LedgerError, match="does not go on from the head"):
            extension(connection, replace(other, root="00" * 32))


def test_erasing_a_borrower_leaves_the_ledger_whole_and_closes_their_lines(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    run_day(drop(), D)
    loan, borrower = workplace.rows("select loan_id, borrower_id from marts.collection_queue order by loan_id limit 1")[
        0
    ]
    mine = workplace.value("select count(*) from marts.collection_queue where borrower_id = %s", borrower)
    leaves = workplace.rows("select * from ledger.lines order by line_number")

    done = erase(str(borrower), "request 17")

    assert done.counts["ledger.line_openings"] == mine
    assert workplace.rows("select * from ledger.line_openings where borrower_id = %s", borrower) == []
    assert workplace.rows("select * from ledger.lines order by line_number") == leaves
    report = verified(workplace)
    assert (report.findings, report.erased_lines) == ([], mine)
    with workplace.connect() as connection, pytest.raises(LedgerError, match="or its borrower was erased"):
        prove(connection, str(D), loan=str(loan))
    told = workplace.value("select leaf from ledger.entries where kind = 'erasure'")
    assert str(borrower) not in str(told) and str(loan) not in str(told)
    size = len(kinds(workplace))
    assert erase(str(borrower), "request 17").is_nothing_left
    assert len(kinds(workplace)) == size


def test_a_backup_carries_the_ledger(workplace: Workplace, drop: Callable[..., Path], tmp_path: Path) -> None:
    run_day(drop(), D)
    backup.back_up(tmp_path / "backup")

    told = json.loads((tmp_path / "backup" / "backup.json").read_text())
    assert told["tables"]["ledger.entries"] == 7
    assert told["tables"]["ledger.lines"] == told["tables"]["ledger.line_openings"] > 0
