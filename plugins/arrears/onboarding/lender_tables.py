"""What tables a lender's database has: names and types, never a value."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import psycopg

from arrears.extraction.database import connection as database_connection
from arrears.extraction.sources import Source

TABLES = r"""
select
    schemas.nspname || '.' || classes.relname,
    array_agg(columns.attname::text order by columns.attnum),
    array_agg(format_type(columns.atttypid, columns.atttypmod) order by columns.attnum)
from pg_class as classes
inner join pg_namespace as schemas on classes.relnamespace = schemas.oid
inner join pg_attribute as columns on classes.oid = columns.attrelid
where
    classes.relkind in ('r', 'p', 'v', 'm', 'f')
    and not classes.relispartition
    and schemas.nspname <> 'information_schema'
    and schemas.nspname not like 'pg\_%'
    and columns.attnum > 0
    and not columns.attisdropped
    and has_schema_privilege(schemas.oid, 'usage')
    and has_any_column_privilege(classes.oid, 'select')
group by schemas.nspname, classes.relname
order by schemas.nspname, classes.relname
"""


@dataclass(frozen=True, slots=True)
class LenderTable:
    """A table or view that the role may read, with its columns and their types."""

    name: str
    columns: Sequence[tuple[str, str]]


def list_tables(source: Source) -> list[LenderTable]:
    """All tables and views of a source's database that its role may read.

    Raises:
        SourceError: it cannot be reached, or its connection is not set.
    """
    with closing(database_connection.connect(source)) as session:
        try:
            session.execute("set default_transaction_read_only = on; set statement_timeout = '30s'")
            rows = session.execute(TABLES.encode()).fetchall()
        except psycopg.Error as error:
            raise database_connection.source_error(error, database_connection.place(session)) from None
    return [LenderTable(name, tuple(zip(columns, types, strict=True))) for name, columns, types in rows]
