"""The files of a day: what stands in them, byte for byte, and that nothing is left where they cannot be written."""

import csv
import hashlib
import io
import json
import os
import re
import resource
import string
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import psycopg
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arrears import export
from arrears.errors import ExportError
from arrears.export.rendering import Column, write_csv, write_parquet
from arrears.settings import get_settings
from tests.conftest import Workplace
from tests.exported import a_line, empty_queue

DAY = date(2026, 3, 31)


@pytest.fixture
def connection(workplace: Workplace) -> Iterator[psycopg.Connection]:
    """The pipeline's connection to a warehouse with an agency, a law firm, an internal team and an empty queue."""
    with workplace.connect(DAY) as opened:
        empty_queue(opened)
        yield opened
        opened.rollback()


def staged(connection: psycopg.Connection) -> export.StagedExport:
    return export.stage(connection, DAY, get_settings())


def lines(staged: export.StagedExport, recipient: str = "team") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((staged.folder / recipient / "queue.csv").read_text(encoding="utf-8"))))


def test_a_line_of_the_house_reads_as_expected(connection: psycopg.Connection) -> None:
    a_line(connection)

    assert (staged(connection).folder / "team/queue.csv").read_bytes().decode() == (
        "work_on,rank,loan_id,borrower_id,party_borrower_id,party_role,action,channel,reason,days_past_due,arrears_amount,"
        "currency,expected_net_amount,contact_from_at,contact_until_at,deadline_on,name,language,phone,email,street,postcode,"
        "city,country\n"
        "2026-04-01,1,L1,B1,B1,borrower,call,call,31 days past due,31,1234.50,EUR,-3.20,2026-04-01T06:00:00+00:00,"
        "2026-04-01T16:00:00+00:00,,Anna Nováková,,123,a@mail.example,,,Brno,CZ\n"
    )


def test_amounts_have_the_decimals_of_their_currency(connection: psycopg.Connection) -> None:
    for rank, currency in enumerate(("EUR", "JPY", "KWD"), start=1):
        a_line(connection, loan_id=f"L{rank}", rank=rank, currency=currency, arrears_amount=Decimal("1234"))
    made = lines(staged(connection))

    assert [line["arrears_amount"] for line in made] == ["1234.00", "1234", "1234.000"]
    assert {line["expected_net_amount"] for line in made} == {"-3.20"}  # in the reporting currency, EUR


def test_an_agency_sees_less_than_the_house_and_a_law_firm_no_telephone(connection: psycopg.Connection) -> None:
    for recipient in ("team", "aster", "cedar"):
        a_line(connection, recipient)
    made = staged(connection)

    assert {"reason", "expected_net_amount"} <= set(lines(made, "team")[0])
    assert not {"reason", "expected_net_amount", "borrower_id", "born_on"} & set(lines(made, "aster")[0])
    assert not {"phone", "email", "channel"} & set(lines(made, "cedar")[0])


CELLS = {
    "=HYPERLINK(A1)": "'=HYPERLINK(A1)",
    "+Plus Bau": "'+Plus Bau",
    "-2+3": "'-2+3",
    "@telier Nord": "'@telier Nord",
    "  =1+1": "'  =1+1",
    "\tTab": "'\tTab",
    "\rReturn": "'\rReturn",
    "＝1+1": "'＝1+1",
    "Nováková-Malá": "Nováková-Malá",
    'Haus, "Hof" & Co': 'Haus, "Hof" & Co',
    "two\nlines": "two\nlines",
    "\u3000=1+1": "'\u3000=1+1",
    "\u200b=1+1": "'\u200b=1+1",
    '"=1+1': "'\"=1+1",
    "Hof\n=1+1": "Hof\n'=1+1",
    "Hof;=1+1": "Hof;'=1+1",
    "Hof; 2": "Hof; 2",
}


def test_no_cell_starts_a_formula(connection: psycopg.Connection) -> None:
    for rank, name in enumerate(CELLS):
        a_line(connection, loan_id=f"L{rank}", rank=rank, name=name)
    made = staged(connection)

    with (made.folder / "team/queue.csv").open(encoding="utf-8", newline="") as file:
        assert [line["name"] for line in csv.DictReader(file)] == list(CELLS.values())
    assert pq.read_table(made.folder / "team/queue.parquet")["name"].to_pylist() == list(CELLS)


