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


# Faults of the data or of the caller: trying again changes nothing.
NOT_WORTH_RETRYING = (UsageError, GateBlocked, SourceError, AlreadyExported)
