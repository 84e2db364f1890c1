"""Airflow's home under ours: whose settings hold, and that secrets are secret."""

import json
import stat
import sys
import types

import pytest

from arrears.errors import ArrearsError
from arrears.scheduling import airflow_home
from arrears.settings import CHECKOUT

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metadata database's address is asked of the warehouse, which would start it."""
    monkeypatch.setattr(airflow_home, "airflow_url", lambda: "postgresql+psycopg2://airflow@localhost/airflow")
    for name in [name for name in __import__("os").environ if name.startswith("AIRFLOW__")]:
        monkeypatch.delenv(name)


def test_paths_and_database_are_those_of_the_home(home, monkeypatch):
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:///somebody/elses.db")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/somebody/elses")

    found = airflow_home.environment()

    assert found["AIRFLOW_HOME"] == str(home / "airflow")
    assert found["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].startswith("postgresql+psycopg2://airflow@")
    assert found["AIRFLOW__CORE__DAGS_FOLDER"] == str(CHECKOUT / "dags")
    assert found["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"


def test_a_deployment_chooses_its_executor_and_its_secrets(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "given")

    found = airflow_home.environment()

    assert "AIRFLOW__CORE__EXECUTOR" not in found
    assert "AIRFLOW__CORE__FERNET_KEY" not in found
    assert found["AIRFLOW__API_AUTH__JWT_SECRET"]


def test_secrets_are_made_once_for_their_owner_alone(home):
    first = airflow_home.environment()
    second = airflow_home.environment()

    names = ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")
    assert [first[name] for name in names] == [second[name] for name in names]
    assert len({first[name] for name in names}) == 3
    assert stat.S_IMODE((home / "airflow" / "secrets.json").stat().st_mode) == 0o600


def test_the_ui_password_is_kept_where_airflow_reads_it(home):
    password = airflow_home.password()

    file = home / "airflow" / "passwords.json"
    assert airflow_home.password() == password
    assert json.loads(file.read_text()) == {"admin": password}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert airflow_home.environment()["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"] == str(file)


def test_an_airflow_that_was_imported_with_another_home_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "airflow.configuration", types.ModuleType("airflow.configuration"))
    monkeypatch.setenv("AIRFLOW_HOME", "/somebody/elses")

    with pytest.raises(ArrearsError, match="/somebody/elses"):
        airflow_home.configure()