SIGNS = "=+-@＝＋－＠"
TEXTS = st.text(
    st.one_of(
        st.sampled_from(
            [*SIGNS, *" \t\r\n\v\f,;|\"'`", "\u00a0", "\u200b", "\u3000", "\ufeff", "\u2028", "1", "A", "č"]
        ),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    names=st.lists(TEXTS, min_size=20, max_size=60),
    arrears=st.decimals(min_value=-(10**12), max_value=10**12, places=4),
    day=st.dates(),
)
def test_whatever_a_text_is_no_cell_starts_a_formula_and_figures_stay_figures(
    connection: psycopg.Connection, tmp_path: Path, names: list[str], arrears: Decimal, day: date
) -> None:
    connection.execute("delete from working.collection_queue")
    connection.execute("delete from working.queue_contact_details")
    for number, name in enumerate(names):
        a_line(connection, loan_id=f"L{number}", rank=number, name=name, arrears_amount=arrears, deadline_on=day)
    columns = [
        Column("name", "queue_contact_details", "text"),
        Column("arrears_amount", "collection_queue", "numeric(20,4)"),
        Column("deadline_on", "collection_queue", "date"),
    ]
    line = ("as_of_date", "recipient_id", "loan_id", "party_borrower_id")
    for file, write in (("cells.csv", write_csv), ("cells.parquet", write_parquet)):
        (tmp_path / file).unlink(missing_ok=True)
        write(connection, tmp_path / file, columns, line, "team")

    with (tmp_path / "cells.csv").open(encoding="utf-8", newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert len(cells) == len(names)
    for cell, name in zip(cells, names, strict=True):
        # However a spreadsheet parts it: at line breaks, tabs and semicolons too, without its blanks and quotes.
        for part in re.split(r"[\t\r\n;]", cell["name"]):
            bare = part.strip(string.whitespace + '\u00a0\u200b\u2028\u3000\ufeff"`\x1c\x1d\x1e\x1f\x85')
            assert not bare.startswith(tuple(SIGNS)), (name, cell["name"])
        assert not cell["name"].startswith(("\t", "\r", "\n")), name
        assert cell["name"].replace("'", "") == name.replace("'", "")  # nothing else is touched
        assert Decimal(cell["arrears_amount"]) == arrears.quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert date.fromisoformat(cell["deadline_on"]) == day
    # Parquet has no cells that anything evaluates: the texts stand in it as they are.
    assert pq.read_table(tmp_path / "cells.parquet")["name"].to_pylist() == names


def test_parquet_holds_typed_values(connection: psycopg.Connection) -> None:
    a_line(connection, email="", phone=None)
    table = pq.read_table(staged(connection).folder / "team/queue.parquet")
    row = table.to_pylist()[0]

    assert row["arrears_amount"] == Decimal("1234.5000")
    assert row["work_on"] == date(2026, 4, 1)
    assert row["contact_from_at"].isoformat() == "2026-04-01T06:00:00+00:00"
    assert (row["email"], row["phone"], row["deadline_on"]) == ("", None, None)


def test_lines_stand_by_rank_then_by_key(connection: psycopg.Connection) -> None:
    for loan_id, rank in (("L10", 2), ("L9", 2), ("a", 1), ("B", 1)):
        a_line(connection, loan_id=loan_id, rank=rank)

    assert [line["loan_id"] for line in lines(staged(connection))] == ["B", "a", "L10", "L9"]


def test_the_same_day_twice_is_the_same_bytes(connection: psycopg.Connection) -> None:
    for number in range(300):
        a_line(connection, loan_id=f"L{number}", rank=number, recipient_id=("team", "aster")[number % 2])
    first = staged(connection)
    content = {name: (first.folder / name).read_bytes() for name in first.files}
    again = staged(connection)

    assert again.manifest_sha256 == first.manifest_sha256
    assert {name: (again.folder / name).read_bytes() for name in again.files} == content
    export.make_visible(again, replace_revision=None)
    assert export.differences(staged(connection), get_settings().exports / "2026-03-31") == []


def test_files_and_folders_are_for_the_owner_alone(connection: psycopg.Connection) -> None:
    a_line(connection)
    exports = get_settings().exports
    exports.mkdir()
    exports.chmod(0o750)
    before = os.umask(0)
    try:
        export.make_visible(staged(connection), replace_revision=None)
        waiting = staged(connection)
    finally:
        os.umask(before)

    modes = {path: path.stat().st_mode & 0o777 for path in exports.rglob("*")}
    assert len(modes) == 11  # two exports of a recipient with two files, the manifest, and the staging folder
    assert waiting.folder in modes
    assert {path.name for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == set()
    assert exports.stat().st_mode & 0o777 == 0o750  # whose folder it is, is not ours to say


def test_the_manifest_adds_up(connection: psycopg.Connection) -> None:
    a_line(connection, loan_id="L1")
    a_line(connection, loan_id="L2", rank=2, arrears_amount=Decimal("0.01"))
    a_line(connection, "aster", loan_id="L3", currency="JPY", arrears_amount=Decimal("900"))
    connection.execute(
        "insert into ops.gate_results (as_of_date, stage, suite, expectation, rule, scope, severity, is_passed,"
        " checked_count, failed_count, sentence) values"
        " (%(day)s, 'raw', 'raw.loans', 'e', 'r-1', 'row', 'critical', false, 9, 2, 's'),"
        " (%(day)s, 'queues', 'queues.collection_queue', 'e', 'q-1', 'table', 'critical', true, 3, 0, 's')",
        {"day": DAY},
    )
    made = staged(connection)
    manifest = json.loads((made.folder / "manifest.json").read_text())

    assert list(manifest) == ["as_of_date", "batches", "code_version", "files", "gate", "reporting_currency", "totals"]
    assert manifest["files"]["team/queue.csv"] == {
        "recipient_id": "team",
        "rows": 2,
        "sha256": hashlib.sha256((made.folder / "team/queue.csv").read_bytes()).hexdigest(),
        "totals": {"EUR": {"arrears_amount": "1234.51", "count": 2}},
    }
    assert manifest["totals"] == {
        "EUR": {"arrears_amount": "1234.51", "count": 2},
        "JPY": {"arrears_amount": "900", "count": 1},
    }
    assert manifest["gate"]["queues"] == {"result": "passed", "rules_failed": []}
    assert manifest["gate"]["raw"]["rules_failed"] == [
        {"rows": 2, "rule": "r-1", "severity": "critical", "suite": "raw.loans"}
    ]
    assert manifest["code_version"] == export.code_version()


def test_an_empty_day_has_a_manifest_and_nothing_else(connection: psycopg.Connection) -> None:
    assert staged(connection).files == ("manifest.json",)


def test_an_unknown_recipient_is_named(connection: psycopg.Connection) -> None:
    a_line(connection, "nobody")

    with pytest.raises(ExportError, match="the recipient nobody, which is no agency and no internal team"):
        staged(connection)
    assert not any((get_settings().exports / ".staging").iterdir())


def test_another_days_queue_is_refused(connection: psycopg.Connection) -> None:
    a_line(connection, as_of_date=date(2026, 3, 30))

    with pytest.raises(ExportError, match=r"holds the queues of 2026-03-30, not of 2026-03-31"):
        staged(connection)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(connection: psycopg.Connection) -> None:
    for number in range(2_000):
        a_line(connection, loan_id=f"L{number}", rank=number)
    exports = get_settings().exports

    with no_file_larger_than(64_000), pytest.raises(ExportError) as caught:
        staged(connection)

    assert str(caught.value).startswith(f"Writing the export to {exports}/.staging/2026-03-31.building failed: ")
    assert "earlier exports are as they were" in str(caught.value)
    assert [path for path in exports.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_rights_is_one_sentence(connection: psycopg.Connection, tmp_path: Path) -> None:
    a_line(connection)
    exports = get_settings().exports
    exports.mkdir()
    exports.chmod(0o500)

    with pytest.raises(ExportError, match="Permission denied"):
        staged(connection)


def test_a_file_where_the_folder_should_be_is_one_sentence(connection: psycopg.Connection) -> None:
    a_line(connection)
    get_settings().exports.write_text("not a folder")

    with pytest.raises(ExportError, match=r"Not a directory|File exists"):
        staged(connection)
