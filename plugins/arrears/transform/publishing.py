"""Marts: their tables follow dbt's enforced contracts, their rows come from the working schema in one transaction.

BI never sees a half-built or ungated day. A mart's `config.meta.keeps` says what publishing does with the rows of D:
`latest` takes them if D is the latest date; `days`, `changes` and `all` replace the rows of D and keep the rest, by the
column that `config.meta.day` names (`as_of_date`, where it names none). A mart that follows every loan through its life
names in `config.meta.life` the column with the last day that a row tells of: of the loans computed again since the last
publishing its rows are replaced, from the day on which they may read otherwise.
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
    life: str | None

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
            life=meta.get("life"),
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
    latest: date | None = row[0] if row else None
    is_latest = latest is None or latest <= as_of
    row = connection.execute("select exists (select 1 from ops.unpublished_loans where loan_id = '')").fetchone()
    is_built_anew = latest is None or row == (True,)
    counts = {}
    for mart in marts(manifest):
        if mart.keeps == "latest" or mart.life is not None:
            if not is_latest:
                continue
            if mart.life is not None and not is_built_anew and not _is_empty(connection, mart):
                counts[mart.name] = _replace_lives(connection, mart, latest)
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
    if is_latest:
        connection.execute("delete from ops.unpublished_loans")
    connection.execute(
        "insert into ops.published_days (as_of_date, run_id) values (%s, %s)"
        " on conflict (as_of_date) do update set run_id = excluded.run_id, published_at = now()",
        [as_of, run_id],
    )
    return counts


def _is_empty(connection: psycopg.Connection, mart: Mart) -> bool:
    row = connection.execute(sql.SQL("select not exists (select 1 from {})").format(mart.table)).fetchone()
    return row == (True,)


def _replace_lives(connection: psycopg.Connection, mart: Mart, published_until: date | None) -> int:
    """Replaces what may have changed of loans' lives since the last publishing; gives the rows put in.

    Of a loan computed again that is every row that tells of a day from the one before `changed_from` on, of any loan a
    row for a day since the last publishing (a month that ended).
    """
    assert mart.life is not None
    names = {
        "mart": mart.table,
        "built": mart.built,
        "columns": sql.SQL(", ").join(map(sql.Identifier, mart.columns)),
        "built_columns": sql.SQL(", ").join(sql.Identifier("built", name) for name in mart.columns),
        "last_day": sql.Identifier(mart.life),
        "published_until": sql.Literal(published_until) + sql.SQL("::date"),
    }
    touched = sql.SQL(
        "exists (select 1 from ops.unpublished_loans as touched where touched.loan_id = {relation}.loan_id"
        " and coalesce({relation}.{last_day}, 'infinity') >= touched.changed_from - 1)"
    )
    connection.execute(
        sql.SQL("delete from {mart} as kept where {touched}").format(
            **names, touched=touched.format(**names, relation=sql.Identifier("kept"))
        )
    )
    return connection.execute(
        sql.SQL(
            "insert into {mart} ({columns}) select {built_columns} from {built} as built where {touched}"
            " or built.{last_day} > {published_until}"
        ).format(**names, touched=touched.format(**names, relation=sql.Identifier("built")))
    ).rowcount
