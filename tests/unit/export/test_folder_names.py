"""Folders named after recipients, whatever characters their ids hold."""

from hypothesis import given
from hypothesis import strategies as st

from arrears.export import folder_name


def test_a_plain_id_is_the_folders_name() -> None:
    assert folder_name("agency-aster_2") == "agency-aster_2"


def test_ids_that_would_leave_the_folder_or_hide_in_it_do_not() -> None:
    names = [
        folder_name(name)
        for name in ("../../etc", "a/b", "a\\b", ".hidden", "", "manifest", "Notices", "ä b", "x" * 200)
    ]

    assert all(name[0].isalnum() and not set(name) & set("/\\. ") for name in names)
    assert len(set(names)) == len(names)
    assert not {"manifest", "Notices"} & set(names)
    assert max(map(len, names)) < 60


@given(st.text(max_size=50), st.text(max_size=50))
def test_two_recipients_never_share_a_folder(one: str, other: str) -> None:
    assert (folder_name(one) == folder_name(other)) == (one == other)
