"""Thresholds and minor units, as the seeds say."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from babel.numbers import get_currency_precision

from arrears.errors import UsageError
from arrears.gate import thresholds as module
from arrears.gate.thresholds import Threshold, minor_units, thresholds

HEADER = "threshold,table_name,share,minimum_count,valid_from,valid_to,source\n"
USUAL = "".join(
    f"{kind},*,0.05,10,1900-01-01,,x\n"
    for kind in (
        "keys_of_two_sources",
        "deletions",
        "row_count_fall",
        "known_loans_missing",
        "loans_incomplete",
        "exposure_held",
    )
)


@pytest.mark.parametrize(
    ("count", "of", "is_exceeded"),
    [
        (10, 199, True),  # 5.03 %
        (10, 200, False),  # exactly 5 % is not beyond it
        (9, 9, False),  # too few to say anything
        (11, 200, True),
    ],
)
def test_a_count_is_beyond_a_threshold_by_share_and_by_number(count: int, of: int, is_exceeded: bool) -> None:
    assert Threshold(Decimal("0.05"), 10).is_exceeded(count, of) is is_exceeded


def test_a_table_of_its_own_goes_before_any_table() -> None:
    in_force = thresholds(date(2026, 3, 31))

    assert in_force.of("deletions", "suppressions") == Threshold(Decimal(0), 1)
    assert in_force.of("deletions", "loans") == Threshold(Decimal("0.05"), 10)


def test_a_threshold_is_in_force_between_its_dates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = tmp_path / "gate_thresholds.csv"
    seed.write_text(
        HEADER + USUAL + "row_findings,*,0.05,10,1900-01-01,2026-03-31,x\nrow_findings,*,0.01,5,2026-04-01,,tightened\n"
    )
    monkeypatch.setattr(module, "THRESHOLDS", seed)

    assert thresholds(date(2026, 3, 31)).of("row_findings", "loans").minimum_count == 10
    assert thresholds(date(2026, 4, 1)).of("row_findings", "loans").minimum_count == 5


def test_a_seed_with_a_fault_names_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = tmp_path / "gate_thresholds.csv"
    seed.write_text(HEADER + "row_findings,*,five percent,10,1900-01-01,,x\n")
    monkeypatch.setattr(module, "THRESHOLDS", seed)

    with pytest.raises(UsageError, match=r"gate_thresholds.csv line 2: "):
        thresholds(date(2026, 3, 31))


def test_a_kind_without_a_threshold_for_any_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = tmp_path / "gate_thresholds.csv"
    seed.write_text(HEADER + USUAL)
    monkeypatch.setattr(module, "THRESHOLDS", seed)

    with pytest.raises(UsageError, match="no row of row_findings for table \\* in force on 2026-03-31"):
        thresholds(date(2026, 3, 31))


def test_minor_units_are_those_of_iso_4217() -> None:
    units = minor_units()

    # ISO 4217 table A.1; the Serbian dinar is written without paras, but owed with them.
    assert {currency: units[currency] for currency in ("EUR", "CZK", "JPY", "KWD", "CLF", "RSD")} == {
        "EUR": 2, "CZK": 2, "JPY": 0, "KWD": 3, "CLF": 4, "RSD": 2,
    }  # fmt: skip


def test_minor_units_are_never_coarser_than_those_people_write() -> None:
    assert [code for code, digits in minor_units().items() if digits < get_currency_precision(code)] == []
