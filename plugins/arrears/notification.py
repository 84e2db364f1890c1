"""Sends messages to whoever ARREARS_NOTIFY names, by what Apprise knows: e-mail, webhooks, chats, pagers.

That a message could not be sent ends nothing: the log says so, without the addresses, which hold passwords.
"""

import logging

from arrears.credentials import AIRFLOW, airflow_connection
from arrears.errors import ArrearsError
from arrears.settings import get_settings

log = logging.getLogger(__name__)

SETTING = "ARREARS_NOTIFY"


def is_on() -> bool:
    """Whether anybody is to be told anything."""
    return get_settings().notify is not None


def send(title: str, text: str) -> bool:
    """Sends a message to all addresses; gives whether all took it, and logs it where one did not."""
    import apprise

    sender = apprise.Apprise()
    try:
        addresses = _addresses()
    except ArrearsError as error:
        log.error("notification=%r not sent: %s", title, error)
        return False
    for number, address in enumerate(addresses, start=1):
        if not sender.add(address):
            log.error("notification=%r: address %s in %s is none that Apprise knows", title, number, SETTING)
            return False
    is_sent = bool(sender.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT))
    if is_sent:
        log.info("notification=%r addresses=%s", title, len(addresses))
    else:
        log.error("notification=%r: of %s addresses in %s one or more did not take it", title, len(addresses), SETTING)
    return is_sent


def _addresses() -> list[str]:
    """Apprise's URLs: of the setting, or of the Airflow connection that it names (its password, by blanks)."""
    given = get_settings().notify
    text = given.get_secret_value().strip() if given else ""
    if text.startswith(AIRFLOW):
        connection = airflow_connection(text.removeprefix(AIRFLOW), named_in=SETTING)
        text = str(connection.password or "")
    return text.split()
