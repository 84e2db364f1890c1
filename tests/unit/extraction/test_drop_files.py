"""What is seen of a text before DuckDB reads it: encoding, header, line ends, blank lines."""

import gzip
from pathlib import Path

import pytest

from arrears.errors import SourceError
from arrears.extraction.drops import whole_files as drop_files
from arrears.extraction.drops.whole_files import DropFile, inspect
from arrears.extraction.sources import LenderFile


def inspected(folder: Path, content: bytes, name: str = "file.csv", **given: object) -> DropFile:
    (folder / name).write_bytes(content)
    return inspect(folder / name, name, LenderFile.model_validate({"pattern": name, **given}))


@pytest.mark.parametrize(
    ("content", "lines", "blank", "is_mixed"),
    [
        (b"a,b\n1,2\n", 2, (), False),
        (b"a,b\n1,2", 2, (), False),
        (b"a,b\r\n1,2\r\n", 2, (), False),
        (b"a,b\r\n1,2\n3,4\r\n", 3, (), True),
        (b'a,b\r\n1,"x\ny"\r\n', 3, (), False),  # a line feed inside quotes is part of the value
        (b'a,b\n1,"x\r\n\r\ny"\n', 4, (), False),
        (b"a,b\n\n1,2\n\n\n", 5, (2, 4, 5), False),
        (b"a,b\r\n1,2\r\n\r\n3,4\r\n", 4, (3,), False),
        (b'a,b\n1,5" pipe\n\n', 3, (3,), False),  # a quote inside a value that is not quoted
        (b'a,b\n1,"5"" \n\npipe"\n\n3,""\n\n', 7, (5, 7), False),
    ],
)
@pytest.mark.parametrize("size", [drop_files.CHUNK, 2, 3, 5])
def test_lines_are_counted_whatever_the_pieces_they_are_read_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    lines: int,
    blank: tuple[int, ...],
    is_mixed: bool,
    size: int,
) -> None:
    monkeypatch.setattr(drop_files, "CHUNK", size)
    file = inspected(tmp_path, content)

    assert (file.line_count, file.has_mixed_ends) == (lines, is_mixed)
    assert drop_files.blank_lines(file.path, file) == blank


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\r1,2\r", "its lines end in a carriage return alone: end them in LF or CRLF."),
        (b"a,b\n1,x\ry\n", "line 2: a carriage return in the middle of the line: quote the value that holds it."),
        (b"a,,c\n1,2,3\n", "line 1: column 2 of the header has no name."),
        (b"a,A\n1,2\n", "line 1: column A stands twice in the header."),
        (b'a,"b\nc"\n1,2\n', "line 1: the header must stand on one line, each name in closed quotes."),
        ("a,b\n1,2\n".encode("utf-16"), "line 1: not UTF-8; write it so, or say its encoding in source.yml."),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1: holds NUL bytes: not UTF-8 text, or UTF-16 that source.yml does"),
        (b"", "empty, not even a header line."),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_line(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(SourceError) as caught:
        inspected(tmp_path, content)

    assert words in str(caught.value)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le"])
def test_utf_16_is_read_where_it_is_named(tmp_path: Path, codec: str) -> None:
    content = 'náme,b\n"1\n2",3\n\n'.encode(codec)

    file = inspected(tmp_path, content, encoding="utf-16")

    assert (file.header, file.line_count) == (("náme", "b"), 4)


def test_bytes_that_are_not_of_the_named_encoding_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"file\.csv: not utf-16, near line 3 \(truncated data\)"):
        inspected(tmp_path, "a,b\n1,2\n".encode("utf-16") + b"\x31", encoding="utf-16")


def test_a_broken_gzip_file_and_an_unnamed_workbook_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n1,2\n" * 1000)

    with pytest.raises(SourceError, match=r"file\.csv\.gz: not a whole gzip file"):
        inspected(tmp_path, whole[:-10], "file.csv.gz")
    with pytest.raises(SourceError, match=r"file\.csv\.gz: not a whole gzip file \(Not a gzipped file"):
        inspected(tmp_path, b"a,b\n", "file.csv.gz")
    with pytest.raises(SourceError, match=r"book\.xlsx: an Excel file; say format: excel for it in source\.yml"):
        inspected(tmp_path, b"PK", "book.xlsx")
