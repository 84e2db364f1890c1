"""A new lender's system: the folder to start from, and what a check says of it before anything is loaded."""

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg import sql
from typer.testing import CliRunner

from arrears import cli
from arrears.contract.servicing import contract
from arrears.doctor import NEEDED_FOR
from arrears.errors import SourceError, SourceUnreachable, UsageError
from arrears.extraction.sources import Deliveries, LenderFile, Source, load_source
from arrears.onboarding import database_sample
from arrears.onboarding.check import check, refuse
from arrears.onboarding.new_source import new_source
from arrears.onboarding.report import Report
from arrears.settings import CHECKOUT
from arrears.warehouse.embedded import Server
from tests.conftest import forget_settings, url
from tests.oracle.fineract_books import fill, load_cases, write_books
from tests.portfolio import a_borrower, a_loan, a_repayment, small_portfolio, write_drop
from tests.workbooks import write_workbook

DATABASE = "arrears_newcomer"
READER = "newcomer_reader"
LONG_AGO = "2026-01-01 00:00:00+00"
HOW_TO = CHECKOUT / "docs/how-to/add-a-source.md"


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of sources in a checkout that has no warehouse and must get none."""
    for name in [name for name in os.environ if name.startswith("ARREARS_")]:
        monkeypatch.delenv(name)
    home, folder = tmp_path / "home", tmp_path / "sources"
    folder.mkdir()
    monkeypatch.setenv("ARREARS_HOME", str(home))
    monkeypatch.setenv("ARREARS_SOURCES_FOLDER", str(folder))
    forget_settings()
    yield folder
    assert not home.exists()
    forget_settings()


@dataclass
class Lender:
    """A lender's database, its own tables in it, and the folder of its source."""

    server: Server
    folder: Path
    keys: dict[str, str] = field(default_factory=dict)

    def execute(self, *statements: str) -> None:
        """What happens in the lender's system."""
        with psycopg.connect(url(self.server, "postgres", DATABASE), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def says(self, **changes: str) -> None:
        """Writes source.yml; an empty value leaves a key out."""
        self.keys |= changes
        self.folder.mkdir(exist_ok=True)
        (self.folder / "source.yml").write_text(
            "".join(f"{key}: {value}\n" for key, value in self.keys.items() if value)
        )

    def selects(self, **tables: str) -> None:
        """Writes SELECTs."""
        for name, text in tables.items():
            (self.folder / f"{name}.sql").write_text(text)


@pytest.fixture
def lender(sources: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lender]:
    """Two loans in tables of the lender's own, and SELECTs that leave nothing to be said."""
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
        admin.execute(sql.SQL("create role {} login").format(sql.Identifier(READER)))
        admin.execute(sql.SQL("grant pg_read_all_data, pg_read_all_stats to {}").format(sql.Identifier(READER)))
    monkeypatch.setenv("NEWCOMER_URL", url(server, READER, DATABASE))
    made = Lender(server, sources / "core")
    made.execute(
        "create table customer (no bigint primary key, full_name text not null, phone text,"
        " changed timestamptz not null)",
        "create table contract (no bigint primary key, customer_no bigint not null, kind text,"
        " principal numeric(12, 2), terms jsonb, granted date, granted_text text, rate text, changed timestamptz)",
        "create table booking (no bigint primary key, contract_no bigint, paid date, amount numeric(12, 2),"
        " changed timestamptz not null)",
        *(f"create index on {table} (changed)" for table in ("customer", "contract", "booking")),
        f"insert into customer values (1, 'Novak', '+420', '{LONG_AGO}'), (2, 'Dvorak', null, '{LONG_AGO}')",
        f"insert into contract select no, no, 'consumer', 300, '{{}}', date '2026-01-01', '2026-01-01', '0.1',"
        f" '{LONG_AGO}' from customer",
        f"insert into booking select no, no, date '2026-02-01', 100, '{LONG_AGO}' from contract",
        f"grant usage on schema public to {READER}",
    )
    made.says(description="A core.", engine="postgres", connection="NEWCOMER_URL", cursor="changed")
    made.selects(**SELECTS)
    yield made
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))
        admin.execute(sql.SQL("drop role {}").format(sql.Identifier(READER)))


def a_select(table: str, source: str, **columns: str) -> str:
    """A SELECT of all columns of a contract table, null where nothing is given."""
    names = [*contract()[table].column_names, *(name for name in columns if name not in contract()[table].column_names)]
    return "select\n" + ",\n".join(f"{columns.get(name, 'null')} as {name}" for name in names) + f"\nfrom {source};\n"


