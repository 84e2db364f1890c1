"""Cells of a queue file: the borrower's are blanked, every other byte stays."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from arrears.privacy.queue_files import Lines, Whom, blank

WHOM = Whom("B1", frozenset({"L1"}), {"name": True, "phone": True, "born_on": False})


def test_only_the_borrowers_cells_change_and_every_other_byte_stays(tmp_path: Path) -> None:
    before = (
        b"rank,loan_id,borrower_id,party_borrower_id,reason,name,born_on,phone,city\n"
        b'1,L1,B1,B1,"late, ""very""\nand more","Nov\xc3\xa1, Jana ""J""",1980-02-29,\'+420777,Brno\n'
        b"2,L2,B1,B2,B1 is the borrower,Petr,1975-05-05,,\n"
        b'3,L3,B11,B11,,"Eva\nB1",,+1,\n'
        b'4,L4,B1,B1,,Jana,,"",\n'
    )
    file, target = tmp_path / "queue.csv", tmp_path / "blank.csv"
    file.write_bytes(before)

    assert blank(file, WHOM) == Lines(named=2, blanked=2)
    assert blank(file, WHOM, target) == Lines(named=2, blanked=2)

    assert target.read_bytes() == (
        b"rank,loan_id,borrower_id,party_borrower_id,reason,name,born_on,phone,city\n"
        b'1,L1,B1,B1,"late, ""very""\nand more",(erased),,(erased),Brno\n'
        b"2,L2,B1,B2,B1 is the borrower,Petr,1975-05-05,,\n"
        b'3,L3,B11,B11,,"Eva\nB1",,+1,\n'
        b"4,L4,B1,B1,,(erased),,(erased),\n"
    )
    assert blank(target, WHOM) == Lines(named=2, blanked=0)


def test_a_file_without_the_party_is_matched_by_what_it_has(tmp_path: Path) -> None:
    for name, text, named in (
        ("loan", "rank,loan_id,name\n1,L1,Jana\n2,L2,Petr\n", 1),
        ("borrower", "rank,loan_id,borrower_id,name\n1,L1,B2,Petr\n2,L2,B1,Jana\n", 1),
    ):
        file = tmp_path / f"{name}.csv"
        file.write_text(text)
        assert blank(file, WHOM) == Lines(named, named), name
    (tmp_path / "odd.csv").write_text("a,b\n1,B1\n")
    (tmp_path / "note.txt").write_text("B1")
    assert blank(tmp_path / "odd.csv", WHOM) is None
    assert blank(tmp_path / "note.txt", WHOM) is None


def test_an_id_that_would_start_a_formula_is_found_behind_its_apostrophe(tmp_path: Path) -> None:
    file = tmp_path / "queue.csv"
    file.write_text("loan_id,party_borrower_id,name\nL1,'+B1,Jana\n")

    assert blank(file, Whom("+B1", frozenset(), {"name": True})) == Lines(1, 1)


def test_parquet_keeps_types_groups_and_missing_values(tmp_path: Path) -> None:
    table = pa.table(
        {
            "loan_id": ["L1", "L2", "L3"],
            "party_borrower_id": ["B1", "B2", "B1"],
            "name": ["Jana", "Petr", "Jana"],
            "phone": [None, "+2", "+1"],
            "born_on": pa.array([10, 20, None], pa.date32()),
        }
    )
    file, target = tmp_path / "queue.parquet", tmp_path / "blank.parquet"
    pq.write_table(table, file, row_group_size=2)

    assert blank(file, WHOM) == Lines(2, 2)
    assert blank(file, WHOM, target) == Lines(2, 2)

    after = pq.read_table(target)
    assert after.schema == table.schema
    assert pq.ParquetFile(target).num_row_groups == 2
    assert after["name"].to_pylist() == ["(erased)", "Petr", "(erased)"]
    assert after["phone"].to_pylist() == [None, "+2", "(erased)"]
    assert after["born_on"].to_pylist() == [None, table["born_on"][1].as_py(), None]
    assert blank(target, WHOM) == Lines(2, 0)
