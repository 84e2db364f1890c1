"""Exports that cannot be written, were edited by hand, or are judged by a clock that was set back."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from arrears import cli, export, steps, summary
from arrears.errors import AlreadyExported, ExportError, WarehouseBusy
from arrears.ledger.verification import verify
from arrears.settings import get_settings
from arrears.warehouse import run_lock
from tests.conftest import Workplace
from tests.day import bytes_below
from tests.exported import DAY, a_day, a_line, empty_queue, export_lines

NEXT = DAY + timedelta(days=1)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system in memory, mounted on a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def staged(workplace: Workplace, as_of: date, lines: int) -> export.StagedExport:
    with workplace.connect(as_of) as connection:
        empty_queue(connection)
        for number in range(lines):
            a_line(connection, as_of_date=as_of, loan_id=f"L{number}", rank=number)
        return export.stage(connection, as_of, get_settings())


def test_a_disk_that_is_full_is_one_sentence_and_earlier_exports_are_as_they_were(workplace: Workplace) -> None:
    with mounted(workplace.exports, "size=128k,mode=755"):
        export_lines(workplace, {})
        before = bytes_below(workplace.exports)

        with pytest.raises(ExportError, match="No space left on device; nothing became visible and earlier exports"):
            staged(workplace, NEXT, 3_000)

        assert bytes_below(workplace.exports) == before  # what was staged is gone, so the next try has its room
        assert staged(workplace, NEXT, 1).folder.exists()


def test_a_folder_that_is_mounted_read_only_is_one_sentence(workplace: Workplace) -> None:
    with mounted(workplace.exports, "size=1m,mode=755"):
        export_lines(workplace, {})
        before = bytes_below(workplace.exports)
        subprocess.run(["mount", "-o", "remount,ro", workplace.exports], check=True)

        with pytest.raises(ExportError, match="Read-only file system; nothing became visible and earlier exports"):
            staged(workplace, NEXT, 1)

        assert bytes_below(workplace.exports) == before


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("team/queue.csv", lambda text: text.replace(b"L1", b"L9")),
        ("manifest.json", lambda text: text.replace(b'"rows": 1', b'"rows": 2')),
        ("manifest.json", lambda text: text.replace(json.dumps(export.code_version()).encode(), b'"mine"')),
    ],
    ids=["queue", "manifest", "only the manifest's code version"],
)
def test_a_file_that_was_edited_by_hand_is_named_and_replaced_only_with_a_reason(
    workplace: Workplace, name: str, edit: Callable[[bytes], bytes]
) -> None:
    export_lines(workplace, {})
    file = workplace.exports / str(DAY) / name
    exported, edited = file.read_bytes(), edit(file.read_bytes())
    assert exported != edited
    file.write_bytes(edited)

    with pytest.raises(
        AlreadyExported, match=rf"already exported with other bytes: {name} would differ; .*--replace"
    ) as told:
        steps.publish(a_day(), 0)

    assert told.value.exit_code == 6
    assert file.read_bytes() == edited
    assert f"is not what was exported ({name})" in summary.status(DAY).export_faults[0]
    assert f"is not what was exported ({name})" in CliRunner().invoke(cli.app, ["status", "--as-of", str(DAY)]).stdout
    export_lines(workplace, {}, revision=2, reason="somebody edited it")
    assert file.read_bytes() == exported
    assert (workplace.exports / ".revisions" / str(DAY) / "1" / name).read_bytes() == edited
    assert summary.status(DAY).export_faults == []


def test_a_kind_of_recipient_without_a_policy_sees_nothing_and_stops_the_export(workplace: Workplace) -> None:
    with workplace.connect(DAY) as connection:
        empty_queue(connection)
        a_line(connection)
        a_line(connection, "notary-1", "L2")
        connection.execute("insert into working.int_assignment__recipients values ('notary-1', 'notary')")

        with pytest.raises(
            ExportError, match=r"recipient_columns\.yml has no key notary \(recipient notary-1\): say what it may see\."
        ) as told:
            export.stage(connection, DAY, get_settings())

    assert told.value.exit_code == 1
    assert bytes_below(workplace.exports) == {}


def test_after_the_clock_was_set_back_a_dead_run_is_taken_over_and_those_that_wait_are_forgotten(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lock.Holder, "is_this_process", property(lambda self: False))
    run_lock.take("dead", DAY, "dag_run")
    with pytest.raises(WarehouseBusy):
        run_lock.take("waited", DAY, "dag_run")
    with workplace.connect() as connection:  # as if both had been seen before the clock lost a day
        connection.execute("update ops.run_lock set seen_at = clock_timestamp() + interval '1 day'")
        connection.execute("update ops.waiting_runs set seen_at = clock_timestamp() + interval '1 day'")

    run_lock.take("now", NEXT, "dag_run")

    with workplace.connect() as connection:
        held = run_lock.holder(connection)
    assert held is not None and held.run_id == "now"


def test_after_the_clock_was_set_back_a_date_is_exported_in_order_and_the_ledger_is_whole(
    workplace: Workplace,
) -> None:
    """What comes after what is counted, not timed."""
    export_lines(workplace, {})
    with workplace.connect(role="admin") as connection:
        connection.execute("update ops.exports set done_at = done_at + interval '1 year'")
        connection.execute(
            "insert into ops.step_runs (run_id, as_of_date, step, state, started_at, finished_at)"
            " values ('before', %s, 'publish', 'failed', now() + interval '1 year', now() + interval '1 year')",
            [DAY],
        )
    with workplace.connect() as connection:
        connection.execute(
            "insert into ops.step_runs (run_id, as_of_date, step, state) values ('after', %s, 'publish', 'done')", [DAY]
        )
    export_lines(workplace, {"as_of_date": NEXT}, as_of=NEXT)
    export_lines(workplace, {"loan_id": "L2"}, revision=2, reason="another")

    assert {step.step: step.state for step in summary.status(DAY).steps}["publish"] == "done"
    assert workplace.rows("select as_of_date, revision, export_number, state from ops.exports order by 1, 2") == [
        (DAY, 1, 1, "replaced"),
        (DAY, 2, 1, "done"),
        (NEXT, 1, 2, "done"),
    ]
    with workplace.connect() as connection:
        assert verify(connection).findings == []