SELECTS = {
    "borrowers": a_select(
        "borrowers", "customer", borrower_id="no", kind="'person'", name="full_name", country="'CZ'", phone="phone",
        changed="changed",
    ),
    "loans": a_select(
        "loans", "contract", loan_id="no", borrower_id="customer_no", product="kind", currency="'CZK'",
        principal_amount="principal", disbursed_on="granted", maturity_on="granted + 100", interest_rate="rate",
        allocation_order="'penalty>fee>interest>principal'", allocation_mode="'oldest_first'", grace_days="0",
        tolerance_amount="0", governing_law="'CZ'", is_green="false", status="'active'", status_on="granted",
        changed="changed",
    ),
    "instalments": a_select(
        "instalments", "contract", loan_id="no", schedule_version="1", effective_on="granted", instalment_number="1",
        due_on="granted_text", principal_amount="principal", interest_amount="0", fee_amount="0", penalty_amount="0",
        changed="changed",
    ),
    "transactions": a_select(
        "transactions", "booking", transaction_id="no", loan_id="contract_no", kind="'repayment'", effective_on="paid",
        booked_at="changed", amount="amount", changed="changed",
    ),
}  # fmt: skip


def told(report: Report, table: str) -> dict[str, list[str]]:
    """What is said of a table's columns, by column; of the table itself under ''."""
    (one,) = [one for one in report.tables if one.table == table]
    found: dict[str, list[str]] = {"": [f"{each.verdict}: {each.said}" for each in one.findings]}
    for column in one.columns:
        said = [f"{each.verdict}: {each.said}" for each in column.findings if each.said != "all null"]
        said = [one for one in said if one != "ok: missing, read as null"]
        if said:
            found[column.column] = said
    return {column: said for column, said in found.items() if said}


# A folder to start from.


def test_a_new_folder_runs_as_it_is_and_its_check_names_every_column_that_is_open(
    lender: Lender, sources: Path
) -> None:
    made = new_source("fresh", connection="NEWCOMER_URL")

    report = check("fresh")

    assert made.files == [
        "source.yml",
        "borrowers.sql",
        "loans.sql",
        "instalments.sql",
        "transactions.sql",
        "README.md",
    ]
    for table in report.tables:
        required = {column.name for column in contract()[table.table].columns if column.required}
        assert {column.column for column in table.columns if column.verdict == "error"} == required
        assert [column.column for column in table.columns if column.found_type is None] == []
    assert "warning: 13 TODO left in it" not in told(report, "loans")[""]
    with pytest.raises(SourceError, match=r"source fresh is not ready to be run: .*borrowers.sql: column borrower_id"):
        refuse(report)


@pytest.mark.parametrize(
    ("engine", "of_the_other"),
    [
        ("files", {"connection", "schema", "cursor", "business_date", "overlap_minutes", "deletions_every_days"}),
        ("postgres", {"drop", "marker", "files"}),
    ],
)
def test_source_yml_names_every_key_of_its_engine_and_is_valid_with_all_of_them_set(
    sources: Path, engine: str, of_the_other: set[str]
) -> None:
    made = new_source("fresh", engine=engine)
    text = (Path(made.folder) / "source.yml").read_text()
    keys = {info.alias or name for name, info in Source.model_fields.items()} - {"name", "folder"} - of_the_other

    of_files, of_deliveries = (
        re.findall(r"^#   (\w+):", part, re.MULTILINE) for part in reversed(text.split("# deliveries:"))
    )
    set_all = re.sub(rf"^# (?=({'|'.join(keys)}):)", "", text, flags=re.MULTILINE)
    set_all = re.sub(r"(?<=deliveries:\n)(#   .*\n)+", lambda found: found[0].replace("#  ", ""), set_all)
    document = yaml.safe_load(set_all)

    assert document.keys() == keys
    assert document["deliveries"].keys() == Deliveries.model_fields.keys()
    Source.model_validate({**document, "name": "fresh", "folder": sources})
    if engine == "files":
        assert {*of_files, "pattern"} >= LenderFile.model_fields.keys()
    assert of_deliveries == []


