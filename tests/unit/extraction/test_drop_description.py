"""What drop.yml may say, and the sentence where it says something else."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from arrears.errors import SourceError
from arrears.extraction.drops.description import check_names, read_description
from arrears.extraction.sources import Source

DIGITS = "12345678901234567.8901"


def a_source(**more: object) -> Source:
    return Source.model_validate(
        {"name": "contract", "folder": "/nowhere", "description": "", "engine": "files", **more}
    )


def described(folder: Path, text: str) -> Path:
    (folder / "drop.yml").write_text(text)
    return folder


def test_everything_it_may_say_is_read_and_amounts_stay_exact(tmp_path: Path) -> None:
    folder = described(
        tmp_path,
        f"""
as_of: 2026-03-30
mode: delta
after: 2026-03-29
source: contract
tables:
  loans: {{mode: full, rows: 2, sha256: {"A" * 64}}}
  transactions: {{totals: {{amount: {DIGITS}}}}}
""",
    )

    said = read_description(folder)

    assert (said.as_of, said.mode, said.after) == (date(2026, 3, 30), "delta", date(2026, 3, 29))
    assert (said.mode_of("loans"), said.mode_of("transactions"), said.mode_of("charges")) == ("full", "delta", "delta")
    assert said.tables["transactions"].totals == {"amount": Decimal(DIGITS)}


def test_without_the_file_or_with_an_empty_one_a_drop_is_full(tmp_path: Path) -> None:
    assert read_description(tmp_path).mode == "full"
    assert read_description(described(tmp_path, "")).mode == "full"


def test_saying_what_holds_anyway_is_no_other_content(tmp_path: Path) -> None:
    plain = read_description(
        described(tmp_path, "as_of: 2026-03-30\nmode: full\ntables: {loans: {mode: full, rows: 2}}")
    )
    delta = read_description(described(tmp_path, "mode: delta"))
    part = read_description(described(tmp_path, "tables: {transactions: {complete_from: 2026-03-01}}"))

    assert plain.content() == ""
    assert len({plain.content(), delta.content(), part.content()}) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mode: full\nmood: delta\n", "drop.yml, line 2, key mood: no such key."),
        ("mode: partial\n", "drop.yml, line 1, key mode: Input should be 'full' or 'delta'."),
        ("as_of: 20260330\n", "drop.yml, line 1, key as_of: not a date YYYY-MM-DD."),
        ("tables:\n  loans:\n    rows: many\n", "drop.yml, line 3, key tables.loans.rows: Input should be"),
        ("tables:\n  loans: {sha256: abc}\n", "drop.yml, line 2, key tables.loans.sha256: String should match"),
        ("tables: {loans: {totals: {x: much}}}\n", "key tables.loans.totals.x: Input should be a valid decimal."),
        ("mode: full\nmode: delta\n", "drop.yml, line 2: not YAML: key mode stands twice."),
        ("mode: [\n", "drop.yml, line 2: not YAML: "),
        ("- mode\n", "drop.yml, line 1: not a list of keys with their values."),
        ("after: 2026-03-29\n", "line 1, key after: only a delta follows another drop"),
        (
            "as_of: 2026-03-29\nmode: delta\nafter: 2026-03-29\n",
            "line 3, key after: a drop of 2026-03-29 cannot follow one of 2026-03-29.",
        ),
    ],
)
def test_what_it_may_not_say_is_named_with_line_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_description(described(tmp_path, text))

    assert words in str(caught.value)


def test_bytes_that_are_not_utf_8_and_a_folder_are_no_description(tmp_path: Path) -> None:
    (tmp_path / "drop.yml").write_bytes(b"source: Jos\xe9\n")
    with pytest.raises(SourceError, match=r"drop\.yml: not UTF-8"):
        read_description(tmp_path)

    (tmp_path / "drop.yml").unlink()
    (tmp_path / "drop.yml").mkdir()
    with pytest.raises(SourceError, match=r"drop\.yml: cannot be read: Is a directory"):
        read_description(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tables:\n  loan: {rows: 1}\n", "line 2, key tables.loan: the contract has no table loan; it has borrowers,"),
        ("tables:\n  charges: {rows: 1}\n", "key tables.charges: table charges is named here but not delivered"),
        (
            "tables:\n  loans:\n    complete_from: 2026-03-01\n",
            "line 3, key tables.loans.complete_from: loans does not only grow",
        ),
        (
            "mode: delta\ntables:\n  transactions: {complete_from: 2026-03-01}\n",
            "key tables.transactions.complete_from: a delta is never complete",
        ),
    ],
)
def test_a_table_that_the_drop_does_not_have_so_is_refused(tmp_path: Path, text: str, words: str) -> None:
    folder = described(tmp_path, text)

    with pytest.raises(SourceError) as caught:
        check_names(folder, read_description(folder), a_source(), ["loans", "transactions"])

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tables: {lent: {rows: 1}}", "key tables.lent: source lender has neither a file lent nor a SELECT lent.sql"),
        ("tables: {payments: {rows: 1}}", "file payments is named here but not delivered"),
        ("tables: {loans: {rows: 1}}", "key tables.loans.rows: only a delivered file has it, and loans comes from"),
        ("tables: {contracts: {mode: delta}}", "key tables.contracts.mode: only a table of the contract has it"),
    ],
)
def test_of_a_lenders_own_files_it_counts_files_and_says_the_mode_of_tables(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "loans.sql").write_text("select 1")
    files = {"contracts": {"pattern": "contracts.csv"}, "payments": {"pattern": "payments.csv"}}
    source = a_source(name="lender", folder=tmp_path, files=files)
    folder = described(tmp_path, text)

    with pytest.raises(SourceError) as caught:
        check_names(folder, read_description(folder), source, ["contracts"])

    assert words in str(caught.value)
