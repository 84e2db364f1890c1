"""The check of every value against its type in the contract, as one DuckDB SELECT over whatever was delivered.

What passes is typed; a row that does not comes out with the reason, so that it costs itself only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from arrears.contract.servicing import Column, Table
from arrears.extraction.drops.formats import literal, quote
from arrears.settings import get_settings

SEPARATOR = "chr(31)"  # of the hashed text: a character that no value holds
DELETED = "_deleted"  # a delta's column that says which rows are gone

DATE = r"\d{4}-\d{2}-\d{2}"
CLOCK = r"\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?"
OFFSET = r"(Z|z|[+-]\d{2}(:?\d{2})?)"


@dataclass(frozen=True, slots=True)
class Rules:
    """What differs between sources and tables in how rows are read.

    Attributes:
        time_zone: zone of timestamps without an offset; without one they are refused.
        key_prefix: put before keys and references.
        marks_deleted: whether the column `_deleted` is there and means that a row is gone.
    """

    time_zone: str | None = None
    key_prefix: str = ""
    marks_deleted: bool = False


def checked(rows: str, table: Table, present: Mapping[str, str], rules: Rules, also: Mapping[str, str]) -> str:
    """A SELECT of typed values as text, with what the core needs beside them.

    These are `_row_hash`, `_file`, `_line`, `_is_deleted`, `_problem` (null: none), `_row` (as delivered, of those with
    a problem) and `_has_key`.

    Args:
        rows: a SELECT of what was delivered.
        table: what it is to become.
        present: names and DuckDB types of what `rows` gives.
        rules: how to read it.
        also: further columns by name, as SQL over `rows`.
    """
    texts, values, problems, final, hashed = [], [], [], [], []
    gone = "false"
    if rules.marks_deleted:
        gone = f"coalesce({DELETED} = 'true', false)"
        texts.append(f"nullif(cast({DELETED} as varchar), '') as {DELETED}")
        problems.append(
            f"case when {DELETED} not in ('true', 'false')"
            f" then 'column {DELETED} is neither true nor false: ' || left({DELETED}, 40) end"
        )
        hashed.append(f"case when {gone} then '{DELETED}' end")
    for column in table.columns:
        name, value_name = quote(column.name), quote("v_" + column.name)
        is_key = column.name in table.primary_key
        if column.name in present:
            texts.append(f"{as_text(name, present[column.name], column)} as {name}")
        else:
            texts.append(f"cast(null as varchar) as {name}")
        value, complaint = reading(name, column, rules.time_zone)
        if rules.key_prefix and column.name in table.prefixed_columns:
            value = f"{literal(rules.key_prefix)} || ({value})"
        if rules.marks_deleted and not is_key:  # of a row that is gone only the key counts
            value = f"case when not {gone} then {value} end"
        values.append(f"{value} as {value_name}")
        shown = "''" if column.personal else f"': ' || left({name}, 40)"
        counts = f"not {gone} and " if rules.marks_deleted and not is_key else ""
        problems.append(
            f"case when {counts}{name} is not null and {value_name} is null"
            f" then 'column {column.name} {complaint}' || {shown} end"
        )
        if is_key:
            problems.append(f"case when {name} is null then 'column {column.name} of the key is empty' end")
        final.append(f"{value_name} as {name}")
        # Only what is there is hashed, under its name: a column that the contract gains changes no row's hash.
        hashed.append(f"'{column.name}=' || {value_name}")
    where_from = [name if name in present else f"null as {name}" for name in ("_file", "_line")]
    more = [f"{expression} as {quote(name)}" for name, expression in also.items()]
    has_key = " and ".join(f"{quote('v_' + name)} is not null" for name in table.primary_key)
    row = ", ".join(f"{literal(name)}: {quote(name)}" for name in table.column_names if name in present)
    return f"""
        with delivered as ({rows}
        ),
        texts as (select {", ".join([*texts, *where_from, *more])} from delivered),
        typed as (select *, {", ".join(values)} from texts),
        judged as (select *, coalesce({", ".join(problems)}) as _problem from typed)
        select
            {", ".join([*final, *map(quote, also)])},
            md5(concat_ws({SEPARATOR}, {", ".join(hashed)})) as _row_hash,
            cast(_file as varchar) as _file,
            cast(_line as bigint) as _line,
            {gone} as _is_deleted,
            _problem,
            case when _problem is not null then cast(to_json({{{row}}}) as varchar) end as _row,
            {has_key} as _has_key
        from judged
    """


def as_text(name: str, kind: str, column: Column) -> str:
    """DuckDB's expression of a delivered column of some type as text; an empty text is null."""
    if kind in ("FLOAT", "DOUBLE") and column.data_type.startswith("numeric"):
        precision, scale = _precision(column)
        # What is no number of that size (infinite, say) keeps its own text and is refused by it.
        number = f"try_cast(round({name}, {scale}) as decimal({precision}, {scale}))"
        return f"coalesce(cast({number} as varchar), cast({name} as varchar))"
    return f"nullif(cast({name} as varchar), '')"


def _precision(column: Column) -> tuple[int, int]:
    precision, scale = column.data_type.removeprefix("numeric(").rstrip(")").split(",")
    return int(precision), int(scale)


def reading(name: str, column: Column, time_zone: str | None) -> tuple[str, str]:
    """DuckDB's expression that reads a text as the column's type (null where it is none), and the complaint."""
    kind = column.data_type
    if kind == "text":
        return f"case when not regexp_matches({name}, '[\\x00\\x1e\\x1f]') then {name} end", "holds a control character"
    if kind == "date":
        is_date = f"regexp_full_match({name}, '{DATE}') and {name} >= '0001'"
        return f"case when {is_date} then cast(try_cast({name} as date) as varchar) end", "is no date YYYY-MM-DD"
    if kind == "integer":
        return (
            f"case when regexp_full_match({name}, '[+-]?\\d+') then cast(try_cast({name} as integer) as varchar) end",
            "is no whole number",
        )
    if kind == "boolean":
        return f"case when {name} in ('true', 'false') then {name} end", "is neither true nor false"
    if kind == "timestamptz":
        return _reading_of_instant(name, time_zone)
    precision, scale = _precision(column)
    shape = f"[+-]?\\d{{1,{precision - scale}}}(\\.\\d{{1,{scale}}}0*)?"
    return (
        f"case when regexp_full_match({name}, '{shape}')"
        f" then cast(try_cast({name} as decimal({precision}, {scale})) as varchar) end",
        f"is no number with at most {scale} decimals",
    )


def _reading_of_instant(name: str, time_zone: str | None) -> tuple[str, str]:
    # A date alone is the end of that day: in the source's zone, else as business dates are.
    zone_of_days = literal(time_zone or get_settings().business_time_zone)
    cases = [
        f"when regexp_full_match({name}, '{DATE}[T ]{CLOCK} ?{OFFSET}') then try_cast({name} as timestamptz)",
        f"when regexp_full_match({name}, '{DATE}') then timezone({zone_of_days}, try_cast({name} as timestamp)"
        f" + interval 1 day - interval 1 microsecond)",
    ]
    complaint = "is no instant with an offset (source.yml names no time_zone)"
    if time_zone is not None:
        complaint = "is no instant YYYY-MM-DD HH:MM:SS"
        local = f"timezone({literal(time_zone)}, try_cast({name} as timestamp))"
        cases.append(f"when regexp_full_match({name}, '{DATE}[T ]{CLOCK}') then {local}")
    instant = f"(case {' '.join(cases)} end)"
    return f"strftime(timezone('UTC', {instant}), '%Y-%m-%d %H:%M:%S.%f+00')", complaint
