"""What is held stays, a borrower's loans go together, and every decision says why."""

from collections.abc import Sequence
from decimal import Decimal

import pandas as pd

from arrears.assignment.accounts import Decisions, decide

CENT = 100
"""A hundredth in ten-thousandths."""


def an_offer(
    loan_id: str, agency_id: str, cents: int, *, group: str | None = None, is_held: bool = False, contract: str = ""
) -> dict[str, object]:
    """A candidate; its contract is called as the agency unless named."""
    return {
        "loan_id": loan_id,
        "group_key": group or loan_id,
        "agency_id": agency_id,
        "contract_id": contract or agency_id,
        "net_units": cents * CENT,
        "is_held": is_held,
    }


def a_contract(agency_id: str, *, contract: str = "", **more: object) -> dict[str, object]:
    """A contract without limits."""
    return {
        "contract_id": contract or agency_id,
        "agency_id": agency_id,
        "capacity": None,
        "daily_intake": None,
        "held_count": 0,
        "taken_in_count": 0,
        "minimum_share": None,
        **more,
    }


def decided(offers: Sequence[dict[str, object]], *contracts: dict[str, object]) -> Decisions:
    """Decides on rows given as dictionaries."""
    return decide(pd.DataFrame(list(offers)), pd.DataFrame(list(contracts)))


def agencies(decisions: Decisions) -> dict[str, str]:
    """Agency by loan."""
    rows = decisions.assignments
    return dict(zip(rows["loan_id"], rows["agency_id"], strict=True))


def reasons(decisions: Decisions) -> dict[str, str]:
    """Reason by loan."""
    rows = decisions.assignments
    return dict(zip(rows["loan_id"], rows["reason"], strict=True))


def test_the_loans_of_a_borrower_go_to_one_recipient() -> None:
    # Apart they would bring 10 + 9 (A, B); together A brings 10 + 2, B brings 5 + 9.
    offers = [
        an_offer(loan, agency, cents, group="b")
        for loan, agency, cents in (("l1", "A", 10), ("l1", "B", 5), ("l2", "A", 2), ("l2", "B", 9))
    ]

    decisions = decided(offers, a_contract("A"), a_contract("B"))

    assert agencies(decisions) == {"l1": "B", "l2": "B"}
    assert decisions.objective_amount == Decimal("0.14")
    assert decisions.upper_bound_amount == Decimal("0.14")
    assert decisions.gap_share == 0
    assert reasons(decisions)["l1"] == (
        "Highest expected net amount of 2 recipients that may take it;"
        " goes with the borrower's other loan under this law."
    )


def test_loans_that_nobody_may_take_together_go_one_by_one() -> None:
    offers = [an_offer("l1", "A", 10, group="b"), an_offer("l2", "B", 9, group="b")]

    decisions = decided(offers, a_contract("A"), a_contract("B"))

    assert agencies(decisions) == {"l1": "A", "l2": "B"}
    assert "no recipient may take all of the borrower's loans" in reasons(decisions)["l1"]


def test_a_group_larger_than_any_room_goes_one_by_one() -> None:
    offers = [an_offer(f"l{i}", agency, 10, group="b") for i in range(3) for agency in ("A", "B")]

    decisions = decided(offers, a_contract("A", capacity=2), a_contract("B", capacity=1))

    assert sorted(agencies(decisions).values()) == ["A", "A", "B"]


def test_a_loan_that_is_worth_nothing_does_not_bind_the_others() -> None:
    # B alone may take the worthless loan; the other one still goes where it brings most.
    offers = [an_offer("l1", "A", 10, group="b"), an_offer("l1", "B", 5, group="b"), an_offer("l2", "B", -1, group="b")]

    assert agencies(decided(offers, a_contract("A"), a_contract("B"))) == {"l1": "A"}


