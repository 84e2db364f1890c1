"""Whatever one does to one row of the ledger is found and named."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from arrears.ledger.diagnosis import START, Finding, Row, diagnose
from arrears.ledger.merkle import leaf_hash


def rows_of(size: int) -> list[Row]:
    """Rows that hold their number and the hash of the row before."""
    rows: list[Row] = []
    for number in range(size):
        link = rows[-1].stored if rows else START
        digest = leaf_hash(b"%d" % number + link)
        rows.append(Row(number, digest, digest, link, number))
    return rows


def numbered(rows: list[Row]) -> list[Row]:
    """The rows with positions in their order, as whoever hides a change would number them."""
    return [replace(row, position=position) for position, row in enumerate(rows)]


sizes = st.integers(2, 40)


@given(sizes, st.booleans())
def test_an_untouched_ledger_has_no_findings(size: int, is_known: bool) -> None:
    rows = rows_of(size)

    assert diagnose(rows, **(known(rows) if is_known else {})) == []


def known(rows: list[Row]) -> dict[str, object]:
    """What is known from outside: how many there are, and the last hash."""
    return {"size": len(rows), "last": rows[-1].stored}


@given(sizes, st.booleans(), st.data())
def test_a_changed_content_is_named(size: int, is_known: bool, data: st.DataObject) -> None:
    rows, place = rows_of(size), data.draw(st.integers(0, size - 1))
    given = known(rows) if is_known else {}
    rows[place] = replace(rows[place], computed=leaf_hash(b"forged"), claimed=data.draw(st.integers(0, size)))

    assert diagnose(rows, **given) == [Finding("changed", place)]


@given(sizes, st.booleans(), st.data())
def test_a_changed_hash_is_named(size: int, is_known: bool, data: st.DataObject) -> None:
    rows, place = rows_of(size), data.draw(st.integers(0, size - 1))
    given = known(rows) if is_known else {}
    rows[place] = replace(rows[place], stored=leaf_hash(b"forged"))

    assert diagnose(rows, **given) == [Finding("changed", place)]


@given(sizes, st.booleans(), st.booleans(), st.data())
def test_a_forged_row_with_its_own_hash_is_named(
    size: int, is_known: bool, keeps_link: bool, data: st.DataObject
) -> None:
    rows = rows_of(size)
    given = known(rows) if is_known else {}
    place = data.draw(st.integers(0, size - (1 if is_known else 2)))  # the last one stands for itself
    forged = leaf_hash(b"forged")
    link = rows[place].link if keeps_link else leaf_hash(b"nowhere")
    rows[place] = replace(rows[place], stored=forged, computed=forged, link=link)

    assert diagnose(rows, **given) == [Finding("changed", place)]


@given(sizes, st.booleans(), st.booleans(), st.data())
def test_a_removed_row_is_named(size: int, is_known: bool, is_hidden: bool, data: st.DataObject) -> None:
    rows = rows_of(size)
    given = known(rows) if is_known else {}
    place = data.draw(st.integers(0, size - (1 if is_known else 2)))
    left = rows[:place] + rows[place + 1 :]

    assert diagnose(numbered(left) if is_hidden else left, **given) == [Finding("removed", place)]


@given(sizes, st.booleans(), st.booleans(), st.data())
def test_an_inserted_row_is_named(size: int, is_known: bool, is_copy: bool, data: st.DataObject) -> None:
    rows = rows_of(size)
    given = known(rows) if is_known else {}
    place = data.draw(st.integers(0, size - (0 if is_known else 1)))
    forged = leaf_hash(b"forged")
    link = rows[place - 1].stored if place else START
    row = replace(rows[0], computed=forged, stored=forged, link=link, claimed=place)

    assert diagnose(numbered([*rows[:place], row, *rows[place:]]), **given) == [Finding("inserted", place)]


@given(st.integers(3, 40), st.data())
def test_two_rows_that_changed_places_are_named(size: int, data: st.DataObject) -> None:
    rows = rows_of(size)
    one = data.draw(st.integers(0, size - 2))
    other = data.draw(st.integers(one + 1, size - 1))
    given = known(rows)
    rows[one], rows[other] = rows[other], rows[one]

    assert diagnose(numbered(rows), **given) == [Finding("moved", one, other), Finding("moved", other, one)]


@given(sizes, st.data())
def test_a_row_whose_content_is_erased_counts_as_whole(size: int, data: st.DataObject) -> None:
    rows, place = rows_of(size), data.draw(st.integers(0, size - 1))
    given = known(rows)
    rows[place] = replace(rows[place], computed=None, claimed=None)

    assert diagnose(rows, **given) == []

    forged = data.draw(st.integers(0, size - 1))
    rows[forged] = replace(rows[forged], stored=leaf_hash(b"forged"), computed=None, claimed=None)
    assert diagnose(rows, **given) == [Finding("changed", forged)]
