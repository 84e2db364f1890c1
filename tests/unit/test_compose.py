"""docker-compose.yml: valid by the specification's schema, and true to this repository."""

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from arrears.settings import CHECKOUT, Settings

# Airflow is asked for its settings and commands; it must not write into anybody's home folder.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="arrears-airflow-"))

SCHEMA = CHECKOUT / "tests" / "data" / "compose-spec.json"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::?[-?+][^}]*)?\}")


@pytest.fixture(scope="module")
def text() -> str:
    return (CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def compose(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    """Variables of .env.example with their values."""
    lines = (CHECKOUT / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_it_is_valid_by_the_compose_specification(compose):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    errors = [f"{list(e.absolute_path)}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(compose)]

    assert errors == []


def test_the_schema_would_notice_a_mistake(compose):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    wrong = compose | {"services": {"worker": compose["services"]["worker"] | {"comand": ["arrears"]}}}

    assert list(jsonschema.Draft7Validator(schema).iter_errors(wrong))


def test_it_has_every_part_of_airflow_with_celery_and_what_those_need(compose):
    assert set(compose["services"]) == {
        "postgres",
        "redis",
        "init",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
        "worker",
    }


def test_everything_that_stays_up_says_whether_it_is_well(compose):
    without = [name for name, service in compose["services"].items() if "healthcheck" not in service]

    assert without == ["init"]  # it ends


def test_nothing_of_airflow_starts_before_the_databases_are_migrated(compose):
    for name in ("api-server", "scheduler", "dag-processor", "triggerer", "worker"):
        waits_for = compose["services"][name]["depends_on"]
        assert waits_for["init"] == {"condition": "service_completed_successfully"}, name
        assert waits_for["postgres"] == {"condition": "service_healthy"}, name
        assert waits_for["redis"] == {"condition": "service_healthy"}, name


def test_who_looks_for_deliveries_sees_the_folders_of_drops_and_sources(compose):
    targets = [
        volume.split(":")[-2] for volume in compose["services"]["triggerer"]["volumes"] if volume.endswith(":ro")
    ]

    assert targets == ["/drops", "/app/sources", "/delivery"]


def test_every_variable_is_in_the_example(text, example):
    assert set(VARIABLE.findall(text)) == set(example)


def test_defaults_are_those_of_the_example(text, example):
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", text))

    assert {name: example[name] for name in defaults} == defaults


def test_no_secret_is_committed(text, example):
    secrets = [name for name in example if re.search("PASSWORD|SECRET|KEY", name)]

    assert len(secrets) == 10
    assert [example[name] for name in secrets] == [""] * 10
    # and the file itself takes each of them from the environment, without a default
    assert not set(re.findall(r"\$\{(\w+):-", text)) & set(secrets)


def test_settings_of_the_pipeline_exist(compose):
    known = {field.alias or f"ARREARS_{name.upper()}" for name, field in Settings.model_fields.items()}
    for name, service in compose["services"].items():
        given = {variable for variable in service.get("environment", {}) if variable.startswith("ARREARS_")}
        assert given <= known, name


def test_settings_of_airflow_exist(compose):
    from airflow.configuration import conf

    for variable in compose["services"]["scheduler"]["environment"]:
        if variable.startswith("AIRFLOW__") and not variable.startswith("AIRFLOW__CELERY__"):
            _, section, option = variable.lower().split("__")
            assert option in conf.configuration_description[section]["options"], variable


def commands(compose: dict[str, Any]) -> list[list[str]]:
    """The commands of our image: what services run and what their healthchecks run."""
    found = []
    for service in compose["services"].values():
        if "build" not in service:
            continue
        found.append(service["command"])
        test = service.get("healthcheck", {}).get("test", [])
        if test[:2] == ["CMD", "arrears"]:
            found.append(test[1:])
    return found


def test_the_commands_are_ours_and_airflows(compose):
    # Without the extra `celery`, `airflow celery` is no command; with it, the executor must fit the Celery installed.
    pytest.importorskip("airflow.providers.celery")
    import airflow.providers.celery.executors.celery_executor_utils  # noqa: F401
    import typer
    from airflow.cli.cli_parser import get_parser

    from arrears.cli import app

    ours = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    parser = get_parser()
    for command in commands(compose):
        program, name, *rest = (re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in command)
        assert program == "arrears"
        assert name in ours
        assert name == "airflow"
        parsed = parser.parse_args(rest)  # ends the program where a subcommand or an option is unknown
        assert callable(parsed.func), command


def test_the_image_has_what_compose_installs():
    lines = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    for extra in re.findall(r"--extra (\w+)", lines):
        assert extra in project["optional-dependencies"]
    assert "arrears" in project["scripts"]


def test_the_locked_versions_are_those_that_the_extra_allows():
    """`uv sync --frozen` in the image installs what the lock says, whatever pyproject.toml says since."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = tomllib.loads((CHECKOUT / "uv.lock").read_text(encoding="utf-8"))
    locked = {package["name"]: package.get("version", "0") for package in lock["package"]}

    for requirement in map(Requirement, project["optional-dependencies"]["celery"]):
        assert requirement.specifier.contains(locked[requirement.name]), f"{requirement}: run `uv lock`"


def test_what_the_image_copies_exists_and_reaches_the_builder():
    copied = [
        word
        for line in (CHECKOUT / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY")
        for word in line.split()[1:-1]
    ]
    let_in = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    assert copied
    for name in copied:
        assert (CHECKOUT / name).exists(), name
        assert f"!{Path(name).name}" in let_in, name
