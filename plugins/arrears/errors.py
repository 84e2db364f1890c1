"""The one tree of errors. Each says in one sentence what is wrong, where, and what to do; each has its exit code."""

from typing import ClassVar


class ArrearsError(Exception):
    """Anything that ends a command; the message is one sentence for a person."""

    exit_code: ClassVar[int] = 1


class UsageError(ArrearsError):
    """The command, a setting or a source's name is wrong."""

    exit_code = 2


class GateBlocked(ArrearsError):
    """The quality gate found something critical; nothing is exported."""

    exit_code = 3


class SourceError(ArrearsError):
    """A source cannot be read or breaks the contract."""

    exit_code = 4


class SourceUnreachable(SourceError):
    """A lender's database does not answer, or went away while it was read."""


class NotDelivered(SourceError):
    """What a source was to deliver has not arrived."""


class WarehouseBusy(ArrearsError):
    """Another run holds the warehouse."""

    exit_code = 5


class AlreadyExported(ArrearsError):
    """The date is exported already, with other bytes."""

    exit_code = 6


class WarehouseError(ArrearsError):
    """The warehouse cannot be started, reached or migrated."""


class WarehouseUnreachable(WarehouseError):
    """Its server does not answer."""

    exit_code = 4


class TransformError(ArrearsError):
    """A dbt model or test failed."""


class ExportError(ArrearsError):
    """The export folder cannot be written."""


class ExportChanged(ExportError):
    """What is visible of a date is not what was exported: somebody edited it."""

    exit_code = 6


class DeliveryError(ArrearsError):
    """A target refuses what is delivered to it: its host key, our credential, a file that is there already."""


class TargetUnreachable(DeliveryError):
    """A target does not answer, or broke off."""


class LedgerError(ArrearsError):
    """The audit ledger was tampered with, or has no proof for what is asked."""


class BackupError(ArrearsError):
    """A backup cannot be written, or is not whole, or cannot be restored here."""


# Faults of the data or of the caller: trying again changes nothing.
NOT_WORTH_RETRYING = (UsageError, GateBlocked, SourceError, AlreadyExported, ExportChanged, DeliveryError)
# The faults of others that may pass by themselves.
UNREACHABLE = (SourceUnreachable, TargetUnreachable)


def is_worth_retrying(error: BaseException) -> bool:
    """Whether trying the same again may end otherwise: faults of the machine, and somebody's server that is down."""
    return isinstance(error, UNREACHABLE) or not isinstance(error, NOT_WORTH_RETRYING)
