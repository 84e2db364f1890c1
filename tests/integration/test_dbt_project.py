"""The dbt project: its unit tests pass on PostgreSQL, it builds on an empty warehouse, its marts say what they are."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from arrears.transform import dbt, publishing
from arrears.warehouse import bootstrap
from tests.conftest import VIEWS, Workplace

D = date(2026, 3, 31)
CLOSED = ("text", "date", "timestamp with time zone")


@pytest.fixture
def nodes(workplace: Workplace) -> list[Mapping[str, Any]]:
    """The project's models."""
    del workplace
    return [node for node in dbt.manifest()["nodes"].values() if node["resource_type"] == "model"]


def build_empty(workplace: Workplace) -> None:
    """Builds every model without rows; the portfolio's currency is kept, as extracting keeps it."""
    with workplace.connect() as connection:
        bootstrap.keep(connection, "reporting_currency", "EUR")
    dbt.invoke(["run", "--empty", "--exclude", VIEWS], D)


def test_unit_tests_pass(workplace: Workplace) -> None:
    build_empty(workplace)

    runs = dbt.invoke(["test", "--select", "test_type:unit"], D)

    assert len(runs) > 20
    assert {run.status for run in runs} == {"pass"}


def test_every_mart_has_a_contract_a_key_an_owner_and_texts(nodes: list[Mapping[str, Any]]) -> None:
    marts = [node for node in nodes if "/marts/" in node["original_file_path"]]
    assert len(marts) >= 7
    for node in marts:
        name = node["name"]
        assert node["config"]["contract"]["enforced"], name
        assert node["config"].get("group"), name
        assert node["description"].startswith("One row"), name
        assert node["config"]["meta"]["keeps"] in ("latest", "days", "changes", "all"), name
        for column, about in node["columns"].items():
            assert about["description"].strip(), f"{name}.{column}"
            assert about["data_type"], f"{name}.{column}"


def test_marts_are_keyed_by_the_date_they_keep(nodes: list[Mapping[str, Any]]) -> None:
    del nodes
    for mart in publishing.marts(dbt.manifest()):
        if mart.keeps in ("days", "changes"):
            assert mart.primary_key[0] == "as_of_date", mart.name


def test_no_mart_of_bi_holds_a_personal_column(nodes: list[Mapping[str, Any]]) -> None:
    del nodes
    personal = {"name", "born_on", "phone", "email", "street", "national_id", "value"}
    for mart in publishing.marts(dbt.manifest()):
        if mart.schema == "marts":
            assert not personal & set(mart.columns), mart.name


def test_bi_reads_what_is_published_and_nothing_that_is_being_built(workplace: Workplace) -> None:
    build_empty(workplace)

    granted = workplace.rows(
        "select distinct table_schema, grantee from information_schema.role_table_grants"
        " where privilege_type = 'SELECT' and grantee like 'arrears\\_%%' and grantee <> 'arrears_pipeline'"
        " and table_schema in ('working', 'marts', 'marts_personal')",
    )
    readers = workplace.rows(
        "select grantee from information_schema.role_table_grants"
        " where table_schema = 'marts' and table_name = 'data_quality_results' and grantee <> 'arrears_pipeline'"
    )

    everybody = {"arrears_bi", "arrears_collector", "arrears_audit"}
    assert {role for schema, role in granted if schema == "working"} == set()
    assert {role for schema, role in granted if schema == "marts"} == everybody
    assert {role for schema, role in granted if schema == "marts_personal"} == {"arrears_collector"}
    assert {role for (role,) in readers} == everybody


def test_no_model_reads_the_clock_or_chance(nodes: list[Mapping[str, Any]]) -> None:
    for node in nodes:
        code = node["raw_code"].lower()
        for word in ("current_date", "current_timestamp", "now()", "random()", "clock_timestamp"):
            assert word not in code, node["name"]


def test_every_staging_model_has_its_contract_table(nodes: list[Mapping[str, Any]]) -> None:
    from arrears.contract.servicing import contract

    staged = {
        node["name"].removeprefix("stg_servicing__") for node in nodes if node["name"].startswith("stg_servicing__")
    }
    assert staged == set(contract())
