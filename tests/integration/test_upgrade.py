"""What an earlier release left behind goes on under this code: nothing is lost, exported days keep their bytes."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import steps, warehouse
from arrears.export.manifest import code_version
from arrears.settings import get_settings
from arrears.warehouse import bootstrap
from arrears.warehouse.embedded import Server
from tests import released
from tests.conftest import DATABASE, Workplace, _point_to, forget_settings, url
from tests.day import bytes_below, run_day


@pytest.fixture
def left_behind(
    _template: str, server: Server, session_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workplace]:
    """A warehouse of the first release with its exports; the settings point to it, nothing was migrated yet."""
    released.load(server, DATABASE)
    _point_to(monkeypatch, server, session_home, DATABASE)
    exports = tmp_path / "exports"
    shutil.copytree(released.EXPORTS, exports)
    monkeypatch.setenv("ARREARS_EXPORTS", str(exports))
    monkeypatch.setattr(steps, "owner_kind", "process")
    forget_settings()
    yield Workplace(DATABASE, session_home, exports, get_settings().sources_folder)
    forget_settings()
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


def test_an_exported_day_keeps_its_bytes_after_an_upgrade_and_the_next_day_runs(
    left_behind: Workplace, tmp_path: Path
) -> None:
    before = bytes_below(left_behind.exports)
    day, next_day = released.LAST_DAY, released.NEXT_DAY
    made_by = json.loads(before[f"{day}/manifest.json"])["code_version"]
    assert made_by != code_version()  # other code: in the manifest this alone may differ

    done = run_day(released.DROPS / day.isoformat(), day)

    assert done["publish"]["is_unchanged"]
    assert bytes_below(left_behind.exports) == before
    assert left_behind.value("select version_num from ops.migrations") == bootstrap._head() != "0001"

    run_day(released.next_drop(tmp_path / "next"), next_day)

    assert {name: content for name, content in bytes_below(left_behind.exports).items() if name in before} == before
    manifest = json.loads((left_behind.exports / next_day.isoformat() / "manifest.json").read_bytes())
    assert [batch["batch_date"] for batch in manifest["batches"]] == [
        "2026-03-29",
        "2026-03-30",
        "2026-03-31",
        "2026-04-01",
    ]
    # L03 was held back for a booking that could not be read; mended, it is worked again.
    assert left_behind.rows("select loan_id from quarantine.rows where closed_on is null") == []
    assert left_behind.rows("select held_back_reason from marts.loan_delinquency where loan_id = 'L03'") == [(None,)]
    # Who held an account on the released days still holds it: decisions are read from what was kept.
    holders = left_behind.rows(
        "select loan_id, count(distinct agency_id) from marts.agency_assignment group by loan_id"
    )
    assert {count for _, count in holders} == {1}


def test_an_upgrade_keeps_every_row_of_what_cannot_be_rebuilt(left_behind: Workplace) -> None:
    before = _rows(left_behind)
    assert len(before["ops.step_runs"]) == 30

    warehouse.ready()

    after = _rows(left_behind, columns={name: _names(rows) for name, rows in before.items()})
    for name, rows in before.items():
        if name not in ("ops.migrations", "ops.portfolio"):  # these say which code the warehouse is for
            assert after[name] == rows, name
    kept = {row["setting"]: row["value"] for row in after["ops.portfolio"]}
    assert (kept["sources"], kept["reporting_currency"]) == ("contract", "EUR")


def test_after_an_upgrade_the_pipeline_may_use_all_that_the_migrations_made(left_behind: Workplace) -> None:
    warehouse.ready()

    with left_behind.connect() as pipeline:
        for schema in ("raw", "versions", "ops", "quarantine"):
            for (name,) in left_behind.rows("select tablename from pg_tables where schemaname = %s", schema):
                pipeline.execute(sql.SQL("select 1 from {} limit 1").format(sql.Identifier(schema, str(name))))


def _rows(workplace: Workplace, columns: dict[str, list[str]] | None = None) -> dict[str, list[dict[str, object]]]:
    """Every row of the kept schemas, of these columns where they are named, in an order that does not matter."""
    found = {}
    for schema, name in workplace.rows(
        "select schemaname, tablename from pg_tables"
        " where schemaname in ('raw', 'versions', 'ops', 'quarantine', 'marts', 'marts_personal')"
    ):
        rows = [row[0] for row in workplace.rows(f'select row_to_json(r) from "{schema}"."{name}" as r')]
        wanted = (columns or {}).get(f"{schema}.{name}")
        kept = [{key: row[key] for key in wanted or row} for row in rows]
        found[f"{schema}.{name}"] = sorted(kept, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def _names(rows: list[dict[str, object]]) -> list[str]:
    return list(rows[0]) if rows else []
