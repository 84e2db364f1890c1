"""Makes the folder of a new source: sources/NAME/ with source.yml, a SELECT per required table, README.md."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from arrears.contract.servicing import contract
from arrears.errors import SourceError, UsageError
from arrears.extraction.sources import Source
from arrears.onboarding import skeleton
from arrears.onboarding.lender_files import FoundDrop, find_files
from arrears.onboarding.lender_tables import LenderTable, list_tables
from arrears.onboarding.skeleton import Engine
from arrears.settings import environment_variable, get_settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
ENVIRONMENT_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|airflow:\S+")


@dataclass(frozen=True, slots=True)
class NewSource:
    """What was written, and what to do next."""

    name: str
    folder: str
    engine: Engine
    files: Sequence[str]
    notes: Sequence[str]
    next_steps: Sequence[str]


def new_source(
    name: str, *, engine: str | None = None, connection: str | None = None, from_drop: Path | None = None
) -> NewSource:
    """Writes a folder to start from.

    Args:
        name: the source's and its folder's.
        engine: None: postgres where a connection is named, else files.
        connection: environment variable with the database's URL, or airflow:CONN_ID.
        from_drop: folder with files of the lender's, whose names and headers become entries of source.yml.

    Raises:
        UsageError: the name is no folder's, the folder is there already, or the options contradict each other.
    """
    folder = _free_folder(name)
    chosen = _engine(engine, connection)
    if chosen == "files" and connection is not None:
        raise UsageError("--connection belongs to --engine postgres.")
    if chosen == "postgres" and from_drop is not None:
        raise UsageError("--from-drop belongs to --engine files.")
    connection = connection or f"ARREARS_{name.upper().replace('-', '_')}_URL"
    if not ENVIRONMENT_VARIABLE.fullmatch(connection):
        raise UsageError(
            "--connection takes the name of an environment variable that holds the URL, not the URL itself."
        )
    found = find_files(from_drop) if from_drop is not None else None
    has_selects = found is None or not found.is_contract_form
    files = None if found is None else (found.files if has_selects else ())
    texts = {"source.yml": skeleton.source_yml(name, chosen, connection, files)}
    source = Source.model_validate({**yaml.safe_load(texts["source.yml"]), "name": name, "folder": folder})
    tables = _lender_tables(source)
    if has_selects:
        texts |= {f"{one.name}.sql": skeleton.select(one, chosen) for one in contract().values() if one.required}
    texts["README.md"] = skeleton.readme(
        name, chosen, tables, found.files if found is not None and has_selects else (), has_selects=has_selects
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be written: {error.strerror or error}.") from error
    return NewSource(
        name, str(folder), chosen, list(texts), _notes(tables, found, chosen), _next_steps(source, found, from_drop)
    )


def _engine(given: str | None, connection: str | None) -> Engine:
    match given:
        case None:
            return "files" if connection is None else "postgres"
        case "files":
            return "files"
        case "postgres":
            return "postgres"
        case _:
            raise UsageError(f"--engine {given}: there are files and postgres.")


def _free_folder(name: str) -> Path:
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a source: use letters, digits, - and _, beginning with a letter or a digit, at"
            f" most 63 of them."
        )
    folder = get_settings().sources_folder / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already and nothing in it is overwritten: take another name, or remove it."
        )
    return folder


def _lender_tables(source: Source) -> list[LenderTable] | str:
    """The lender's tables, or why they cannot be listed."""
    if source.engine == "files":
        return []
    assert source.connection is not None
    try:
        return list_tables(source)
    except SourceError as error:
        is_unset = not source.connection.startswith("airflow:") and not environment_variable(source.connection)
        said = f"{source.connection} is not set" if is_unset else str(error).rstrip(".")
        return f"Not listed, because the database could not be asked when this folder was made ({said})."


def _notes(tables: list[LenderTable] | str, found: FoundDrop | None, engine: Engine) -> list[str]:
    notes = []
    if engine == "postgres":
        notes.append(
            tables if isinstance(tables, str) else f"README.md lists the {len(tables):,} tables that the role may read."
        )
    if found is not None:
        notes.append(f"{len(found.files):,} files of {found.folder} were looked at.")
        if found.others:
            notes.append(f"Not recognised by their names and left out: {', '.join(found.others)}.")
        if found.is_contract_form:
            notes.append("They have the contract's own tables and columns, so the source needs no SELECTs.")
    return notes


def _next_steps(source: Source, found: FoundDrop | None, from_drop: Path | None) -> list[str]:
    drop = f" --drop {from_drop}" if from_drop is not None else " --drop DIR" if source.engine == "files" else ""
    steps = []
    if source.engine == "postgres":
        assert source.connection is not None
        if not source.connection.startswith("airflow:") and not environment_variable(source.connection):
            steps.append(f"set {source.connection} to the URL of the database, of a role that may only read")
    elif found is None:
        steps.append("name the lender's files in source.yml")
    if found is None or not found.is_contract_form:
        steps.append("write the SELECTs: each column marked TODO, and FROM")
    steps.append(f"arrears source check {source.name}{drop}")
    steps.append(f"arrears run --source {source.name}{drop} --as-of DATE")
    return steps
