"""Who borrowed what: a block of loans with their borrowers, terms and first schedules, as arrays.

Loans come in tens: of people, of connected firms or of project companies; so a borrower's loans and a group's
firms stand in one block, and a block can be simulated alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from arrears.simulation.portfolio.dice import Bools, Dates, Floats, Ints
from arrears.simulation.portfolio.parameters import Product
from arrears.simulation.portfolio.world import World

TEN = 10
PERSON, COMPANY, SPV = range(3)
KINDS = ("person", "company", "spv")
PRODUCTS_OF = {
    PERSON: ("consumer", "revolving", "mortgage", "auto"),
    COMPANY: ("sme_term", "trade_finance"),
    SPV: ("project_finance",),
}
# Another loan of the borrower before it, by kind.
AGAIN = (0.13, 0.30, 0.0)
GOLDEN = 0.6180339887498949
DUE_DAYS = (1, 5, 10, 15, 20, 25, 28)
TRADE_WINDOW_DAYS = 300
CONSTRUCTION_MONTHS = 24
CHANNELS = ("branch", "online", "broker")
NEW_LOANS = 50_000_000  # loans granted after the anchor are numbered from here


@dataclass(frozen=True, slots=True)
class Block:
    """Loans and borrowers of a block; one entry a loan, or a borrower where the name begins with `b_`.

    Amounts are whole minor units. `owner` is the borrower's place in the block.
    """

    number: Ints
    owner: Ints
    product: Ints  # index into products
    place: Ints
    digits: Ints
    per_euro: Floats
    principal: Ints
    rate: Floats
    count: Ints  # instalments
    gap: Ints  # months between them
    disbursed: Dates
    disbursed_month: Ints
    due_day: Ints
    officer: Ints
    channel: Ints
    branch: Ints
    lean: Floats  # logit of missing that origination brought along
    score: Floats
    b_number: Ints
    b_kind: Ints
    b_place: Ints
    b_industry: Ints
    b_group: Ints  # number of the ten, or -1
    b_since: Dates
    b_spread: Floats  # the borrower's own standing, deviations
    b_forgetful: Bools
    b_strategic: Bools
    b_debit: Bools
    products: tuple[str, ...]

    def is_a(self, *products: str) -> Bools:
        """Loans of these products."""
        return np.isin(self.product, [self.products.index(name) for name in products])

    def of_product(self, values: dict[str, float]) -> Floats:
        """A number of each loan's product."""
        return np.array([values[name] for name in self.products], dtype=np.float64)[self.product]

    def __len__(self) -> int:
        return len(self.number)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The first version of each instalment loan's schedule, one entry an instalment, in the order of loans."""

    loan: Ints
    instalment: Ints
    month: Ints
    principal: Ints
    interest: Ints


