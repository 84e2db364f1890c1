"""The texts of a source's folder to start from: source.yml, one SELECT per required table, README.md.

What they say of tables and columns comes from the contract, what they say of keys from the model of source.yml.
"""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic.fields import FieldInfo

from arrears.contract.servicing import CONTRACT_FILE, Column, Table, contract
from arrears.doctor import NEEDED_FOR
from arrears.extraction.sources import OF_DATABASE, OF_FILES, Deliveries, LenderFile, Source
from arrears.onboarding.lender_files import FoundFile
from arrears.onboarding.lender_tables import LenderTable
from arrears.settings import CHECKOUT

Engine = Literal["files", "postgres"]

LONGEST_LINE = 120
CURSOR = "updated_at"

# Of keys that nobody can guess: what stands behind the key where it is not set.
EXAMPLES = {
    "time_zone": "Europe/Prague",
    "key_prefix": '"N-"',
    "days": "[mon, tue, wed, thu, fri]",
    "holidays": "CZ",
    "by": '"05:00"',
    "wait_hours": "4",
    "may_be_stale_days": "0",
    "drop": "data",
    "marker": "_SUCCESS",
    "schema": "servicing",
    "format": "csv",
    "delimiter": '","',
    "quote": "'\"'",
    "encoding": "utf-8",
    "sheet": "Loans",
    "columns": "{loan_no: [1, 10], amount: [11, 12]}",
    "business_date": "business_date",
    "overlap_minutes": "60",
    "deletions_every_days": "1",
}


def source_yml(name: str, engine: Engine, connection: str, files: Sequence[FoundFile] | None) -> str:
    """The file with every key that the engine knows, each with its meaning; those not set behind `#`.

    Args:
        name: the source's.
        engine: the one it is for.
        connection: environment variable with the database's URL.
        files: of a drop that was looked at; empty where it is in contract form; None where there was none.
    """
    given: dict[str, str | None] = {"description": "TODO which system this is", "engine": engine}
    if engine == "postgres":
        given |= {"connection": connection, "cursor": CURSOR}
    lines = [
        f"# How source {name} is read. Every key of engine {engine} is here; those behind # are not set.",
        "# docs/how-to/add-a-source.md explains them.",
    ]
    strange = OF_FILES if engine == "postgres" else OF_DATABASE
    for field, info in Source.model_fields.items():
        key = info.alias or field
        if field in ("name", "folder") or field in strange:
            continue
        lines += ["", f"# {info.description}"]
        if key == "deliveries":
            lines += ["# deliveries:", *(f"#   {line}" for line in _keys(Deliveries.model_fields))]
        elif key == "files":
            lines += _files(files)
        elif key in given:
            lines.append(f"{key}: {given[key]}")
        else:
            lines.append(f"# {key}: {EXAMPLES[key]}")
    return "\n".join(lines) + "\n"


