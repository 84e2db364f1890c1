"""What people are told, by a real webhook and a real mail server on loopback."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from arrears import notification
from arrears.scheduling import notifying
from arrears.scheduling.serve import free_port
from arrears.settings import get_settings
from arrears.warehouse.connections import connect
from tests.conftest import Workplace
from tests.webhook import Webhook, a_webhook

DAY = date(2026, 3, 31)


@pytest.fixture
def webhook(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """Somebody is told, and queues are due at six."""
    del workplace
    with a_webhook() as found:
        monkeypatch.setenv("ARREARS_NOTIFY", found.url)
        monkeypatch.setenv("ARREARS_QUEUES_DUE_AT", "06:00")
        get_settings.cache_clear()
        yield found


class Mailbox:
    """What a mail server took."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (the library's name)
        del server, session
        self.mails.append(envelope.content)
        return "250 taken"


def test_a_mail_and_a_webhook_say_the_same(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = Mailbox()
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        mail = f"mailto://127.0.0.1:{server.port}?mode=insecure&from=gate@lender.example&to=duty@lender.example"
        monkeypatch.setenv("ARREARS_NOTIFY", f"{webhook.url} {mail}")
        get_settings.cache_clear()
        assert notification.send("Delivery of berka is missing", "It was due by 04:00.\nNext: ask for it.")
    finally:
        server.stop()

    (told,) = webhook.messages
    assert (told["title"], told["message"]) == (
        "Delivery of berka is missing",
        "It was due by 04:00.\nNext: ask for it.",
    )
    (raw,) = mailbox.mails
    received = message_from_bytes(raw, policy=policy.default)
    assert received["Subject"] == "Delivery of berka is missing"
    body = received.get_body(("plain",))
    assert body is not None
    assert "Next: ask for it." in body.get_content()


def test_a_message_that_is_not_taken_is_logged_and_ends_nothing(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with a_webhook(status=500) as broken:
        monkeypatch.setenv("ARREARS_NOTIFY", f"{webhook.url} {broken.url}")
        get_settings.cache_clear()
        with caplog.at_level(logging.ERROR):
            assert not notification.send("A step failed", "Why.")
    assert "one or more did not take it" in caplog.text
    assert webhook.titles == ["A step failed"]

    monkeypatch.setenv("ARREARS_NOTIFY", "nosuchservice://token-of-somebody")
    get_settings.cache_clear()
    with caplog.at_level(logging.ERROR):
        assert not notification.send("A step failed", "Why.")
    assert "address 1 in ARREARS_NOTIFY is none that Apprise knows" in caplog.text
    assert "token-of-somebody" not in caplog.text.split("address 1 in")[1]


def test_late_queues_are_told_at_their_hour_and_not_once_they_are_out(webhook: Webhook) -> None:
    six = datetime(2026, 4, 1, 6, 0, tzinfo=UTC)
    assert notifying.tell_lateness(DAY, six)
    assert webhook.titles == ["Queues of 2026-03-31 are late"]
    assert "due at 06:00 (UTC)" in webhook.messages[0]["message"]

    assert not notifying.tell_lateness(DAY, six.replace(day=5)), "a past date that is repaired alarms nobody"
    with connect() as connection:
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', 'x', 'x', 'test')",
            [DAY],
        )
    assert not notifying.tell_lateness(DAY, six)
    assert len(webhook.messages) == 1


def test_nobody_is_told_anything_unless_it_is_asked_for(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    del workplace
    monkeypatch.delenv("ARREARS_NOTIFY", raising=False)
    get_settings.cache_clear()
    assert not notification.is_on()
    assert notifying.deadline() is None
    assert not notifying.tell_lateness(DAY, datetime(2026, 4, 1, 6, 0, tzinfo=UTC))


def test_the_ledgers_head_is_sent_to_whoever_is_to_keep_it(webhook: Webhook) -> None:
    from typer.testing import CliRunner

    from arrears.cli import app

    done = CliRunner().invoke(app, ["ledger", "head", "--tell"])
    assert done.exit_code == 0
    (told,) = webhook.messages
    assert told["title"] == "Head of the audit ledger"
    assert json.loads(told["message"]) == json.loads(done.stdout)
