"""Who takes which accounts: the generalised assignment problem with groups, solved near the optimum, which is proved.

Accounts come in groups that one taker gets whole; every account of the group then uses one contract of that taker, and
a contract has room for so many accounts and may be promised at least so many. Only the contracts couple the groups, so
a price for each contract's room takes the problem apart: at any prices every group's best offer is found by itself, and
the sum of those, plus what the room is worth at those prices, is a bound that no assignment can exceed (Lagrangian
relaxation: Geoffrion, Mathematical Programming Study 2, 1974; Fisher, Management Science 27(1), 1981). So:

1. prices from a linear program over a sample of the groups, then over those groups that are near a tie at these prices,
   the prices kept near enough for the others not to change their mind (Marsten, Hogan and Blankenship, "The boxstep
   method for large-scale optimization", Operations Research 23(3), 1975); repeated until the bound is at rest;
2. an integer program over the offers whose regret (what taking them costs at these prices) is below a radius. An answer
   that uses any other offer is worth no more than the bound less the radius, so the proof covers all offers. The radius
   grows until the gap is closed or the allowed work is done.

Small problems, the OR-Library's benchmark among them, go to the integer program whole; what gap it leaves is narrowed
by deciding anew for a few groups at a time.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arrears.assignment import linear
from arrears.assignment.linear import Floats, Integers
from arrears.errors import ArrearsError

GAP_SHARE = 1e-6
WHOLE_GAP_SHARE = 1e-9
WHOLE_OFFER_LIMIT = 2_000
SAMPLE_GROUP_COUNT = 8_000
TIED_GROUP_COUNT = 12_000
FIRST_RADIUS_GROUP_COUNT = 1_000
PRICING_ROUND_LIMIT = 30
RADIUS_ROUND_LIMIT = 6
CORE_OFFER_LIMIT = 40_000
PRICED_OFFER_LIMIT = 150_000
NODE_LIMIT = 5_000
CORE_NODE_LIMIT = 500
IMPROVING_ROUND_LIMIT = 10
NEIGHBOURHOOD_GROUP_COUNT = 35
NEIGHBOURHOOD_NODE_LIMIT = 2_000
LEAST_RADIUS_SHARE = 1e-4


@dataclass(frozen=True, slots=True)
class Market:
    """Offers and the contracts they draw on.

    The first six arrays have one entry per offer: contract `contract` of taker `taker` may take account `account` of
    group `group` for `value`, using `weight` of its room. Offers are sorted by group, taker, account, contract, each
    numbered from 0 in the order of its key, so that the answer does not depend on the order of the rows it came from.
    `room` (inf: no limit) and `promised` (0: nothing) have one entry per contract.
    """

    group: Integers
    taker: Integers
    account: Integers
    contract: Integers
    value: Floats
    weight: Floats
    room: Floats
    promised: Floats
    is_complete: bool = False
    """Every group must be taken, whatever it is worth."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The offers taken, ascending; what they are worth; what none can exceed; and how much of each promise is not kept.

    The bound holds for all plans that keep the promises as well as this one does.
    """

    chosen: Integers
    value: float
    bound: float
    shortage: Floats

    @property
    def gap_share(self) -> float:
        """Distance from the bound as a share of it; 0 where the optimum is proved."""
        return 0.0 if self.bound == self.value else (self.bound - self.value) / abs(self.bound)


class InfeasibleMarket(ArrearsError):
    """Every group must be taken, but the room is not enough; or none was found within the allowed work."""


def optimise(market: Market, *, gap_share: float = GAP_SHARE, node_limit: int = NODE_LIMIT) -> Plan:
    """Chooses the offers with the greatest total value.

    A promise that cannot be kept is kept as far as possible: missing an account costs more than an exchange can bring.

    Args:
        market: the offers and the room.
        gap_share: how near to the bound is near enough.
        node_limit: how much branching a problem solved whole may cost; what counts as work instead of time.

    Raises:
        InfeasibleMarket: the market is to be taken completely and cannot be.
    """
    if len(market.value) == 0:
        return Plan(np.empty(0, np.int64), 0.0, 0.0, market.promised.copy())
    asked = market.promised
    room = np.maximum(market.room, 0.0)
    market = replace(market, room=room, promised=np.minimum(asked, room))
    shape = _Shape.of(market)
    penalty = _penalty(market, shape)
    prices = np.zeros(len(market.room))
    if not market.is_complete:
        free = _at_prices(market, shape, prices)
        if _is_within_room(market, free.chosen):
            value = float(market.value[free.chosen].sum())
            return Plan(free.chosen, value, value, asked - market.promised)
    if market.is_complete or len(market.value) <= WHOLE_OFFER_LIMIT:
        plan = _whole(market, shape, penalty, gap_share, node_limit)
    else:
        plan = _priced(market, shape, penalty, gap_share)
    return replace(plan, shortage=plan.shortage + asked - market.promised)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where groups, takers and accounts begin: offers by account, accounts by taker, takers by group."""

    first_offer: Integers
    first_account: Integers
    first_taker: Integers
    account_of_offer: Integers
    taker_of_account: Integers
    group_of_taker: Integers

    @classmethod
    def of(cls, market: Market) -> "_Shape":
        new_group = _changes(market.group)
        new_taker = new_group | _changes(market.taker)
        new_account = new_taker | _changes(market.account)
        if np.any(np.diff(market.group) < 0):
            raise ValueError("offers must be sorted by group, taker, account and contract")
        first_offer = np.flatnonzero(new_account)
        first_account = np.flatnonzero(new_taker[first_offer])
        first_taker = np.flatnonzero(new_group[first_offer[first_account]])
        return cls(
            first_offer=first_offer,
            first_account=first_account,
            first_taker=first_taker,
            account_of_offer=np.cumsum(new_account) - 1,
            taker_of_account=np.cumsum(new_taker[first_offer]) - 1,
            group_of_taker=np.cumsum(new_group[first_offer[first_account]]) - 1,
        )

    def group_of_offer(self) -> Integers:
        return self.group_of_taker[self.taker_of_account[self.account_of_offer]]