def _keys(fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    width = max(len(f"{key}: {EXAMPLES[key]}") for key in fields if key in EXAMPLES)
    for key, info in fields.items():
        if key in EXAMPLES:
            yield f"{f'{key}: {EXAMPLES[key]}':<{width}}  # {info.description}"


def _files(files: Sequence[FoundFile] | None) -> Iterator[str]:
    if files is not None and not files:
        yield "# None: the drop holds the contract's own tables, TABLE.csv, TABLE.csv.gz, TABLE.parquet or TABLE.xlsx."
        yield '# files: {loans_file: {pattern: "loans*.csv"}}'
        return
    yield f"# Keys of a file beside pattern ({LenderFile.model_fields['pattern'].description.rstrip('.').lower()}):"  # type: ignore[union-attr]
    for line in _keys(LenderFile.model_fields):
        yield f"#   {line}"
    yield "files:"
    if files is None:
        yield '  loans_file: {pattern: "TODO*.csv"}'
    for file in files or ():
        yield from textwrap.wrap(
            ", ".join(file.columns), LONGEST_LINE, initial_indent="  # columns: ", subsequent_indent="  #   "
        )
        yield f"  {file.view}: {{{_file_keys(file.given)}}}"


def _file_keys(given: LenderFile) -> str:
    keys = given.model_dump(exclude_defaults=True)
    plain = re.compile(r"[a-z0-9-]+")
    return ", ".join(
        f"{key}: {value if isinstance(value, str) and plain.fullmatch(value) else json.dumps(value)}"
        for key, value in keys.items()
    )


def select(table: Table, engine: Engine) -> str:
    """A SELECT that runs as it is and gives one row of nulls: each column on its line, with what it must hold."""
    lines = [
        f"-- {table.name}: {table.grain[0].lower()}{table.grain[1:].rstrip('.')}. Key: {', '.join(table.primary_key)}.",
        *_notes(table),
        "select",
    ]
    columns: list[str] = []
    for column in table.columns:
        columns += _lines(table, column)
    if engine == "postgres":
        columns += [
            "    -- The cursor: when the row last changed, in this table or in one that it is made of.",
            f"    cast(null as timestamptz) as {CURSOR},  -- TODO",
        ]
    else:
        columns += [
            "    -- Where the row comes from: take both along from the lender's row.",
            "    cast(null as text) as _file,",
            "    cast(null as bigint) as _line,",
        ]
    last = max(index for index, line in enumerate(columns) if line.lstrip().startswith("cast("))
    columns[last] = columns[last].replace(",  --", "  --", 1) if ",  --" in columns[last] else columns[last].rstrip(",")
    return "\n".join([*lines, *columns, "-- TODO from …"]) + "\n"


def _notes(table: Table) -> Iterator[str]:
    if table.only_grows:
        yield f"-- It only grows: a row once delivered neither changes nor vanishes. Known from {table.known_at}."
    yield "-- A column is decided when its TODO is gone; what the lender does not know stays null where it is optional."


def _lines(table: Table, column: Column) -> Iterator[str]:
    is_needed = column.required or column.name in table.primary_key
    notes = ["TODO required" if is_needed else "optional"]
    if column.name in table.primary_key:
        notes.append("key")
    if column.personal:
        notes.append("personal")
    if column.references:
        notes.append(f"of {column.references}")
    if column.values:
        notes.append("one of " + ", ".join(column.values))
    line = f"    cast(null as {column.data_type}) as {column.name},  -- {'; '.join(notes)}"
    if not column.description:
        yield from _within(line)
    elif len(whole := f"{line}. {column.description}") <= LONGEST_LINE:
        yield whole
    else:
        yield from _commented(column.description)
        yield from _within(line)


def _within(line: str) -> Iterator[str]:
    """A line, its note before it where it would be too long."""
    if len(line) <= LONGEST_LINE:
        yield line
    else:
        code, note = line.split("  -- ", 1)
        kind, _, rest = note.partition("; ")
        yield from _commented(rest)
        yield f"{code}  -- {kind}"


def _commented(text: str) -> list[str]:
    return textwrap.wrap(text, LONGEST_LINE, initial_indent="    -- ", subsequent_indent="    -- ")


def readme(
    name: str,
    engine: Engine,
    tables: Sequence[LenderTable] | str,
    files: Sequence[FoundFile],
    *,
    has_selects: bool = True,
) -> str:
    """What the source is, what was decided in it, and what else it could deliver.

    Args:
        name: the source's.
        engine: the one it is for.
        tables: the lender's tables, or why they could not be listed.
        files: of a drop that was looked at.
        has_selects: whether SELECTs make its tables.
    """
    required = [table for table in contract().values() if table.required]
    how = "Add `TABLE.sql` for each" if has_selects else "Deliver each"
    how += " that the lender can fill"
    sql = "PostgreSQL's" if engine == "postgres" else "DuckDB's"
    parts = [
        f"# {name}",
        "TODO: what system this is, whose, in which version, and whom to ask about it.",
        f"`arrears source check {name}` says what is missing or wrong, before anything is loaded.",
    ]
    if has_selects:
        parts += [
            "## What the SELECTs decide",
            f"One file for each contract table, in {sql} SQL. Write down what is not obvious from it: what a code"
            " means, which rows are left out and why, what the system does not know.",
            _table(("table", "decided"), [(f"{table.name} (required)", "TODO") for table in required]),
        ]
    parts += [
        "## What else it could deliver",
        f"{how}; columns are in [the contract]({_link()}). What nothing needs so far is kept all the same: its history"
        " begins with its first delivery.",
        _table(
            ("table", "one row is", "without it is off"),
            [
                (table.name, _one_row_is(table), _capability(table))
                for table in contract().values()
                if not table.required
            ],
        ),
    ]
    if files:
        columns = [(file.view, file.path.name, ", ".join(file.columns)) for file in files]
        parts += ["## The lender's files", _table(("view", "file", "columns"), columns)]
    if engine == "postgres":
        parts.append("## The lender's tables")
        if isinstance(tables, str):
            parts.append(tables)
        else:
            parts.append(
                "\n".join(f"- `{one.name}`: {_columns(one)}" for one in tables) or "None that the role may read."
            )
    return "\n\n".join(parts) + "\n"


def _columns(table: LenderTable) -> str:
    return ", ".join(f"`{name}` {kind}" for name, kind in table.columns)


def _one_row_is(table: Table) -> str:
    return table.grain.removeprefix("One row is ").rstrip(".")


def _capability(table: Table) -> str:
    return NEEDED_FOR.get(table.name, "nothing so far")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _link() -> str:
    return "../../" + CONTRACT_FILE.relative_to(CHECKOUT).as_posix()
