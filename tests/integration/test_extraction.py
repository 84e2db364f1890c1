"""A drop becomes differences in raw and versions; what cannot be read is kept aside with its place."""

import gzip
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from arrears.errors import AlreadyExported, SourceError
from arrears.extraction import batches, sources
from tests.conftest import Workplace
from tests.portfolio import a_borrower, a_loan, a_repayment, small_portfolio, write_drop

D1, D2, D3 = date(2026, 3, 29), date(2026, 3, 30), date(2026, 3, 31)


def extract(workplace: Workplace, drop: Path | None, as_of: date, *, may_replace: bool = False) -> dict[str, int | str]:
    source = sources.load_source("contract")
    with workplace.connect() as connection:
        return batches.extract(connection, source, drop, as_of, run_id="test", may_replace=may_replace)


def take_in(workplace: Workplace, drop: Path, as_of: date) -> dict[str, int | str]:
    """Extracts and accepts."""
    done = extract(workplace, drop, as_of)
    if done["state"] == "loaded":
        with workplace.connect() as connection:
            batches.accept(connection, str(done["batch_id"]))
    return done


def a_lenders_source(workplace: Workplace) -> Path:
    """The folder of a source `lender` whose own files are named like the contract's tables."""
    folder = workplace.sources / "lender"
    folder.mkdir()
    files = "".join(f"  {name}_file: {{pattern: {name}.csv}}\n" for name in small_portfolio())
    (folder / "source.yml").write_text(f"description: A lender.\nengine: files\nfiles:\n{files}")
    for name in small_portfolio():
        (folder / f"{name}.sql").write_text(f"select * from {name}_file")
    return folder


def test_a_second_drop_brings_only_its_differences(workplace: Workplace, drop: Callable[..., Path]) -> None:
    take_in(workplace, drop(), D1)
    paid = [*small_portfolio()["transactions"], a_repayment("T2", "L2", "2026-03-30")]
    mended = [a_borrower("B1", city="Brno"), a_borrower("B2")]

    second = take_in(workplace, drop("second", transactions=paid, borrowers=mended), D2)

    assert (second["new"], second["changed"], second["deleted"]) == (1, 1, 0)
    assert workplace.rows("select transaction_id, _known_on from raw.transactions order by 1") == [
        ("T1", date(2026, 2, 1)),  # the first batch: known from its booked_at
        ("T2", D2),
    ]
    assert workplace.rows("select borrower_id, city, _known_from, _known_to from versions.borrowers order by 1, 3") == [
        ("B1", None, date(1, 1, 1), D2),
        ("B1", "Brno", D2, None),
        ("B2", None, date(1, 1, 1), None),
    ]


def test_the_same_drop_twice_changes_nothing(workplace: Workplace, drop: Callable[..., Path]) -> None:
    first = take_in(workplace, drop(), D1)
    before = workplace.rows("select * from raw.loans"), workplace.rows("select * from versions.loans")

    again = take_in(workplace, drop(), D1)
    next_day = take_in(workplace, drop(), D2)

    assert (again["batch_id"], again["state"]) == (first["batch_id"], "accepted")
    assert (next_day["new"], next_day["changed"], next_day["deleted"]) == (0, 0, 0)
    assert (workplace.rows("select * from raw.loans"), workplace.rows("select * from versions.loans")) == before


