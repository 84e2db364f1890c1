"""Rule books at their boundaries, classes held by the day, contagion in and out, and a book that needs no model."""

import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from arrears.transform import dbt
from tests.classified import DAY, Event, Loan, Measure, Report, Stretch, classify, late, put
from tests.conftest import Workplace, forget_settings
from tests.day import run_day

D = date(2026, 3, 31)
DAYS = (0, 1, 30, 31, 60, 61, 89, 90, 91, 119, 120, 121, 179, 180, 181, 270, 271, 360, 361)

# From which day on which class: days past due of one claim of a retail loan that was never paid. rbi_day_end counts one
# more, so that the class of 31 days begins on day 30 after the due date (RBI: due 31 March, SMA-1 on 30 April).
LADDERS = {
    "ifrs9": {0: "stage_1", 31: "stage_2", 91: "stage_3"},
    "eu_default": {0: "performing", 91: "default"},
    "china_tiers": {0: "normal", 1: "special_mention", 91: "substandard", 271: "doubtful", 361: "loss"},
    "india_npa": {0: "sma_0", 30: "sma_1", 60: "sma_2", 90: "npa_substandard"},
    "us_retail": {0: "pass", 90: "substandard", 120: "loss"},
}
CARDS = LADDERS | {
    "china_tiers": {0: "normal", 1: "special_mention", 91: "substandard", 121: "doubtful", 181: "loss"},
    "india_npa": {0: "standard", 30: "sma_1", 60: "sma_2", 90: "npa_substandard"},
    "us_retail": {0: "pass", 90: "substandard", 180: "loss"},
}
HOMES = LADDERS | {"us_retail": {0: "pass", 90: "substandard", 180: "value_assessment"}}


def unpaid(days: int, **more: object) -> list[Stretch]:
    """One claim, due that many days before D, of which nothing was paid."""
    return [late(D - (days - 1) * DAY, D, **more)] if days else []  # type: ignore[arg-type]


def test_every_book_changes_class_on_the_day_it_names(workplace: Workplace) -> None:
    ladders = {"consumer": LADDERS, "revolving": CARDS, "mortgage": HOMES}
    loans = [
        Loan(f"{product}_{days}", f"{product}_{days}", product=product, stretches=unpaid(days), is_due_today=days == 0)
        for product in ladders
        for days in DAYS
    ]
    put(workplace, D, loans)

    made = classify(workplace, D)

    expected = {}
    for product, books in ladders.items():
        for book, ladder in books.items():
            for days in DAYS:
                step = max(step for step in ladder if step <= days)
                since = D - (days - step) * DAY if step or ladder[0] == "sma_0" else date(2020, 1, 1)
                expected[book, f"{product}_{days}"] = ladder[step], since
    assert {key: value[:2] for key, value in made.items()} == expected


# Day vectors. A loan was late for 120 days, up to the day before the first clean one; what holds at D, and since when.
def cured(first_clean: date, **more: object) -> list[Stretch]:
    """120 days late until the day before the first clean one."""
    return [late(first_clean - 120 * DAY, first_clean - DAY, **more)]  # type: ignore[arg-type]


DEC_31, JAN_1, SEP_30, OCT_1 = date(2025, 12, 31), date(2026, 1, 1), date(2025, 9, 30), date(2025, 10, 1)


def measure(start: date, grace_to: date | None = None) -> Measure:
    """A concession that began on that day."""
    return Measure(start, grace_to or start, grace_to or start)


