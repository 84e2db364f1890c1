"""A lender's database is read by cursor: nothing is missed or doubled, and what it should not hold costs its row."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from arrears import doctor
from arrears.contract.servicing import contract
from arrears.errors import SourceError, SourceUnreachable, UsageError, is_worth_retrying
from arrears.extraction import batches, sources
from arrears.extraction.database import reading as database
from arrears.extraction.database.reading import DatabaseDelivery
from arrears.extraction.delivery import Loaded
from arrears.extraction.sources import Source
from arrears.settings import CHECKOUT
from arrears.simulation import servicing_database
from arrears.simulation.small_portfolio import write_drops
from arrears.warehouse.embedded import Server
from tests.conftest import Workplace, url
from tests.portfolio import a_loan, write_drop

LENDER = "arrears_lender"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lender:
    """A lender's database of one test, and the folder of its source."""

    server: Server
    folder: Path

    def connect(self) -> psycopg.Connection:
        """A session of the lender's own, which commits each statement."""
        return psycopg.connect(url(self.server, "postgres", LENDER), autocommit=True)

    def execute(self, *statements: str) -> None:
        """What happens in the lender's system."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def says(self, **changes: str) -> None:
        """Writes source.yml."""
        keys = {
            "description": "A lender.",
            "engine": "postgres",
            "connection": "ARREARS_SERVICING_URL",
            "cursor": "updated_at",
            **changes,
        }
        text = "".join(f"{key}: {value}\n" for key, value in keys.items() if value)
        (self.folder / "source.yml").write_text(text)

    def selects(self, table: str, text: str) -> None:
        """Writes a SELECT."""
        (self.folder / f"{table}.sql").write_text(text)

    @property
    def source(self) -> Source:
        """The source as it is now."""
        return sources.load_source(self.folder.name)


@pytest.fixture
def lender(workplace: Workplace, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lender]:
    """An empty database beside the warehouse."""
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(LENDER)))
    monkeypatch.setenv("ARREARS_SERVICING_URL", url(server, "postgres", LENDER))
    folder = workplace.sources / "servicing"
    folder.mkdir()
    (folder / "source.yml").write_text((CHECKOUT / "sources/servicing/source.yml").read_text())
    yield Lender(server, folder)
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(LENDER)))


@pytest.fixture
def servicing(lender: Lender, tmp_path: Path) -> Lender:
    """The lender's database in contract form with the small portfolio, all of it changed last long ago."""
    servicing_database.create(write_drop(tmp_path / "filling"))
    lender.execute(*(f"update servicing.{name} set updated_at = '{LONG_AGO}'" for name in contract()))
    return lender


@dataclass(slots=True)
class Read:
    """What one reading left in schema load."""

    delivery: DatabaseDelivery
    loaded: dict[str, Loaded]
    rows: dict[str, list[tuple[object, ...]]]

    @property
    def until(self) -> datetime:
        """Where the next one begins."""
        assert self.delivery.read_until is not None
        return self.delivery.read_until


def read(workplace: Workplace, source: Source, since: datetime | None = None, *, compares_keys: bool = False) -> Read:
    """Reads all tables as the core does; the batch that this follows is taken to have read them the same way."""
    with (
        workplace.connect() as connection,
        database.open_database(
            source, read_since=since, is_first=since is None, compares_keys=compares_keys
        ) as delivery,
    ):
        loaded, rows = {}, {}
        for table in delivery.tables():
            if since is not None:
                _remember(connection, source, table.name, delivery.describe(table).fingerprint)
            loaded[table.name] = delivery.load(connection, table)
            columns = sql.SQL(", ").join(map(sql.Identifier, table.column_names))
            rows[table.name] = connection.execute(
                sql.SQL("select {} from load.{} order by {}").format(
                    columns,
                    sql.Identifier(table.name),
                    sql.SQL(", ").join(map(sql.Identifier, table.primary_key)),
                )
            ).fetchall()
            if loaded[table.name].has_keys:
                rows[f"{table.name}@keys"] = connection.execute(
                    sql.SQL("select * from load.{} order by 1").format(sql.Identifier(f"{table.name}@keys"))
                ).fetchall()
        connection.rollback()
    return Read(delivery, loaded, rows)


