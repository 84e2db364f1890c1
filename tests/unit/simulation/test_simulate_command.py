"""`arrears simulate`: what is refused before anything is written, and what a run prints."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arrears.cli import app
from arrears.errors import UsageError
from arrears.simulation.portfolio.parameters import FILE, parameters

runner = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say where it goes"),
        (["--out", "x", "--format", "xlsx"], "--format xlsx: csv or parquet"),
        (["--out", "x", "--deltas"], "--deltas needs --daily"),
        (["--out", "x", "--daily", "2026-03-30", "2026-03-31", "--as-of", "2026-03-31"], "--daily says the days"),
        (["--out", "x", "--daily", "2026-03-31", "2026-03-30"], "no series of 1 to 366 days"),
        (["--postgres", "postgresql://x", "--defects", "year_0206"], "--defects spoils drops of files"),
        (["--out", "x", "--format", "parquet", "--defects", "truncated_file"], "spoils a text file"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    result = runner.invoke(app, ["simulate", *arguments])

    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_the_next_command_is_printed(tmp_path: Path) -> None:
    result = runner.invoke(app, ["simulate", "--loans", "100", "--months", "12", "--out", str(tmp_path / "out")])

    assert result.exit_code == 0
    assert f"run --source contract --drop {tmp_path / 'out'} --as-of 2026-03-31" in result.output


def test_results_come_as_json(tmp_path: Path) -> None:
    arguments = ["simulate", "--loans", "100", "--months", "12", "--out", str(tmp_path / "out"), "--format", "parquet"]
    result = runner.invoke(app, [*arguments, "--json"])

    found = json.loads(result.output)
    assert found["rows"]["loans"] == 100
    assert (tmp_path / "out/2026-03-31/loans.parquet").is_file()


def test_the_kinds_of_defects_are_listed() -> None:
    result = runner.invoke(app, ["simulate", "--defects", "list"])

    assert "year_0206: a due date in the year 206 (instalments)" in result.output


def test_an_unknown_parameter_is_one_sentence_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "parameters.yml"
    file.write_text(FILE.read_text(encoding="utf-8").replace("  persistence:", "  persistance:"), encoding="utf-8")

    with pytest.raises(UsageError, match=r"parameters.yml: capacity.persist[ea]nce: .*; mend that key"):
        parameters(file)