HELD: dict[str, tuple[list[Stretch], list[Measure], int | None, dict[str, tuple[str, date, date | None]]]] = {
    # EU: 3 months from the first clean day: 31 December is out on 31 March, 1 January a day later. IFRS 9: then 3 more
    # months in stage 2. India: out on the day on which all is paid. China: 6 months.
    "three_months_are_over": (
        cured(DEC_31),
        [],
        1,
        {
            "eu_default": ("performing", D, None),
            "ifrs9": ("stage_2", D, date(2026, 6, 30)),
            "india_npa": ("standard", DEC_31, None),
            "china_tiers": ("substandard", DEC_31 - 30 * DAY, date(2026, 6, 30)),
            "us_retail": ("pass", DEC_31, None),
        },
    ),
    "three_months_are_over_tomorrow": (
        cured(JAN_1),
        [],
        1,
        {
            "eu_default": ("default", JAN_1 - 30 * DAY, date(2026, 4, 1)),
            "ifrs9": ("stage_3", JAN_1 - 30 * DAY, date(2026, 4, 1)),
        },
    ),
    "six_months_are_over": (cured(SEP_30), [], 1, {"china_tiers": ("normal", date(2026, 3, 30), None)}),
    "six_months_are_over_tomorrow": (
        cured(OCT_1),
        [],
        3,
        {"china_tiers": ("substandard", OCT_1 - 30 * DAY, date(2026, 4, 1))},
    ),
    # Two repayment periods of six months are longer than 6 months.
    "two_long_periods": (
        cured(SEP_30),
        [],
        6,
        {"china_tiers": ("substandard", SEP_30 - 30 * DAY, date(2026, 9, 30))},
    ),
    # 31 days late in February begin the three months anew for stage 3 (they ended on 1 March); 30 days do not.
    "late_again_31_days": (
        [*cured(date(2025, 12, 1)), late(date(2026, 1, 29), date(2026, 2, 28))],
        [],
        1,
        {"ifrs9": ("stage_3", date(2025, 11, 1), date(2026, 6, 1))},
    ),
    "late_again_30_days": (
        [*cured(date(2025, 12, 1)), late(date(2026, 1, 30), date(2026, 2, 28))],
        [],
        1,
        {"ifrs9": ("stage_2", date(2026, 3, 1), date(2026, 6, 1))},
    ),
    # Paid in part: 40 days late after 120. India stays non-performing until all is paid, the EU until it is immaterial.
    "part_paid": (
        [late(D - 129 * DAY, D - 10 * DAY), late(D - 9 * DAY, D, D - 40 * DAY, arrears=150)],
        [],
        1,
        {
            "india_npa": ("npa_substandard", D - 40 * DAY, None),
            "eu_default": ("default", D - 39 * DAY, None),
            "us_retail": ("pass", D - 9 * DAY, None),
        },
    ),
    "part_paid_to_an_immaterial_rest": (
        [late(D - 129 * DAY, D - 10 * DAY), late(D - 9 * DAY, D, D - 40 * DAY, arrears=100)],
        [],
        1,
        {"eu_default": ("default", D - 39 * DAY, date(2026, 6, 22))},  # the first clean day is 22 March
    ),
    # Measures. EU: a year from the measure, from the end of its grace, or from a later default, and nothing past due.
    "a_year_after_the_measure": ([], [measure(date(2025, 3, 31))], 1, {"eu_default": ("performing", D, None)}),
    "a_day_short_of_a_year_after_the_measure": (
        [],
        [measure(date(2025, 4, 1))],
        1,
        {"eu_default": ("default", date(2025, 4, 1), date(2026, 4, 1))},
    ),
    "a_year_after_the_measure_but_late": (
        unpaid(1),
        [measure(date(2025, 3, 31))],
        1,
        {"eu_default": ("default", date(2025, 3, 31), None)},
    ),
    "a_year_after_the_grace": (
        [],
        [measure(date(2025, 3, 1), date(2025, 4, 30))],
        1,
        {"eu_default": ("default", date(2025, 3, 1), date(2026, 4, 30))},
    ),
    "a_year_after_a_default_after_the_measure": (
        cured(date(2025, 9, 1)),
        [measure(date(2025, 3, 31))],
        1,
        {"eu_default": ("default", date(2025, 3, 31), date(2026, 8, 2))},  # in default again since 2 August
    ),
    # IFRS 9: stage 3 for 12 months where a concession was made while in it; stage 2 for a concession alone.
    "forborne_in_stage_3": (
        cured(date(2025, 7, 1)),
        [measure(date(2025, 7, 1))],
        1,
        {"ifrs9": ("stage_3", date(2025, 6, 1), date(2026, 7, 1))},
    ),
    "forborne_out_of_stage_1": (
        [],
        [measure(date(2026, 1, 1))],
        1,
        {"ifrs9": ("stage_2", date(2026, 1, 1), date(2026, 4, 2))},
    ),
    # China: observed for a year from the first payment date after the measure (on the 1st of a month); a missed payment
    # begins it anew; another measure in it makes the loan substandard.
    "observed": (
        [],
        [measure(date(2025, 3, 15))],
        1,
        {"china_tiers": ("special_mention", date(2025, 3, 15), date(2026, 4, 1))},
    ),
    "observed_to_the_end": ([], [measure(date(2025, 2, 15))], 1, {"china_tiers": ("normal", date(2026, 3, 1), None)}),
    "observed_anew": (
        [late(date(2025, 11, 2), date(2025, 11, 5))],
        [measure(date(2025, 2, 15))],
        1,
        {"china_tiers": ("special_mention", date(2025, 2, 15), date(2026, 11, 1))},
    ),
    "restructured_again_while_observed": (
        [late(date(2025, 11, 2), date(2025, 11, 5))],
        [measure(date(2025, 2, 15)), measure(date(2026, 3, 20))],
        1,
        {"china_tiers": ("substandard", date(2026, 3, 20), date(2026, 9, 21))},
    ),
    # India: non-performing since 1 January 2025 (the 91st day, 3 October being the first), doubtful after 12 months.
    "aged": (
        [late(date(2024, 10, 4), D, date(2024, 10, 3))],
        [],
        1,
        {"india_npa": ("npa_doubtful_1", date(2026, 1, 1), None)},
    ),
}