@dataclass(frozen=True, slots=True)
class _Choice:
    """What every group would take at given prices, the worth of that, and what each offer falls short of it."""

    chosen: Integers
    worth: float
    regret: Floats
    group_margin: Floats
    """By group: regret of its second best choice, taking nothing included; 0 is a tie."""


def _changes(keys: Integers) -> NDArray[np.bool_]:
    changes = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=changes[1:])
    return changes


def _penalty(market: Market, shape: _Shape) -> float:
    """More than a chain of exchanges through all promised contracts could cost for one account."""
    best_by_account = np.maximum.reduceat(np.abs(market.value), shape.first_offer)
    greatest = float(np.add.reduceat(best_by_account, shape.first_account).max())
    return (np.count_nonzero(market.promised) + 1) * max(greatest, 1.0)


def _first_of_best(values: Floats, starts: Integers) -> tuple[Floats, Integers]:
    """Per segment the greatest value and the first place where it stands."""
    best = np.maximum.reduceat(values, starts)
    lengths = np.diff(np.append(starts, len(values)))
    places = np.where(values == np.repeat(best, lengths), np.arange(len(values)), len(values))
    return best, np.minimum.reduceat(places, starts)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Each group's best taker: the offers that are chosen, and by group what the best is worth (may be below zero)."""

    offers: Integers
    best: Floats
    by_account: Floats
    by_taker: Floats


def _chosen(shape: _Shape, reduced: Floats, *, is_complete: bool) -> _Chosen:
    by_account, offer_of_account = _first_of_best(reduced, shape.first_offer)
    by_taker = np.add.reduceat(by_account, shape.first_account)
    by_group, taker_of_group = _first_of_best(by_taker, shape.first_taker)
    is_taker_chosen = np.zeros(len(by_taker), np.bool_)
    is_taker_chosen[taker_of_group[is_complete | (by_group > 0)]] = True
    return _Chosen(offer_of_account[is_taker_chosen[shape.taker_of_account]], by_group, by_account, by_taker)


