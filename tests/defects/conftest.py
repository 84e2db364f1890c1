"""Every test of the gate starts from a warehouse in which the clean portfolio's first drop is accepted."""

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears.extraction import batches
from arrears.warehouse.connections import connect
from arrears.warehouse.embedded import Server
from tests import conftest
from tests.defects.clean_portfolio import clean_drop
from tests.defects.gate_warehouse import FIRST, GateWarehouse

TEMPLATE = "arrears_gate_template"


@pytest.fixture(scope="session")
def _template(_template: str, server: Server, session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The prepared warehouse with the first drop accepted, to be copied."""
    with psycopg.connect(conftest.url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(TEMPLATE), sql.Identifier(_template))
        )
    with pytest.MonkeyPatch.context() as patch:
        conftest._point_to(patch, server, session_home, TEMPLATE)
        batch_id = GateWarehouse(tmp_path_factory.mktemp("gate")).deliver(clean_drop(), FIRST)
        with connect() as connection:
            batches.accept(connection, batch_id)
    conftest.forget_settings()
    return TEMPLATE


@pytest.fixture
def gate(workplace: conftest.Workplace, tmp_path: Path) -> GateWarehouse:
    """The warehouse with the first drop accepted and nothing else."""
    del workplace
    return GateWarehouse(tmp_path)