def _remember(connection: psycopg.Connection, source: Source, table: str, fingerprint: str) -> None:
    connection.execute(
        "insert into ops.batches (batch_id, source, batch_date, known_from, mode, is_first, state, content_sha256,"
        " files, drop_path, run_id) values ('before', %s, %s, %s, 'full', true, 'accepted', '', '{}', '', 'test')"
        " on conflict do nothing",
        [source.name, date(2026, 3, 28), date(2026, 3, 28)],
    )
    connection.execute(
        "insert into ops.batch_tables (batch_id, table_name, is_delivered, reading_sha256)"
        " values ('before', %s, true, %s)",
        [table, fingerprint],
    )


def keys(found: Read, table: str) -> list[object]:
    return [row[0] for row in found.rows[table]]


def take_in(workplace: Workplace, source: Source, as_of: date, drop: Path | None = None) -> dict[str, object]:
    """Extracts and accepts, as the steps do."""
    with workplace.connect() as connection:
        done = batches.extract(connection, source, drop, as_of, run_id="test")
    if done["state"] == "loaded":
        with workplace.connect() as connection:
            batches.accept(connection, str(done["batch_id"]))
    return done


def test_a_first_reading_gives_the_same_versions_as_the_same_rows_by_files(
    workplace: Workplace, lender: Lender, tmp_path: Path
) -> None:
    (drop,) = write_drops(tmp_path / "drops", first=date(2026, 3, 28), last=date(2026, 3, 28), loans=40, seed=3)
    servicing_database.create(drop)

    by_files = take_in(workplace, sources.load_source("contract"), date(2026, 3, 28), drop)
    by_cursor = take_in(workplace, lender.source, date(2026, 3, 28))

    assert by_cursor["rows"] == by_files["rows"]
    for table in contract().values():
        names = ", ".join(table.column_names)
        rows = f"select {names}, _row_hash, _known_from from versions.{table.name} where _source = '%s'"
        both = [rows % name for name in ("contract", "servicing")]
        assert workplace.value(f"select count(*) from ({both[0]} except all {both[1]}) as differ") == 0, table.name
        assert workplace.value(f"select count(*) from ({both[1]} except all {both[0]}) as differ") == 0, table.name


def test_night_after_night_nothing_is_lost_or_doubled_though_one_reading_is_cut_off(
    workplace: Workplace, servicing: Lender
) -> None:
    today = datetime.now(tz=UTC).date()
    first = take_in(workplace, servicing.source, today)
    with servicing.connect() as slow:
        slow.execute("begin")
        slow.execute("update servicing.borrowers set city = 'Brno' where borrower_id = 'B1'")
        servicing.execute("update servicing.loans set grace_days = 3 where loan_id = 'L2'")
        second = take_in(workplace, servicing.source, today + timedelta(days=1))
        slow.execute("commit")
    servicing.execute("delete from servicing.transactions", "update servicing.loans set grace_days = 4")
    servicing.execute(
        "create function servicing.cut_off() returns boolean language sql volatile"
        " as 'select pg_terminate_backend(pg_backend_pid())'"
    )
    cut = "select * from servicing.instalments where instalment_number < 3 or servicing.cut_off()"
    servicing.selects("instalments", cut)
    with pytest.raises(SourceUnreachable):
        take_in(workplace, servicing.source, today + timedelta(days=2))
    (servicing.folder / "instalments.sql").unlink()

    third = take_in(workplace, servicing.source, today + timedelta(days=2))
    again = take_in(workplace, servicing.source, today + timedelta(days=2))

    assert [(one["new"], one["changed"], one["deleted"]) for one in (first, second, third)] == [
        (11, 0, 0),  # 2 borrowers, 2 loans, 6 instalments, 1 booking
        (0, 1, 0),
        (0, 3, 1),  # both loans, the borrower committed late, and the booking that is gone
    ]
    assert again == {"batch_id": third["batch_id"], "state": "accepted"}
    assert workplace.rows("select count(*), count(distinct batch_date) from ops.batches") == [(3, 3)]
    modes = "select mode, row_count from ops.batch_tables where table_name = %s and batch_id = %s"
    assert workplace.rows(modes, "instalments", third["batch_id"]) == [("delta", 0)]
    assert workplace.rows("select loan_id, grace_days, _known_from from versions.loans where _known_to is null") == [
        (loan_id, 4, today + timedelta(days=2)) for loan_id in ("L1", "L2")
    ]
    assert workplace.value("select city from versions.borrowers where borrower_id = 'B1' and _known_to is null") == (
        "Brno"
    )


