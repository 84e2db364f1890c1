"""What a drop's files become in load.TABLE: deltas, control totals, formats, and the text that breaks readers."""

from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from arrears.contract.servicing import contract
from arrears.errors import SourceError
from arrears.extraction import batches, sources
from arrears.extraction.delivery import Loaded
from arrears.extraction.drops import formats
from arrears.extraction.drops.folders import find_drop_folder, open_drop
from arrears.extraction.drops.reading import DropDelivery, open_reader
from arrears.extraction.sources import Source
from arrears.gate import judge_batches
from arrears.warehouse.embedded import Server
from tests.conftest import Workplace, url
from tests.portfolio import a_borrower, a_loan, a_repayment, small_portfolio, write_drop, write_table
from tests.workbooks import Error, write_workbook

D1, D2 = date(2026, 3, 29), date(2026, 3, 30)
BORROWERS = "borrower_id,kind,name,country\n"


@pytest.fixture(scope="module")
def loading(server: Server) -> Iterator[psycopg.Connection]:
    """A database with nothing but the schema that drops are loaded into."""
    with psycopg.connect(url(server, "postgres", "postgres"), autocommit=True) as admin:
        admin.execute("create database drops_test")
        try:
            with psycopg.connect(url(server, "postgres", "drops_test"), autocommit=True) as connection:
                connection.execute("create schema load")
                yield connection
        finally:
            admin.execute("drop database drops_test with (force)")


def a_source(**more: object) -> Source:
    return Source.model_validate(
        {"name": "contract", "folder": "/nowhere", "description": "", "engine": "files", **more}
    )


def with_delivery(folder: Path, source: Source, look: Callable[[DropDelivery], Any]) -> Any:
    drop = open_drop(source, find_drop_folder(source, folder, D2))
    with open_reader(source, drop, folder.parent / "scratch") as delivery:
        return look(delivery)


def load(connection: psycopg.Connection, folder: Path, table: str, source: Source | None = None) -> Loaded:
    """Loads one table of a drop."""
    loaded: Loaded = with_delivery(
        folder, source or a_source(), lambda delivery: delivery.load(connection, contract()[table])
    )
    return loaded


