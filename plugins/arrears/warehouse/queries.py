"""Queries of analysts: read only, with the BI role, streamed."""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from arrears.errors import UsageError
from arrears.warehouse.connections import connect


def stream_csv(query: str) -> Iterator[bytes]:
    """A query's result as CSV with a header, in chunks.

    Raises:
        UsageError: the query is not one SELECT, or fails; says what the server answered.
    """
    yield from _copy(query, "copy ({}) to stdout with (format csv, header)")


def stream_json(query: str) -> Iterator[bytes]:
    """A query's result as one JSON object a line, in chunks."""
    # As CSV whose quote and delimiter JSON never holds unescaped, so that each line comes out as it is.
    options = "format csv, quote e'\\x01', delimiter e'\\x02'"
    yield from _copy(query, "copy (select row_to_json(result) from ({}) as result) to stdout with (" + options + ")")


def _copy(query: str, around: str) -> Iterator[bytes]:
    with connect(role="bi") as connection:
        connection.read_only = True
        statement = sql.SQL(around).format(sql.SQL(query.strip().rstrip(";")))
        try:
            with connection.cursor() as cursor, cursor.copy(statement) as copy:
                for chunk in copy:
                    yield bytes(chunk)
        except psycopg.Error as error:
            said = error.diag.message_primary or " ".join(str(error).split())
            raise UsageError(f"The query fails: {said}; one SELECT is taken, on schema marts.") from error
