"""Making an export visible: whole or not at all, at whatever moment the process dies."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from arrears.errors import AlreadyExported, ExportError
from arrears.export import (
    StagedExport,
    changed_since,
    differences,
    discard,
    find_staged,
    is_foreign,
    make_visible,
    manifest,
    switching,
    writing,
)
from arrears.export.staging import STAGING
from arrears.settings import Settings

DAY = date(2026, 3, 31)


class Killed(BaseException):
    """The process is gone: nothing of ours may catch it."""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("ARREARS_EXPORTS", str(tmp_path / "exports"))
    return Settings()


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that hides nothing by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def a_staged_export(settings: Settings, queue: str = "rank,loan_id\n1,L1\n", code: str = "1") -> StagedExport:
    """An export of one recipient, staged by hand."""
    files = {"team/queue.csv": {"sha256": hashlib.sha256(queue.encode()).hexdigest()}}
    rendered = manifest.render({"files": files, "code_version": code, "queue": queue})
    building = settings.exports / STAGING / "building"
    (building / "team").mkdir(parents=True)
    (building / "team/queue.csv").write_text(queue)
    (building / manifest.MANIFEST).write_bytes(rendered)
    sha256 = manifest.sha256_of(building)
    assert sha256 is not None
    folder = building.rename(settings.exports / STAGING / f"{DAY}-{sha256}")
    return StagedExport(DAY, settings.exports, folder, sha256, ("team/queue.csv", manifest.MANIFEST))


def visible(settings: Settings) -> str:
    return (settings.exports / "2026-03-31/team/queue.csv").read_text()


def everything(settings: Settings) -> set[str]:
    return {str(path.relative_to(settings.exports)) for path in settings.exports.rglob("*") if path.is_file()}


def test_a_new_day_appears_and_the_staging_folder_goes(settings: Settings) -> None:
    make_visible(a_staged_export(settings), replace_revision=None)

    assert everything(settings) == {"2026-03-31/team/queue.csv", "2026-03-31/manifest.json"}
    assert not (settings.exports / STAGING).exists()


def test_a_replaced_revision_is_kept(settings: Settings) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    make_visible(a_staged_export(settings, "second"), replace_revision=1)
    make_visible(a_staged_export(settings, "third"), replace_revision=2)

    assert visible(settings) == "third"
    kept = settings.exports / ".revisions/2026-03-31"
    assert [(kept / n / "team/queue.csv").read_text() for n in ("1", "2")] == ["first", "second"]


def test_called_twice_it_changes_nothing(settings: Settings) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    staged = a_staged_export(settings, "second")
    make_visible(staged, replace_revision=1)
    before = everything(settings)
    make_visible(find_staged(DAY, staged.manifest_sha256, settings), replace_revision=1)

    assert everything(settings) == before
    assert visible(settings) == "second"


def test_another_export_of_the_date_is_not_overwritten(settings: Settings) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    staged = a_staged_export(settings, "second")

    with pytest.raises(
        AlreadyExported,
        match=r"2026-03-31 holds an export of 2026-03-31 that this warehouse did not make, and nothing was replaced: "
        r"move that folder away, or set ARREARS_EXPORTS to another folder\.$",
    ):
        make_visible(staged, replace_revision=None)
    assert visible(settings) == "first"


def test_what_stands_where_a_new_date_would_appear_is_foreign(settings: Settings) -> None:
    first = a_staged_export(settings, "first")
    assert not is_foreign(first)
    make_visible(first, replace_revision=None)

    assert is_foreign(a_staged_export(settings, "second"))
    assert is_foreign(a_staged_export(settings, "first", code="2"))  # its manifest would never be this warehouse's
    same = a_staged_export(settings, "first")
    assert not is_foreign(same)
    (settings.exports / "2026-03-31/team/queue.csv").write_text("first, with a word more")
    assert is_foreign(same)


@pytest.mark.usefixtures("open_umask")
def test_kept_revisions_are_for_the_owner_alone(settings: Settings) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    make_visible(a_staged_export(settings, "second"), replace_revision=1)

    for folder in (".revisions", ".revisions/2026-03-31"):
        assert (settings.exports / folder).stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("open_umask")
def test_only_the_exports_folder_and_below_is_made_private(tmp_path: Path) -> None:
    exports = tmp_path / "srv/exports"
    writing.make_folder(exports / ".staging/building", exports)

    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {
        "srv": 0o777,
        "srv/exports": 0o700,
        "srv/exports/.staging": 0o700,
        "srv/exports/.staging/building": 0o700,
    }


def dying_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the process die before its call-th change of the file system."""
    calls: Iterator[int] = iter(range(1, 1_000))

    def counted(change: Callable[..., object]) -> Callable[..., object]:
        def counting(*given: object, **more: object) -> object:
            if next(calls) == call:
                raise Killed
            return change(*given, **more)

        return counting

    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    monkeypatch.setattr(switching, "exchange", counted(switching.exchange))
    monkeypatch.setattr(switching, "remove", counted(switching.remove))
    monkeypatch.setattr(os, "fsync", counted(os.fsync))