def _at_prices(market: Market, shape: _Shape, prices: Floats) -> _Choice:
    reduced = market.value - prices[market.contract] * market.weight
    chosen = _chosen(shape, reduced, is_complete=market.is_complete)
    best = chosen.best if market.is_complete else np.maximum(chosen.best, 0.0)
    taker = shape.taker_of_account
    regret_of_account = best[shape.group_of_taker[taker]] - chosen.by_taker[taker] + chosen.by_account
    regret = regret_of_account[shape.account_of_offer] - reduced
    rest = regret.copy()
    rest[chosen.offers] = np.inf
    margin = np.minimum.reduceat(rest, shape.first_offer[shape.first_account[shape.first_taker]])
    if not market.is_complete:
        margin = np.minimum(margin, np.where(chosen.best > 0, best, np.inf))
    limits = np.where(prices > 0, market.room, market.promised)
    worth = float(best.sum()) + float((prices[prices != 0] * limits[prices != 0]).sum())
    return _Choice(chosen.offers, worth, np.maximum(regret, 0.0), margin)


def _mask(places: Integers, length: int) -> NDArray[np.bool_]:
    mask = np.zeros(length, np.bool_)
    mask[places] = True
    return mask


def _used(market: Market, offers: Integers) -> Floats:
    return np.bincount(market.contract[offers], market.weight[offers], len(market.room)).astype(np.float64)


def _is_within_room(market: Market, offers: Integers) -> bool:
    used = _used(market, offers)
    return bool(np.all(used <= market.room) and np.all(used >= market.promised))


@dataclass(frozen=True, slots=True)
class _Core:
    """The program over some offers, the others being fixed; and how its columns are read back as offers."""

    program: linear.Program
    contract_rows: slice
    offers: Integers
    column_of_offer: Integers

    def taken(self, x: Floats) -> Integers:
        return self.offers[x[self.column_of_offer] > 0.5]


@dataclass(frozen=True, slots=True)
class _Box:
    """Prices from which, and how far, a linear program's prices may move."""

    prices: Floats
    reach: float


def _core(
    market: Market,
    shape: _Shape,
    offers: Integers,
    fixed: Integers,
    penalty: float,
    *,
    is_integer: bool,
    box: _Box | None = None,
) -> _Core:
    """The program over `offers` (ascending, whole groups' worth of them) beside `fixed` ones, which use room already.

    A taker's accounts with one offer each make one column; where an account may use several of the taker's contracts, a
    column says whether the taker gets the group, and one per offer which contract each account then uses. A box lets
    room be sold and bought at the prices of its ends, which keeps the prices within it.
    """
    account = shape.account_of_offer[offers]
    taker = shape.taker_of_account[account]
    group = shape.group_of_taker[taker]
    new_account, new_taker, new_group = _changes(account), _changes(taker), _changes(group)
    taker_number = np.cumsum(new_taker) - 1
    account_number = np.cumsum(new_account) - 1
    group_number = np.cumsum(new_group) - 1
    offers_by_taker = np.bincount(taker_number)
    accounts_by_taker = np.bincount(taker_number[new_account])
    is_single = (accounts_by_taker == 1)[taker_number]
    is_bundle = ~is_single & (accounts_by_taker == offers_by_taker)[taker_number]
    is_linked = ~is_single & ~is_bundle

    # Columns in the order of the offers: one per offer, but a bundle has one for all; then one per linked taker.
    opens = is_single | is_linked | (is_bundle & new_taker)
    offer_column = np.cumsum(opens) - 1
    offer_column_count = int(offer_column[-1]) + 1 if len(offers) else 0
    linked_takers = np.unique(taker_number[is_linked])
    taker_column = np.full(len(accounts_by_taker), -1)
    taker_column[linked_takers] = offer_column_count + np.arange(len(linked_takers))
    shortage_contracts = np.flatnonzero(market.promised > 0)
    shortage_column = offer_column_count + len(linked_takers) + np.arange(len(shortage_contracts))
    column_count = offer_column_count + len(linked_takers) + len(shortage_contracts)
    is_priced = np.isfinite(market.room) | (market.promised > 0)
    traded = np.flatnonzero(is_priced) if box else np.empty(0, np.int64)
    sold_column = column_count + np.arange(len(traded))
    bought_column = sold_column + len(traded)

    group_count, contract_count = int(group_number[-1]) + 1 if len(offers) else 0, len(market.room)
    linked_accounts, link_number = np.unique(account_number[is_linked], return_inverse=True)
    link_row = group_count + contract_count + link_number
    taker_of_linked_account = taker_number[new_account][linked_accounts]

    to_group = opens & ~is_linked
    first_of_linked = is_linked & new_taker
    entries = [
        (group_number[to_group], offer_column[to_group], np.ones(int(to_group.sum()))),
        (
            group_number[first_of_linked],
            taker_column[taker_number[first_of_linked]],
            np.ones(int(first_of_linked.sum())),
        ),
        (group_count + market.contract[offers], offer_column, market.weight[offers]),
        (link_row, offer_column[is_linked], np.ones(len(link_row))),
        (
            group_count + contract_count + np.arange(len(linked_accounts)),
            taker_column[taker_of_linked_account],
            -np.ones(len(linked_accounts)),
        ),
        (group_count + shortage_contracts, shortage_column, np.ones(len(shortage_contracts))),
        (group_count + traded, sold_column, np.ones(len(traded))),
        (group_count + traded, bought_column, -np.ones(len(traded))),
    ]
    sold_at = (
        np.maximum(box.prices[traded] - box.reach, _lowest_prices(market, penalty)[traded]) if box else np.empty(0)
    )
    bought_at = box.prices[traded] + box.reach if box else np.empty(0)
    used = _used(market, fixed)
    value = np.concatenate(
        [
            np.bincount(offer_column, market.value[offers], offer_column_count),
            np.zeros(len(linked_takers)),
            np.full(len(shortage_contracts), -penalty),
            sold_at,
            -bought_at,
        ]
    )
    links = np.zeros(len(linked_accounts))
    program = linear.Program(
        value=value,
        upper=np.concatenate(
            [
                np.ones(offer_column_count + len(linked_takers)),
                np.ceil(market.promised[shortage_contracts]),
                np.full(2 * len(traded), np.inf),
            ]
        ),
        is_integer=is_integer,
        row_lower=np.concatenate(
            [
                np.full(group_count, 1.0 if market.is_complete else 0.0),
                np.where(market.promised > 0, market.promised - used, -np.inf),
                links,
            ]
        ),
        row_upper=np.concatenate([np.ones(group_count), market.room - used, links]),
        entry_row=np.concatenate([rows for rows, _, _ in entries]).astype(np.int64),
        entry_column=np.concatenate([columns for _, columns, _ in entries]).astype(np.int64),
        entry_weight=np.concatenate([weights for _, _, weights in entries]),
    )
    return _Core(
        program=program,
        contract_rows=slice(group_count, group_count + contract_count),
        offers=offers,
        column_of_offer=offer_column,
    )


