"""`manifest.json`: what an export is made of and what is in it. No clock time, keys sorted: it can be compared."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

from arrears.settings import CHECKOUT

MANIFEST = "manifest.json"
# What decides the bytes of an export: rules, seeds, suites and code; not docs, tests or the names of folders.
CODE = (
    ("dbt_project", ("*.sql", "*.yml", "*.csv")),
    ("expectations", ("*.py",)),
    ("plugins/arrears", ("*.py", "*.yml", "*.ini")),
)
BUILT_BY_DBT = ("target", "logs", "dbt_packages")

# From the batch that holds at the date back to the first: each is kept as its differences to the one before. Batches of
# dates in between that came later are no part of it. A date before the first batch is computed from that one.
BATCHES = """
with recursive used as (
    (
        select distinct on (batches.source)
            batches.batch_id, batches.source, batches.batch_date, batches.mode, batches.content_sha256,
            batches.base_batch_id, batches.known_from > %(as_of)s as is_reconstructed
        from ops.batches as batches
        where batches.state = 'accepted'
        order by
            batches.source,
            batches.known_from > %(as_of)s,
            case when batches.known_from > %(as_of)s then not batches.is_first end,
            case when batches.known_from > %(as_of)s then batches.known_from end,
            batches.known_from desc,
            batches.batch_date desc
    )

    union all

    select
        base.batch_id, base.source, base.batch_date, base.mode, base.content_sha256, base.base_batch_id,
        used.is_reconstructed
    from used
    inner join ops.batches as base on used.base_batch_id = base.batch_id
)

select batch_id, source, batch_date, mode, content_sha256, is_reconstructed
from used
order by source collate "C", batch_date, batch_id collate "C"
"""

# Only what does not depend on how often a stage was judged: which rules held, how many rows broke those that did not.
GATE = """
select stage, severity, suite, rule, is_passed, failed_count, waived_count
from ops.gate_results
where as_of_date = %s
order by stage collate "C", suite collate "C", rule collate "C"
"""


@cache
def code_version() -> str:
    """The package's version and a hash over the code, rules and seeds that decide what is exported."""
    digest = hashlib.sha256()
    for folder, patterns in CODE:
        root = CHECKOUT / folder
        found = {path for pattern in patterns for path in root.rglob(pattern) if path.is_file()}
        for path in sorted(found, key=lambda path: path.relative_to(root).as_posix()):
            inside = path.relative_to(root)
            if inside.parts[0] not in BUILT_BY_DBT and "__pycache__" not in inside.parts:
                digest.update(f"{folder}/{inside.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return f"{version('arrears')}+{digest.hexdigest()[:16]}"


def batches_used(connection: psycopg.Connection, as_of_date: date) -> list[dict[str, Any]]:
    """The accepted batches that the date's data come from; those of a later date are marked `is_reconstructed`."""
    rows = connection.execute(BATCHES, {"as_of": as_of_date}).fetchall()
    names = ("batch_id", "source", "batch_date", "mode", "content_sha256")
    return [
        dict(zip(names, (str(value) for value in row), strict=True)) | ({"is_reconstructed": True} if is_later else {})
        for *row, is_later in rows
    ]


def gate_result(connection: psycopg.Connection, as_of_date: date) -> dict[str, Any]:
    """By stage: passed or not, and the rules that failed with severity, count of rows, and how many were waived."""
    stages: dict[str, Any] = {}
    for stage, severity, suite, rule, is_passed, failed, waived in connection.execute(GATE, [as_of_date]).fetchall():
        result = stages.setdefault(str(stage), {"result": "passed", "rules_failed": []})
        if not is_passed:
            told = {"suite": suite, "rule": rule, "severity": severity, "rows": failed}
            result["rules_failed"].append(told | ({"waived": waived} if waived else {}))
            result["result"] = "passed with findings"
    return stages


def render(content: Mapping[str, Any]) -> bytes:
    """The manifest's bytes."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read(folder: Path) -> dict[str, Any] | None:
    """An export's manifest; None where the folder holds none that can be read."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def sha256_of(folder: Path) -> str | None:
    """The hash of a folder's manifest, which stands for the whole export; None where there is none."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return None
