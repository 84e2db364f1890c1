"""Exports at their recipients: sent once, by real servers; what is not ours is left, and nothing leaves unnoticed."""

import hashlib
import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import boto3
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from arrears import cli, delivery, doctor, steps, summary, warehouse
from arrears.delivery import delivering, targets
from arrears.errors import (
    DeliveryError,
    ExportChanged,
    TargetUnreachable,
    UsageError,
    WarehouseBusy,
    is_worth_retrying,
)
from arrears.ledger.verification import verify
from arrears.privacy.kept_exports import KeptExports
from arrears.privacy.queue_files import Whom
from arrears.settings import CHECKOUT
from tests.conftest import Workplace, forget_settings
from tests.day import bytes_below
from tests.exported import DAY, export_lines
from tests.servers import PASSWORD, USER, SftpServer, an_sftp_server, free_port

Configure = Callable[..., None]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workplace: Workplace) -> Configure:
    """Writes a delivery.yml with the deliveries given by name."""
    file = tmp_path / "delivery.yml"
    monkeypatch.setenv("ARREARS_DELIVERY_FILE", str(file))
    forget_settings()

    def write(**deliveries: dict[str, Any]) -> None:
        file.write_text(yaml.safe_dump({"deliveries": deliveries}))

    write()
    return write


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """A local folder to deliver to."""
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    """A running SFTP server; the account's password stands in a variable."""
    monkeypatch.setenv("ASTER_SECRET", PASSWORD)
    with an_sftp_server(tmp_path / "served") as server:
        (server.folder / "inbox").mkdir()
        yield server


def at_sftp(server: SftpServer, known_hosts: Path, **more: Any) -> dict[str, Any]:
    """A delivery to the server."""
    return {
        "recipient": "aster",
        "url": f"sftp://{USER}@127.0.0.1:{server.port}/inbox",
        "credential": "ASTER_SECRET",
        "known_hosts": str(known_hosts),
    } | more


def deliver() -> dict[str, Any]:
    return dict(steps.run("deliver", DAY, run_id="test"))


def exported_file(workplace: Workplace, name: str) -> bytes:
    return (workplace.exports / str(DAY) / name).read_bytes()


def two_recipients(workplace: Workplace, **more: Any) -> None:
    """The agency aster has one line, the internal team two."""
    export_lines(
        workplace,
        {"recipient_id": "aster", "loan_id": "L1", "name": "Aster's own"} | more,
        {"loan_id": "L2"},
        {"loan_id": "L3", "rank": 2},
    )


def test_without_a_configuration_nothing_is_done(workplace: Workplace) -> None:
    assert deliver() == {"sent": 0, "is_configured": False}
    two_recipients(workplace)
    assert deliver() == {"sent": 0, "is_configured": False}

    status = summary.status(DAY)
    assert status.delivered == []
    assert "deliver" not in [step.step for step in status.steps]


def test_a_recipient_gets_its_own_files_and_figures_and_no_other_s(
    workplace: Workplace, configure: Configure, outbox: Path
) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})

    assert deliver() == {"sent": 3, "found_there": 0, "delivered_before": 0, "revision": 1}

    there = bytes_below(outbox)
    assert sorted(there) == ["2026-03-31/manifest.json", "2026-03-31/queue.csv", "2026-03-31/queue.parquet"]
    assert there["2026-03-31/queue.csv"] == exported_file(workplace, "aster/queue.csv")
    csv, parquet = (
        {"rows": 1, "sha256": hashlib.sha256(there[f"2026-03-31/{name}"]).hexdigest()}
        | {"totals": {"EUR": {"arrears_amount": "1234.50", "count": 1}}}
        for name in ("queue.csv", "queue.parquet")
    )
    assert json.loads(there["2026-03-31/manifest.json"]) == {
        "as_of_date": "2026-03-31",
        "files": {"queue.csv": csv, "queue.parquet": parquet},
        "recipient_id": "aster",
        "reporting_currency": "EUR",
        "revision": 1,
    }
    assert {oct(path.stat().st_mode & 0o777) for path in outbox.rglob("*") if path.is_file()} == {"0o640"}
    assert summary.status(DAY).delivered[0].startswith(f"Delivery aster: 3 of 3 files are at file://{outbox}, the last")