def _plan(market: Market, chosen: Integers, penalised_bound: float, penalty: float) -> Plan:
    """Restates a bound on value less penalties as a bound on the value of plans that miss no more than this one."""
    chosen = np.sort(chosen)
    value = float(market.value[chosen].sum())
    used = _used(market, chosen)
    if np.any(used > market.room):
        raise InfeasibleMarket("The solver's answer, rounded, exceeds a contract's room: report its candidates.")
    shortage = np.maximum(market.promised - used, 0.0)
    return Plan(chosen, value, max(value, penalised_bound + penalty * float(shortage.sum())), shortage)


def _whole(market: Market, shape: _Shape, penalty: float, gap_share: float, node_limit: int) -> Plan:
    nothing = np.empty(0, np.int64)
    core = _core(market, shape, np.arange(len(market.value)), nothing, penalty, is_integer=True)
    answer = linear.solve(core.program, gap_share=min(gap_share, WHOLE_GAP_SHARE), node_limit=node_limit)
    if answer.x is None:
        raise InfeasibleMarket(
            "No assignment takes every group: the contracts' room is not enough, or none was found within the work."
        )
    plan = _plan(market, core.taken(answer.x), answer.bound, penalty)
    if plan.gap_share <= gap_share:
        return plan
    return _plan(market, _improved(market, shape, penalty, plan), answer.bound, penalty)