def test_a_second_reading_brings_only_what_changed(workplace: Workplace, servicing: Lender) -> None:
    first = read(workplace, servicing.source)
    servicing.execute(
        "update servicing.loans set grace_days = 3 where loan_id = 'L2'",
        "insert into servicing.borrowers (borrower_id, kind, name, country) values ('B3', 'person', 'C', 'CZ')",
    )

    second = read(workplace, servicing.source, first.until)

    assert first.delivery.mode == "full"
    assert (second.delivery.mode, second.loaded["loans"].mode) == ("delta", "delta")
    assert (keys(first, "loans"), keys(second, "loans")) == (["L1", "L2"], ["L2"])
    assert keys(second, "borrowers") == ["B3"]
    assert second.rows["instalments"] == second.rows["transactions"] == []


def test_a_row_of_a_slow_transaction_committed_after_a_reading_is_in_the_next_one(
    workplace: Workplace, servicing: Lender
) -> None:
    """The reading that goes on from the latest time seen would miss it."""
    with servicing.connect() as slow:
        slow.execute("begin")
        slow.execute("update servicing.loans set grace_days = 9 where loan_id = 'L1'")  # updated_at: when it began
        servicing.execute("update servicing.loans set grace_days = 3 where loan_id = 'L2'")  # later, and committed

        during = read(workplace, servicing.source)
        latest_seen = _latest(servicing)
        slow.execute("commit")
    after = read(workplace, servicing.source, during.until)
    by_latest_seen = read(workplace, servicing.source, latest_seen)

    assert during.delivery.read_until_is_seen
    assert [row[18] for row in during.rows["loans"]] == [0, 3]  # grace_days
    assert ("L1", 9) in [(row[0], row[18]) for row in after.rows["loans"]]
    assert keys(by_latest_seen, "loans") == ["L2"]


def _latest(lender: Lender) -> datetime:
    with lender.connect() as connection:
        row = connection.execute("select max(updated_at) from servicing.loans").fetchone()
    assert row is not None
    latest: datetime = row[0]
    return latest


