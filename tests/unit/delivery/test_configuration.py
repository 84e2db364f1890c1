"""delivery.yml: what it may say, and that a mistake is told with file, line and key."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arrears.delivery.configuration import Address, Delivery, address_of, configured, refuse_two_in_one_place
from arrears.errors import UsageError
from arrears.settings import get_settings


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Writes ARREARS_HOME/delivery.yml."""
    monkeypatch.setenv("ARREARS_HOME", str(tmp_path))
    monkeypatch.delenv("ARREARS_DELIVERY_FILE", raising=False)
    get_settings.cache_clear()
    yield lambda text: (tmp_path / "delivery.yml").write_text(text) and None
    get_settings.cache_clear()


def test_without_a_file_nothing_is_delivered(write: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured() == {}
    monkeypatch.setenv("ARREARS_DELIVERY_FILE", "")  # as docker-compose.yml sets what .env leaves empty
    get_settings.cache_clear()
    assert configured() == {}


def test_a_file_that_is_named_and_not_there_is_a_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARREARS_DELIVERY_FILE", str(tmp_path / "gone.yml"))
    get_settings.cache_clear()
    with pytest.raises(UsageError, match=r"gone\.yml: cannot be read"):
        configured()
    get_settings.cache_clear()


def test_a_delivery_says_whose_files_go_where(write: Callable[[str], None]) -> None:
    write(
        """
deliveries:
  aster: {recipient: aster, url: sftp://courier@sftp.aster.example/in/, credential: ASTER_SECRET}
  firms: {kind: law_firm, url: "s3://firms/queues", files: [csv], credential: "airflow:FIRMS"}
"""
    )
    found = configured()

    aster, firms = found["aster"], found["firms"]
    assert aster.is_for("aster", None) and not aster.is_for("cedar", "agency")
    assert firms.is_for("cedar", "law_firm") and not firms.is_for("aster", "agency")
    assert (aster.template, firms.template) == ("{as_of_date}/{file}", "{as_of_date}/{recipient}/{file}")
    assert aster.target == "sftp://sftp.aster.example/in"  # without the user


@pytest.mark.parametrize(
    ("url", "address", "target"),
    [
        ("file:///srv/out%20box/", Address("file", "/srv/out box"), "file:///srv/out box"),
        ("sftp://a.example", Address("sftp", "/", "a.example"), "sftp://a.example/"),
        ("sftp://me@a.example:2222/in", Address("sftp", "/in", "a.example", 2222, "me"), "sftp://a.example:2222/in"),
        ("sftp://a.example/~/in", Address("sftp", "in", "a.example"), "sftp://a.example/~/in"),
        ("s3://bucket/a/b/", Address("s3", "bucket/a/b"), "s3://bucket/a/b"),
    ],
)
def test_a_url_has_its_parts(url: str, address: Address, target: str) -> None:
    assert address_of(url) == address
    assert Delivery(recipient="aster", url=url).target == target


WRONG = {
    "recipient: a\n    url: ftp://a.example/in": (
        4,
        "aster.url",
        "is no target: give file:///folder, sftp://user@host",
    ),
    "recipient: a\n    url: sftp://me:hunter2@a.example/in": (4, "aster.url", "holds a password: take it out"),
    "recipient: a\n    url: file://srv/out": (4, "aster.url", "is no target"),
    "recipient: a\n    url: s3://key@bucket": (4, "aster.url", "is no target"),
    "url: file:///srv": (2, "aster", "say recipient (an id, or * for all) or kind, one of them"),
    "kind: friend\n    url: file:///srv": (
        3,
        "aster.kind",
        "friend is no kind of recipient: agency, ",
    ),
    "recipient: a\n    url: file:///srv\n    files: [pdf]": (5, "aster.files.0", "Input should be 'csv' or 'parquet'"),
    "recipient: a\n    url: file:///srv\n    pasword: x": (5, "aster.pasword", "no such key"),
    "recipient: a\n    url: file:///srv\n    credential: X": (2, "aster", "a local folder needs no credential"),
    "recipient: a\n    url: sftp://a\n    credential: p@ss word": (
        5,
        "aster.credential",
        "is no name of an ",
    ),
    "recipient: a\n    url: s3://b\n    known_hosts: /x": (2, "aster", "known_hosts belongs to sftp, not to s3"),
    "recipient: a\n    url: file:///srv\n    path: '{file}'": (5, "aster.path", "{as_of_date} must be in it"),
    "recipient: a\n    url: file:///srv\n    path: '{as_of_date}'": (
        5,
        "aster.path",
        "{file} must be in its last",
    ),
    "recipient: a\n    url: file:///srv\n    path: '{day}/{file}'": (5, "aster.path", "{day} stands for nothing"),
    "recipient: a\n    url: file:///srv\n    path: '../{as_of_date}{file}'": (
        5,
        "aster.path",
        "leads out of the",
    ),
    "recipient: '*'\n    url: file:///srv\n    path: '{as_of_date}/{file}'": (2, "aster", "path must have {recipient}"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_told_with_file_line_and_key(write: Callable[[str], None], tmp_path: Path, text: str) -> None:
    line, key, told = WRONG[text]
    write(f"deliveries:\n  aster:\n    {text}\n")

    with pytest.raises(UsageError) as caught:
        configured()

    assert str(caught.value).startswith(f"{tmp_path}/delivery.yml, line {line}, key deliveries.{key}: ")
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value) and "p@ss" not in str(caught.value)


def test_two_files_in_one_place_are_refused(write: Callable[[str], None]) -> None:
    write("deliveries:\n  one: {recipient: a, url: file:///srv}\n  two: {recipient: a, url: file:///srv}\n")

    with pytest.raises(UsageError, match=r"line 3, key deliveries\.two\.path: x would be written by one too"):
        refuse_two_in_one_place([("one", "x"), ("one", "y"), ("two", "x")])