def _improved(market: Market, shape: _Shape, penalty: float, plan: Plan) -> Integers:
    """Where branching left a gap: decides anew for a few groups at a time, all others staying as they are.

    Large neighbourhood search (Shaw, CP 1998) with neighbourhoods drawn by a fixed seed; ends with a round that finds
    nothing better, or when the allowed rounds are over.
    """
    group = shape.group_of_offer()
    draw = np.random.default_rng(linear.SEED)
    chosen, worth = plan.chosen, plan.value - penalty * float(plan.shortage.sum())
    for _ in range(IMPROVING_ROUND_LIMIT):
        before = worth
        for part in np.array_split(
            draw.permutation(len(shape.first_taker)), -(-len(shape.first_taker) // NEIGHBOURHOOD_GROUP_COUNT)
        ):
            is_open = np.isin(group, part)
            fixed = chosen[~is_open[chosen]]
            core = _core(market, shape, np.flatnonzero(is_open), fixed, penalty, is_integer=True)
            answer = linear.solve(core.program, node_limit=NEIGHBOURHOOD_NODE_LIMIT)
            found = float(market.value[fixed].sum()) + answer.value
            if answer.x is not None and found > worth + 1e-9 * abs(worth):
                chosen, worth = np.sort(np.concatenate([fixed, core.taken(answer.x)])), found
        if worth == before:
            break
    return chosen


def _priced(market: Market, shape: _Shape, penalty: float, gap_share: float) -> Plan:
    prices, bound = _settled_prices(market, shape, penalty, _sampled_prices(market, shape, penalty))
    choice = _at_prices(market, shape, prices)
    best: Integers | None = None
    best_value, proved = -np.inf, bound
    radius = _radius(choice, FIRST_RADIUS_GROUP_COUNT)
    for _ in range(RADIUS_ROUND_LIMIT):
        offers, fixed = _split(market, shape, choice, radius)
        is_whole_core = len(offers) <= CORE_OFFER_LIMIT
        if not is_whole_core:
            if best is not None:
                break
            offers, fixed = _mostly_fixed(market, shape, prices)
        core = _core(market, shape, offers, fixed, penalty, is_integer=True)
        answer = linear.solve(core.program, gap_share=gap_share / 2, node_limit=CORE_NODE_LIMIT)
        fixed_value = float(market.value[fixed].sum())
        if answer.x is not None and fixed_value + answer.value > best_value:
            best, best_value = np.concatenate([core.taken(answer.x), fixed]), fixed_value + answer.value
        if is_whole_core and np.isfinite(answer.bound):
            proved = min(proved, max(fixed_value + answer.bound, bound - radius))
        if best_value >= proved - gap_share * abs(proved):
            break
        radius = min(4 * radius, max(1.01 * (bound - best_value), 2 * radius))
    if best is None:
        # Prices that never came to rest fixed more than there is room for; what is handed out by worth always fits.
        offers, fixed = _mostly_fixed(market, shape, prices)
        core = _core(market, shape, offers, fixed, penalty, is_integer=True)
        answer = linear.solve(core.program, gap_share=gap_share, node_limit=CORE_NODE_LIMIT)
        best = fixed if answer.x is None else np.concatenate([core.taken(answer.x), fixed])
    return _plan(market, best, proved, penalty)


def _sampled_prices(market: Market, shape: _Shape, penalty: float) -> Floats:
    """Prices of a market with every n-th group and room in proportion."""
    group_count = len(shape.first_taker)
    step = max(1, group_count // SAMPLE_GROUP_COUNT)
    offers = np.flatnonzero(shape.group_of_offer() % step == 0)
    sample = Market(
        group=market.group[offers],
        taker=market.taker[offers],
        account=market.account[offers],
        contract=market.contract[offers],
        value=market.value[offers],
        weight=market.weight[offers],
        room=market.room / step,
        promised=market.promised / step,
    )
    nothing = np.empty(0, np.int64)
    core = _core(sample, _Shape.of(sample), np.arange(len(offers)), nothing, penalty, is_integer=False)
    answer = linear.solve(core.program)
    return (
        np.zeros(len(market.room)) if answer.x is None else _signed(market, answer.price[core.contract_rows], penalty)
    )


def _lowest_prices(market: Market, penalty: float) -> Floats:
    """Room is never worth less than nothing, save where giving more keeps a promise."""
    return np.where(market.promised > 0, -penalty, 0.0)


def _signed(market: Market, prices: Floats, penalty: float) -> Floats:
    """Prices without the solver's noise: none on room without limit, none below the lowest."""
    return np.clip(prices, _lowest_prices(market, penalty), np.where(np.isfinite(market.room), np.inf, 0.0))


def _radius(choice: _Choice, group_count: int) -> float:
    """The margin within which about so many groups lie; never so small that prices could not move at all."""
    finite = choice.group_margin[np.isfinite(choice.group_margin)]
    if len(finite) == 0:
        return 1.0
    place = min(group_count, len(finite) - 1)
    least = LEAST_RADIUS_SHARE * max(1.0, abs(choice.worth)) / len(choice.group_margin)
    return max(float(np.partition(finite, place)[place]), least)


def _split(market: Market, shape: _Shape, choice: _Choice, radius: float) -> tuple[Integers, Integers]:
    """Offers left open (regret within the radius) and offers fixed (of groups with no open question)."""
    group = shape.group_of_offer()
    is_open = (choice.group_margin <= radius)[group]
    is_chosen = _mask(choice.chosen, len(group))
    return np.flatnonzero(is_open & ((choice.regret <= radius) | is_chosen)), np.flatnonzero(is_chosen & ~is_open)


def _settled_prices(market: Market, shape: _Shape, penalty: float, prices: Floats) -> tuple[Floats, float]:
    """Prices at which the bound is that of the linear program over all offers, or the best found within the work."""
    choice = _at_prices(market, shape, prices)
    radius = _radius(choice, TIED_GROUP_COUNT)
    for _ in range(PRICING_ROUND_LIMIT):
        offers, fixed = _split(market, shape, choice, radius)
        if len(offers) > PRICED_OFFER_LIMIT:
            break
        # Within half the radius of each price, no account outside the core has reason to change its mind.
        core = _core(market, shape, offers, fixed, penalty, is_integer=False, box=_Box(prices, radius / 2))
        answer = linear.solve(core.program)
        expected = float(market.value[fixed].sum()) + answer.value
        if answer.x is None or choice.worth - expected <= 1e-9 * abs(choice.worth):
            break
        moved = _signed(market, answer.price[core.contract_rows], penalty)
        moved_choice = _at_prices(market, shape, moved)
        if moved_choice.worth < choice.worth:
            prices, choice = moved, moved_choice
            radius = _radius(choice, TIED_GROUP_COUNT)
        else:
            radius /= 2
    return prices, choice.worth


def _mostly_fixed(market: Market, shape: _Shape, prices: Floats) -> tuple[Integers, Integers]:
    """Where ties are too many for an integer program (recipients on equal terms): gives whole what room there is.

    Every group asks for its best offer at the prices; a contract with too many takes those with most to gain, the
    others ask again where there is room left. The groups with least to gain or lose by being taken are left open.
    """
    group_of_offer = shape.group_of_offer()
    reduced = market.value - prices[market.contract] * market.weight
    first = _chosen(shape, reduced, is_complete=False)
    open_groups = np.argsort(np.abs(first.best), kind="stable")[:FIRST_RADIUS_GROUP_COUNT]
    is_open = np.isin(group_of_offer, open_groups)
    wanted = np.where(is_open, -np.inf, reduced)
    room = market.room.copy()
    given: list[Integers] = []
    for _ in range(2 * len(room)):
        choice = _chosen(shape, wanted, is_complete=False)
        asked = choice.offers[np.argsort(-choice.best[group_of_offer[choice.offers]], kind="stable")]
        by_contract = asked[np.argsort(market.contract[asked], kind="stable")]
        weight = market.weight[by_contract]
        starts = np.flatnonzero(_changes(market.contract[by_contract]))
        before = np.cumsum(weight) - weight
        taken_up = before - np.repeat(before[starts], np.diff(np.append(starts, len(by_contract)))) + weight
        is_refused = taken_up > room[market.contract[by_contract]]
        refused_groups = np.unique(group_of_offer[by_contract[is_refused]])
        accepted = by_contract[~np.isin(group_of_offer[by_contract], refused_groups)]
        given.append(accepted)
        room -= _used(market, accepted)
        if len(refused_groups) == 0:
            break
        wanted[np.isin(group_of_offer, group_of_offer[accepted])] = -np.inf
        full = np.unique(market.contract[by_contract[is_refused]])
        wanted[np.isin(market.contract, full)] = -np.inf
    return np.flatnonzero(is_open), np.sort(np.concatenate(given))
