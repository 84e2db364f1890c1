"""Which folder is the drop of a date, whether it has arrived, and whether its files are what they should be."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest

from arrears.errors import NotDelivered, SourceError
from arrears.extraction.drops.folders import Drop, find_drop_folder, has_arrived, open_drop
from arrears.extraction.sources import Source
from tests.portfolio import write_drop

D = date(2026, 3, 30)


def a_source(**more: object) -> Source:
    return Source.model_validate(
        {"name": "contract", "folder": "/nowhere", "description": "", "engine": "files", **more}
    )


def opened(folder: Path, source: Source | None = None) -> Drop:
    return open_drop(source or a_source(), find_drop_folder(source or a_source(), folder, D))


def test_a_full_drop_has_the_content_hash_it_always_had(tmp_path: Path) -> None:
    folder = write_drop(tmp_path)
    names = ("borrowers", "instalments", "loans", "transactions")
    sums = {name: hashlib.sha256((folder / f"{name}.csv").read_bytes()).hexdigest() for name in names}
    expected = hashlib.sha256("".join(f"{name}\0{sums[name]}\n" for name in names).encode()).hexdigest()

    assert opened(folder).content_sha256 == expected
    (folder / "drop.yml").write_text("as_of: 2026-03-30\nmode: full\ntables: {loans: {rows: 2}}\n")
    assert opened(folder).content_sha256 == expected
    (folder / "drop.yml").write_text("mode: delta\nafter: 2026-03-29\n")
    assert opened(folder).content_sha256 != expected
    assert opened(folder).hashes.keys() == {"drop.yml", *(f"{name}.csv" for name in names)}


def test_a_drop_of_another_source_is_refused(tmp_path: Path) -> None:
    (write_drop(tmp_path) / "drop.yml").write_text("as_of: 2026-03-30\nsource: berka\n")

    with pytest.raises(SourceError, match="line 2, key source: a drop of the wrong lender: of source berka, where con"):
        opened(tmp_path)


def test_an_earlier_drop_has_not_arrived_yet_and_a_later_one_never_will(tmp_path: Path) -> None:
    drop_yml = write_drop(tmp_path) / "drop.yml"

    drop_yml.write_text("as_of: 2026-03-29\n")
    with pytest.raises(NotDelivered, match=r"key as_of: the drop is of 2026-03-29, earlier than the date asked for"):
        opened(tmp_path)
    assert not has_arrived(a_source(), tmp_path, D)

    drop_yml.write_text("as_of: 2026-03-31\n")
    with pytest.raises(SourceError, match=r"the drop is of 2026-03-31, later than the date asked for, 2026-03-30"):
        has_arrived(a_source(), tmp_path, D)


def test_a_dated_folder_of_another_date_by_its_own_word_is_refused(tmp_path: Path) -> None:
    (write_drop(tmp_path / "2026-03-30") / "drop.yml").write_text("as_of: 2026-03-29\n")

    with pytest.raises(
        SourceError, match="the drop is of 2026-03-29, but stands in the folder of 2026-03-30"
    ) as caught:
        opened(tmp_path)
    assert not isinstance(caught.value, NotDelivered)


def test_two_drops_of_one_date_are_refused_by_name(tmp_path: Path) -> None:
    write_drop(tmp_path / "2026-03-30")
    write_drop(tmp_path)

    with pytest.raises(
        SourceError, match=r"two drops of 2026-03-30: the folder .*/2026-03-30 and .*borrowers\.csv bes"
    ):
        opened(tmp_path)


def test_files_beside_dated_folders_are_the_drop_of_the_date_that_they_say(tmp_path: Path) -> None:
    write_drop(tmp_path / "2026-03-29")
    (write_drop(tmp_path) / "drop.yml").write_text("as_of: 2026-03-30\n")

    assert find_drop_folder(a_source(), tmp_path, D) == tmp_path
    assert find_drop_folder(a_source(), tmp_path, date(2026, 3, 29)) == tmp_path / "2026-03-29"


def test_one_table_in_two_files_is_refused_by_name(tmp_path: Path) -> None:
    shutil.copy(write_drop(tmp_path) / "loans.csv", tmp_path / "loans.xlsx")

    with pytest.raises(SourceError, match=r"table loans is delivered twice: loans\.csv and loans\.xlsx"):
        opened(tmp_path)


def test_a_drop_without_its_marker_has_not_arrived(tmp_path: Path) -> None:
    source = a_source(marker="*.done")
    folder = write_drop(tmp_path / "2026-03-30")

    with pytest.raises(
        NotDelivered, match=r"2026-03-30 of source contract has not arrived yet: no file \*\.done in it"
    ):
        opened(tmp_path, source)
    assert not has_arrived(source, tmp_path, D)
    (folder / "nightly.done").touch()
    assert has_arrived(source, tmp_path, D)
    assert opened(tmp_path, source).files.keys() == {"borrowers", "loans", "instalments", "transactions"}


def test_a_dated_folder_that_is_missing_or_empty_has_not_arrived(tmp_path: Path) -> None:
    write_drop(tmp_path / "2026-03-29")

    assert not has_arrived(a_source(), tmp_path, D)
    (tmp_path / "2026-03-30").mkdir()
    assert not has_arrived(a_source(), tmp_path, D)


def test_a_delta_brings_what_it_has_but_not_nothing(tmp_path: Path) -> None:
    folder = write_drop(tmp_path, loans=None, instalments=None, borrowers=None)
    (folder / "drop.yml").write_text("mode: delta\n")

    assert opened(folder).files.keys() == {"transactions"}
    (folder / "transactions.csv").unlink()
    with pytest.raises(SourceError, match=r"is empty: no TABLE\.csv"):
        opened(folder)


def test_a_file_with_another_hash_than_drop_yml_says_is_refused(tmp_path: Path) -> None:
    folder = write_drop(tmp_path)
    (folder / "drop.yml").write_text(f"tables:\n  loans:\n    sha256: {'a' * 64}\n")

    with pytest.raises(
        SourceError, match=r"line 3, key tables\.loans\.sha256: .*loans\.csv has SHA-256 [0-9a-f]{64}, "
    ):
        opened(folder)


@pytest.mark.parametrize("name", ["loans.csv", "charges.parquet"])
def test_what_has_a_tables_name_and_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    path = write_drop(tmp_path) / name
    path.unlink(missing_ok=True)

    path.mkdir()
    with pytest.raises(SourceError, match=f"{name}: a folder; deliver one file of that name"):
        opened(tmp_path)
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(SourceError, match=f"{name}: cannot be read: a link that leads nowhere"):
        opened(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceError, match=f"{name}: not a file with content"):
        opened(tmp_path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """The administrator may read everything: be somebody else for a moment."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_what_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = write_drop(Path(place) / "drop")
        (folder / "loans.csv").chmod(0)
        with as_nobody(), pytest.raises(SourceError, match=r"loans\.csv: cannot be read: Permission denied"):
            opened(folder)
        folder.chmod(0)
        with as_nobody(), pytest.raises(SourceError, match=r"drop/?.*: cannot be read: Permission denied"):
            opened(folder)
        folder.chmod(0o755)


def test_a_lenders_pattern_that_matches_two_files_names_both(tmp_path: Path) -> None:
    source = a_source(name="lender", files={"contracts": {"pattern": "contract*.csv"}})
    for name in ("contract_a.csv", "contract_b.csv"):
        (tmp_path / name).write_text("a,b\n1,2\n")

    with pytest.raises(SourceError, match=r"2 files match contract\*\.csv .*: contract_a\.csv, contract_b\.csv"):
        opened(tmp_path, source)
