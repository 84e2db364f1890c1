"""Sends what has no receipt yet, file by file, and writes the receipt with its entry of the audit ledger.

Killed between the two, the next delivery finds the very bytes at the target and writes the receipt alone. What stands
there and is not ours is never written over.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from arrears.delivery.configuration import Delivery, configured
from arrears.delivery.shipments import Exported, Item, exported, plan
from arrears.errors import ArrearsError, DeliveryError, TargetUnreachable, UsageError, WarehouseBusy
from arrears.ledger.recording import record_delivery
from arrears.warehouse.connections import connect

if TYPE_CHECKING:
    from arrears.delivery.targets import Target

log = logging.getLogger(__name__)

# With the date as its second number: two deliveries of a date come one after the other, other dates at once.
DELIVERY_LOCK = 7_231_004

RECEIPT = """
insert into ops.deliveries (
    as_of_date, revision, recipient_id, target, file, sha256, delivery, path, byte_count, was_there, run_id
)
values (
    %(as_of_date)s, %(revision)s, %(recipient_id)s, %(target)s, %(file)s, %(sha256)s, %(delivery)s, %(path)s,
    %(byte_count)s, %(was_there)s, %(run_id)s
)
"""


@dataclass(slots=True)
class Counts:
    """What became of a day's files; `found_there`: sent before by a delivery that was killed."""

    sent: int = 0
    found_there: int = 0
    delivered_before: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """One target that was tried; `error` is empty where it may be delivered to."""

    delivery: str
    target: str
    error: ArrearsError | None = None


def deliver(as_of: date, run_id: str) -> dict[str, Any]:
    """Delivers a date's visible export to all targets of delivery.yml; the caller keeps other deliveries of it out.

    A target that fails does not keep the others from theirs.

    Raises:
        UsageError: delivery.yml or a credential is wrong, or the date is not exported.
        ExportChanged: the export was edited by hand; nothing of it was delivered.
        DeliveryError: a target refused; the others have theirs.
        TargetUnreachable: a target did not answer; another try goes on with what is missing.
    """
    deliveries = configured()
    counts, errors = Counts(), []
    with connect(autocommit=True) as connection:  # sending may take long: no transaction stays open
        made = exported(connection, as_of)
        planned = plan(connection, made, deliveries)
        for name, by_recipient in planned.items():
            items = [item for items in by_recipient.values() for item in items]
            try:
                _deliver_to(connection, made, name, deliveries[name], items, run_id, counts)
            except (DeliveryError, UsageError) as error:
                log.warning("delivery=%s as_of=%s %s", name, as_of, error)
                errors.append(error)
    if errors:
        raise _all_of(errors)
    return {
        "sent": counts.sent,
        "found_there": counts.found_there,
        "delivered_before": counts.delivered_before,
        "revision": made.revision,
    }


def _all_of(errors: Sequence[ArrearsError]) -> ArrearsError:
    """One error that says all; worth another try if one of them is."""
    first = next((error for error in errors if isinstance(error, TargetUnreachable)), errors[0])
    return type(first)(" ".join(str(error) for error in errors)) if len(errors) > 1 else first


@contextmanager
def alone(as_of: date) -> Iterator[psycopg.Connection]:
    """Keeps other deliveries of a date out; gives the session that does.

    Raises:
        WarehouseBusy: one is at work.
    """
    with connect(autocommit=True) as session:
        key = [DELIVERY_LOCK, as_of.toordinal()]
        if session.execute("select pg_try_advisory_lock(%s, %s)", key).fetchone() != (True,):
            raise WarehouseBusy(f"Another delivery of {as_of} is at work: wait for it and deliver again.")
        try:
            yield session
        finally:
            session.execute("select pg_advisory_unlock(%s, %s)", key)


