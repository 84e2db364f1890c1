"""What identifies a finding, and the order in which findings follow from one another."""

from arrears.contract.servicing import contract
from arrears.gate.quarantine import content_hash, references_in_order


def test_a_finding_found_again_has_the_same_id() -> None:
    assert content_hash(["b1", "loans", "key-unique", {"a": "1", "b": "2"}]) == content_hash(
        ["b1", "loans", "key-unique", {"b": "2", "a": "1"}]
    )
    assert content_hash(["b1", "loans", "key-unique", {"a": "1"}]) != content_hash(
        ["b2", "loans", "key-unique", {"a": "1"}]
    )


def test_a_row_is_looked_at_after_all_that_it_refers_to() -> None:
    order = [(table.name, column) for table, column, _ in references_in_order(contract())]

    assert order.index(("loans", "borrower_id")) < order.index(("instalments", "loan_id"))
    assert order.index(("loans", "project_id")) > order.index(("projects", "borrower_id"))
    assert order.index(("agency_contracts", "agency_id")) < order.index(("placements", "contract_id"))
    assert order[-1] == ("transactions", "reverses_transaction_id")
