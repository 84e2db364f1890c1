"""The warehouse: PostgreSQL, embedded or given by ARREARS_DATABASE_URL."""

from arrears.warehouse.bootstrap import ready
from arrears.warehouse.connections import connect

__all__ = ["connect", "ready"]
