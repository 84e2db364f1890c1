"""Delinquency of any past date, as it was known on any date, from the SQL of the models themselves.

dbt compiles the models that lead from the contract's tables to a loan's state; here they become one query, each model a
`with` clause, inside a function that sets the two dates. Nothing is stated twice, so the function cannot say otherwise
than the day's run did.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from arrears.transform import dbt
from arrears.warehouse.connections import connect

READERS = ("arrears_bi", "arrears_collector", "arrears_audit")
STATE = "int_delinquency__loans_described"
HISTORY = "loan_delinquency_history"
IN_HAND = "int_delinquency__loans_in_hand"
# They say which part of a kept model to build again; a query of any date builds all of it.
NOT_NEEDED = ("int_delinquency__loans_touched",)


def create_functions() -> None:
    """Creates `marts.loan_delinquency_at` and `working.delinquency_history_at` from this version of the models.

    Raises:
        TransformError: dbt cannot compile the models.
    """
    state, history = _compiled(STATE), _compiled(HISTORY, {"ARREARS_OF_A_FEW_LOANS": "true"})
    with connect() as connection:
        _create_loan_delinquency_at(connection, state)
        _create_delinquency_history_at(connection, history)


def _compiled(model: str, environment: Mapping[str, str] | None = None) -> Mapping[str, Any]:
    """The manifest with the SQL of a model and all that leads to it, as a build from nothing would run it."""
    dbt.invoke(
        ["compile", "--log-level", "none", "--full-refresh", "--select", f"+{model}"], date(1, 1, 1), environment
    )
    return dbt.manifest_written_last()


def _create_loan_delinquency_at(connection: psycopg.Connection, manifest: Mapping[str, Any]) -> None:
    mart = _node(manifest, "loan_delinquency")
    columns = {
        name: str(column["data_type"])
        for name, column in mart["columns"].items()
        if not column.get("config", {}).get("meta", {}).get("of_the_run", False)
    }
    query = f"{_with(manifest, STATE)}\nselect {', '.join(columns)} from {STATE}"
    _create(
        connection,
        "marts.loan_delinquency_at",
        "as_of date, known_on date default null",
        columns,
        query,
        "One row per loan that had a state on a date, as it was known on another (null: on the same): the columns of "
        "loan_delinquency, which it equals for the day of a run.",
    )
    for reader in READERS:
        connection.execute(
            sql.SQL("grant execute on function marts.loan_delinquency_at to {}").format(sql.Identifier(reader))
        )


def _create_delinquency_history_at(connection: psycopg.Connection, manifest: Mapping[str, Any]) -> None:
    columns = {name: str(column["data_type"]) for name, column in _node(manifest, HISTORY)["columns"].items()}
    scope = {IN_HAND: "loan_id = any(loan_ids)"}
    query = f"{_with(manifest, HISTORY, scope)}\nselect {', '.join(columns)} from {HISTORY}"
    _create(
        connection,
        "working.delinquency_history_at",
        "as_of date, known_on date, loan_ids text []",
        columns,
        query,
        "The stretches of a few hundred loans' lives up to a date, as they were known on another.",
    )


def _with(manifest: Mapping[str, Any], name: str, only: Mapping[str, str] | None = None) -> str:
    """The models up to one, each as a `with` clause in the order of their dependencies.

    Args:
        manifest: dbt's, just compiled.
        name: the last model.
        only: a condition by model, for its rows.
    """
    clauses = []
    models = _upstream(manifest, name)
    for node in models:
        code = str(node["compiled_code"]).strip()
        for other in models:
            code = code.replace(str(other["relation_name"]), f'"{other["name"]}"')
        if only and node["name"] in only:
            code = "\n".join(("select * from (", code, ") as every_row where", only[node["name"]]))
        clauses.append(f'"{node["name"]}" as (\n{code}\n)')
    return "with " + ",\n\n".join(clauses)


def _upstream(manifest: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """The models that one is made of, itself the last; staging views stand in the database and are read there."""
    found: dict[str, Mapping[str, Any]] = {}

    def visit(node: Mapping[str, Any]) -> None:
        if node["name"] in found or node["name"] in NOT_NEEDED:
            return
        relations = {
            str(manifest["nodes"][key]["relation_name"]): manifest["nodes"][key]
            for key in node["depends_on"]["nodes"]
            if key in manifest["nodes"]
        }
        for relation, other in relations.items():
            is_built = other["resource_type"] == "model" and other["config"]["materialized"] != "seed"
            if is_built and "staging" not in other["fqn"] and relation in str(node["compiled_code"]):
                visit(other)
        found[node["name"]] = node

    visit(_node(manifest, name))
    return list(found.values())


def _node(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    node: Mapping[str, Any] = manifest["nodes"][f"model.arrears.{name}"]
    return node


def _create(
    connection: psycopg.Connection, name: str, arguments: str, columns: Mapping[str, str], query: str, comment: str
) -> None:
    """Creates a function of the pipeline's role that runs a query with the two dates set, and sets them back."""
    returned = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    body = f"""
#variable_conflict use_column
declare
    as_of_before constant text := coalesce(current_setting('arrears.as_of_date', true), '');
    known_on_before constant text := coalesce(current_setting('arrears.known_on', true), '');
begin
    perform set_config('arrears.as_of_date', to_char(as_of, 'YYYY-MM-DD'), true);
    perform set_config('arrears.known_on', to_char(coalesce(known_on, as_of), 'YYYY-MM-DD'), true);
    return query
    {query};
    perform set_config('arrears.as_of_date', as_of_before, true);
    perform set_config('arrears.known_on', known_on_before, true);
end
"""
    connection.execute(f"drop function if exists {name}".encode())
    connection.execute(
        sql.SQL(
            "create function " + name + "(" + arguments + ") returns table (" + returned + ")"
            " language plpgsql security definer"
            " set search_path = pg_catalog, pg_temp set work_mem = '256MB' as {}"
        ).format(sql.Literal(body))
    )
    connection.execute(sql.SQL("revoke all on function " + name + " from public"))
    connection.execute(sql.SQL("comment on function " + name + " is {}").format(sql.Literal(comment)))
