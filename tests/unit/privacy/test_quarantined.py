"""Whose a row that was kept out is."""

from arrears.privacy.quarantined import Person


def test_ids_are_known_as_the_warehouse_and_as_the_sources_own_files_write_them() -> None:
    person = Person("N-100", frozenset({"N-100", "N-L1"}), frozenset({"N-L1"}), frozenset(), {"north": "N-"})

    assert person.as_delivered("north") == ({"N-100", "100"}, {"N-100", "100", "N-L1", "L1"})
    assert person.as_delivered("south") == ({"N-100"}, {"N-100", "N-L1"})
    assert person.as_delivered(None) == ({"N-100"}, {"N-100", "N-L1"})
