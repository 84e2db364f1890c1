"""The optimiser against assignments worked out by hand, and against looking at every assignment there is."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrears.assignment import optimiser
from arrears.assignment.optimiser import InfeasibleMarket, Market, Plan, optimise

Offer = tuple[int, int, int, int, float]
"""Group, taker, account, contract, value."""


def a_market(
    offers: Sequence[Offer],
    room: Sequence[float],
    promised: Sequence[float] | None = None,
    *,
    is_complete: bool = False,
) -> Market:
    """Sorted offers of one account each, drawing one place of room."""
    group, taker, account, contract, value = (list(part) for part in zip(*sorted(offers), strict=True))
    return Market(
        group=np.array(group),
        taker=np.array(taker),
        account=np.array(account),
        contract=np.array(contract),
        value=np.array(value, dtype=float),
        weight=np.ones(len(value)),
        room=np.array(room, dtype=float),
        promised=np.zeros(len(room)) if promised is None else np.array(promised, dtype=float),
        is_complete=is_complete,
    )


def given_to(market: Market, plan: Plan) -> dict[int, int]:
    """Contract by account."""
    return {int(market.account[offer]): int(market.contract[offer]) for offer in plan.chosen}


def test_a_place_goes_to_whom_it_is_worth_most_for_all_together() -> None:
    # Contract 0 has one place. Account 0 would lose 1 elsewhere (10 - 9), account 1 would lose 6 (8 - 2): 9 + 8 = 17.
    market = a_market([(0, 0, 0, 0, 10), (0, 1, 0, 1, 9), (1, 0, 1, 0, 8), (1, 1, 1, 1, 2)], room=[1, 5])

    plan = optimise(market)

    assert given_to(market, plan) == {0: 1, 1: 0}
    assert plan.value == plan.bound == 17
    assert plan.gap_share == 0


def test_what_brings_nothing_is_given_to_nobody() -> None:
    market = a_market([(0, 0, 0, 0, 0.0), (1, 0, 1, 0, -3.0)], room=[5])

    plan = optimise(market)

    assert plan.chosen.size == 0
    assert plan.value == plan.bound == 0


def test_a_group_goes_whole_or_not_at_all() -> None:
    # Two accounts of a group want taker 0 (4 + 4), which has one place: both go to taker 1 (3 + 3), never one to each.
    market = a_market([(0, 0, 0, 0, 4), (0, 0, 1, 0, 4), (0, 1, 0, 1, 3), (0, 1, 1, 1, 3)], room=[1, 2])

    plan = optimise(market)

    assert given_to(market, plan) == {0: 1, 1: 1}
    assert plan.value == plan.bound == 6


def test_accounts_of_a_group_may_use_several_contracts_of_their_taker() -> None:
    # Taker 0 has a dear contract with one place and a cheap one: one account each, 5 + 3.
    offers = [(0, 0, 0, 0, 5), (0, 0, 0, 1, 3), (0, 0, 1, 0, 5), (0, 0, 1, 1, 3)]
    market = a_market(offers, room=[1, 1])

    plan = optimise(market)

    assert sorted(given_to(market, plan).values()) == [0, 1]
    assert plan.value == plan.bound == 8


def test_a_promise_is_kept_at_least_cost() -> None:
    # Two of three accounts must go to contract 1; moving account 2 costs 1, account 1 costs 2, account 0 costs 3.
    offers = [(i, c, i, c, [10, 10 - loss][c]) for i, loss in enumerate((3, 2, 1)) for c in (0, 1)]
    market = a_market(offers, room=[5, 5], promised=[0, 2])

    plan = optimise(market)

    assert given_to(market, plan) == {0: 0, 1: 1, 2: 1}
    assert plan.value == plan.bound == 27
    assert plan.shortage.sum() == 0


def test_a_promise_that_cannot_be_kept_is_kept_as_far_as_possible() -> None:
    # Three are promised, two places are there, and one account only is allowed.
    market = a_market([(0, 0, 0, 0, 10), (0, 1, 0, 1, 1), (1, 0, 1, 0, 10)], room=[5, 2], promised=[0, 3])

    plan = optimise(market)

    assert given_to(market, plan) == {0: 1, 1: 0}
    assert plan.shortage.tolist() == [0, 2]
    assert plan.value <= plan.bound


def test_equal_offers_are_settled_by_key() -> None:
    market = a_market([(0, 0, 0, 0, 5), (0, 1, 0, 1, 5), (1, 0, 1, 0, 5), (1, 1, 1, 1, 5)], room=[5, 5])

    assert given_to(market, optimise(market)) == {0: 0, 1: 0}


def test_a_market_to_be_taken_whole_without_room_says_so() -> None:
    with pytest.raises(InfeasibleMarket, match="not enough"):
        optimise(a_market([(0, 0, 0, 0, 1), (1, 0, 1, 0, 1)], room=[1], is_complete=True))


def test_offers_in_another_order_are_refused() -> None:
    market = a_market([(0, 0, 0, 0, 1), (1, 0, 1, 0, 1)], room=[1])
    turned = Market(
        group=market.group[::-1],
        taker=market.taker,
        account=market.account,
        contract=market.contract,
        value=market.value,
        weight=market.weight,
        room=market.room,
        promised=market.promised,
    )

    with pytest.raises(ValueError, match="sorted by group"):
        optimise(turned)


def by_looking_at_all(market: Market) -> float:
    """The greatest value of all assignments that miss as few promised places as possible."""
    choices: list[list[tuple[int, ...]]] = []
    for group in np.unique(market.group):
        ways: list[tuple[int, ...]] = [()]
        for taker in np.unique(market.taker[market.group == group]):
            rows = np.flatnonzero((market.group == group) & (market.taker == taker))
            by_account = [rows[market.account[rows] == account] for account in np.unique(market.account[rows])]
            ways += list(itertools.product(*by_account))
        choices.append(ways)
    best = (np.inf, -np.inf)
    for combination in itertools.product(*choices):
        chosen = np.array([offer for way in combination for offer in way], dtype=int)
        used = np.bincount(market.contract[chosen], minlength=len(market.room))
        if np.all(used <= market.room):
            missed = float(np.maximum(market.promised - used, 0).sum())
            best = min(best, (missed, -float(market.value[chosen].sum())))
    return -best[1]


@st.composite
def small_markets(draw: st.DrawFn) -> Market:
    """Up to four groups of up to two accounts; three contracts, two of them of one taker."""
    offers: list[Offer] = []
    account = 0
    for group in range(draw(st.integers(1, 4))):
        accounts = range(account, account + draw(st.integers(1, 2)))
        account = accounts.stop
        for taker, contracts in ((0, (0, 1)), (1, (2,))):
            if draw(st.booleans()):
                for number in accounts:
                    taken = draw(st.lists(st.sampled_from(contracts), min_size=1, unique=True))
                    offers += [(group, taker, number, contract, draw(st.integers(1, 20))) for contract in taken]
    if not offers:
        offers = [(0, 0, 0, 0, 1)]
    room = draw(st.lists(st.integers(0, 3), min_size=3, max_size=3))
    promised = draw(st.lists(st.integers(0, 1), min_size=3, max_size=3))
    return a_market(offers, room, promised)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(small_markets())
def test_no_assignment_is_better(market: Market) -> None:
    plan = optimise(market)

    assert plan.value == pytest.approx(by_looking_at_all(market))
    assert plan.bound == pytest.approx(plan.value)


def a_large_market(seed: int, account_count: int, contract_count: int) -> Market:
    """Accounts of random worth, some in groups, room for six in ten, a promise; contracts 0 and 1 are of one taker."""
    draw = np.random.default_rng(seed)
    group = np.cumsum(draw.random(account_count) > 0.2) - 1
    worth = draw.lognormal(6, 1.2, account_count)
    share = draw.uniform(0.05, 0.35, contract_count) * draw.uniform(0.5, 1.2, (account_count, contract_count))
    value = np.round(worth[:, None] * share - draw.uniform(0, 15, contract_count), 4)
    account, contract = np.nonzero(value > 0)
    group = np.maximum(group, 0)[account]
    taker = np.maximum(contract - 1, 0)
    key = group * contract_count + taker
    # A taker that may not take all accounts of a group makes no offer for it.
    pairs = np.unique(key * account_count + account)
    takes = np.bincount(pairs // account_count, minlength=key.max() + 1)[key]
    size = np.bincount(np.unique(group * account_count + account) // account_count)[group]
    rows = np.flatnonzero(takes == size)
    order = rows[np.lexsort((contract[rows], account[rows], taker[rows], group[rows]))]
    promised = np.zeros(contract_count)
    promised[-1] = account_count // 50
    return Market(
        group=group[order],
        taker=taker[order],
        account=account[order],
        contract=contract[order],
        value=value[account, contract][order],
        weight=np.ones(len(order)),
        room=np.full(contract_count, float(account_count * 6 // 10 // contract_count)),
        promised=promised,
    )


def test_pricing_finds_what_the_whole_integer_program_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    market = a_large_market(seed=7, account_count=1_500, contract_count=6)

    priced, again = optimise(market), optimise(market)
    monkeypatch.setattr(optimiser, "WHOLE_OFFER_LIMIT", len(market.value))
    whole = optimise(market)

    assert np.array_equal(priced.chosen, again.chosen)
    assert priced.value == pytest.approx(whole.value, rel=2e-6)
    assert priced.bound >= whole.value - 1e-6


def test_recipients_on_equal_terms_share_the_work() -> None:
    # Four contracts on equal terms with room for 80 %: all ties, and every place is taken by the best accounts.
    count, contracts = 30_000, 4
    worth = np.round(np.random.default_rng(1).lognormal(6, 1.2, count), 4)
    market = Market(
        group=np.repeat(np.arange(count), contracts),
        taker=np.tile(np.arange(contracts), count),
        account=np.repeat(np.arange(count), contracts),
        contract=np.tile(np.arange(contracts), count),
        value=np.repeat(worth, contracts),
        weight=np.ones(count * contracts),
        room=np.full(contracts, 6_000.0),
        promised=np.zeros(contracts),
    )

    plan = optimise(market)

    assert np.bincount(market.contract[plan.chosen]).tolist() == [6_000] * contracts
    assert plan.value == pytest.approx(np.sort(worth)[-24_000:].sum(), rel=1e-4)
    assert plan.gap_share < 1e-3


@pytest.mark.slow
def test_a_hundred_thousand_accounts_are_given_out_near_the_optimum() -> None:
    market = a_large_market(seed=11, account_count=100_000, contract_count=10)

    plan = optimise(market)

    assert plan.gap_share <= 1e-6
    used = np.bincount(market.contract[plan.chosen], minlength=len(market.room))
    assert np.all(used <= market.room)
    assert np.all(used >= market.promised)