def test_a_batch_has_the_same_id_in_every_warehouse_and_another_for_other_content(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    one = extract(workplace, drop(), D1)["batch_id"]
    other = extract(workplace, drop("other", loans=[a_loan("L1", "B1"), a_loan("L2", "B2", grace_days=3)]), D1)[
        "batch_id"
    ]

    assert one == "contract-2026-03-29-" + str(one)[-12:]
    assert one != other
    assert workplace.rows("select state from ops.batches where batch_id = %s", one) == [("rejected",)]


def test_a_row_missing_from_a_full_drop_is_deleted_from_that_date_on(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    take_in(workplace, drop(), D1)
    portfolio = small_portfolio()
    without_l2 = {
        "loans": portfolio["loans"][:1],
        "instalments": portfolio["instalments"][:3],
        "transactions": portfolio["transactions"],
    }

    done = take_in(workplace, drop("less", **without_l2), D2)

    assert done["deleted"] == 4
    assert workplace.rows("select loan_id, _known_to from versions.loans order by 1") == [("L1", None), ("L2", D2)]


def test_a_row_of_the_wrong_type_is_kept_aside_with_file_line_and_reason(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    loans = [
        a_loan("L1", "B1"),
        a_loan("L2", "B2", principal_amount="3OO.00"),
        a_loan("L3", "B1", disbursed_on="1.3.2026"),
    ]

    done = take_in(workplace, drop(loans=loans), D1)

    assert done["unreadable"] == 2
    assert workplace.rows("select loan_id, file, line, reason from quarantine.rows order by line") == [
        (
            "L2",
            "loans.csv",
            3,
            "loans.csv, line 3: column principal_amount is no number with at most 4 decimals: 3OO.00",
        ),
        ("L3", "loans.csv", 4, "loans.csv, line 4: column disbursed_on is no date YYYY-MM-DD: 1.3.2026"),
    ]
    assert workplace.rows("select loan_id from versions.loans") == [("L1",)]


def test_the_last_good_version_stays_when_its_row_can_no_longer_be_read(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    take_in(workplace, drop(), D1)

    done = take_in(workplace, drop("bad", loans=[a_loan("L1", "B1"), a_loan("L2", "B2", grace_days="few")]), D2)

    assert (done["unreadable"], done["deleted"]) == (1, 0)
    assert workplace.rows("select loan_id, grace_days, _known_to from versions.loans order by 1") == [
        ("L1", 0, None),
        ("L2", 0, None),
    ]


def test_a_personal_value_is_not_repeated_in_the_reason(workplace: Workplace, drop: Callable[..., Path]) -> None:
    take_in(workplace, drop(borrowers=[a_borrower("B1", born_on="secret"), a_borrower("B2")]), D1)

    assert workplace.value("select reason from quarantine.rows") == (
        "borrowers.csv, line 2: column born_on is no date YYYY-MM-DD"
    )


def test_lines_are_counted_through_quoted_line_breaks_and_malformed_lines(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    text = (
        "borrower_id,kind,name,country\n"
        'B1,person,"First\nand second line",CZ\n'  # lines 2 and 3
        "B2,person,Too,many,fields\n"  # line 4
        "B3,person,Ok,CZ\n"  # line 5
        "B4,person\n"  # line 6
        "B2,person,Good,CZ\n"  # line 7
    )

    take_in(workplace, drop(borrowers=text), D1)

    assert workplace.rows("select borrower_id, _line from raw.borrowers order by 2") == [
        ("B1", 2),
        ("B3", 5),
        ("B2", 7),
    ]
    assert workplace.rows("select line, reason from quarantine.rows order by 1") == [
        (4, "borrowers.csv, line 4: the line cannot be read (too many columns)"),
        (6, "borrowers.csv, line 6: the line cannot be read (missing columns)"),
    ]


def test_bytes_that_are_not_utf_8_cost_their_line_only(workplace: Workplace, drop: Callable[..., Path]) -> None:
    text = b"borrower_id,kind,name,country\nB1,person,Jos\xe9,CZ\nB2,person,Ok,CZ\n"

    done = take_in(workplace, drop(borrowers=text), D1)

    assert done["unreadable"] == 1
    assert workplace.rows("select line, reason from quarantine.rows") == [
        (2, "borrowers.csv, line 2: the line cannot be read (invalid encoding)")
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_column(workplace: Workplace, drop: Callable[..., Path]) -> None:
    text = b"\xef\xbb\xbfborrower_id,kind,name,country\nB1,person,One,CZ\nB2,person,Two,CZ\n"

    take_in(workplace, drop(borrowers=text), D1)

    assert workplace.value("select count(*) from versions.borrowers") == 2


def test_identical_duplicates_count_once_and_differing_ones_both_reach_the_gate(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    loans = [a_loan("L1", "B1"), a_loan("L1", "B1"), a_loan("L2", "B2"), a_loan("L2", "B2", grace_days=5)]

    extract(workplace, drop(loans=loans), D1)

    assert workplace.rows("select loan_id, grace_days, _line from raw.loans order by _line") == [
        ("L1", 0, 2),
        ("L2", 0, 4),
        ("L2", 5, 5),
    ]
    assert workplace.value("select duplicate_count from ops.batch_tables where table_name = 'loans'") == 1


def test_csv_gz_and_parquet_read_like_csv(workplace: Workplace, drop: Callable[..., Path]) -> None:
    folder = drop()
    (folder / "loans.csv.gz").write_bytes(gzip.compress((folder / "loans.csv").read_bytes()))
    (folder / "loans.csv").unlink()
    duckdb.sql(
        f"copy (select * replace (cast(amount as decimal(20, 4)) as amount, cast(effective_on as date) as effective_on,"
        f" cast(booked_at as timestamptz) as booked_at) from read_csv('{folder}/transactions.csv', all_varchar = true))"
        f" to '{folder}/transactions.parquet'"
    )
    (folder / "transactions.csv").unlink()

    done = take_in(workplace, folder, D1)

    assert done["unreadable"] == 0
    assert workplace.value("select count(*) from versions.loans") == 2
    assert workplace.rows("select amount::text, effective_on, booked_at::text from versions.transactions") == [
        ("100.0000", date(2026, 2, 1), "2026-02-01 12:00:00+00")
    ]


@pytest.mark.parametrize(
    ("booked_at", "read_as"),
    [
        ("2026-02-01T12:00:00+02:00", "2026-02-01 10:00:00+00"),
        ("2026-02-01 12:00:00.5Z", "2026-02-01 12:00:00.5+00"),
        ("2026-02-01", "2026-02-01 23:59:59.999999+00"),  # a date alone is the end of that day
    ],
)
def test_instants_are_read_with_their_offset(
    workplace: Workplace, drop: Callable[..., Path], booked_at: str, read_as: str
) -> None:
    take_in(workplace, drop(transactions=[a_repayment(booked_at=booked_at)]), D1)

    assert workplace.value("select booked_at::text from versions.transactions") == read_as


def test_an_instant_without_an_offset_needs_a_time_zone(workplace: Workplace, drop: Callable[..., Path]) -> None:
    take_in(workplace, drop(transactions=[a_repayment(booked_at="2026-02-01 12:00:00")]), D1)

    assert workplace.value("select reason from quarantine.rows") == (
        "transactions.csv, line 2: column booked_at is no instant with an offset (source.yml names no time_zone):"
        " 2026-02-01 12:00:00"
    )


def test_a_booking_known_later_than_its_drop_is_known_from_then(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    late = a_repayment("T2", "L2", effective_on="2026-03-29", booked_at="2026-04-02T08:00:00Z")

    take_in(workplace, drop(transactions=[a_repayment(), late]), D1)

    assert workplace.rows("select transaction_id, _known_from from versions.transactions order by 1") == [
        ("T1", date(2026, 2, 1)),
        ("T2", date(2026, 4, 2)),
    ]


def test_unknown_columns_are_ignored_with_a_warning(workplace: Workplace, drop: Callable[..., Path]) -> None:
    extract(workplace, drop(loans=[a_loan("L1", "B1", shoe_size=44), a_loan("L2", "B2")]), D1)

    warnings = workplace.value("select warnings from ops.batch_tables where table_name = 'loans'")
    assert "column shoe_size is not in the contract and is ignored" in warnings  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loans": None}, "lacks the required table loans"),
        ({"loans": "loan_id,borrower_id\nL1,B1\n"}, "the required column product of table loans is missing"),
        ({"loans": ""}, "loans.csv: empty, not even a header line"),
        ({"loans": [], "borrowers": "borrower_id,kind,name,country\n"}, "empty"),
        ({"loans": "loan_id,loan_id\n1,1\n"}, "column loan_id stands twice in the header"),
    ],
)
def test_a_broken_drop_is_refused_with_one_sentence(
    workplace: Workplace, drop: Callable[..., Path], change: dict[str, object], words: str
) -> None:
    with pytest.raises(SourceError, match=words):
        extract(workplace, drop(**change), D1)

    assert workplace.value("select count(*) from ops.batches") == 0


def test_a_truncated_gzip_file_is_refused(workplace: Workplace, drop: Callable[..., Path]) -> None:
    folder = drop()
    whole = gzip.compress((folder / "loans.csv").read_bytes())
    (folder / "loans.csv").unlink()
    (folder / "loans.csv.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(SourceError, match=r"loans\.csv\.gz: not a whole gzip file"):
        extract(workplace, folder, D1)


def test_a_folder_without_any_table_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is empty: no TABLE.csv"):
        extract(workplace, tmp_path, D1)


def test_dated_folders_are_found_by_the_date(workplace: Workplace, tmp_path: Path) -> None:
    write_drop(tmp_path / "drops" / "2026-03-29")

    take_in(workplace, tmp_path / "drops", D1)

    with pytest.raises(SourceError, match=r"no drop for 2026-03-30 in .* \(the last one before it is 2026-03-29\)"):
        extract(workplace, tmp_path / "drops", D2)


def test_a_drop_of_a_later_date_is_refused(workplace: Workplace, drop: Callable[..., Path]) -> None:
    folder = drop()
    (folder / "drop.yml").write_text("as_of: 2026-03-30\n")

    with pytest.raises(SourceError, match="the drop is of 2026-03-30, later than the date asked for, 2026-03-29"):
        extract(workplace, folder, D1)


def test_another_drop_for_a_date_takes_the_place_of_the_first(workplace: Workplace, drop: Callable[..., Path]) -> None:
    take_in(workplace, drop(), D1)
    take_in(workplace, drop("second", borrowers=[a_borrower("B1", city="Brno"), a_borrower("B2")]), D2)

    take_in(workplace, drop("third", borrowers=[a_borrower("B1", city="Praha"), a_borrower("B2")]), D2)

    assert workplace.rows("select state from ops.batches where batch_date = %s order by 1", D2) == [
        ("accepted",),
        ("superseded",),
    ]
    assert workplace.rows("select city, _known_from, _known_to from versions.borrowers where borrower_id = 'B1'") == [
        (None, date(1, 1, 1), D2),
        ("Praha", D2, None),
    ]


def test_another_drop_for_an_exported_date_is_refused_and_names_its_files(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    take_in(workplace, drop(), D1)
    with workplace.connect() as connection:
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', 'x', 'x', 'x')",
            [D1],
        )
    other = drop("other", transactions=[a_repayment(amount="99.00")])

    with pytest.raises(AlreadyExported, match=r"other bytes in transactions\.csv"):
        extract(workplace, other, D1)
    assert extract(workplace, other, D1, may_replace=True)["state"] == "loaded"


def test_a_drop_that_is_gone_is_not_needed_for_an_accepted_date(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    first = take_in(workplace, drop(), D1)

    assert extract(workplace, None, D1) == {"batch_id": first["batch_id"], "state": "accepted"}


def test_raw_can_only_be_added_to(workplace: Workplace, drop: Callable[..., Path]) -> None:
    take_in(workplace, drop(), D1)

    for statement in ("update raw.loans set grace_days = 9", "delete from raw.loans", "truncate raw.loans"):
        with pytest.raises(Exception, match="permission denied for table loans"), workplace.connect() as connection:
            connection.execute(statement)


def test_a_key_of_the_wrong_type_deletes_nothing_of_its_table(workplace: Workplace, drop: Callable[..., Path]) -> None:
    take_in(workplace, drop(), D1)
    rows = small_portfolio()["instalments"]
    rows[0]["instalment_number"] = "1a"

    done = take_in(workplace, drop("bad", instalments=rows), D2)

    assert (done["unreadable"], done["deleted"]) == (1, 0)
    assert workplace.value("select count(*) from versions.instalments where _known_to is null") == 6


def test_a_malformed_line_of_a_lenders_file_deletes_nothing(workplace: Workplace, tmp_path: Path) -> None:
    a_lenders_source(workplace)
    source = sources.load_source("lender")

    def take_in_lender(drop: Path, as_of: date) -> dict[str, int | str]:
        with workplace.connect() as connection:
            done = batches.extract(connection, source, drop, as_of, run_id="test", may_replace=False)
            batches.accept(connection, str(done["batch_id"]))
            return done

    take_in_lender(write_drop(tmp_path / "one"), D1)
    second = write_drop(tmp_path / "two")
    text = (second / "loans.csv").read_text().splitlines()
    (second / "loans.csv").write_text("\n".join([*text[:-1], "L2,B2"]) + "\n")

    done = take_in_lender(second, D2)

    assert (done["unreadable"], done["deleted"]) == (1, 0)
    assert workplace.value("select count(*) from versions.loans where _known_to is null") == 2
    assert workplace.rows("select loan_id, reason from quarantine.rows") == [
        ("L2", "loans.csv, line 3: the line cannot be read (missing columns)")
    ]
    assert workplace.rows(
        "select row_count, unreadable_count from ops.batch_tables where table_name = 'loans.csv'"
    ) == [(2, 1)]


def test_another_drop_of_a_lenders_files_names_the_file_that_differs(workplace: Workplace, tmp_path: Path) -> None:
    a_lenders_source(workplace)
    source = sources.load_source("lender")
    with workplace.connect() as connection:
        first = batches.extract(connection, source, write_drop(tmp_path / "one"), D1, run_id="test", may_replace=False)
        batches.accept(connection, str(first["batch_id"]))
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', 'x', 'x', 'x')",
            [D1],
        )
    other = write_drop(tmp_path / "two", transactions=[a_repayment(amount="99.00")])

    with (
        pytest.raises(AlreadyExported, match=r"\(other bytes in transactions\.csv\)"),
        workplace.connect() as connection,
    ):
        batches.extract(connection, source, other, D1, run_id="test", may_replace=False)


def test_a_lenders_spelling_of_a_column_does_not_matter(workplace: Workplace, tmp_path: Path) -> None:
    folder = a_lenders_source(workplace)
    (folder / "borrowers.sql").write_text('select * exclude ("Name"), "Name" as name from borrowers_file')
    drop = write_drop(tmp_path / "one")
    (drop / "borrowers.csv").write_text((drop / "borrowers.csv").read_text().replace(",name,", ",Name,", 1))

    with workplace.connect() as connection:
        done = batches.extract(connection, sources.load_source("lender"), drop, D1, run_id="test", may_replace=False)

    assert done["unreadable"] == 0
    assert workplace.rows("select name from raw.borrowers order by 1") == [("Borrower B1",), ("Borrower B2",)]


def test_a_required_table_without_a_readable_row_is_refused_with_the_first_reason(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    loans = [a_loan("L1", "B1", maturity_on="soon"), a_loan("L2", "B2", maturity_on="later")]

    with pytest.raises(
        SourceError, match=r"No row of the required table loans can be read; the first: loans\.csv, line 2"
    ):
        extract(workplace, drop(loans=loans), D1)


def test_a_column_that_is_delivered_empty_from_now_on_changes_no_row(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    take_in(workplace, drop(), D1)
    rows = [row | {"officer_id": ""} for row in small_portfolio()["loans"]]

    done = take_in(workplace, drop("wider", loans=rows), D2)

    assert (done["new"], done["changed"], done["deleted"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("officer_id", "a\x00b", "column officer_id holds a control character"),
        ("maturity_on", "0000-01-01", "column maturity_on is no date"),
        ("maturity_on", "2026-02-30", "column maturity_on is no date"),
        ("principal_amount", "1e3", "column principal_amount is no number"),
        ("principal_amount", "1.00001", "column principal_amount is no number with at most 4 decimals"),
        ("is_green", "yes", "column is_green is neither true nor false"),
        ("grace_days", "99999999999", "column grace_days is no whole number"),
    ],
)
def test_a_value_that_does_not_fit_costs_its_row_only(
    workplace: Workplace, drop: Callable[..., Path], column: str, value: str, words: str
) -> None:
    done = take_in(workplace, drop(loans=[a_loan("L1", "B1"), a_loan("L2", "B2", **{column: value})]), D1)

    assert done["unreadable"] == 1
    assert words in str(workplace.value("select reason from quarantine.rows"))


def test_an_infinite_amount_in_parquet_costs_its_row_only(workplace: Workplace, drop: Callable[..., Path]) -> None:
    folder = drop(transactions=[a_repayment("T1"), a_repayment("T2", amount="1e308")])
    duckdb.sql(
        f"copy (select * replace (cast(amount as double) * 10 as amount) from read_csv('{folder}/transactions.csv',"
        f" all_varchar = true)) to '{folder}/transactions.parquet'"
    )
    (folder / "transactions.csv").unlink()

    done = take_in(workplace, folder, D1)

    assert done["unreadable"] == 1
    assert workplace.rows("select transaction_id, amount::text from versions.transactions") == [("T1", "1000.0000")]