def test_kinds_all_formats_and_paths_are_chosen(workplace: Workplace, configure: Configure, outbox: Path) -> None:
    two_recipients(workplace)
    with workplace.connect() as connection:
        connection.execute(
            "insert into versions.agencies (agency_id, name, kind, opened_on, _source, _batch_id, _row_hash,"
            " _known_from) values ('aster', 'Aster', 'agency', '2020-01-01', 's', 'b', gen_random_uuid(), '2026-01-01')"
        )
    for folder in ("agencies", "all"):
        (outbox / folder).mkdir()
    configure(
        agencies={
            "kind": "agency",
            "url": f"file://{outbox}/agencies",
            "files": ["csv"],
            "path": "{recipient}/r{revision}/{as_of_date}-{file}",
        },
        lake={"recipient": "*", "url": f"file://{outbox}/all", "files": ["parquet"]},
        cedar={"recipient": "cedar", "url": f"file://{outbox}"},
    )

    deliver()

    assert sorted(bytes_below(outbox)) == [
        "agencies/aster/r1/2026-03-31-manifest.json",
        "agencies/aster/r1/2026-03-31-queue.csv",
        "all/2026-03-31/aster/manifest.json",
        "all/2026-03-31/aster/queue.parquet",
        "all/2026-03-31/team/manifest.json",
        "all/2026-03-31/team/queue.parquet",
    ]
    named = json.loads((outbox / "agencies/aster/r1/2026-03-31-manifest.json").read_bytes())["files"]
    assert list(named) == ["2026-03-31-queue.csv"]
    assert "Delivery cedar: none of its recipients has a queue on this date." in summary.status(DAY).delivered


def test_a_file_is_delivered_once_and_its_receipt_stands_in_the_ledger(
    workplace: Workplace, configure: Configure, outbox: Path
) -> None:
    two_recipients(workplace)
    configure(all={"recipient": "*", "url": f"file://{outbox}"})
    deliver()
    for file in outbox.rglob("*.csv"):
        file.unlink()  # as a recipient does who has read it
    entries = workplace.value("select count(*) from ledger.entries")

    assert deliver() == {"sent": 0, "found_there": 0, "delivered_before": 6, "revision": 1}

    assert list(outbox.rglob("*.csv")) == []
    assert workplace.value("select count(*) from ops.deliveries") == 6
    assert workplace.value("select count(*) from ledger.entries") == entries
    told = json.loads(
        str(workplace.value("select leaf from ledger.entries where subject = '2026-03-31/1/aster/all/queue.csv'"))
    )
    assert (told["kind"], told["content"]) == (
        "delivery",
        {
            "as_of_date": "2026-03-31",
            "revision": 1,
            "recipient_id": "aster",
            "target": f"file://{outbox}",
            "file": "queue.csv",
            "sha256": hashlib.sha256(exported_file(workplace, "aster/queue.csv")).hexdigest(),
        },
    )
    with workplace.connect() as connection:
        assert verify(connection).findings == []


@pytest.mark.parametrize(
    ("tampering", "finding"),
    [
        ("delete from ops.deliveries where file = 'queue.csv'", "is in the ledger, its receipt is gone"),
        (
            "update ops.deliveries set sha256 = repeat('0', 64) where file = 'queue.csv'",
            "(000000000000…) has a receipt, the ledger says nothing of it",
        ),
    ],
)
def test_receipts_that_were_tampered_with_are_found(
    workplace: Workplace, configure: Configure, outbox: Path, tampering: str, finding: str
) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    deliver()
    with workplace.connect() as pipeline, pytest.raises(Exception, match="permission denied"):
        pipeline.execute(tampering.encode())
    with workplace.connect(role="admin") as admin:
        admin.execute(tampering.encode())

    with workplace.connect() as connection:
        found = verify(connection).findings

    assert any(
        finding in one and one.startswith("delivery of 2026-03-31 revision 1, queue.csv of aster") for one in found
    )