@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("call", range(1, 16))
def test_whatever_moment_it_dies_at_the_next_call_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, call: int, can_exchange: bool
) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    staged = a_staged_export(settings, "second")
    if not can_exchange:
        monkeypatch.setattr(switching, "exchange", lambda one, other: False)
    with monkeypatch.context() as dying:
        dying_at(call, dying)
        try:
            make_visible(staged, replace_revision=1)
            died = False
        except Killed:
            died = True
    if can_exchange:
        assert visible(settings) in ("first", "second")  # never nothing, never half of it
    make_visible(find_staged(DAY, staged.manifest_sha256, settings), replace_revision=1)

    assert visible(settings) == "second"
    assert (settings.exports / ".revisions/2026-03-31/1/team/queue.csv").read_text() == "first"
    assert len(everything(settings)) == 4
    assert died or call > 8


def test_rendered_again_after_a_crash_the_old_revision_is_still_the_first_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    with monkeypatch.context() as dying:
        dying_at(5, dying)
        with pytest.raises(Killed):
            make_visible(a_staged_export(settings, "second"), replace_revision=1)
    make_visible(a_staged_export(settings, "third"), replace_revision=1)

    assert visible(settings) == "third"
    assert (settings.exports / ".revisions/2026-03-31/1/team/queue.csv").read_text() == "first"


def test_what_is_gone_is_said_with_the_step_that_makes_it_again(settings: Settings) -> None:
    with pytest.raises(ExportError, match="is gone: run `arrears step publish --as-of 2026-03-31`"):
        find_staged(DAY, "0" * 64, settings)


def test_files_that_differ_are_named(settings: Settings) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    folder = settings.exports / "2026-03-31"

    assert differences(a_staged_export(settings, "first"), folder) == []
    discard(a_staged_export(settings, "second"))
    assert differences(a_staged_export(settings, "second"), folder) == ["manifest.json", "team/queue.csv"]
    (folder / "extra.txt").write_text("somebody put it here")
    assert "extra.txt" in differences(a_staged_export(settings, "third"), folder)


def test_the_same_queues_from_other_code_are_no_difference(settings: Settings) -> None:
    make_visible(a_staged_export(settings, code="1"), replace_revision=None)

    assert differences(a_staged_export(settings, code="2"), settings.exports / "2026-03-31") == []


def test_discarding_leaves_other_days_alone(settings: Settings) -> None:
    staged = a_staged_export(settings)
    (settings.exports / STAGING / "2026-04-01-abc").mkdir()
    discard(staged)

    assert [path.name for path in (settings.exports / STAGING).iterdir()] == ["2026-04-01-abc"]


def test_a_folder_that_cannot_be_written_is_one_sentence(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = a_staged_export(settings)

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", read_only)
    with pytest.raises(ExportError, match=r"exports failed: Read-only file system; nothing became visible"):
        make_visible(staged, replace_revision=None)
    assert not (settings.exports / "2026-03-31").exists()


def test_files_that_were_edited_by_hand_are_named_and_a_signature_is_none_of_them(settings: Settings) -> None:
    staged = a_staged_export(settings)
    make_visible(staged, replace_revision=None)
    folder = settings.exports / "2026-03-31"
    (folder / "manifest.json.sig").write_bytes(b"64 bytes")

    assert changed_since(folder, staged.manifest_sha256) == []
    (folder / "extra.txt").write_text("somebody put it here")
    (folder / "team/queue.csv").write_text("rank,loan_id\n2,L1\n")
    assert changed_since(folder, staged.manifest_sha256) == ["extra.txt", "team/queue.csv"]
    (folder / "team/queue.csv").unlink()
    (folder / "extra.txt").unlink()
    assert changed_since(folder, staged.manifest_sha256) == ["team/queue.csv"]
    (folder / "manifest.json").write_text("{}")
    assert changed_since(folder, staged.manifest_sha256) == ["manifest.json"]


def test_a_replacement_of_the_same_bytes_takes_the_place_of_edited_files(settings: Settings) -> None:
    make_visible(a_staged_export(settings, "first"), replace_revision=None)
    (settings.exports / "2026-03-31/team/queue.csv").write_text("edited")

    make_visible(a_staged_export(settings, "first"), replace_revision=1)

    assert visible(settings) == "first"
    assert (settings.exports / ".revisions/2026-03-31/1/team/queue.csv").read_text() == "edited"