def _deliver_to(
    connection: psycopg.Connection,
    made: Exported,
    name: str,
    delivery: Delivery,
    items: Sequence[Item],
    run_id: str,
    counts: Counts,
) -> None:
    """Sends a target what it does not have; it is not even called where it has all."""
    known = receipts(connection, made, delivery)
    missing = [item for item in items if (item.recipient_id, item.file, item.sha256) not in known]
    counts.delivered_before += len(items) - len(missing)
    if not missing:
        return
    from arrears.delivery.targets import opened  # the libraries of servers load where one is called

    with opened(name, delivery) as target:
        for item in missing:
            with item.opened() as file:
                was_there = _is_there(connection, name, delivery, target, item)
                if not was_there:
                    target.put(file, item.path)
                byte_count = file.seek(0, 2)
            with connection.transaction():
                _receive(connection, made, name, delivery, item, run_id, byte_count=byte_count, was_there=was_there)
            counts.sent += not was_there
            counts.found_there += was_there
            log.info(
                "delivery=%s recipient=%s as_of=%s revision=%s file=%s bytes=%s was_there=%s",
                *(name, item.recipient_id, made.as_of_date, made.revision, item.file, byte_count, was_there),
            )


def _is_there(connection: psycopg.Connection, name: str, delivery: Delivery, target: "Target", item: Item) -> bool:
    """Whether the very bytes are at their place.

    Raises:
        DeliveryError: others are, that no receipt knows.
    """
    there = target.sha256_of(item.path)
    if there is None or there == item.sha256:
        return there is not None
    ours = connection.execute(
        "select 1 from ops.deliveries where target = %s and path = %s and sha256 = %s limit 1",
        [delivery.target, item.path, there],
    ).fetchone()
    if ours is None:
        raise DeliveryError(
            f"Delivery {name}: {delivery.target}/{item.path} is there with other bytes that were not delivered from"
            f" here: move it away, or give another path in delivery.yml; it was left as it is."
        )
    return False


def _receive(
    connection: psycopg.Connection,
    made: Exported,
    name: str,
    delivery: Delivery,
    item: Item,
    run_id: str,
    *,
    byte_count: int,
    was_there: bool,
) -> None:
    """Writes the receipt and the ledger's entry of it."""
    fact = {
        "as_of_date": made.as_of_date,
        "revision": made.revision,
        "recipient_id": item.recipient_id,
        "target": delivery.target,
        "file": item.file,
        "sha256": item.sha256,
    }
    connection.execute(
        RECEIPT,
        fact
        | {
            "delivery": name,
            "path": item.path,
            "byte_count": byte_count,
            "was_there": was_there,
            "run_id": run_id,
        },
    )
    record_delivery(connection, name, fact)


def receipts(
    connection: psycopg.Connection, made: Exported, delivery: Delivery
) -> dict[tuple[str, str, str], datetime]:
    """What a target has of an export, by recipient, file and hash: when it was delivered."""
    rows = connection.execute(
        "select recipient_id, file, sha256, delivered_at from ops.deliveries"
        " where as_of_date = %s and revision = %s and target = %s",
        [made.as_of_date, made.revision, delivery.target],
    ).fetchall()
    return {(str(recipient), str(file), str(sha256)): at for recipient, file, sha256, at in rows}


def check() -> list[Checked]:
    """Opens every target and looks whether its folder or bucket is there; sends nothing.

    Raises:
        UsageError: delivery.yml is wrong.
    """
    from arrears.delivery.targets import opened

    done = []
    for name, delivery in configured().items():
        try:
            with opened(name, delivery):
                done.append(Checked(name, delivery.target))
        except (DeliveryError, UsageError) as error:
            done.append(Checked(name, delivery.target, error))
    return done


def standing(connection: psycopg.Connection, as_of: date) -> list[str]:
    """How far the deliveries of a date are, a sentence each; none where nothing is configured."""
    try:
        deliveries = configured()
        if not deliveries:
            return []
        made = exported(connection, as_of)
        planned = plan(connection, made, deliveries)
    except ArrearsError as error:
        return [f"Deliveries: {error}"]
    return [
        _sentence(name, deliveries[name].target, by_recipient, receipts(connection, made, deliveries[name]))
        for name, by_recipient in planned.items()
    ]


def _sentence(
    name: str, target: str, by_recipient: Mapping[str, list[Item]], known: Mapping[tuple[str, str, str], datetime]
) -> str:
    items = [item for items in by_recipient.values() for item in items]
    if not items:
        return f"Delivery {name}: none of its recipients has a queue on this date."
    times = [known[key] for item in items if (key := (item.recipient_id, item.file, item.sha256)) in known]
    last = f", the last at {max(times):%Y-%m-%d %H:%M} UTC" if times else ""
    return f"Delivery {name}: {len(times)} of {len(items)} files are at {target}{last}."
