"""An Excel sheet becomes rows of text, as a CSV would hold them."""

from datetime import date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from arrears.errors import SourceError
from arrears.extraction.drops.formats import Readable, prepare
from arrears.extraction.drops.whole_files import inspect
from arrears.extraction.sources import LenderFile
from tests.workbooks import Error, write_workbook


def prepared(file: Path, **given: object) -> Readable:
    format_ = LenderFile.model_validate({"pattern": file.name, "format": "excel", **given})
    return prepare(inspect(file, file.name, format_), file.with_name("copy"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (0.1 + 0.2, "0.3"),  # 0.30000000000000004 in the file: Excel shows and means 15 digits
        (1200, "1200"),
        (1200.0, "1200"),
        (1e-7, "0.0000001"),
        (-0.0, "0"),
        (123456789012.34, "123456789012.34"),
        (True, "true"),
        (date(2026, 3, 31), "2026-03-31"),
        (datetime(2026, 3, 31, 12, 30, 15), "2026-03-31 12:30:15"),  # noqa: DTZ001
        ("007", "007"),
        ("First\nsecond", "First\nsecond"),
    ],
)
def test_a_cell_reads_as_a_csv_would_hold_it(tmp_path: Path, value: object, text: str) -> None:
    readable = prepared(write_workbook(tmp_path / "book.xlsx", {"one": [["a"], [value]]}))

    assert pq.read_table(readable.path).to_pylist() == [{"a": text, "_line": 2}]


def test_lines_are_the_sheets_rows_and_empty_ones_are_none(tmp_path: Path) -> None:
    rows = [[], [None, "a", "b"], [], [None, "1", None], [None, None, None], [None, "2", 3]]
    readable = prepared(write_workbook(tmp_path / "book.xlsx", {"other": [["x"]], "it": rows}), sheet="it")

    assert readable.file.header == ("a", "b")
    assert pq.read_table(readable.path).to_pylist() == [
        {"a": "1", "b": None, "_line": 4},
        {"a": "2", "b": "3", "_line": 6},
    ]


def test_a_row_with_an_error_or_a_cell_beyond_the_header_costs_itself_only(tmp_path: Path) -> None:
    rows = [["a", "b"], ["1", Error("#N/A")], ["2", "x", "y"], ["3", "z"]]
    readable = prepared(write_workbook(tmp_path / "book.xlsx", {"one": rows}))

    assert [(bad.line, bad.told, bad.row) for bad in readable.bad_lines] == [
        (2, "cell B2 holds an error (#N/A, #REF! or the like)", {"a": "1", "b": None}),
        (3, "cell C3 stands under no column name", {"a": "2", "b": "x"}),
    ]
    assert pq.read_table(readable.path).to_pylist() == [{"a": "3", "b": "z", "_line": 4}]


def test_a_workbook_that_is_none_a_sheet_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    book = write_workbook(tmp_path / "book.xlsx", {"one": [["a", "a"], [1, 2]], "two": []})

    with pytest.raises(SourceError, match=r"book\.xlsx: has no sheet three; its sheets are one, two"):
        prepared(book, sheet="three")
    with pytest.raises(SourceError, match=r"book\.xlsx, sheet two: empty, not even a header row"):
        prepared(book, sheet="two")
    with pytest.raises(SourceError, match=r"book\.xlsx, sheet one, line 1: column a stands twice in the header"):
        prepared(book)
    book.write_bytes(book.read_bytes()[:500])
    with pytest.raises(SourceError, match=r"book\.xlsx: not a readable Excel workbook: "):
        prepared(book)