def test_what_is_held_stays_and_draws_the_borrowers_other_loans() -> None:
    offers = [
        an_offer("l1", "A", 5, group="b", is_held=True),
        an_offer("l1", "B", 50, group="b"),
        an_offer("l2", "A", 5, group="b"),
        an_offer("l2", "B", 50, group="b"),
    ]

    decisions = decided(offers, a_contract("A", held_count=1), a_contract("B"))

    assert agencies(decisions) == {"l1": "A", "l2": "A"}
    assert decisions.assignments["is_new"].tolist() == [False, True]
    assert reasons(decisions)["l1"] == "Stays with A, which holds the account already."


def test_where_the_holder_may_not_take_the_others_they_go_elsewhere() -> None:
    offers = [
        an_offer("l1", "A", 5, group="b", is_held=True),
        an_offer("l2", "B", 50, group="b"),
        an_offer("l3", "B", 50, group="b"),
    ]

    assert agencies(decided(offers, a_contract("A", held_count=1), a_contract("B"))) == {
        "l1": "A",
        "l2": "B",
        "l3": "B",
    }


def test_what_is_held_takes_up_room() -> None:
    offers = [an_offer("l1", "A", 10), an_offer("l2", "A", 9)]

    full = decided(offers, a_contract("A", capacity=3, held_count=2))
    busy = decided(offers, a_contract("A", daily_intake=3, held_count=2, taken_in_count=2))
    over = decided(offers, a_contract("A", capacity=3, held_count=4))

    assert agencies(full) == {"l1": "A"}
    assert agencies(busy) == {"l1": "A"}
    assert agencies(over) == {}


def test_a_second_choice_says_what_the_first_would_have_brought() -> None:
    offers = [an_offer("l1", "A", 1000), an_offer("l1", "B", 950), an_offer("l2", "A", 900)]

    decisions = decided(offers, a_contract("A", capacity=1), a_contract("B"))

    assert agencies(decisions) == {"l1": "B", "l2": "A"}
    assert reasons(decisions)["l1"] == (
        "Best with the room there is: A would bring 0.50 more, but its room brings more with other accounts."
    )
    assert reasons(decisions)["l2"] == "The only recipient that may take it."


def test_a_promised_share_is_of_the_accounts_it_may_take_rounded_up() -> None:
    # 0.3 of five is two; one is held already, so one more goes to B, the cheapest to move (l4: 1).
    offers = [an_offer(f"l{i}", "A", 20) for i in range(5)] + [an_offer(f"l{i}", "B", 15 + i) for i in range(5)]
    offers[9]["net_units"] = 19 * CENT
    offers += [an_offer("l9", "B", 1, is_held=True)]
    offers = [offer for offer in offers if (offer["loan_id"], offer["agency_id"]) != ("l0", "B")]

    decisions = decided(offers, a_contract("A"), a_contract("B", held_count=1, minimum_share="0.30000000"))

    assert [loan for loan, agency in agencies(decisions).items() if agency == "B"] == ["l4", "l9"]
    assert decisions.missed_promise_count == 0


def test_a_promise_that_cannot_be_kept_is_counted() -> None:
    decisions = decided(
        [an_offer("l1", "B", 5), an_offer("l2", "B", 5)], a_contract("B", capacity=1, minimum_share="1.00000000")
    )

    assert len(decisions.assignments) == 1
    assert decisions.missed_promise_count == 1


def test_nothing_to_place_gives_no_rows_and_no_gap() -> None:
    decisions = decide(
        pd.DataFrame(columns=["loan_id", "group_key", "agency_id", "contract_id", "net_units", "is_held"]).astype(
            {"net_units": "int64", "is_held": bool}
        ),
        pd.DataFrame([a_contract("A")]),
    )

    assert len(decisions.assignments) == 0
    assert decisions.objective_amount == decisions.upper_bound_amount == 0
    assert decisions.gap_share == 0


def test_the_order_of_the_rows_does_not_matter() -> None:
    offers = [an_offer(f"l{i}", agency, 10 + i % 3) for i in range(9) for agency in ("A", "B", "C")]
    contracts = [a_contract(agency, capacity=2) for agency in ("A", "B", "C")]

    forwards, backwards = decided(offers, *contracts), decided(offers[::-1], *contracts[::-1])

    assert forwards.assignments.equals(backwards.assignments)