def test_a_class_is_held_and_left_on_the_day_the_book_says(workplace: Workplace) -> None:
    loans = [
        Loan(name, name, stretches=stretches, measures=measures, period_months=months)
        for name, (stretches, measures, months, _) in HELD.items()
    ]
    put(workplace, D, loans)

    made = classify(workplace, D)

    expected = {(book, name): value for name, (*_, books) in HELD.items() for book, value in books.items()}
    assert {key: made[key][:3] for key in expected} == expected
    assert made["eu_default", "three_months_are_over_tomorrow"][3] == (
        "Default is left after 3 months without a ground; where forborne after 12 months since the measure, the "
        "default or the end of grace, and with nothing past due; last ground on 2025-12-31, left on 2026-04-01 at the "
        "earliest."
    )
    assert made["ifrs9", "part_paid"][0] == "stage_3"  # 40 days late now: the three months have not begun
    assert made["ifrs9", "part_paid"][2] is None
    assert made["eu_default", "part_paid"][3] == (
        "A material amount past due for more than 90 consecutive days since 2026-02-20."
    )


def share(name: str, borrower: str, balance: int, stretches: list[Stretch], **more: object) -> Loan:
    """One of a borrower's loans, with a balance."""
    return Loan(name, borrower, stretches=stretches, outstanding=Decimal(balance), **more)  # type: ignore[arg-type]


def bad(balance: int) -> list[Stretch]:
    """In default since 1 March: 600 unpaid, 121 days past due."""
    return unpaid(121, outstanding=balance)


def test_bad_loans_carry_others_along_and_let_them_go(workplace: Workplace) -> None:
    corporate = {"exposure_class": "corporate"}
    healed = [late(date(2025, 8, 2), date(2025, 11, 30), outstanding=5000)]  # clean since 1 December, out on 1 March
    loans = [
        # A person's loans: more than a fifth of what is owed is in default, and then all. 5000 of 25000 is a fifth.
        share("pulled_bad", "P1", 5000, bad(5000)),
        share("pulled", "P1", 19000, []),
        share("not_pulled_bad", "P2", 5000, bad(5000)),
        share("not_pulled", "P2", 20000, []),
        share("let_go_bad", "P3", 5000, healed),
        share("let_go", "P3", 5000, []),
        # A company (600 past due of 50000 is above 1 %) is in default with all its loans, and takes its group along
        # where it owes more than a fifth.
        share("company_bad", "C1", 5000, bad(5000), group_id="G1", **corporate),
        share("company", "C1", 45000, [], group_id="G1", **corporate),
        share("group_small", "C2", 1000, [], group_id="G1", **corporate),
        share("apart_bad", "C3", 5000, bad(5000), group_id="G2", **corporate),
        share("apart", "C4", 20000, [], group_id="G2", **corporate),
        # China: more than a tenth here makes all substandard; a tenth does not, but is a special mention.
        share("tenth_bad", "C5", 5000, bad(5000), **corporate),
        share("tenth", "C5", 45000, [], **corporate),
        share("more_bad", "C6", 5000, bad(5000), **corporate),
        share("more", "C6", 44000, [], **corporate),
        # ... and more than a fifth of what is owed everywhere: 2100 of 10000 and 2000 of 10000, of which 5000 here.
        share("elsewhere", "C7", 5000, [], **corporate),
        share("elsewhere_fifth", "C8", 5000, [], **corporate),
        # A notice of bankruptcy.
        share("bankrupt_1", "P4", 5000, []),
        share("bankrupt_2", "P4", 5000, []),
    ]
    events = [Event("bankruptcy", "P4", occurred_on=date(2026, 1, 15), discovered_on=date(2026, 1, 30))]
    reports = [
        Report("C7", date(2026, 3, 10), Decimal(5000), Decimal(2100)),
        Report("C8", date(2026, 3, 10), Decimal(5000), Decimal(2000)),
    ]
    put(workplace, D, loans, events, reports)

    made = classify(workplace, D)

    entered = D - 30 * DAY  # 121 days past due at D: the 91st day
    expected = {
        ("eu_default", "pulled_bad"): ("default", entered),
        ("eu_default", "pulled"): ("default", entered),
        ("eu_default", "not_pulled"): ("performing", date(2020, 1, 1)),
        ("eu_default", "let_go_bad"): ("performing", date(2026, 3, 1)),
        ("eu_default", "let_go"): ("performing", date(2026, 3, 1)),
        ("eu_default", "company"): ("default", entered),
        ("eu_default", "group_small"): ("default", entered),
        ("eu_default", "apart"): ("performing", date(2020, 1, 1)),
        ("ifrs9", "pulled"): ("stage_1", date(2020, 1, 1)),
        ("india_npa", "pulled"): ("npa_substandard", entered - DAY),
        ("china_tiers", "pulled"): ("normal", date(2020, 1, 1)),  # retail goes by facility
        ("china_tiers", "tenth"): ("special_mention", entered),
        ("china_tiers", "more"): ("substandard", entered),
        ("china_tiers", "elsewhere"): ("substandard", date(2026, 3, 10)),
        ("china_tiers", "elsewhere_fifth"): ("normal", date(2020, 1, 1)),
        ("us_retail", "bankrupt_1"): ("loss", D),  # 60 days after the notice of 30 January
        ("eu_default", "bankrupt_2"): ("default", date(2026, 1, 30)),
    }
    assert {key: made[key][:2] for key in expected} == expected
    assert ("us_retail", "company") not in made  # the policy is for retail credit
    assert made["eu_default", "pulled"][3] == (
        "More than 20 % of the borrower's exposure is in default since 2026-03-01 (loan pulled_bad)."
    )
    assert made["india_npa", "pulled"][3] == "Overdue for more than 90 days since 2026-02-28 (loan pulled_bad)."
    assert made["us_retail", "bankrupt_1"][3] == "60 days after notice of the borrower's bankruptcy since 2026-03-31."