def test_the_readme_lists_the_lenders_tables_with_names_and_types_and_no_value(lender: Lender, sources: Path) -> None:
    lender.execute(
        "create schema vault",
        "create table vault.secret (pin text)",
        "create view late as select no from booking",
        f"revoke pg_read_all_data from {READER}",
        f"grant select on all tables in schema public to {READER}",
    )

    made = new_source("fresh", connection="NEWCOMER_URL")

    text = (Path(made.folder) / "README.md").read_text()
    assert (
        "- `public.customer`: `no` bigint, `full_name` text, `phone` text, `changed` timestamp with time zone" in text
    )
    assert "`principal` numeric(12,2)" in text
    assert "- `public.late`: `no` bigint" in text
    assert "vault" not in text
    assert "Novak" not in text


def test_a_database_that_is_not_there_yet_is_no_hindrance(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = new_source("later", engine="postgres")
    monkeypatch.setenv("AWAY_URL", "postgresql://reader:secret@127.0.0.1:1/away")
    away = new_source("away", connection="AWAY_URL")

    assert unset.next_steps[0].startswith("set ARREARS_LATER_URL to the URL")
    assert "ARREARS_LATER_URL is not set" in unset.notes[0]
    assert "cannot be reached" in away.notes[0]
    assert "secret" not in (Path(away.folder) / "README.md").read_text() + away.notes[0]
    with pytest.raises(SourceUnreachable, match="away"):
        check("away")


def test_the_files_of_a_drop_become_entries_that_read_them(sources: Path, tmp_path: Path) -> None:
    drop = tmp_path / "drop" / "2026-03-31"
    (tmp_path / "drop" / "2026-03-30").mkdir(parents=True)
    drop.mkdir()
    (drop / "Kunden 20260331.csv").write_bytes("Nr;Name;Straße\n1;Müller;Weg\n".encode("latin-1"))
    (drop / "payments_20260331.csv.gz").write_bytes(gzip.compress(b"id,amount\n1,100\n"))
    (drop / "order.txt").write_text("a\tb\n1\t2\n")
    write_workbook(drop / "loans.xlsx", {"Loans": [["number", "amount"], ["L1", 100]]})
    (drop / "_SUCCESS").write_text("")

    made = new_source("files", from_drop=tmp_path / "drop")

    source = load_source("files")
    assert {
        view: (each.pattern, each.format, each.delimiter, each.encoding) for view, each in source.files.items()
    } == {
        "kunden": ("Kunden *.csv", "csv", ";", "latin-1"),
        "loans": ("loans.xlsx", "excel", ",", "utf-8"),
        "file_order": ("order.txt", "csv", "\t", "utf-8"),
        "payments": ("payments_*.csv.gz", "csv", ",", "utf-8"),
    }
    assert "  # columns: Nr, Name, Straße" in (Path(made.folder) / "source.yml").read_text()
    assert any("_SUCCESS" in note for note in made.notes)
    (Path(made.folder) / "borrowers.sql").write_text(
        "select nr as borrower_id, name, 'person' as kind, 'DE' as country, \"Straße\" as street, _file, _line"
        " from kunden"
    )
    report = check("files", drop=tmp_path / "drop")
    assert [table.row_count for table in report.tables] == [1, 1, 1, 1]
    assert told(report, "borrowers").keys() == {""}


def test_a_drop_in_contract_form_needs_no_selects(sources: Path, tmp_path: Path) -> None:
    drop = write_drop(tmp_path / "drop")

    made = new_source("plain", from_drop=drop)

    assert made.files == ["source.yml", "README.md"]
    report = check("plain", drop=drop)
    assert (report.error_count, [table.row_count for table in report.tables]) == (0, [2, 2, 6, 1])
    refuse(report)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../up", "a b", "-x", ".hidden", "a,b", "x" * 64, "ä"])
def test_a_name_that_is_no_folders_is_refused(sources: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name of a source"):
        new_source(name)

    assert list(sources.iterdir()) == []


def test_nothing_is_overwritten(sources: Path) -> None:
    new_source("mine")
    (sources / "mine" / "loans.sql").write_text("select 1")

    with pytest.raises(UsageError, match="is there already and nothing in it is overwritten"):
        new_source("mine", engine="postgres")

    assert (sources / "mine" / "loans.sql").read_text() == "select 1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "oracle"}, "there are files and postgres"),
        ({"engine": "files", "connection": "X_URL"}, "--connection belongs to --engine postgres"),
        ({"connection": "postgresql://me:secret@host/x"}, "the name of an environment variable"),
        ({"from_drop": Path("nowhere")}, "not a folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(sources: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        new_source("fresh", **options)  # type: ignore[arg-type]

    assert "secret" not in str(caught.value)
    assert list(sources.iterdir()) == []


def test_every_optional_table_that_a_mart_reads_says_what_it_is_needed_for() -> None:
    models = [
        path.read_text()
        for layer in ("intermediate", "marts")
        for path in (CHECKOUT / "dbt_project/models" / layer).rglob("*.sql")
    ]
    read = {name for name in contract() if any(f"'stg_servicing__{name}'" in text for text in models)}

    assert {name for name in read if not contract()[name].required} <= NEEDED_FOR.keys()


# What a check says of a database.


def test_a_database_that_is_in_order_gives_nothing_to_mend(lender: Lender) -> None:
    report = check("core")

    assert [*report.told("error"), *report.told("warning")] == []
    assert [(table.table, table.row_count, table.is_whole) for table in report.tables] == [
        ("borrowers", 2, True), ("loans", 2, True), ("instalments", 2, True), ("transactions", 2, True),
    ]  # fmt: skip
    assert report.summary.startswith("Source core: 4 tables, 82 columns and 8 rows looked at in ")
    assert report.summary.endswith(": 0 errors, 0 warnings; nothing was loaded.")
    refuse(report)


def test_columns_that_are_missing_unknown_or_of_another_type_are_named(lender: Lender) -> None:
    lender.selects(
        loans=SELECTS["loans"]
        .replace("customer_no as borrower_id", "customer_no as borower_id")
        .replace("granted as disbursed_on", "terms as disbursed_on")
        .replace("null as project_id,\n", "")
        .replace("granted as status_on", "cast(granted as timestamp) as status_on"),
        transactions=SELECTS["transactions"].replace("changed as booked_at", "cast(paid as timestamp) as booked_at"),
    )

    report = check("core")

    assert told(report, "loans") == {
        "": [
            "warning: it lacks columns that are read as null then: project_id; where that is meant, write `null as` it",
            "warning: column borower_id is not in the contract and is ignored; borrower_id is missing: is it that?",
        ],
        "borrower_id": ["error: is missing, and it is required"],
        "disbursed_on": ["error: is of type jsonb, which cannot be read as date: convert it in loans.sql"],
        "status_on": [
            "error: is of type timestamp without time zone, which cannot be read as date: convert it in loans.sql"
        ],
    }
    assert told(report, "transactions")["booked_at"] == [
        "error: is a timestamp without time zone: say in source.yml which time_zone it is in"
    ]
    lender.says(time_zone="Europe/Prague")
    assert told(check("core"), "transactions") == {}


def test_values_that_do_not_fit_are_counted_and_the_first_is_shown_with_its_key(lender: Lender) -> None:
    lender.execute(
        f"insert into contract select n, 1, 'consumer', 1, '{{}}', '2026-01-01', '2026-01-01', '0.1', '{LONG_AGO}'"
        " from generate_series(3, 40) as n",
        "update contract set kind = 'leasing', customer_no = 77 where no = 7",
        "update contract set granted_text = '2026-02-30', rate = 'ten' where no in (8, 9)",
        "update contract set principal = null where no = 10",
        "update customer set full_name = E'Novak\\x1f', phone = E'\\x1f' where no = 1",
    )

    report = check("core")

    assert told(report, "loans") == {
        "borrower_id": ["warning: names no row of borrowers (77) in 1 of 40 rows, the first: loan_id 7"],
        "product": [
            "warning: is none of consumer, mortgage, auto, revolving, sme_term, project_finance, trade_finance:"
            " leasing (1) in 1 of 40 rows, the first: loan_id 7"
        ],
        "principal_amount": ["warning: is empty in 1 of 40 rows, the first: loan_id 10"],
        "interest_rate": ["warning: is no number with at most 8 decimals (ten) in 2 of 40 rows, the first: loan_id 8"],
    }
    assert told(report, "instalments")["due_on"] == [
        "warning: is no date YYYY-MM-DD (2026-02-30) in 2 of 40 rows, the first: loan_id 8, schedule_version 1,"
        " instalment_number 1"
    ]
    assert told(report, "borrowers") == {
        "name": ["warning: holds a control character in 1 of 2 rows, the first: borrower_id 1"],
        "phone": ["warning: holds a control character in 1 of 2 rows, the first: borrower_id 1"],
    }
    assert "Novak" not in json.dumps(report.as_document())


def test_keys_that_are_empty_or_stand_twice_are_found(lender: Lender) -> None:
    lender.execute(
        "alter table booking drop constraint booking_pkey", "alter table booking alter column no drop not null"
    )
    lender.execute(
        f"insert into booking values (1, 1, '2026-02-01', 100, '{LONG_AGO}'), (2, 2, '2026-02-01', 50, '{LONG_AGO}'),"
        f" (null, 2, '2026-02-01', 50, '{LONG_AGO}')"
    )

    report = check("core")

    assert told(report, "transactions")["transaction_id"] == [
        "warning: is empty, and it is part of the key, in 1 of 5 rows, the first: transaction_id (empty)"
    ]
    assert told(report, "transactions")[""] == [
        "warning: the key (transaction_id) stands more than once, on other contents, in 2 of 5 rows, the first:"
        " transaction_id 2",
        "warning: 1 rows repeat another one and count once",
    ]


def test_of_a_part_of_a_table_the_share_decides_whether_the_day_would_be_stopped(lender: Lender) -> None:
    lender.execute(
        f"insert into contract select n, 1, 'leasing', 1, '{{}}', '2026-01-01', '2026-01-01', '0.1', '{LONG_AGO}'"
        " from generate_series(3, 100) as n"
    )

    part, whole = check("core", row_limit=20), check("core")

    assert [table.row_count for table in part.tables] == [2, 20, 20, 2]
    assert told(part, "loans")["product"][0].startswith("error: is none of consumer")
    assert told(part, "loans")["product"][0].endswith("leasing (18) in 18 of 20 rows, the first: loan_id 3")
    assert told(whole, "loans")["product"][0].endswith("leasing (98) in 98 of 100 rows, the first: loan_id 3")


def test_required_tables_that_nothing_makes_or_that_are_empty_are_errors(lender: Lender) -> None:
    (lender.folder / "instalments.sql").unlink()
    lender.execute("delete from customer", "delete from booking")

    report = check("core")

    assert [one.said for one in report.findings] == [
        f"{lender.folder / 'instalments'}.sql: there is no SELECT for the required table instalments"
    ]
    assert told(report, "borrowers")[""] == ["error: it gives no row, and an empty required table is refused"]
    assert told(report, "transactions")[""] == ["warning: it gives no row"]  # a lender's first day may have none
    assert told(report, "loans")["borrower_id"] == ["error: names no row of borrowers (1) in all 2 rows"]
    assert report.not_delivered[:2] == ["loan_parties", "servicer_balances"]


def test_a_select_that_fails_says_where_and_the_others_are_checked_all_the_same(lender: Lender) -> None:
    lender.selects(
        borrowers="select no as borrower_id,\n  full_nam as name\nfrom customer",
        transactions=SELECTS["transactions"].replace("amount as amount", "cast('x' || amount as numeric) as amount"),
    )
    lender.execute(
        "revoke pg_read_all_data from newcomer_reader", "grant select on customer, contract to newcomer_reader"
    )

    report = check("core")

    assert told(report, "borrowers")[""] == ['error: line 2: column "full_nam" does not exist']
    assert told(report, "transactions")[""] == ["error: permission denied for table booking"]
    assert told(report, "instalments") == {}
    assert told(report, "loans") == {
        "borrower_id": ['ok: not looked up in borrowers: line 2: column "full_nam" does not exist']
    }


def test_what_changes_something_is_stopped_and_what_takes_too_long_is_left(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    lender.execute(
        "create function spend() returns bigint language sql as 'delete from booking returning no'",
        "grant delete on booking to newcomer_reader",
    )
    lender.selects(
        loans=SELECTS["loans"].replace("customer_no as borrower_id", "spend() as borrower_id"),
        borrowers=SELECTS["borrowers"].replace("from customer", "from customer, pg_sleep(3)"),
    )
    monkeypatch.setattr(database_sample, "SESSION", database_sample.SESSION.replace("'30s'", "'300ms'"))

    report = check("core")

    assert told(report, "loans")[""] == ["error: cannot execute DELETE in a read-only transaction"]
    assert (
        "no answer within 30 seconds (canceling statement due to statement timeout)" in told(report, "borrowers")[""][0]
    )
    assert report.tables[3].row_count == 2


def test_a_cursor_that_is_missing_empty_unindexed_or_no_time_is_told(lender: Lender) -> None:
    lender.execute("drop index contract_changed_idx", "update contract set changed = null where no = 1")
    lender.selects(
        borrowers=SELECTS["borrowers"].replace(",\nchanged as changed", ""),
        transactions=SELECTS["transactions"].replace("changed as changed", "paid as changed"),
    )

    report = check("core")

    assert told(report, "borrowers")[""] == [
        "warning: it has no column changed, the cursor: it is read whole for every date"
    ]
    assert told(report, "loans")[""] == [
        "warning: the cursor changed is empty in 1 of 2 rows, which are read every time",
        "warning: no index finds the rows whose changed is late: every reading goes through contract whole",
    ]
    assert told(report, "transactions")[""][0] == (
        "error: the cursor changed of table transactions is of type date; only a timestamp says when a row was changed"
    )


def test_an_index_is_found_through_joins_and_unions_and_missed_where_the_cursor_is_computed(lender: Lender) -> None:
    joined = SELECTS["loans"].replace(
        "from contract", "from contract inner join customer using (no)"
    ).replace("changed as changed", "contract.changed as changed")  # fmt: skip
    lender.selects(
        loans=joined.replace("no as loan_id", "contract.no as loan_id").replace(";", ""),
        borrowers=SELECTS["borrowers"].replace(";", " union all ")
        + SELECTS["borrowers"].replace("no as", "no + 10 as"),
        transactions=SELECTS["transactions"]
        .replace("changed as changed", "greatest(booking.changed, contract.changed) as changed")
        .replace("from booking", "from booking inner join contract on booking.contract_no = contract.no")
        .replace("changed as booked_at", "booking.changed as booked_at")
        .replace("no as transaction_id", "booking.no as transaction_id"),
    )

    report = check("core")

    assert told(report, "loans") == {}
    assert told(report, "borrowers") == {}
    assert told(report, "transactions")[""] == [
        "warning: no index finds the rows whose changed is late: every reading goes through booking and contract whole"
    ]


def test_a_source_without_cursor_is_read_whole_which_is_said(lender: Lender) -> None:
    lender.says(cursor="")

    assert [one.said for one in check("core").findings] == [
        "source.yml names no cursor: every table is read whole for every date"
    ]


def test_a_role_that_cannot_see_others_transactions_and_a_clock_that_is_wrong_are_told(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    lender.execute("revoke pg_read_all_stats from newcomer_reader")

    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) - timedelta(minutes=20)

    monkeypatch.setattr(database_sample, "datetime", Late)

    clock, sight = [one for one in check("core").findings if one.verdict == "warning"]

    assert "20 minutes ahead of this machine's: set the one that is wrong" in clock.said
    assert "its role newcomer_reader may not see the transactions of others: grant it pg_read_all_stats" in sight.said


def test_a_contract_form_schema_is_checked_without_selects(lender: Lender) -> None:
    for name, select in SELECTS.items():
        (lender.folder / f"{name}.sql").unlink()
        if name != "instalments":
            lender.execute("create schema if not exists servicing", f"create view servicing.{name} as {select}")
    lender.says(schema="servicing")

    report = check("core")

    assert [one.said.partition(": ")[2] for one in report.findings] == [
        "schema servicing has no table instalments, which is required"
    ]
    assert [table.row_count for table in report.tables] == [2, 2, 2]


def test_fineracts_folder_is_in_order(lender: Lender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARREARS_SOURCES_FOLDER", str(CHECKOUT / "sources"))
    monkeypatch.setenv("ARREARS_FINERACT_URL", url(lender.server, READER, DATABASE))
    forget_settings()
    with psycopg.connect(url(lender.server, "postgres", DATABASE), autocommit=True) as connection:
        fill(connection, write_books(load_cases()[:20]), date(2026, 3, 31))

    report = check("fineract")

    assert list(report.told("error")) == []
    assert {one.table: one.row_count for one in report.tables if contract()[one.table].required}["loans"] == 20


# What a check says of a drop.


def test_a_drop_is_checked_with_file_and_line(sources: Path, drop: Callable[..., Path]) -> None:
    new_source("plain", from_drop=drop("good"))
    bad = drop(
        "bad",
        loans=[a_loan("L1", "B1"), a_loan("L2", "B9", disbursed_on="31.01.2026", status="open")],
        borrowers=[a_borrower("B1", name="Novak"), a_borrower("B2", born_on="1.1.1990", shoe_size="44")],
        transactions=[a_repayment("T1", "L1", booked_at="2026-02-01T12:00:00"), a_repayment("T2", "L1", amount="1e2")],
    )
    with (bad / "instalments.csv").open("a") as file:
        file.write("L1,1,2026-01-01,4,2026-05-01,100.00,0,0,0,one too many\n")

    report = check("plain", drop=bad)

    assert [one.said for one in report.findings] == [
        "1 lines of instalments.csv are no rows, the first: instalments.csv, line 8: the line cannot be read"
        " (too many columns)"
    ]
    place = "in 1 of 2 rows, the first:"
    assert {name: said for name, said in told(report, "loans").items() if name} == {
        "borrower_id": [f"warning: names no row of borrowers (B9) {place} loans.csv, line 3"],
        "disbursed_on": [f"warning: is no date YYYY-MM-DD (31.01.2026) {place} loans.csv, line 3"],
        "status": [f"warning: is none of active, closed, written_off, sold: open (1) {place} loans.csv, line 3"],
    }
    assert {name: said for name, said in told(report, "transactions").items() if name} == {
        "booked_at": [
            "warning: is no instant with an offset (source.yml names no time_zone) (2026-02-01T12:00:00)"
            f" {place} transactions.csv, line 2"
        ],
        "amount": [f"warning: is no number with at most 4 decimals (1e2) {place} transactions.csv, line 3"],
    }
    assert told(report, "borrowers")["born_on"] == [
        "warning: is no date YYYY-MM-DD in 1 of 2 rows, the first: borrowers.csv, line 3"
    ]
    assert told(report, "borrowers")[""][1:] == ["warning: column shoe_size is not in the contract and is ignored"]


def test_a_select_over_files_says_its_line_and_whether_it_carries_places_along(
    sources: Path, drop: Callable[..., Path]
) -> None:
    folder = sources / "lender"
    folder.mkdir()
    (folder / "source.yml").write_text(
        "description: A lender.\nengine: files\nfiles:\n"
        + "".join(f"  {name}_file: {{pattern: {name}.csv}}\n" for name in small_portfolio())
    )
    for name in small_portfolio():
        (folder / f"{name}.sql").write_text(f"select * from {name}_file")
    (folder / "loans.sql").write_text("select *\nfrom loan_file")
    (folder / "transactions.sql").write_text("select * exclude (_file, _line) from transactions_file")
    (folder / "borrowers.sql").write_text("select * replace (cast(name as integer) as name) from borrowers_file")

    report = check("lender", drop=drop("drop", borrowers=[a_borrower("B1", name="Novak")]))

    assert told(report, "loans")[""][0].startswith(
        "error: line 2: Catalog Error: Table with name loan_file does not exist"
    )
    assert told(report, "transactions")[""][:1] == [
        "warning: it does not carry _file and _line along: a finding cannot name the lender's file and line"
    ]
    assert "Novak" not in json.dumps(report.as_document())
    assert told(report, "borrowers")[""][0].startswith("error: line 1: Conversion Error: Could not convert string '…'")


def test_the_newest_drop_is_taken_and_one_that_has_not_arrived_is_refused(
    sources: Path, drop: Callable[..., Path], tmp_path: Path
) -> None:
    new_source("plain", from_drop=drop("drops/2026-03-30"))
    drop("drops/2026-03-31", loans=[a_loan("L1", "B1")], instalments=small_portfolio()["instalments"][:3])

    assert [table.row_count for table in check("plain", drop=tmp_path / "drops").tables] == [2, 1, 3, 1]
    earlier = check("plain", drop=tmp_path / "drops", as_of=datetime(2026, 3, 30, tzinfo=UTC).date())
    assert [table.row_count for table in earlier.tables] == [2, 2, 6, 1]
    with (sources / "plain" / "source.yml").open("a") as file:
        file.write("marker: _SUCCESS\n")
    with pytest.raises(SourceError, match="has not arrived yet: no file _SUCCESS in it"):
        check("plain", drop=tmp_path / "drops")


def test_a_delta_may_bring_few_tables_that_refer_to_what_came_before(sources: Path, tmp_path: Path) -> None:
    folder = tmp_path / "delta"
    write_drop(
        folder,
        borrowers=None, loans=None, instalments=None,
        transactions=[{**a_repayment("T2", "L1"), "_deleted": ""}, {"transaction_id": "T1", "_deleted": "true"}],
    )  # fmt: skip
    (folder / "drop.yml").write_text("mode: delta\nafter: 2026-03-30\nas_of: 2026-03-31\n")
    (sources / "plain").mkdir()
    (sources / "plain" / "source.yml").write_text("description: A lender.\nengine: files\n")

    report = check("plain", drop=folder)

    assert report.error_count == 0
    assert told(report, "transactions")["loan_id"] == [
        "ok: not looked up in loans: the drop is a delta, what it refers to may have come before"
    ]


def test_a_delta_of_a_lenders_own_files_is_checked_for_the_tables_that_it_can_make(
    sources: Path, tmp_path: Path
) -> None:
    folder = sources / "lender"
    folder.mkdir()
    (folder / "source.yml").write_text(
        "description: A lender.\nengine: files\nfiles:\n"
        + "".join(f"  {name}_file: {{pattern: {name}.csv}}\n" for name in small_portfolio())
    )
    for name in small_portfolio():
        (folder / f"{name}.sql").write_text(f"select * from {name}_file")
    drop = write_drop(tmp_path / "delta", borrowers=None, loans=None, instalments=None)
    (drop / "drop.yml").write_text("mode: delta\nafter: 2026-03-30\nas_of: 2026-03-31\n")

    report = check("lender", drop=drop)

    assert (list(report.told("error")), [table.table for table in report.tables]) == ([], ["transactions"])


def test_berka_is_in_order(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARREARS_SOURCES_FOLDER", str(CHECKOUT / "sources"))
    forget_settings()

    report = check("berka")

    assert [*report.told("error"), *report.told("warning")] == []


# The program.


def test_the_program_prints_a_table_and_sentences_and_ends_with_4_where_something_is_critical(
    lender: Lender, sources: Path
) -> None:
    lender.selects(loans=SELECTS["loans"].replace("customer_no as borrower_id", "customer_no as who"))
    program = Path(sys.executable).with_name("arrears")

    done = subprocess.run([program, "source", "check", "core"], capture_output=True, text=True, check=False)

    assert done.returncode == 4
    assert "column borrower_id is missing, and it is required" in done.stdout
    assert "Source core: 4 tables, 82 columns and 8 rows looked at" in done.stdout
    assert done.stderr.startswith("arrears: source core is not ready to be run: ")
    assert len(done.stderr.splitlines()) == 1


def test_json_holds_what_is_printed(lender: Lender) -> None:
    done = CliRunner().invoke(cli.app, ["source", "check", "core", "--json", "--rows", "1"])

    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert (document["error_count"], document["tables"][1]["row_count"]) == (0, 1)
    assert document["tables"][1]["columns"][0]["verdict"] == "ok"


def test_an_unknown_source_and_a_drop_of_a_database_are_wrong_use(lender: Lender) -> None:
    with pytest.raises(UsageError, match="Unknown source nowhere"):
        check("nowhere")
    with pytest.raises(UsageError, match="Source core is a database: it has no drop"):
        check("core", drop=Path())


def test_new_prints_what_to_do_next(sources: Path) -> None:
    done = CliRunner().invoke(cli.app, ["source", "new", "fresh", "--engine", "postgres"])

    assert done.exit_code == 0
    assert "  3. arrears source check fresh" in done.stdout.splitlines()
    again = CliRunner().invoke(cli.app, ["source", "new", "fresh"])
    assert isinstance(again.exception, UsageError)


# The page that leads through it.


def test_the_how_to_explains_every_key_of_source_yml() -> None:
    text = HOW_TO.read_text()
    keys = {info.alias or name for name, info in Source.model_fields.items()} - {"name", "folder"}

    assert {key for key in keys if f"\n| `{key}` | " not in text} == set()
    assert {key for key in (*Deliveries.model_fields, *LenderFile.model_fields) if f"{key}: " not in text} == set()


def test_the_how_tos_smallest_selects_run(sources: Path, tmp_path: Path) -> None:
    block = re.search(r"```sql\n(-- borrowers.sql.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert block is not None
    folder, drop = sources / "smallest", tmp_path / "drop"
    folder.mkdir()
    drop.mkdir()
    for table, select in re.findall(r"^-- (\w+)\.sql.*\n((?:(?!-- ).*\n)+)", block[1], re.MULTILINE):
        (folder / f"{table}.sql").write_text(select)
    (folder / "source.yml").write_text(
        "description: The smallest.\nengine: files\ntime_zone: Europe/Prague\nfiles:\n"
        '  contract: {pattern: "contract*.csv"}\n  payment: {pattern: "payment*.csv"}\n'
    )
    (drop / "contract.csv").write_text(
        "number,customer,name,amount,granted,first_due,last_due,rate,duration,instalment\n"
        "1,7,Novak,300,2026-01-01,2026-02-01,2026-04-01,0.1,3,100\n"
    )
    (drop / "payment.csv").write_text("id,contract,paid_on,booked_at,amount\n1,1,2026-02-01,2026-02-01 09:00:00,100\n")

    report = check("smallest", drop=drop)

    assert list(report.told("error")) == []
    assert [table.row_count for table in report.tables] == [1, 1, 3, 1]