def test_where_open_transactions_cannot_be_seen_the_readings_overlap(
    workplace: Workplace, servicing: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(url(servicing.server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute("drop role if exists lenders_reader")
        admin.execute("create role lenders_reader login")
    servicing.execute(
        "grant usage on schema servicing to lenders_reader",
        "grant select on all tables in schema servicing to lenders_reader",
    )
    servicing.says(schema="servicing", overlap_minutes="90")
    try:
        monkeypatch.setenv("ARREARS_SERVICING_URL", url(servicing.server, "lenders_reader", LENDER))
        blind = read(workplace, servicing.source)
        (told,) = [check for check in doctor.examine() if check.what == "database of servicing"]
        servicing.execute("grant pg_read_all_stats to lenders_reader")
        seeing = read(workplace, servicing.source)
    finally:
        servicing.execute("drop owned by lenders_reader", "drop role lenders_reader")

    assert keys(blind, "loans") == ["L1", "L2"]
    assert blind.delivery.read_until_is_seen is False
    assert timedelta(minutes=89) < datetime.now(tz=UTC) - blind.until < timedelta(minutes=95)
    assert (told.verdict, told.said[:39]) == ("off", "weaker: its role lenders_reader may not")
    assert "grant it pg_read_all_stats; until then each reading begins 90 minutes before the last" in told.said
    assert seeing.delivery.read_until_is_seen
    assert datetime.now(tz=UTC) - seeing.until < timedelta(minutes=5)


def test_keys_are_brought_beside_a_delta_so_that_deleted_rows_are_found(
    workplace: Workplace, servicing: Lender
) -> None:
    first = read(workplace, servicing.source, compares_keys=True)
    servicing.execute("delete from servicing.loans where loan_id = 'L1'")

    without = read(workplace, servicing.source, first.until)
    compared = read(workplace, servicing.source, first.until, compares_keys=True)

    assert not first.loaded["loans"].has_keys  # everything was read
    assert not without.loaded["loans"].has_keys
    assert compared.loaded["loans"].has_keys
    assert compared.rows["loans"] == []
    assert compared.rows["loans@keys"] == [("L2",)]
    assert compared.rows["instalments@keys"] == [(f"L{loan}", 1, number) for loan in (1, 2) for number in (1, 2, 3)]


def test_the_content_of_a_reading_has_the_same_hash_only_when_it_is_the_same(
    workplace: Workplace, servicing: Lender
) -> None:
    first = read(workplace, servicing.source)
    again = read(workplace, servicing.source)
    before = read(workplace, servicing.source, first.until, compares_keys=True)
    servicing.execute("delete from servicing.transactions where transaction_id = 'T1'")
    deleted = read(workplace, servicing.source, first.until, compares_keys=True)

    assert again.delivery.hashes == first.delivery.hashes
    differ = {name for name in first.delivery.hashes if before.delivery.hashes[name] != deleted.delivery.hashes[name]}
    assert differ == {"servicing.transactions"}


def test_a_change_is_known_from_the_lenders_business_date_and_read_by_its_clock(
    workplace: Workplace, servicing: Lender
) -> None:
    """A lender whose books stand at another day than the calendar: days that are long past, played today."""
    days = [date(2026, 3, 30) + timedelta(days=number) for number in range(3)]
    take_in(workplace, servicing.source, days[0])
    servicing.execute(
        "update servicing.loans set grace_days = 3, business_date = '2026-03-31' where loan_id = 'L1'",
        "update servicing.loans set grace_days = 4, business_date = '2026-04-01' where loan_id = 'L2'",
    )
    done = [take_in(workplace, servicing.source, day) for day in days[1:]]

    known = "select loan_id, grace_days, _known_from from versions.loans where _known_to is null order by loan_id"
    assert [one["changed"] for one in done] == [2, 0]
    assert workplace.rows(known) == [("L1", 3, days[1]), ("L2", 4, days[2])]
    servicing.execute("alter table servicing.loans alter business_date type text")
    with pytest.raises(SourceError, match="business_date of table loans is of type text; it must be a date"):
        read(workplace, servicing.source)


def test_a_row_without_a_time_of_change_is_read_every_time_and_said(workplace: Workplace, servicing: Lender) -> None:
    servicing.execute(
        "alter table servicing.loans alter updated_at drop not null",
        "update servicing.loans set updated_at = null where loan_id = 'L1'",
        f"update servicing.loans set updated_at = '{datetime.now(tz=UTC) + timedelta(days=9)}' where loan_id = 'L2'",
    )
    servicing.says(schema="servicing")  # no business_date: rows are known from their cursor's date
    first = read(workplace, servicing.source)

    second = read(workplace, servicing.source, first.until)

    assert keys(second, "loans") == ["L1", "L2"]
    assert second.loaded["loans"].warnings == [
        "column business_date is not in the contract and is ignored",
        "updated_at is empty in rows (count 1), which are therefore read every time",
        "updated_at lies in the future of the database's own clock (count of rows 1): such a row is known from that"
        " date on",
    ]


def test_a_table_without_the_cursor_is_read_whole_and_so_is_one_that_is_read_otherwise_than_last_time(
    workplace: Workplace, servicing: Lender
) -> None:
    first = read(workplace, servicing.source)
    servicing.execute("alter table servicing.charges drop column updated_at")
    servicing.selects("loans", "select * from servicing.loans")
    with workplace.connect() as connection:
        for table in contract().values():
            if table.name in first.loaded:
                _remember(connection, servicing.source, table.name, str(first.loaded[table.name].reading_sha256))

    with (
        workplace.connect() as connection,
        database.open_database(
            servicing.source, read_since=first.until, is_first=False, compares_keys=True
        ) as delivery,
    ):
        loaded = {name: delivery.load(connection, contract()[name]) for name in ("loans", "borrowers", "charges")}

    assert {name: (one.mode, one.row_count) for name, one in loaded.items()} == {
        "loans": ("full", 2),  # another SELECT
        "borrowers": ("delta", 0),
        "charges": ("full", 0),  # no cursor
    }


def a_loans_table(lender: Lender, **types: str) -> None:
    """A table of the lender's own, `loans_of_theirs`, with other types than the contract's, and its SELECT."""
    columns = {column.name: types.get(column.name, column.data_type) for column in contract()["loans"].columns}
    definitions = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    lender.execute(f"create table loans_of_theirs ({definitions})")
    lender.selects("loans", "select * from loans_of_theirs;\n")


def insert_loan(lender: Lender, **values: object) -> None:
    row = a_loan(**values)  # type: ignore[arg-type]
    with lender.connect() as connection:
        connection.execute(
            sql.SQL("insert into loans_of_theirs ({}) values ({})").format(
                sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Literal, row.values()))
            )
        )


def test_a_value_that_is_none_costs_its_row_and_says_column_and_key(workplace: Workplace, lender: Lender) -> None:
    """Text that holds numbers, dates and times, and numbers wider than the contract's."""
    lender.says()
    a_loans_table(
        lender,
        principal_amount="text",
        disbursed_on="varchar(20)",
        is_green="text",
        grace_days="bigint",
        tolerance_amount="numeric",
        interest_rate="double precision",
        default_after_days="text",
        score_at_origination="numeric(30, 10)",
    )
    insert_loan(
        lender, loan_id="L0", interest_rate=0.0712345678912, default_after_days="+090", maturity_on="2028-02-29"
    )
    bad: dict[str, list[object]] = {
        "principal_amount": ["3OO.00", "NaN", "1e3", "300.00001", "12345678901234567.00"],
        "disbursed_on": ["1.3.2026", "2026-02-29", "2026-13-01", "infinity", "0000-01-01"],
        "is_green": ["yes", "1"],
        "grace_days": [2147483648, -9223372036854775808],
        "tolerance_amount": ["NaN", "Infinity", "0.00001", "1e20"],
        "interest_rate": ["NaN", "-Infinity", 1e30],
        "default_after_days": ["ninety", "99999999999", "0x5A"],
        "score_at_origination": ["0.0000000001"],
        "maturity_on": ["infinity", "10000-01-01"],
        "status": ["act\x1five"],
    }
    for column, values in bad.items():
        for number, value in enumerate(values):
            insert_loan(lender, loan_id=f"{column} {number}", **{column: value})

    loaded = read(workplace, lender.source)

    (good,) = loaded.rows["loans"]
    by_name = dict(zip(contract()["loans"].column_names, good, strict=True))
    assert (by_name["loan_id"], str(by_name["principal_amount"]), by_name["disbursed_on"]) == (
        "L0",
        "300.0000",
        date(2026, 1, 1),
    )
    assert (str(by_name["interest_rate"]), by_name["default_after_days"]) == ("0.07123457", 90)
    assert by_name["is_green"] is False
    unreadable = loaded.loaded["loans"].unreadable
    assert sorted(one.row["loan_id"] for one in unreadable) == sorted(
        f"{column} {number}" for column, values in bad.items() for number in range(len(values))
    )
    reasons = {one.row["loan_id"]: one.reason for one in unreadable}
    assert reasons["principal_amount 0"] == (
        "loans.sql, loan_id principal_amount 0: column principal_amount is no number with at most 4 decimals: 3OO.00"
    )
    assert reasons["disbursed_on 1"].endswith("column disbursed_on is no date YYYY-MM-DD: 2026-02-29")
    assert reasons["is_green 0"].endswith("column is_green is neither true nor false: yes")
    assert reasons["grace_days 0"].endswith("column grace_days is no whole number: 2147483648")
    assert reasons["tolerance_amount 0"].endswith("is no number with at most 4 decimals: NaN")
    assert reasons["maturity_on 0"].endswith("is no date between the years 1 and 9999: infinity")
    assert reasons["status 0"].endswith("column status holds a control character: act\x1five")
    assert all(one.has_key and one.file == "loans.sql" and one.line is None for one in unreadable)


def test_a_row_without_a_key_is_kept_aside_and_keeps_anything_from_being_taken_for_deleted(
    workplace: Workplace, lender: Lender
) -> None:
    lender.says()
    a_loans_table(lender)
    lender.execute("alter table loans_of_theirs add updated_at timestamptz")
    for loan_id in ("L1", None, ""):
        insert_loan(lender, loan_id=loan_id)

    loaded = read(workplace, lender.source, LONG_AGO, compares_keys=True).loaded["loans"]

    assert (loaded.row_count, loaded.has_keys) == (1, False)
    assert [(one.reason, one.has_key) for one in loaded.unreadable] == [
        (f"loans.sql, row {number} of those without a whole key: column loan_id of the key is empty", False)
        for number in (1, 2)
    ]
    assert "the key of rows cannot be read (count 2), so nothing of the table is taken for deleted" in loaded.warnings


def test_a_personal_value_is_in_no_reason(workplace: Workplace, lender: Lender) -> None:
    lender.says()
    lender.execute("create table people (borrower_id text, kind text, name text, born_on text, country text)")
    lender.execute("insert into people values ('B1', 'person', 'Ada', '10.12.1815', 'GB')")
    lender.selects("borrowers", "select * from people")

    (unreadable,) = read(workplace, lender.source).loaded["borrowers"].unreadable

    assert unreadable.reason == "borrowers.sql, borrower_id B1: column born_on is no date YYYY-MM-DD"
    assert unreadable.row["born_on"] == "10.12.1815"  # quarantine keeps the row itself


def test_a_time_without_a_zone_is_read_in_the_zone_of_source_yml_or_not_at_all(
    workplace: Workplace, lender: Lender
) -> None:
    lender.says(cursor="changed_at")
    lender.execute(
        "create table bookings (id text, loan text, booked timestamp, booked_text text, changed_at timestamp)",
        "insert into bookings values ('T1', 'L1', '2026-03-29 03:30', '2026-03-29 03:30:00', '2026-03-30 00:30'),"
        " ('T2', 'L1', '2026-01-01 00:30', '2026-01-01', '2026-03-30 10:00')",
    )
    select = (
        "select id as transaction_id, loan as loan_id, 'repayment' as kind, date '2026-03-29' as effective_on,"
        " {} as booked_at, 1 as amount, changed_at from bookings"
    )
    lender.selects("transactions", select.format("booked"))
    with pytest.raises(SourceError, match=r"the cursor changed_at of table transactions is a timestamp without time"):
        read(workplace, lender.source)
    lender.says(cursor="")
    with pytest.raises(SourceError, match=r"transactions\.sql: column booked_at of table transactions is a timestamp"):
        read(workplace, lender.source)

    lender.says(cursor="changed_at", time_zone="Europe/Prague")
    typed = read(workplace, lender.source)
    lender.selects("transactions", select.format("booked_text"))
    as_text = read(workplace, lender.source)
    # 00:30 in Prague is 22:30 UTC; two hours are read twice, because a local time comes twice when clocks go back.
    since = read(workplace, lender.source, datetime(2026, 3, 30, 1, 0, tzinfo=UTC))

    assert [row[4] for row in typed.rows["transactions"]] == [
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),  # summer time has begun
        datetime(2025, 12, 31, 23, 30, tzinfo=UTC),
    ]
    assert [row[4] for row in as_text.rows["transactions"]] == [
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        datetime(2026, 1, 1, 22, 59, 59, 999999, tzinfo=UTC),  # a date alone is the end of that day
    ]
    assert keys(since, "transactions") == ["T2"]