TOY = {
    "classes": "class,class_rank,label,{dates}\nfine,0,Fine,{values}\nbad,1,Bad,{values}\n",
    "segments": "exposure_class,segment,{dates}\nretail,all,{values}\n",
    "day_thresholds": (
        "class,segment,products,counter,convention,level,days_from,loan_to_value_over,reason,{dates}\n"
        "bad,,,days_past_due,calendar_excl,facility,45,,45 days late,2026-01-01,2026-03-30,toy,\n"
        "bad,,,days_past_due,calendar_excl,facility,40,,40 days late,2026-03-31,,toy,\n"
    ),
}


@pytest.mark.slow
def test_a_rule_book_is_a_folder_of_seeds_and_needs_no_model(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(dbt.PROJECT, tmp_path / "project", ignore=shutil.ignore_patterns("target", "logs"))
    folder = project / "seeds" / "rule_books" / "toy"
    folder.mkdir()
    for table, text in TOY.items():
        rows = text.format(dates="valid_from,valid_to,source,verified_on", values="2026-01-01,,toy,")
        (folder / f"toy_{table}.csv").write_text(rows)
    monkeypatch.setattr(dbt, "PROJECT", project)
    monkeypatch.setattr(dbt, "_kept_manifest", None)
    monkeypatch.setenv("ARREARS_HOME", str(tmp_path / "home"))
    forget_settings()
    put(workplace, D, [Loan("at_40", "B1", stretches=unpaid(40)), Loan("at_39", "B2", stretches=unpaid(39))])

    dbt.invoke(["seed", "--select", "path:seeds/rule_books/toy"], D)
    made = classify(workplace, D)
    day_before = classify(workplace, D - DAY)

    assert {loan: made["toy", loan] for loan in ("at_40", "at_39")} == {
        "at_40": ("bad", D, None, "40 days late since 2026-03-31."),
        "at_39": ("fine", date(2020, 1, 1), None, "No ground for a worse class."),
    }
    assert day_before["toy", "at_40"][0] == "fine"  # 39 days by the version of the day before, which asks for 45
    assert ("ifrs9", "at_40") in made


@pytest.mark.slow
def test_only_changes_are_published_from_day_to_day(workplace: Workplace, drop: Callable[..., Path]) -> None:
    for day in (date(2026, 3, 3), date(2026, 3, 4), date(2026, 3, 5)):
        run_day(drop(), day)

    # L2 has paid nothing since 1 February: 30 days past due on the 3rd, 31 on the 4th. L1 is late since 1 March.
    rows = workplace.rows(
        "select as_of_date, loan_id, class, since_on from marts.loan_classification"
        " where rule_book = 'ifrs9' order by 1, 2"
    )
    assert rows == [
        (date(2026, 3, 3), "L1", "stage_1", date(2026, 1, 1)),
        (date(2026, 3, 3), "L2", "stage_1", date(2026, 1, 1)),
        (date(2026, 3, 4), "L2", "stage_2", date(2026, 3, 4)),
    ]
    assert workplace.value("select count(*) from marts.loan_classification where as_of_date = '2026-03-03'") == 10
