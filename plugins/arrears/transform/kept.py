"""The models that are kept from one day to the next, and when they must be built from nothing.

Each keeps, in the transaction that writes it, for which date, after which change of a batch and by which project it was
built (dbt's macro mark_kept). Where those marks do not agree with what stands, nothing of it can be built upon.
"""

import psycopg
from psycopg import sql

from arrears.transform import dbt


def why_anew(connection: psycopg.Connection) -> str | None:
    """Why the kept models must be built from nothing; None where what was kept can be built upon."""
    models = sorted(
        str(node["name"])
        for node in dbt.manifest()["nodes"].values()
        if node["resource_type"] == "model" and node["config"]["materialized"] == "incremental"
    )
    marks: dict[str, str] = dict(connection.execute("select model, project from ops.kept_models").fetchall())
    missing = [model for model in models if not _stands(connection, model)]
    if len(missing) == len(models):
        return "nothing was kept"
    if missing:
        return f"{missing[0]} was lost"
    if any(marks.get(model) is None for model in models):
        return "a build of them was never finished"
    if any(marks[model] != dbt.project_sha256() for model in models):
        return "models or seeds changed"
    return None


def _stands(connection: psycopg.Connection, model: str) -> bool:
    """Whether the table is there and holds something, where there is anything to hold."""
    row = connection.execute("select to_regclass(%s) is not null", [f"working.{model}"]).fetchone()
    if row != (True,):
        return False
    if model == "int_delinquency__days_replayed":
        return True  # a portfolio may have no loan to replay
    filled = sql.SQL(
        "select exists (select 1 from working.{}) or not exists (select 1 from versions.loans where _known_to is null)"
    ).format(sql.Identifier(model))
    return connection.execute(filled).fetchone() == (True,)