def test_the_prefix_of_a_source_stands_before_its_keys_and_references(workplace: Workplace, servicing: Lender) -> None:
    servicing.says(schema="servicing", key_prefix="N-")
    done = read(workplace, servicing.source, LONG_AGO + timedelta(days=1), compares_keys=True)

    assert done.rows["loans@keys"] == [("N-L1",), ("N-L2",)]
    servicing.execute("update servicing.loans set grace_days = 1")
    (first, _) = read(workplace, servicing.source, LONG_AGO + timedelta(days=1)).rows["loans"]
    assert first[:3] == ("N-L1", "N-B1", None)


def test_a_schema_that_changed_overnight_is_told_by_table_and_column(workplace: Workplace, servicing: Lender) -> None:
    servicing.execute("alter table servicing.loans add branch_mood text, drop column officer_id")
    warned = read(workplace, servicing.source).loaded["loans"].warnings

    servicing.execute("alter table servicing.loans drop column grace_days")
    with pytest.raises(
        SourceError, match=r"servicing\.loans: the required column grace_days of table loans is missing"
    ) as gone:
        read(workplace, servicing.source)
    servicing.execute("alter table servicing.loans add grace_days date")
    with pytest.raises(SourceError, match=r"column grace_days of table loans is of type date, which cannot be read as"):
        read(workplace, servicing.source)
    servicing.execute("drop table servicing.transactions cascade")
    with pytest.raises(SourceError, match="schema servicing lacks the required table transactions"):
        read(workplace, servicing.source)

    assert warned == [
        "column branch_mood is not in the contract and is ignored",
        "column officer_id is missing and is read as null",
    ]
    assert not is_worth_retrying(gone.value)


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("select *\nfrom lonas", r'loans\.sql, line 2: relation "lonas" does not exist'),
        (
            "select 1) as a; drop table people; select (select 1",
            "cannot insert multiple commands into a prepared statement",
        ),
        ("select 'a' as loan_id, 'b' as loan_id", r"loans\.sql: column loan_id stands twice"),
        ("select * from loans_of_theirs where cast(product as integer) = 1", r'type integer: "…"\.$'),
        ("select * from loans_of_theirs where 1 / (length(loan_id) - 2) = 1", r"loans\.sql: division by zero"),
    ],
)
def test_a_select_that_fails_is_named_with_what_postgresql_says(
    workplace: Workplace, lender: Lender, select: str, words: str
) -> None:
    lender.says()
    a_loans_table(lender)
    insert_loan(lender, product="Anna Nowak")
    lender.selects("loans", select)

    with pytest.raises(SourceError, match=words) as told:
        read(workplace, lender.source)

    assert "Nowak" not in str(told.value)


