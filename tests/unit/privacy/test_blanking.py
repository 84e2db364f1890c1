"""What is personal, whose it is, and how a text is told to name somebody."""

import pytest

from arrears.contract.servicing import contract
from arrears.privacy.blanking import blank_line, blank_record, names, owners, personal_columns, personal_tables, scrub


def test_every_personal_column_stands_in_a_table_that_says_whose_it_is() -> None:
    assert {table.name for table in personal_tables()} == {"borrowers", "contact_points", "guarantees"}
    for table in personal_tables():
        assert owners(table), table.name


def test_a_personal_column_that_may_not_be_null_is_a_text() -> None:
    for table in personal_tables():
        for column in personal_columns(table):
            assert column.data_type == "text" or not column.required, f"{table.name}.{column.name}"


def test_no_key_and_no_column_with_a_list_of_values_is_personal() -> None:
    for table in personal_tables():
        for column in personal_columns(table):
            assert column.name not in table.primary_key
            assert not column.values


@pytest.mark.parametrize(
    ("text", "is_named"),
    [
        ("B1;person;Jana", True),
        ("x;B1", True),
        ("B12;person", False),
        ("AB1;B13", False),
        ("B12;B1;", True),
        ("B1.00;B1-2;2026/B1", False),
        ("+420777123456,", True),  # where a value begins or ends with no letter or digit, anything may stand beside it
        ("", False),
    ],
)
def test_an_id_is_found_as_a_word_of_its_own(text: str, is_named: bool) -> None:
    assert names(text, {"B1", "+420777123456"}) is is_named


def test_a_record_keeps_its_keys_and_what_is_not_personal() -> None:
    row = {
        "borrower_id": "B1",
        "kind": "Jana Nová",
        "name": "Jana Nová",
        "phone": None,
        "born_on": "1980",
        "city": "Brno",
    }

    blanked, texts = blank_record(contract()["borrowers"], row)

    assert blanked == {
        "borrower_id": "B1",
        "kind": "(erased)",  # the fields stood in the wrong order
        "name": "(erased)",
        "phone": None,
        "born_on": None,
        "city": "Brno",
    }
    assert texts == ["Jana Nová", "1980"]
    assert blank_record(contract()["borrowers"], blanked) == (blanked, [])


def test_a_malformed_line_keeps_ids_alone() -> None:
    row = {"_text": "B1;Jana", "borrower_id": "B1", "name": "Jana", "phone": None}

    assert blank_line(row, {"B1"}) == {"_text": "(erased)", "borrower_id": "B1", "name": "(erased)", "phone": None}


def test_a_reason_loses_the_values_that_it_quotes() -> None:
    address = "Nábřeží Kapitána Jaroše 1000/7, 170 00 Praha 7"

    assert scrub("f, line 2: column kind is no date: Jana Nová", set(), {"Jana Nová"}).endswith(": (erased)")
    assert scrub(f"column kind is no date: {address[:40]}", set(), {address}) == "column kind is no date: (erased)"
    assert scrub("borrower B1001 of f, line 2", {"B1001"}, {"B1001", "f"}) == "borrower B1001 of f, line 2"
