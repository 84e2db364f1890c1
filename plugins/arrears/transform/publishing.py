"""Marts: their tables follow dbt's enforced contracts, their rows come from the working schema in one transaction.

BI never sees a half-built or ungated day. A mart's `config.meta.keeps` says what publishing does with the rows of D:
`latest` takes them if D is the latest date; `days`, `changes` and `all` replace the rows of D and keep the rest, by the
column that `config.meta.day` names (`as_of_date`, where it names none).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import psycopg
from psycopg import sql

from arrears.errors import TransformError

Keeps = Literal["latest", "days", "changes", "all"]


@dataclass(frozen=True, slots=True)
class Mart:
    """One table that BI reads, as its dbt contract describes it."""

    name: str
    schema: str
    keeps: Keeps
    description: str
    columns: Mapping[str, Mapping[str, Any]]
    primary_key: tuple[str, ...]
    readers: tuple[str, ...]
    day: str | None

    @property
    def table(self) -> sql.Identifier:
        """The published table."""
        return sql.Identifier(self.schema, self.name)

    @property
    def built(self) -> sql.Identifier:
        """The table that the run builds."""
        return sql.Identifier("working", self.name)


def marts(manifest: Mapping[str, Any]) -> Iterator[Mart]:
    """The marts that publishing keeps, in the order of their names."""
    nodes = sorted(manifest["nodes"].values(), key=lambda node: str(node["name"]))
    for node in nodes:
        meta = node["config"].get("meta") or {}
        if node["resource_type"] != "model" or "keeps" not in meta or node["config"]["materialized"] == "view":
            continue  # a view stands in schema marts itself
        yield Mart(
            name=node["name"],
            schema=meta.get("published_in", "marts"),
            keeps=meta["keeps"],
            description=node["description"],
            columns=node["columns"],
            primary_key=_primary_key(node),
            day=meta.get("day", "as_of_date" if meta["keeps"] in ("days", "changes") else None),
            readers=tuple(meta.get("readers", ("arrears_bi", "arrears_collector", "arrears_audit"))),
        )


def _primary_key(node: Mapping[str, Any]) -> tuple[str, ...]:
    for constraint in node.get("constraints", ()):
        if constraint["type"] == "primary_key":
            return tuple(constraint["columns"])
    for name, column in node["columns"].items():
        if any(constraint["type"] == "primary_key" for constraint in column.get("constraints", ())):
            return (str(name),)
    raise TransformError(f"Mart {node['name']} has no primary key: state one in {node['original_file_path']}.")


def make_marts(connection: psycopg.Connection, manifest: Mapping[str, Any]) -> None:
    """Creates missing tables of marts and columns that a contract has gained; drops nothing."""
    for mart in marts(manifest):
        definitions = sql.SQL(", ").join(
            sql.SQL("{} " + str(column["data_type"])).format(sql.Identifier(name))
            for name, column in mart.columns.items()
        )
        key = sql.SQL(", ").join(map(sql.Identifier, mart.primary_key))
        connection.execute(
            sql.SQL("create table if not exists {} ({}, primary key ({}))").format(mart.table, definitions, key)
        )
        there = {
            str(row[0])
            for row in connection.execute(
                "select column_name from information_schema.columns where table_schema = %s and table_name = %s",
                [mart.schema, mart.name],
            )
        }
        for name, column in mart.columns.items():
            if name not in there:
                connection.execute(
                    sql.SQL("alter table {} add column {} " + str(column["data_type"])).format(
                        mart.table, sql.Identifier(name)
                    )
                )
            connection.execute(
                sql.SQL("comment on column {}.{} is {}").format(
                    mart.table, sql.Identifier(name), sql.Literal(column["description"])
                )
            )
        connection.execute(sql.SQL("comment on table {} is {}").format(mart.table, sql.Literal(mart.description)))
        for reader in mart.readers:
            connection.execute(sql.SQL("grant select on {} to {}").format(mart.table, sql.Identifier(reader)))


def publish(connection: psycopg.Connection, manifest: Mapping[str, Any], as_of: date, run_id: str) -> dict[str, int]:
    """Puts the day's rows into the marts; the caller commits.

    Returns:
        Rows published, by mart; a mart of the latest date is left out when D is not the latest.
    """
    row = connection.execute("select max(as_of_date) from ops.published_days").fetchone()
    is_latest = row is None or row[0] is None or row[0] <= as_of
    counts = {}
    for mart in marts(manifest):
        if mart.keeps == "latest":
            if not is_latest:
                continue
            connection.execute(sql.SQL("delete from {}").format(mart.table))
        elif mart.day is not None:
            connection.execute(
                sql.SQL("delete from {} where {} = %s").format(mart.table, sql.Identifier(mart.day)), [as_of]
            )
        else:
            same = sql.SQL(" and ").join(
                sql.SQL("kept.{0} = built.{0}").format(sql.Identifier(name)) for name in mart.primary_key
            )
            connection.execute(
                sql.SQL("delete from {} as kept using {} as built where {}").format(mart.table, mart.built, same)
            )
        columns = sql.SQL(", ").join(map(sql.Identifier, mart.columns))
        done = connection.execute(
            sql.SQL("insert into {} ({}) select {} from {}").format(mart.table, columns, columns, mart.built)
        )
        counts[mart.name] = done.rowcount
    connection.execute(
        "insert into ops.published_days (as_of_date, run_id) values (%s, %s)"
        " on conflict (as_of_date) do update set run_id = excluded.run_id, published_at = now()",
        [as_of, run_id],
    )
    return counts
