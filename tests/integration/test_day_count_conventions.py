"""Conventions of counting days past due, against the tables that define them."""

import re
from collections.abc import Mapping
from datetime import date, timedelta

import pytest

from arrears.transform import dbt
from arrears.warehouse import bootstrap
from tests.conftest import Workplace

MODEL = "int_delinquency__conventions_counted"
INPUTS = {
    "int_delinquency__loans_positioned": (
        "loan_id text, product text, governing_law text, schedule_version integer, oldest_unpaid_due_on date,"
        " days_past_due integer, arrears_amount numeric, tolerance_amount numeric, unpaid_due_amount numeric"
    ),
    "int_delinquency__loans_stated": "loan_id text, oldest_unpaid_due_on date",
    "stg_servicing__loans": "product text, governing_law text",
    "stg_servicing__instalments": (
        "loan_id text, schedule_version integer, effective_on date, due_on date, principal_amount numeric,"
        " interest_amount numeric, fee_amount numeric, penalty_amount numeric"
    ),
    "loan_delinquency_history": "loan_id text, valid_from date, valid_to date, oldest_unpaid_due_on date",
    "product_conventions": (
        "product text, governing_law text, dpd_convention text, equivalent_days integer, valid_from date, valid_to date"
    ),
}


@pytest.fixture
def model(workplace: Workplace) -> str:
    """The model's SQL, to be run on temporary tables."""
    with workplace.connect() as connection:
        bootstrap.keep(connection, "reporting_currency", "EUR")
    dbt.invoke(["compile", "--select", MODEL], date(2026, 3, 31))
    (compiled,) = (dbt.target_folder() / "compiled").rglob(f"{MODEL}.sql")
    return re.sub(r'"\w+"\."\w+"\."(\w+)"', r"pg_temp.\1", compiled.read_text(encoding="utf-8"))


def counted(workplace: Workplace, model: str, due_on: date, as_of: date) -> Mapping[str, tuple[int, int | None]]:
    """Days and months of a loan with nothing paid since a due date, by convention."""
    late = max((as_of - due_on).days, 0)
    with workplace.connect(as_of) as connection:
        for name, columns in INPUTS.items():
            connection.execute(f"create temporary table {name} ({columns}) on commit drop")
        for convention in ("calendar_excl", "rbi_day_end", "mba", "ots"):
            connection.execute(
                "insert into pg_temp.int_delinquency__loans_positioned values (%s, %s, 'any', 1, %s, %s, %s, 0, %s)",
                [
                    convention,
                    convention,
                    due_on if late else None,
                    late,
                    100 if late else 0,
                    100 if as_of >= due_on else 0,
                ],
            )
            connection.execute("insert into pg_temp.stg_servicing__loans values (%s, 'any')", [convention])
            connection.execute(
                "insert into pg_temp.product_conventions values (%s, 'any', %s, null, '1900-01-01', null)",
                [convention, convention],
            )
        rows = connection.execute(
            "select dpd_convention, days_past_due_by_convention, months_past_due_by_convention"
            f" from ({model}) as counted"
        ).fetchall()
    return {convention: (days, months) for convention, days, months in rows}


def test_conventions_count_as_the_tables_that_define_them(workplace: Workplace, model: str) -> None:
    def at(due_on: date, as_of: date) -> Mapping[str, tuple[int, int | None]]:
        return counted(workplace, model, due_on, as_of)

    # The day before the due date, the due date, the day after.
    first = date(2026, 4, 1)
    for as_of, calendar, day_end in ((date(2026, 3, 31), 0, 0), (first, 0, 1), (date(2026, 4, 2), 1, 2)):
        assert at(first, as_of)["calendar_excl"] == (calendar, None)
        assert at(first, as_of)["rbi_day_end"] == (day_end, None)

    # MBA and OTS, monthly on the 1st, nothing paid since 1 April (full months).
    for as_of, mba, ots in (
        (date(2026, 4, 30), 1, 0),
        (date(2026, 5, 1), 1, 1),
        (date(2026, 5, 31), 2, 1),
        (date(2026, 6, 1), 2, 2),
    ):
        assert at(first, as_of)["mba"] == (30 * mba, mba), as_of
        assert at(first, as_of)["ots"] == (30 * ots, ots), as_of

    # 12 CFR 561.47, due 10 March: to 9 April not delinquent, to 9 May 30 days, to 9 June 60, to 9 July 90.
    due_on = date(2026, 3, 10)
    for starts, ends, days in (
        (due_on, date(2026, 4, 9), 0),
        (date(2026, 4, 10), date(2026, 5, 9), 30),
        (date(2026, 5, 10), date(2026, 6, 9), 60),
        (date(2026, 6, 10), date(2026, 7, 9), 90),
    ):
        assert {at(due_on, as_of)["ots"][0] for as_of in (starts, ends)} == {days}, starts

    # Reserve Bank of India, due 31 March 2021: SMA-1 (more than 30 days) from 30 April, SMA-2 (60) from 30 May, NPA
    # (90) from 29 June.
    due_on = date(2021, 3, 31)
    for as_of, days in ((date(2021, 4, 30), 31), (date(2021, 5, 30), 61), (date(2021, 6, 29), 91)):
        assert at(due_on, as_of)["rbi_day_end"] == (days, None)
        assert at(due_on, as_of - timedelta(days=1))["rbi_day_end"] == (days - 1, None)

    # A month without such a day ends on its last one.
    assert at(date(2026, 1, 31), date(2026, 2, 28))["ots"] == (30, 1)
    assert at(date(2026, 1, 31), date(2026, 2, 27))["ots"] == (0, 0)