def rows(connection: psycopg.Connection, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """Columns of load.TABLE in the order of the file."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return connection.execute(
        sql.SQL("select {} from load.{} order by _line").format(names, sql.Identifier(table))
    ).fetchall()


def described(folder: Path, text: str) -> Path:
    (folder / "drop.yml").write_text(text)
    return folder


# Deltas


def test_a_delta_marks_what_is_gone_and_asks_no_more_than_its_key(loading: psycopg.Connection, tmp_path: Path) -> None:
    loans = [
        a_loan("L1", "B1", _deleted=""),
        a_loan("L2", "B2", _deleted="false"),
        {"loan_id": "L3", "_deleted": "true", "principal_amount": "unknown"},
        {"loan_id": "L4", "_deleted": "yes"},
        {"loan_id": "", "_deleted": "true"},
    ]
    write_drop(tmp_path / "full")
    folder = described(write_drop(tmp_path / "drop", loans=loans), "mode: delta\n")

    full = load(loading, tmp_path / "full", "loans")
    hashes = rows(loading, "loans", "_row_hash")
    delta = load(loading, folder, "loans")

    assert (full.mode, delta.mode, delta.row_count) == ("full", "delta", 3)
    assert rows(loading, "loans", "loan_id", "principal_amount", "_is_deleted", "_line") == [
        ("L1", Decimal(300), False, 2),
        ("L2", Decimal(300), False, 3),
        ("L3", None, True, 4),
    ]
    assert rows(loading, "loans", "_row_hash")[:2] == hashes  # a row is the same row in full and in a delta
    assert [(row.reason, row.has_key) for row in delta.unreadable] == [
        ("loans.csv, line 5: column _deleted is neither true nor false: yes", True),
        ("loans.csv, line 6: column loan_id of the key is empty", False),
    ]


def test_a_delta_that_only_deletes_needs_only_keys(loading: psycopg.Connection, tmp_path: Path) -> None:
    folder = described(write_drop(tmp_path / "drop", loans="loan_id,_deleted\nL1,true\n"), "mode: delta\n")

    loaded = load(loading, folder, "loans")
    assert rows(loading, "loans", "loan_id", "_is_deleted") == [("L1", True)]
    assert (loaded.delivered_columns, loaded.warnings) == ([], [])  # no column is missed

    (folder / "loans.csv").write_text("loan_id,_deleted\nL1,true\nL2,\n")
    with pytest.raises(SourceError, match="the required column borrower_id of table loans is missing"):
        load(loading, folder, "loans")


def test_in_a_full_table_deleted_is_an_unknown_column(loading: psycopg.Connection, tmp_path: Path) -> None:
    loans = [a_loan("L1", "B1", _deleted="true")]
    folder = described(write_drop(tmp_path / "drop", loans=loans), "mode: delta\ntables: {loans: {mode: full}}\n")

    loaded = load(loading, folder, "loans")

    assert loaded.mode == "full"
    assert "column _deleted is not in the contract and is ignored" in loaded.warnings
    assert rows(loading, "loans", "loan_id", "_is_deleted") == [("L1", False)]


def test_a_growing_table_says_from_when_it_is_complete(loading: psycopg.Connection, tmp_path: Path) -> None:
    folder = described(write_drop(tmp_path / "drop"), "tables: {transactions: {complete_from: 2026-02-01}}\n")

    assert load(loading, folder, "transactions").complete_from == date(2026, 2, 1)
    assert load(loading, folder, "loans").complete_from is None


def test_a_delta_changes_adds_and_removes_by_key_and_leaves_the_rest(workplace: Workplace, tmp_path: Path) -> None:
    def take_in(folder: Path, as_of: date) -> dict[str, Any]:
        with workplace.connect() as connection:
            sources.portfolio(connection, "contract")
            done = batches.extract(connection, sources.load_source("contract"), folder, as_of, run_id="test")
        verdict = judge_batches(as_of)
        assert not verdict.is_blocked, verdict.failures
        return done

    take_in(write_drop(tmp_path / "full"), D1)
    delta = tmp_path / "delta"
    delta.mkdir()
    write_table(delta / "loans.csv", [a_loan("L1", "B1", grace_days=5), a_loan("L3", "B1")])
    (delta / "instalments.csv").write_text(
        "loan_id,schedule_version,instalment_number,_deleted\nL2,1,3,true\n"  # L2 loses its last instalment
    )
    described(delta, "as_of: 2026-03-30\nmode: delta\nafter: 2026-03-29\nsource: contract\n")

    done = take_in(delta, D2)

    assert (done["new"], done["changed"], done["deleted"]) == (1, 1, 1)
    assert workplace.rows("select loan_id, grace_days from versions.loans where _known_to is null order by 1") == [
        ("L1", 5),
        ("L2", 0),
        ("L3", 0),
    ]
    assert workplace.rows("select loan_id, instalment_number from versions.instalments where _known_to = %s", D2) == [
        ("L2", 3)
    ]
    assert workplace.value("select count(*) from versions.borrowers where _known_to is null") == 2


# Control totals


def test_a_file_that_has_what_drop_yml_says_is_loaded_unreadable_rows_included(
    loading: psycopg.Connection, tmp_path: Path
) -> None:
    text = (
        "transaction_id,loan_id,kind,effective_on,booked_at,amount\n"
        "T1,L1,repayment,2026-02-01,2026-02-01T12:00:00Z,0.1\n"
        "T2,L1,repayment,2026-02-30,2026-02-01T12:00:00Z,0.2\n"  # no date
        "T3,L1,repayment,2026-02-01,2026-02-01T12:00:00Z,12345678901.2345,too,much\n"
    )
    said = "tables: {transactions: {rows: 3, totals: {amount: 12345678901.5345}}}\n"

    loaded = load(loading, described(write_drop(tmp_path / "drop", transactions=text), said), "transactions")

    assert (loaded.row_count, len(loaded.unreadable)) == (1, 2)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "rows: 3",
            r"transactions\.csv has 2 rows, drop\.yml says 3; .*drop\.yml, line 1, key tables\.transactions\.rows",
        ),
        (
            "totals: {amount: 200.01}",
            r"amount in transactions\.csv adds up to 200, drop\.yml says 200\.01; .*totals\.amo",
        ),
        ("totals: {kind: 0}", r"kind in transactions\.csv adds up to 0 without 2 of its values that are no number"),
        (
            "totals: {fee: 1}",
            r"key tables\.transactions\.totals\.fee: transactions\.csv has no column fee; it has amount",
        ),
    ],
)
def test_a_file_with_less_than_drop_yml_says_is_refused(
    loading: psycopg.Connection, tmp_path: Path, said: str, words: str
) -> None:
    folder = write_drop(tmp_path / "drop", transactions=[a_repayment("T1"), a_repayment("T2")])

    with pytest.raises(SourceError, match=words):
        load(loading, described(folder, f"tables: {{transactions: {{{said}}}}}\n"), "transactions")


def test_a_file_is_read_again_where_drop_yml_says_another_count_of_it(tmp_path: Path) -> None:
    folder = write_drop(tmp_path / "drop")
    before = open_drop(a_source(), folder).reading_of("loans")

    after = open_drop(a_source(), described(folder, "tables: {loans: {rows: 3}}")).reading_of("loans")

    assert before == ""
    assert after != before


def test_the_lenders_own_files_are_counted_before_any_select(loading: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "loans.sql").write_text("select * from contracts")
    source = a_source(name="lender", folder=tmp_path, files={"contracts": {"pattern": "c.txt", "delimiter": ";"}})
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "c.txt").write_text("loan_id;sum\nL1;1.5\nL2;2.5;x\n")

    described(folder, "tables: {contracts: {rows: 2, totals: {sum: 4}}}\n")
    assert with_delivery(folder, source, lambda delivery: delivery.line_count("c.txt")) == 1
    described(folder, "tables: {contracts: {rows: 2, totals: {sum: 5}}}\n")
    with pytest.raises(SourceError, match=r"sum in c\.txt adds up to 4, drop\.yml says 5"):
        with_delivery(folder, source, lambda delivery: None)


# Text that breaks readers


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_read_where_source_yml_names_it(
    loading: psycopg.Connection, tmp_path: Path, codec: str
) -> None:
    text = BORROWERS + 'B1,person,"José\nMaría",ES\nB2,person,é\nB3,person,Zoë,ES\n'
    (tmp_path / "borrowers.sql").write_text("select * from people")
    given = {"pattern": "people.csv", "encoding": codec.removesuffix("-le")}
    source = a_source(name="lender", folder=tmp_path, files={"people": given})
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "people.csv").write_bytes(text.encode(codec))

    def look(delivery: DropDelivery) -> list[str]:
        delivery.load(loading, contract()["borrowers"])
        return [row.reason for row in delivery.lender_unreadable()]

    assert with_delivery(folder, source, look) == ["people.csv, line 4: the line cannot be read (missing columns)"]
    assert rows(loading, "borrowers", "borrower_id", "name", "_line") == [("B1", "José\nMaría", 2), ("B3", "Zoë", 5)]


@pytest.mark.parametrize(
    "text",
    [
        "{header}B1,person,One,CZ\r\nB2,person\r\nB3,person,Three,CZ\r\n",
        '{header}B1,person,One,CZ\r\nB2,person\nB3,person,"Three",CZ\r\n',  # ends of two kinds
        "{header}B1,person,One,CZ\n\n\nB2,person\nB3,person,Three,CZ\n\n",
        '{header}"B1",person,"One",CZ\n\nB2,person,"T\n\nwo"\nB3,person,Three,CZ',
        "\ufeff{header}B1,person,One,CZ\n\nB2,person\nB3,person,Three,CZ\n",
    ],
)
def test_lines_are_told_as_an_editor_shows_them(loading: psycopg.Connection, tmp_path: Path, text: str) -> None:
    text = text.format(header=BORROWERS.replace("\n", "\r\n" if "\r" in text else "\n"))
    lines = text.replace("\r\n", "\n").split("\n")
    bad, last = (next(n for n, line in enumerate(lines, 1) if line.startswith(key)) for key in ("B2", "B3"))

    loaded = load(loading, write_drop(tmp_path / "drop", borrowers=text), "borrowers")

    assert rows(loading, "borrowers", "borrower_id", "_line") == [("B1", 2), ("B3", last)]
    assert [(row.line, row.row["borrower_id"]) for row in loaded.unreadable] == [(bad, "B2")]


def test_a_value_that_does_not_fit_is_told_behind_malformed_lines_too(
    loading: psycopg.Connection, tmp_path: Path
) -> None:
    text = "borrower_id,kind,name,country,born_on\nB1,person\n\nB2,person,Two,CZ,soon\n"

    loaded = load(loading, write_drop(tmp_path / "drop", borrowers=text), "borrowers")

    assert sorted(row.reason for row in loaded.unreadable) == [
        "borrowers.csv, line 2: the line cannot be read (missing columns)",
        "borrowers.csv, line 4: column born_on is no date YYYY-MM-DD",
    ]


def test_a_quote_that_is_never_closed_names_every_line_that_it_swallows(
    loading: psycopg.Connection, tmp_path: Path
) -> None:
    text = (
        BORROWERS
        + 'B1,person,One,CZ\nB2,person,"Two,CZ\nB3,person,Three,CZ\nB4,person,"Four, the",CZ\nB5,person,F,CZ\n'
    )

    loaded = load(loading, write_drop(tmp_path / "drop", borrowers=text), "borrowers")

    assert rows(loading, "borrowers", "borrower_id", "_line") == [("B1", 2), ("B5", 6)]
    assert [(row.line, row.row["borrower_id"]) for row in loaded.unreadable] == [(3, "B2"), (4, "B3"), (5, "B4")]


def test_a_line_of_many_megabytes_costs_itself(loading: psycopg.Connection, tmp_path: Path) -> None:
    text = BORROWERS + f"B1,person,{'x' * (formats.LONGEST_RECORD + 1)},CZ\nB2,person,Two,CZ\n"

    loaded = load(loading, write_drop(tmp_path / "drop", borrowers=text), "borrowers")

    assert [row.reason for row in loaded.unreadable] == [
        "borrowers.csv, line 2: the line cannot be read (line size over maximum)"
    ]
    assert rows(loading, "borrowers", "borrower_id", "_line") == [("B2", 3)]


def test_lines_that_the_reader_loses_without_a_word_are_missed(loading: psycopg.Connection, tmp_path: Path) -> None:
    text = BORROWERS + f"B1,person,{'x' * (9 * formats.LONGEST_RECORD)},CZ\nB2,person,Two,CZ\n"  # beyond its buffer

    with pytest.raises(
        SourceError, match=r"borrowers\.csv: 1 of its 3 lines came out neither as rows nor as lines tha"
    ):
        load(loading, write_drop(tmp_path / "drop", borrowers=text), "borrowers")


def test_nul_bytes_cost_their_row(loading: psycopg.Connection, tmp_path: Path) -> None:
    text = BORROWERS + "B1,person,O\x00ne,CZ\nB2,person,Two,CZ\n"

    loaded = load(loading, write_drop(tmp_path / "drop", borrowers=text), "borrowers")

    assert [row.reason for row in loaded.unreadable] == ["borrowers.csv, line 2: column name holds a control character"]
    assert rows(loading, "borrowers", "borrower_id") == [("B2",)]


# Formats


def test_a_workbook_in_contract_form_reads_like_a_csv(loading: psycopg.Connection, tmp_path: Path) -> None:
    plain = [a_loan("L1", "B1"), a_loan("L2", "B2", principal_amount="0.1")]
    folder = write_drop(tmp_path / "drop", loans=plain)
    load(loading, folder, "loans")
    expected = rows(loading, "loans", "loan_id", "_row_hash")
    (folder / "loans.csv").unlink()
    cells: list[list[object]] = [
        [
            float(value)
            if name in ("principal_amount", "interest_rate", "grace_days", "tolerance_amount")
            else False
            if name == "is_green"
            else date.fromisoformat(str(value))
            if name.endswith("_on")
            else value
            for name, value in loan.items()
        ]
        for loan in plain
    ]
    bad = [*cells[0][:4], Error("#REF!"), *cells[0][5:]]
    write_workbook(folder / "loans.xlsx", {"loans": [list(plain[0]), cells[0], bad, [], cells[1]]})

    loaded = load(loading, folder, "loans")

    assert rows(loading, "loans", "loan_id", "_row_hash") == expected
    assert rows(loading, "loans", "_file", "_line") == [("loans.xlsx", 2), ("loans.xlsx", 5)]
    assert [row.reason for row in loaded.unreadable] == [
        "loans.xlsx, line 3: cell E3 holds an error (#N/A, #REF! or the like)"
    ]


def test_sheets_of_one_workbook_are_a_lenders_files(loading: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "borrowers.sql").write_text(
        "select p.\"Nr\" as borrower_id, 'person' as kind, n.\"Name\" as name, 'CZ' as country, p._file, p._line"
        ' from people as p inner join names as n on p."Nr" = n."Nr"'
    )
    book = {"pattern": "book*.xlsx", "format": "excel"}
    source = a_source(name="lender", folder=tmp_path, files={"people": book, "names": {**book, "sheet": "names"}})
    write_workbook(
        tmp_path / "drop" / "book_1.xlsx",
        {"people": [["Nr"], [7.0], [8.0]], "names": [["Nr", "Name"], [7, "Seven"], [8, "Eight"]]},
    )

    load(loading, tmp_path / "drop", "borrowers", source)

    assert rows(loading, "borrowers", "borrower_id", "name", "_file", "_line") == [
        ("7", "Seven", "book_1.xlsx", 2),
        ("8", "Eight", "book_1.xlsx", 3),
    ]


def test_fixed_width_columns_are_cut_and_trimmed_with_their_lines(loading: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "borrowers.sql").write_text(
        "select id as borrower_id, 'person' as kind, name, country, _file, _line from p"
    )
    columns = {"id": [1, 3], "name": [4, 8], "country": [12, 2]}
    source = a_source(
        name="lender", folder=tmp_path, files={"p": {"pattern": "p.txt", "format": "fixed_width", "columns": columns}}
    )
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "p.txt").write_bytes(
        '1  José "x CZ\r\n   \r\n\r\n2  Bad\xff  CZ\r\n3   Three'.encode("latin-1").replace(b"\xe9", "é".encode())
    )

    def look(delivery: DropDelivery) -> list[tuple[object, ...]]:
        delivery.load(loading, contract()["borrowers"])
        return [(row.line, row.row["id"], row.reason) for row in delivery.lender_unreadable()]

    assert with_delivery(folder, source, look) == [
        (4, "2", "p.txt, line 4: the line cannot be read (invalid encoding)")
    ]
    assert rows(loading, "borrowers", "borrower_id", "name", "country", "_line") == [
        ("1", 'José "x', "CZ", 1),
        ("3", "Three", None, 5),
    ]


def test_a_delta_of_a_lenders_files_makes_the_tables_whose_files_are_there(tmp_path: Path) -> None:
    (tmp_path / "loans.sql").write_text("select * from contracts inner join people using (id)")
    (tmp_path / "borrowers.sql").write_text("select * from people")
    files = {name: {"pattern": f"{name}.csv"} for name in ("contracts", "people")}
    source = a_source(name="lender", folder=tmp_path, files=files)
    folder = tmp_path / "drop"
    folder.mkdir()
    (folder / "people.csv").write_text("id,x\n1,2\n")

    def names(delivery: DropDelivery) -> list[str]:
        return [table.name for table in delivery.tables()]

    with pytest.raises(SourceError, match=r"0 files match contracts\.csv"):
        with_delivery(folder, source, names)
    assert with_delivery(described(folder, "mode: delta\n"), source, names) == ["borrowers"]


# Keys of several sources


def test_a_prefix_goes_before_keys_and_references_and_into_the_hash(
    loading: psycopg.Connection, tmp_path: Path
) -> None:
    loans = [a_loan("L1", "B1"), a_loan("L2", "B2", grace_days="few")]
    folder = write_drop(tmp_path / "drop", loans=loans)
    load(loading, folder, "loans")
    plain = rows(loading, "loans", "_row_hash")

    loaded = load(loading, folder, "loans", a_source(key_prefix="N-"))

    assert rows(loading, "loans", "loan_id", "borrower_id", "product", "project_id") == [
        ("N-L1", "N-B1", "consumer", None)
    ]
    assert rows(loading, "loans", "_row_hash") != plain
    assert [(row.row["loan_id"], row.row["borrower_id"]) for row in loaded.unreadable] == [("N-L2", "N-B2")]


def test_a_drop_stands_for_its_delivery(tmp_path: Path) -> None:
    folder = described(write_drop(tmp_path / "drop", borrowers=[a_borrower()]), "mode: delta\nafter: 2026-03-29\n")

    def look(delivery: DropDelivery) -> tuple[object, ...]:
        return delivery.place, delivery.mode, delivery.after, [table.name for table in delivery.tables()]

    assert with_delivery(folder, a_source(), look) == (str(folder), "delta", D1, [*small_portfolio()])