def test_a_database_that_goes_away_in_the_middle_of_a_table_leaves_nothing_and_the_next_reading_is_whole(
    workplace: Workplace, servicing: Lender
) -> None:
    big = "select 'B' || n as borrower_id, 'person' as kind, 'A' as name, 'CZ' as country from generate_series(1, {}) n"
    killed = (
        "select * from (" + big.format("60000") + ") as people"
        " where case borrower_id when 'B50000' then pg_terminate_backend(pg_backend_pid()) else true end"
    )
    servicing.selects("borrowers", killed)
    with pytest.raises(SourceUnreachable, match=r"borrowers\.sql: the database broke off \(.*\); nothing was") as told:
        read(workplace, servicing.source)
    left = workplace.rows("select relname from pg_class where relnamespace = 'load'::regnamespace")

    servicing.selects("borrowers", big.format("60000"))
    whole = read(workplace, servicing.source)

    assert left == []
    assert whole.loaded["borrowers"].row_count == 60000
    assert is_worth_retrying(told.value)


def test_a_connection_that_leads_nowhere_is_told_without_its_secrets(
    workplace: Workplace, lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address, kind, words in (
        ("postgresql://reader:hush@127.0.0.1:1/core", SourceUnreachable, "127.0.0.1:1/core cannot be reached"),
        ("postgres//reader:hush@127.0.0.1", SourceError, "ARREARS_SERVICING_URL is no PostgreSQL URL"),
        ("", SourceError, "the environment variable ARREARS_SERVICING_URL is not set"),
    ):
        monkeypatch.setenv("ARREARS_SERVICING_URL", address)
        with pytest.raises(kind, match=words) as told:
            read(workplace, lender.source)
        assert "hush" not in str(told.value)
        assert told.value.__cause__ is None


def test_a_text_that_is_not_utf_8_is_told_by_its_table(
    workplace: Workplace, lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    lender.says()
    lender.execute("create database arrears_lender_ascii encoding 'SQL_ASCII' template template0 locale 'C'")
    try:
        address = url(lender.server, "postgres", "arrears_lender_ascii")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("create table people as select 'B1' as borrower_id, E'Ji\\xf8\\xed' as name")
        monkeypatch.setenv("ARREARS_SERVICING_URL", address)
        lender.selects("borrowers", "select *, 'person' as kind, 'CZ' as country from people")

        with pytest.raises(SourceError, match=r"arrears_lender_ascii, borrowers\.sql: a text is not UTF-8"):
            read(workplace, lender.source)
    finally:
        lender.execute("drop database arrears_lender_ascii with (force)")


def test_clocks_that_differ_are_said(workplace: Workplace, servicing: Lender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        DatabaseDelivery, "_their_clock", lambda self: datetime.now(tz=UTC) - timedelta(minutes=20, seconds=1)
    )

    loaded = read(workplace, servicing.source).loaded

    said = [warning for one in loaded.values() for warning in one.warnings if "clock" in warning]
    assert len(said) == 1
    assert "is 20 minutes behind the warehouse's" in said[0]


def test_the_reference_database_is_made_once_and_keeps_the_time_of_every_change(
    servicing: Lender, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="has a schema servicing already"):
        servicing_database.create(write_drop(tmp_path / "again"))

    servicing.execute("update servicing.loans set grace_days = 2 where loan_id = 'L1'")
    servicing.execute("update servicing.loans set updated_at = '2026-04-01' where loan_id = 'L2'")
    with servicing.connect() as connection:
        changed = connection.execute("select updated_at from servicing.loans order by loan_id").fetchall()

    assert datetime.now(tz=UTC) - changed[0][0] < timedelta(minutes=5)
    assert changed[1][0] == datetime(2026, 4, 1, tzinfo=UTC)


def test_a_drop_that_does_not_fit_makes_no_reference_database(lender: Lender, tmp_path: Path) -> None:
    wrong = write_drop(tmp_path / "wrong", loans=[a_loan(), a_loan("L2", principal_amount="3OO")])

    with pytest.raises(SourceError, match=r"loans\.csv: .*COPY loans, line 2, column principal_amount") as told:
        servicing_database.create(wrong)
    with lender.connect() as connection:
        there = connection.execute("select 1 from pg_namespace where nspname = 'servicing'").fetchone()

    assert "3OO" not in str(told.value)
    assert there is None


def test_a_connection_can_be_one_of_airflows(workplace: Workplace, servicing: Lender) -> None:
    """In a process of its own: Airflow reads its settings when it is imported."""
    servicing.says(schema="servicing", connection="airflow:lenders_core")
    given = {
        "conn_type": "postgres",
        "host": str(servicing.server.socket_folder),
        "port": servicing.server.port,
        "login": "postgres",
        "schema": LENDER,
        "extra": {"connect_timeout": "5", "cursor": "dictcursor"},  # the second is Airflow's, not libpq's
    }
    code = (
        "from arrears.extraction.database import reading as database\nfrom arrears.extraction import sources\n"
        "source = sources.load_source('servicing')\n"
        "with database.open_database(source, read_since=None, is_first=True, compares_keys=False) as delivery:\n"
        "    print(len(delivery.tables()))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "AIRFLOW_CONN_LENDERS_CORE": json.dumps(given)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert done.stdout.splitlines()[-1] == str(len(contract()))