def lend(world: World, numbers: Ints, granted: tuple[np.datetime64, np.datetime64] | None = None) -> Block:
    """A block of loans.

    Args:
        world: the surroundings.
        numbers: of the loans; whole tens.
        granted: first and last day of disbursement; None: over the months before the anchor.
    """
    dice, p, calendar = world.dice, world.p, world.calendar
    products = tuple(p.products)
    ten = numbers // TEN
    kind = _kinds_of_tens(ten, p.products)
    product = np.zeros(len(numbers), dtype=np.int64)
    for one, names in PRODUCTS_OF.items():
        index = np.array([products.index(name) for name in names])
        drawn = index[dice.pick("product", [p.products[name].share for name in names], numbers)]
        product = np.where(kind == one, drawn, product)
    again = (numbers % TEN > 0) & (dice.uniform("again", numbers) < np.array(AGAIN)[kind])
    owner = np.cumsum(~again) - 1
    first = np.flatnonzero(~again)
    b_number, b_kind = numbers[first], kind[first]
    b_ten = b_number // TEN
    weights = [place.weight for place in world.places]
    b_place = dice.pick("place", weights, np.where(b_kind == COMPANY, b_ten, b_number) + (b_kind == COMPANY) * 10**9)
    b_group = np.where((b_kind == COMPANY) & (dice.uniform("group", b_ten) < 0.5) & (b_number % TEN < 5), b_ten, -1)
    codes = p.surroundings.codes
    of_projects = np.array([codes.index(code) for code in p.surroundings.project_industries])
    any_industry = dice.integers("industry", 0, len(codes), b_number)
    in_projects = of_projects[dice.integers("project", 0, len(of_projects), b_number)]
    b_spread = dice.normal("standing", b_number)

    place = b_place[owner]
    digits = np.array([one.digits for one in world.places])[place]
    step = np.array([one.step for one in world.places])[place]
    per_euro = np.array([one.units_per_euro for one in world.places])[place]
    of = [p.products[name] for name in products]
    median = np.array([one.principal for one in of])[product] * per_euro
    spread = np.array([one.principal_spread for one in of])[product]
    units = np.rint(median * np.exp(spread * dice.normal("principal", numbers)) / step).clip(1).astype(np.int64) * step
    rate = np.array([one.interest_rate for one in of])[product] * np.exp(0.12 * dice.normal("rate", numbers))
    term: Ints = np.zeros(len(numbers), dtype=np.int64)
    for place_of, terms in enumerate(of):
        drawn = np.array(terms.terms)[dice.pick("term", terms.term_shares, numbers)]
        term = np.where(product == place_of, drawn, term)
    between = np.array([one.months_between for one in of])[product]
    gap = np.where(between == 0, term, between)

    window = np.full(len(numbers), int((calendar.anchor - calendar.start.astype("datetime64[D]")).astype(np.int64)))
    is_trade = product == products.index("trade_finance")
    window = np.where(is_trade, np.minimum(window, TRADE_WINDOW_DAYS), window)
    draw = dice.uniform("granted", numbers)
    disbursed = calendar.anchor - np.floor(draw * window).astype(np.int64)
    if granted is not None:
        disbursed = granted[0] + np.floor(draw * ((granted[1] - granted[0]).astype(np.int64) + 1)).astype(np.int64)
    since = np.full(len(first), np.datetime64("9999-01-01", "D"))
    np.minimum.at(since, owner, disbursed)

    officer = dice.integers("officer", 0, p.origination.officers, numbers)
    channel = dice.pick("channel", p.origination.channel_shares, numbers)
    o = p.origination
    lean = np.where(officer < o.bad_officers, o.bad_officer_logit, 0.0) + np.array(o.channel_logits)[channel]
    score = o.score + o.score_by_standing * b_spread[owner] - o.score_by_logit * lean
    score = score + o.score_noise * dice.normal("score", numbers)
    return Block(
        number=numbers,
        owner=owner,
        product=product,
        place=place,
        digits=digits,
        per_euro=per_euro,
        principal=units * 10**digits,
        rate=np.round(rate, 4),
        count=np.maximum(1, term // gap),
        gap=gap,
        disbursed=disbursed,
        disbursed_month=calendar.month_of(disbursed),
        due_day=np.array(DUE_DAYS)[dice.integers("due day", 0, len(DUE_DAYS), numbers)],
        officer=officer,
        channel=channel,
        branch=dice.integers("branch", 0, 12, numbers),
        lean=lean,
        score=np.round(score.clip(300, 850), 1),
        b_number=b_number,
        b_kind=b_kind,
        b_place=b_place,
        b_industry=np.where(b_kind == SPV, in_projects, any_industry),
        b_group=b_group,
        b_since=since,
        b_spread=b_spread,
        b_forgetful=dice.uniform("forgetful", b_number) < p.capacity.forgetful_share,
        b_strategic=dice.uniform("strategic", b_number) < p.capacity.strategic_share,
        b_debit=dice.uniform("debit", b_number) < p.paying.direct_debit_share,
        products=products,
    )


def _kinds_of_tens(ten: Ints, products: Mapping[str, Product]) -> Ints:
    """People, firms or project companies by ten, spread evenly; the first tens hold all three."""
    shares = [sum(products[name].share for name in names) for names in PRODUCTS_OF.values()]
    draw = ((ten + 0.5) * GOLDEN) % 1
    kind = np.searchsorted(np.cumsum(shares), draw * sum(shares), side="right").clip(0, 2)
    # Ten project companies and twenty firms in the first three hundred, for every table to be alive in a small book.
    return np.select([ten == 2, np.isin(ten, (5, 8))], [SPV, COMPANY], kind)


def schedule(block: Block, months: int) -> Schedule:
    """Annuities in whole minor units, the principal adding up exactly; interest alone while a project is built.

    Args:
        block: the loans; revolving ones have no schedule.
        months: how many months are simulated (instalments beyond are there all the same).
    """
    parts = []
    for index, name in enumerate(block.products):
        rows = np.flatnonzero(block.product == index)
        if name == "revolving" or not len(rows):
            continue
        parts.append(_schedules(block, rows, is_project=name == "project_finance"))
    loan, number, principal, interest = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(loan, kind="stable")
    loan, number = loan[order], number[order]
    month = block.disbursed_month[loan] + number * block.gap[loan]
    return Schedule(loan, number, month, principal[order], interest[order])


def _schedules(block: Block, rows: Ints, *, is_project: bool) -> tuple[Ints, Ints, Ints, Ints]:
    count, rate = block.count[rows], block.rate[rows] * block.gap[rows] / 12
    balance = block.principal[rows].copy()
    most = int(count.max())
    free = CONSTRUCTION_MONTHS // 6 if is_project else 0
    paying = np.maximum(1, count - free)
    level = np.rint(balance * rate / (1 - (1 + rate) ** -paying.astype(np.float64))).astype(np.int64)
    principal = np.zeros((len(rows), most), dtype=np.int64)
    interest = np.zeros_like(principal)
    for k in range(most):
        interest[:, k] = np.rint(balance * rate).astype(np.int64)
        repaid = np.where(k < free, 0, np.clip(level - interest[:, k], 0, balance))
        principal[:, k] = np.where(k == count - 1, balance, np.where(k < count, repaid, 0))
        balance = balance - principal[:, k]
    row, place = np.nonzero(np.arange(most) < count[:, None])
    return rows[row], place + 1, principal[row, place], interest[row, place]
