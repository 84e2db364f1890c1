"""Every class and since when, of random loans under every rule book, against a walk through their days."""

import random
from datetime import date
from pathlib import Path

import pytest

from arrears.transform import dbt
from tests.classified import classify, put
from tests.conftest import Workplace
from tests.oracle.classification_days import Book, Walk
from tests.oracle.random_classified_loans import a_portfolio

D = date(2026, 3, 31)
BOOKS = sorted(path for path in (dbt.PROJECT / "seeds" / "rule_books").iterdir() if path.is_dir())


def walked(folder: Path, loans: list, events: list, reports: list) -> dict[tuple[str, str], tuple[str, date]]:
    """What the walk finds for the loans that have a state at D: class and since when."""
    book = Book(folder, D)
    walk = Walk(book, loans, events, reports, D)
    names = {rank: name for name, rank in book.ranks.items()}
    found = {}
    for loan_id, ranks in walk.walk().items():
        loan = walk.loans[loan_id]
        first = len(ranks) - 1
        while first > 0 and ranks[first - 1] == ranks[-1] and walk.days[first - 1] >= loan.disbursed_on:
            first -= 1
        if loan.is_present:
            found[book.name, loan_id] = names[ranks[-1]], walk.days[first]
    return found


@pytest.mark.parametrize(
    ("seed", "size"), [(7, 70), *(pytest.param(seed, 200, marks=pytest.mark.slow) for seed in (2, 3, 4))]
)
def test_classes_agree_with_a_walk_through_every_day(workplace: Workplace, seed: int, size: int) -> None:
    loans, events, reports = a_portfolio(random.Random(seed), size, D)  # noqa: S311
    put(workplace, D, loans, events, reports)

    made = classify(workplace, D)

    expected: dict[tuple[str, str], tuple[str, date]] = {}
    for folder in BOOKS:
        expected |= walked(folder, loans, events, reports)
    assert made.keys() == expected.keys()
    assert {key: (value, made[key]) for key, value in expected.items() if made[key][:2] != value} == {}
    assert len({(book, made[book, loan][0]) for book, loan in made}) >= 15  # the loans reach most classes