class Killed(BaseException):
    """The process is gone."""


def test_killed_between_upload_and_receipt_only_the_receipt_is_written(
    workplace: Workplace, configure: Configure, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})

    def killed(*given: object, **more: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(delivering, "record_delivery", killed)
        with pytest.raises(Killed):
            deliver()
    sent = outbox / "2026-03-31/queue.csv"
    inode = sent.stat().st_ino
    assert workplace.value("select count(*) from ops.deliveries") == 0

    assert deliver() == {"sent": 2, "found_there": 1, "delivered_before": 0, "revision": 1}

    assert sent.stat().st_ino == inode
    assert workplace.rows("select file, was_there from ops.deliveries order by delivered_at") == [
        ("queue.csv", True),
        ("queue.parquet", False),
        ("manifest.json", False),
    ]
    with workplace.connect() as connection:
        assert verify(connection).findings == []


def test_a_file_that_is_not_ours_is_left_and_named(workplace: Workplace, configure: Configure, outbox: Path) -> None:
    two_recipients(workplace)
    configure(
        aster={"recipient": "aster", "url": f"file://{outbox}"},
        team={"recipient": "team", "url": f"file://{outbox}", "path": "{as_of_date}/team/{file}"},
    )
    theirs = outbox / "2026-03-31/queue.csv"
    theirs.parent.mkdir()
    theirs.write_text("theirs")

    with pytest.raises(DeliveryError, match=r"queue\.csv is there with other bytes that were not delivered from here"):
        deliver()

    assert theirs.read_text() == "theirs"
    assert len(bytes_below(outbox / "2026-03-31/team")) == 3  # one target's fault keeps no other from its files
    (failed,) = [step for step in summary.status(DAY).steps if step.step == "deliver"]
    assert (failed.state, "other bytes" in str(failed.message)) == ("failed", True)
    theirs.unlink()
    assert deliver()["sent"] == 3


def test_a_replaced_revision_is_delivered_again_over_the_one_that_was(
    workplace: Workplace, configure: Configure, outbox: Path
) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    deliver()
    first = bytes_below(outbox)
    export_lines(workplace, {"recipient_id": "aster", "name": "Another"}, revision=2, reason="a wrong name")

    assert deliver() == {"sent": 3, "found_there": 0, "delivered_before": 0, "revision": 2}

    second = bytes_below(outbox)
    assert sorted(second) == sorted(first)
    assert (
        second["2026-03-31/queue.csv"] == exported_file(workplace, "aster/queue.csv") != first["2026-03-31/queue.csv"]
    )
    assert json.loads(second["2026-03-31/manifest.json"])["revision"] == 2
    assert workplace.rows("select revision, count(*) from ops.deliveries group by 1 order by 1") == [(1, 3), (2, 3)]


def test_a_date_that_is_not_exported_or_was_edited_is_not_delivered(
    workplace: Workplace, configure: Configure, outbox: Path
) -> None:
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    with pytest.raises(UsageError, match="2026-03-31 is not exported, so nothing was delivered"):
        deliver()
    two_recipients(workplace)
    edited = workplace.exports / "2026-03-31/team/queue.csv"
    edited.write_text(edited.read_text().replace("L2", "L9"))

    with pytest.raises(
        ExportChanged, match=r"team/queue\.csv is not what was exported, so nothing of .* delivered"
    ) as told:
        deliver()

    assert (told.value.exit_code, is_worth_retrying(told.value)) == (6, False)
    assert bytes_below(outbox) == {}
    status = summary.status(DAY)
    assert "is not what was exported (team/queue.csv): put it back from a backup" in status.export_faults[0]
    assert "team/queue.csv is not what was exported" in status.delivered[0]


def test_after_an_erasure_the_blanked_files_take_the_place_of_those_that_were_delivered(
    workplace: Workplace, configure: Configure, outbox: Path
) -> None:
    two_recipients(workplace, party_borrower_id="B9")  # the agency's line is another person's than the team's
    configure(all={"recipient": "*", "url": f"file://{outbox}"})
    deliver()
    teams = bytes_below(outbox / "2026-03-31/team")
    with warehouse.connect(role="admin", autocommit=True) as admin:
        KeptExports(admin, workplace.exports, Whom("B9", frozenset({"L1"}), {"name": True}), is_dry_run=False).blank()

    assert deliver() == {"sent": 3, "found_there": 0, "delivered_before": 3, "revision": 1}

    assert "(erased)" in (outbox / "2026-03-31/aster/queue.csv").read_text()
    assert bytes_below(outbox / "2026-03-31/team") == teams
    with workplace.connect() as connection:
        assert verify(connection).findings == []


def test_two_deliveries_of_a_date_do_not_work_at_once(workplace: Workplace, configure: Configure, outbox: Path) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    with delivery.alone(DAY), pytest.raises(WarehouseBusy, match="Another delivery of 2026-03-31 is at work"):
        deliver()
    with delivery.alone(DAY + timedelta(days=1)):
        assert deliver()["sent"] == 3


def test_delivering_holds_no_warehouse(workplace: Workplace, configure: Configure, outbox: Path) -> None:
    from arrears.warehouse import run_lock

    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    with run_lock.step_at_work("another", DAY + timedelta(days=1), "dag_run"):
        assert deliver()["sent"] == 3


def test_a_signature_goes_with_the_recipient_s_manifest(
    workplace: Workplace, configure: Configure, outbox: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    deliver()
    manifest = outbox / "2026-03-31/manifest.json"
    before = manifest.read_bytes()
    monkeypatch.setenv("ARREARS_MANIFEST_KEY", b64encode(bytes(range(32))).decode())
    forget_settings()

    assert deliver() == {"sent": 1, "found_there": 0, "delivered_before": 3, "revision": 1}

    assert manifest.read_bytes() == before
    public = tmp_path / "public.pem"
    public.write_text(CliRunner().invoke(cli.app, ["manifest-key"]).stdout)
    signature = manifest.with_name("manifest.json.sig")
    subprocess.run(
        f"openssl pkeyutl -verify -pubin -inkey {public} -rawin -in {manifest} -sigfile {signature}".split(), check=True
    )
    Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().verify(signature.read_bytes(), before)
    # As the page for recipients says, word for word.
    page = (CHECKOUT / "docs/how-to/deliver-exports.md").read_text(encoding="utf-8")
    program = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    assert "key.verify(" in program and "sha256" in program
    (manifest.parent / "public.pem").write_bytes(public.read_bytes())

    def checks() -> bool:
        return subprocess.run([sys.executable, "-c", program], cwd=manifest.parent, check=False).returncode == 0

    assert checks()
    (manifest.parent / "queue.csv").write_text("edited on its way")
    assert not checks()


# SFTP


def test_an_sftp_server_gets_whole_files_under_their_names(
    workplace: Workplace, configure: Configure, sftp: SftpServer, tmp_path: Path
) -> None:
    two_recipients(workplace)
    configure(aster=at_sftp(sftp, sftp.known_hosts(tmp_path / "known_hosts")))

    assert deliver()["sent"] == 3

    there = sftp.files()
    assert sorted(there) == [f"inbox/2026-03-31/{name}" for name in ("manifest.json", "queue.csv", "queue.parquet")]
    assert there["inbox/2026-03-31/queue.parquet"] == exported_file(workplace, "aster/queue.parquet")
    assert [asked for asked in sftp.asked if asked.startswith("write")] == [
        f"write /inbox/2026-03-31/.{name}.part" for name in ("queue.csv", "queue.parquet", "manifest.json")
    ]
    assert workplace.rows("select distinct target from ops.deliveries") == [(f"sftp://127.0.0.1:{sftp.port}/inbox",)]
    asked = len(sftp.asked)
    assert deliver()["delivered_before"] == 3
    assert len(sftp.asked) == asked


@pytest.mark.parametrize("renames_over", [True, False], ids=["renames over", "cannot rename over"])
def test_a_replaced_revision_takes_the_place_of_the_first_on_an_sftp_server(
    workplace: Workplace, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames_over: bool
) -> None:
    monkeypatch.setenv("ASTER_SECRET", PASSWORD)
    with an_sftp_server(tmp_path / "served", renames_over=renames_over) as server:
        (server.folder / "inbox").mkdir()
        two_recipients(workplace)
        configure(aster=at_sftp(server, server.known_hosts(tmp_path / "known_hosts")))
        deliver()
        export_lines(workplace, {"recipient_id": "aster", "name": "Another"}, revision=2, reason="a wrong name")

        assert deliver()["sent"] == 3

        there = server.files()
    assert len(there) == 3
    assert there["inbox/2026-03-31/queue.csv"] == exported_file(workplace, "aster/queue.csv")


def test_an_upload_that_broke_off_is_done_again_by_the_next_try(
    workplace: Workplace, configure: Configure, sftp: SftpServer, tmp_path: Path
) -> None:
    two_recipients(workplace)
    configure(aster=at_sftp(sftp, sftp.known_hosts(tmp_path / "known_hosts")))
    sftp.breaks_at = "write"

    with pytest.raises(TargetUnreachable, match=r"Delivery aster: sftp://127\.0\.0\.1:\d+/inbox") as told:
        deliver()

    assert is_worth_retrying(told.value)
    assert list(sftp.files()) == ["inbox/2026-03-31/.queue.csv.part"]  # half of it, and nobody takes it for the file
    assert workplace.value("select count(*) from ops.deliveries") == 0
    sftp.breaks_at = ""
    assert deliver()["sent"] == 3
    assert [name for name in sftp.files() if name.endswith(".part")] == []


def test_a_wrong_host_key_is_refused_before_the_password_is_sent(
    workplace: Workplace, configure: Configure, sftp: SftpServer, tmp_path: Path
) -> None:
    two_recipients(workplace)
    known_hosts = tmp_path / "known_hosts"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    configure(aster=at_sftp(sftp, known_hosts))

    with pytest.raises(UsageError, match=r"known_hosts, in which the key of 127\.0\.0\.1 should stand, is not there"):
        deliver()
    for content in ("", f"[127.0.0.1]:{sftp.port} {other}"):
        known_hosts.write_text(content)
        with pytest.raises(
            DeliveryError, match=r"shows a host key that .*known_hosts does not have, so nothing was sent"
        ):
            deliver()

    assert sftp.files() == {}


def test_a_wrong_password_is_refused_and_not_repeated(
    workplace: Workplace, configure: Configure, sftp: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_recipients(workplace)
    configure(aster=at_sftp(sftp, sftp.known_hosts(tmp_path / "known_hosts")))
    monkeypatch.setenv("ASTER_SECRET", "battery staple")

    with pytest.raises(DeliveryError, match=r"refuses us .*look at the credential \(ASTER_SECRET\)") as told:
        deliver()

    assert "battery" not in str(told.value) + repr(told.value.__cause__)
    assert not is_worth_retrying(told.value)
    monkeypatch.delenv("ASTER_SECRET")
    with pytest.raises(UsageError, match="the environment variable ASTER_SECRET is not set"):
        deliver()


def test_a_key_opens_an_sftp_server_too_from_a_connection_of_airflow_s(
    workplace: Workplace, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    text = key.export_private_key().decode()
    two_recipients(workplace)
    with an_sftp_server(tmp_path / "served", client_key=key.export_public_key().decode()) as server:
        (server.folder / "inbox").mkdir()
        known_hosts = server.known_hosts(tmp_path / "known_hosts")
        connection = {"conn_type": "sftp", "login": USER, "port": server.port, "extra": {"private_key": text}}
        monkeypatch.setenv("AIRFLOW_CONN_ASTER_SFTP", json.dumps(connection))
        configure(
            aster=at_sftp(server, known_hosts, url="sftp://127.0.0.1/inbox", credential="airflow:ASTER_SFTP"),
        )
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {server.host_key}")

        assert deliver()["sent"] == 3


def test_a_target_that_does_not_answer_is_worth_another_try(
    workplace: Workplace, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_recipients(workplace)
    monkeypatch.setenv("SECRET", "key:secret")
    (tmp_path / "known_hosts").write_text("")
    sftp, s3 = free_port(), free_port()
    configure(
        ssh=at_sftp(SftpServer(sftp, tmp_path, ""), tmp_path / "known_hosts", credential="SECRET"),
        bucket={
            "recipient": "aster",
            "url": "s3://bucket",
            "credential": "SECRET",
            "endpoint_url": f"http://127.0.0.1:{s3}",
        },
    )
    monkeypatch.setitem(targets.S3_PATIENCE, "retries", {"max_attempts": 1})

    with pytest.raises(TargetUnreachable) as told:
        deliver()

    assert f"Delivery ssh: sftp://127.0.0.1:{sftp}/inbox" in str(told.value)
    assert f"Delivery bucket: s3://bucket at http://127.0.0.1:{s3}" in str(told.value)
    assert is_worth_retrying(told.value)


def test_a_folder_that_is_not_there_is_not_made(workplace: Workplace, configure: Configure, tmp_path: Path) -> None:
    """It may be a disk that is not mounted."""
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{tmp_path}/mnt/aster"})

    with pytest.raises(DeliveryError, match=r"mnt/aster is not there: make or mount it"):
        deliver()

    assert not (tmp_path / "mnt").exists()


# S3


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a running S3 with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("LAKE_SECRET", "an-id:a-secret")
    client = boto3.client("s3", endpoint_url=endpoint, **AWS)
    client.create_bucket(Bucket="lake")
    yield endpoint
    server.stop()


AWS = {"aws_access_key_id": "an-id", "aws_secret_access_key": "a-secret", "region_name": "us-east-1"}


def in_bucket(endpoint: str) -> dict[str, bytes]:
    client = boto3.client("s3", endpoint_url=endpoint, **AWS)
    found = client.list_objects_v2(Bucket="lake").get("Contents", [])
    return {one["Key"]: client.get_object(Bucket="lake", Key=one["Key"])["Body"].read() for one in found}


def test_a_bucket_gets_the_files_once_and_keeps_what_is_not_ours(
    workplace: Workplace, configure: Configure, s3: str
) -> None:
    two_recipients(workplace)
    lake = {"recipient": "*", "url": "s3://lake/queues", "credential": "LAKE_SECRET", "endpoint_url": s3}
    configure(lake=lake | {"region": "us-east-1"})
    client = boto3.client("s3", endpoint_url=s3, **AWS)
    client.put_object(Bucket="lake", Key="queues/2026-03-31/team/queue.csv", Body=b"theirs")
    already = exported_file(workplace, "aster/queue.csv")  # as a delivery left it that was killed before its receipt
    client.put_object(Bucket="lake", Key="queues/2026-03-31/aster/queue.csv", Body=already)

    with pytest.raises(
        DeliveryError, match=r"s3://lake/queues at http.*/2026-03-31/team/queue\.csv is there with other"
    ):
        deliver()
    assert in_bucket(s3)["queues/2026-03-31/team/queue.csv"] == b"theirs"
    client.delete_object(Bucket="lake", Key="queues/2026-03-31/team/queue.csv")
    assert deliver()["sent"] == 3

    assert sorted(in_bucket(s3)) == [
        f"queues/2026-03-31/{recipient}/{name}"
        for recipient in ("aster", "team")
        for name in ("manifest.json", "queue.csv", "queue.parquet")
    ]
    assert in_bucket(s3)["queues/2026-03-31/aster/queue.parquet"] == exported_file(workplace, "aster/queue.parquet")
    assert workplace.rows("select file from ops.deliveries where was_there") == [("queue.csv",)]
    export_lines(workplace, {"recipient_id": "aster", "name": "Another"}, revision=2, reason="a wrong name")
    assert deliver()["sent"] == 3
    assert in_bucket(s3)["queues/2026-03-31/aster/queue.csv"] == exported_file(workplace, "aster/queue.csv")


def test_a_bucket_that_is_not_there_is_one_sentence(workplace: Workplace, configure: Configure, s3: str) -> None:
    two_recipients(workplace)
    configure(lake={"recipient": "aster", "url": "s3://nowhere", "credential": "LAKE_SECRET", "endpoint_url": s3})

    with pytest.raises(DeliveryError, match=r"Delivery lake: s3://nowhere at http.* is not there"):
        deliver()


def test_a_wrong_access_key_is_refused(
    workplace: Workplace, configure: Configure, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is told to look at credentials; these belong to nobody."""
    two_recipients(workplace)
    configure(lake={"recipient": "aster", "url": "s3://lake", "credential": "LAKE_SECRET", "endpoint_url": s3})
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)

    with pytest.raises(DeliveryError, match=r"refuses us \(.*look at the credential \(LAKE_SECRET\)") as told:
        deliver()

    assert "a-secret" not in str(told.value)
    monkeypatch.setenv("LAKE_SECRET", "no colon in it")
    with pytest.raises(UsageError, match="is no access key: give ACCESS_KEY_ID:SECRET_ACCESS_KEY"):
        deliver()


# The commands


def test_check_tries_the_targets_and_sends_nothing(
    workplace: Workplace, configure: Configure, outbox: Path, sftp: SftpServer, tmp_path: Path
) -> None:
    del workplace
    good = {"recipient": "team", "url": f"file://{outbox}"}
    configure(team=good, aster=at_sftp(sftp, sftp.known_hosts(tmp_path / "known_hosts")))

    done = CliRunner().invoke(cli.app, ["deliver", "--check", "--json"])
    assert [(one["delivery"], one["error"]) for one in json.loads(done.stdout)] == [("aster", None), ("team", None)]
    assert (bytes_below(outbox), sftp.files()) == ({}, {})
    configure(team=good, gone={"recipient": "aster", "url": f"file://{tmp_path}/gone"})
    done = CliRunner().invoke(cli.app, ["deliver", "--check"])
    assert "team:" in done.stdout and isinstance(done.exception, DeliveryError)


def test_the_command_delivers_and_tells_how_far_it_is(workplace: Workplace, configure: Configure, outbox: Path) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    runner = CliRunner()

    done = runner.invoke(cli.app, ["deliver", "--as-of", str(DAY), "--json"])
    assert json.loads(done.stdout) == {"sent": 3, "found_there": 0, "delivered_before": 0, "revision": 1}
    again = runner.invoke(cli.app, ["deliver", "--as-of", str(DAY)])
    assert "Delivery aster: 3 of 3 files are at" in again.stdout
    assert "delivered_before=3" in again.stdout
    assert "Delivery aster: 3 of 3 files" in runner.invoke(cli.app, ["status", "--as-of", str(DAY)]).stdout


def test_doctor_says_of_each_target_whether_its_credential_is_there(
    workplace: Workplace, configure: Configure, outbox: Path, sftp: SftpServer, tmp_path: Path
) -> None:
    del workplace
    known_hosts = sftp.known_hosts(tmp_path / "known_hosts")
    configure(
        team={"recipient": "team", "url": f"file://{outbox}"},
        aster=at_sftp(sftp, known_hosts),
        cedar=at_sftp(sftp, known_hosts, recipient="cedar", credential="NOT_SET"),
        lake={"recipient": "*", "url": "s3://lake", "credential": "NOT_SET"},
    )

    checks = {check.what: (check.verdict, check.said) for check in doctor.examine()}

    assert checks["deliver team"][0] == checks["deliver aster"][0] == "ok"
    assert checks["deliver cedar"][0] == checks["deliver lake"][0] == "wrong"
    assert "NOT_SET is not set" in checks["deliver lake"][1]
    assert checks["manifest signature"][0] == "off"


def test_a_step_that_was_killed_is_not_shown_as_running(
    workplace: Workplace, configure: Configure, outbox: Path
) -> None:
    two_recipients(workplace)
    configure(aster={"recipient": "aster", "url": f"file://{outbox}"})
    with workplace.connect() as connection:
        connection.execute(
            "insert into ops.step_runs (run_id, as_of_date, step, state) values ('killed', %s, 'deliver', 'running')",
            [DAY],
        )

    deliver()

    assert workplace.rows("select state from ops.step_runs where step = 'deliver' order by step_run_id") == [
        ("failed",),
        ("done",),
    ]
