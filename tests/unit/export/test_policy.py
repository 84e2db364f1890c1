"""Which columns a recipient gets."""

from pathlib import Path

import pytest

from arrears.errors import ExportError
from arrears.export.policy import policies, read_policies


def test_only_the_house_sees_what_an_account_is_expected_to_bring() -> None:
    assert "expected_net_amount" in policies()["internal"].queue
    for kind in ("agency", "law_firm"):
        assert not {"expected_net_amount", "reason", "borrower_id"} & set(policies()[kind].queue)


def test_every_kind_of_recipient_in_the_contract_has_a_policy() -> None:
    from arrears.contract.servicing import contract

    assert set(policies()) == set(contract()["agencies"].column("kind").values)


def test_a_policy_without_the_account_names_file_and_key(tmp_path: Path) -> None:
    file = tmp_path / "columns.yml"
    file.write_text("agency: {queue: [rank, currency]}\n")

    with pytest.raises(ExportError, match=r"columns\.yml, key agency\.queue: loan_id must be named"):
        read_policies(file)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "columns.yml"
    file.write_text("agency: {queue: [rank, loan_id], secret: [name]}\n")

    with pytest.raises(ExportError, match=r"key agency\.secret"):
        read_policies(file)
