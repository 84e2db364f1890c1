"""Roll rates on a panel whose transition matrix is known: the marts' own SQL finds it, and counts exactly."""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from arrears.transform import dbt
from tests.conftest import VIEWS, Workplace

PANEL = Path(__file__).parent / "data" / "transitions_panel.csv.gz"
MONTH_ENDS = [date(2026, 1, 31), date(2026, 2, 28), date(2026, 3, 31), date(2026, 4, 30), date(2026, 5, 31)]
BUCKETS = ["current", "1-29", "90-179"]
DAYS = [0, 15, 120]
MATRIX = [[0.80, 0.15, 0.05], [0.10, 0.70, 0.20], [0.0, 0.0, 1.0]]

Move = tuple[date, str, str]


@dataclass(frozen=True, slots=True)
class Panel:
    """The states of every entity, in the order of time; what an entity owes is its number's last digit plus one."""

    states: Mapping[int, list[int]]

    @staticmethod
    def read() -> "Panel":
        """The panel as published."""
        states: dict[int, dict[int, int]] = defaultdict(dict)
        with gzip.open(PANEL, "rt", encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                states[int(row["ID"])][int(row["Time"])] = int(row["State"])
        return Panel({entity: [seen[time] for time in range(5)] for entity, seen in states.items()})

    @staticmethod
    def owed(entity: int) -> int:
        """What the entity owes at every month end."""
        return 1 + entity % 10

    def moves(self) -> tuple[Counter[Move], Counter[Move]]:
        """Entities, and what they owe, by month, state at its beginning and state at its end."""
        counts: Counter[Move] = Counter()
        amounts: Counter[Move] = Counter()
        for entity, states in self.states.items():
            for time in range(1, 5):
                move = (MONTH_ENDS[time].replace(day=1), BUCKETS[states[time - 1]], BUCKETS[states[time]])
                counts[move] += 1
                amounts[move] += self.owed(entity)
        return counts, amounts


def build(workplace: Workplace, panel: Panel) -> None:
    """The portfolio's measures, built by dbt on the panel as month ends."""
    as_of = MONTH_ENDS[-1]
    dbt.invoke(["run", "--select", "+loan_month_ends", "--exclude", "resource_type:seed", VIEWS], as_of)
    with (
        workplace.connect() as connection,
        connection.cursor().copy(
            "copy working.loan_month_ends (month_end_on, loan_id, currency, product, governing_law, status, bucket,"
            " is_restructured, days_past_due, days_delinquent, mba_status, ots_status, arrears_amount,"
            " outstanding_principal_amount) from stdin"
        ) as copy,
    ):
        for entity, states in panel.states.items():
            for month_end, state in zip(MONTH_ENDS, states, strict=True):
                segment = ("EUR", "consumer", "DE", "active", BUCKETS[state], False)
                late = (DAYS[state], DAYS[state], DAYS[state] // 30, DAYS[state] // 30)
                copy.write_row((month_end, str(entity), *segment, *late, 0, panel.owed(entity)))
    dbt.invoke(["run", "--select", "int_portfolio__moves_counted+", "int_portfolio__balances_totalled+"], as_of)


def test_the_marts_find_the_known_matrix_and_never_mix_rolls_with_flows(workplace: Workplace) -> None:
    panel = Panel.read()
    build(workplace, panel)

    roll_rates_are_the_ratios_of_counts_and_near_the_matrix(workplace, panel)
    late_entries_count_every_late_bucket(workplace, panel)
    net_flows_compare_totals(workplace, panel)


def roll_rates_are_the_ratios_of_counts_and_near_the_matrix(workplace: Workplace, panel: Panel) -> None:
    """Exactly the counts of the panel; over all months within 0.005 of the matrix it was drawn from."""
    counts, amounts = panel.moves()
    found = {
        (month, start, end): (loan_count, balance, share, balance_share)
        for month, start, end, loan_count, balance, share, balance_share in workplace.rows(
            "select month, from_bucket, to_bucket, loan_count, balance_amount, roll_share, roll_balance_share"
            " from working.loan_roll_rates"
        )
    }
    started: Counter[tuple[date, str]] = Counter()
    owed: Counter[tuple[date, str]] = Counter()
    for move in counts:
        started[move[:2]] += counts[move]
        owed[move[:2]] += amounts[move]
    assert found == {
        move: (
            counts[move],
            amounts[move],
            round(Decimal(counts[move]) / started[move[:2]], 8),
            round(Decimal(amounts[move]) / owed[move[:2]], 8),
        )
        for move in counts
    }
    for start, row in zip(BUCKETS, MATRIX, strict=True):
        for end, expected in zip(BUCKETS, row, strict=True):
            moved = sum(int(str(loans)) for (_, s, e), (loans, *_) in found.items() if (s, e) == (start, end))
            of_all = sum(int(str(loans)) for (_, s, _), (loans, *_) in found.items() if s == start)
            # 10,754 starts in late: a standard error of 0.0044 at 0.70; the other cells have less.
            assert moved / of_all == pytest.approx(expected, abs=0.005), (start, end)


def late_entries_count_every_late_bucket(workplace: Workplace, panel: Panel) -> None:
    """Out of current into late or default, by month."""
    counts, _ = panel.moves()
    entries = workplace.rows("select month, current_count, late_count from working.loan_late_entries order by month")
    assert entries == [
        (
            month,
            sum(counts[month, "current", end] for end in BUCKETS),
            counts[month, "current", "1-29"] + counts[month, "current", "90-179"],
        )
        for month in (month_end.replace(day=1) for month_end in MONTH_ENDS[1:])
    ]


def net_flows_compare_totals(workplace: Workplace, panel: Panel) -> None:
    """All that is late by all that was current: most of it was late before, so it is far from the roll rate."""
    current, late = [0] * 5, [0] * 5
    for entity, states in panel.states.items():
        for time, state in enumerate(states):
            current[time] += panel.owed(entity) * (state == 0)
            late[time] += panel.owed(entity) * (state == 1)
    months = [month_end.replace(day=1) for month_end in MONTH_ENDS[1:]]
    flows = dict(
        workplace.rows(
            "select month, net_flow_ratio from working.loan_net_flow_rates"
            " where from_bucket = 'current' and month > '2026-01-01'"
        )
    )
    rolls = dict(
        workplace.rows(
            "select month, roll_balance_share from working.loan_roll_rates"
            " where from_bucket = 'current' and to_bucket = '1-29'"
        )
    )
    assert flows == {month: round(Decimal(late[t]) / current[t - 1], 8) for t, month in enumerate(months, start=1)}
    assert all(Decimal(str(flows[month])) > 2 * Decimal(str(rolls[month])) for month in months)
