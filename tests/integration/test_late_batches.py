"""Drops that come late, again, or as deltas: what is known on each date, whatever the order in which they came."""

import random
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

from arrears import summary
from arrears.errors import AlreadyExported, SourceError
from arrears.extraction import batches, sources
from arrears.gate import judge_batches
from tests.conftest import Workplace
from tests.portfolio import a_borrower, small_portfolio, write_drop

D1 = date(2026, 3, 1)
CITIES = ("Brno", "Cheb", "Opava")
Borrowers = Mapping[str, str]  # city by borrower


def day(number: int) -> date:
    return D1 + timedelta(days=number)


def take_in(
    workplace: Workplace,
    folder: Path,
    borrowers: Borrowers,
    as_of: date,
    *,
    delta: Mapping[str, str | None] | None = None,
    after: date | None = None,
    may_replace: bool = False,
    is_late: bool = False,
    is_blocked: bool = False,
) -> str:
    """Extracts and accepts (or rejects) a drop of borrowers with their cities, or a delta whose None removes one.

    Gives the batch's id.
    """
    if delta is None:
        write_drop(folder, borrowers=[a_borrower(key, city=city) for key, city in sorted(borrowers.items())])
    else:
        rows = [
            {"borrower_id": key, "_deleted": "true"} if city is None else a_borrower(key, city=city)
            for key, city in sorted(delta.items())
        ]
        write_drop(folder, borrowers=rows, loans=None, instalments=None, transactions=None)
        follows = f"after: {after}\n" if after else ""
        (folder / "drop.yml").write_text(f"mode: delta\n{follows}", encoding="utf-8")
    with workplace.connect() as connection:
        done = batches.extract(
            connection,
            sources.load_source("contract"),
            folder,
            as_of,
            run_id="test",
            may_replace=may_replace,
            is_late=is_late,
        )
    if done["state"] == "loaded":
        with workplace.connect() as connection:
            judge = batches.reject if is_blocked else batches.accept
            judge(connection, str(done["batch_id"]))
    return str(done["batch_id"])


def known_at(workplace: Workplace, as_of: date) -> dict[str, str | None]:
    rows = workplace.rows(
        "select borrower_id, city from versions.borrowers"
        " where _known_from <= %s and (_known_to is null or _known_to > %s) order by 1",
        as_of,
        as_of,
    )
    assert len(rows) == len({key for key, _ in rows}), f"two versions of one row are known on {as_of}: {rows}"
    return dict(rows)


def say_exported(workplace: Workplace, as_of: date) -> None:
    with workplace.connect() as connection:
        connection.execute(
            "insert into ops.exports (as_of_date, revision, state, manifest_sha256, code_version, run_id)"
            " values (%s, 1, 'done', '', '', 'test')",
            [as_of],
        )


BOTH: Borrowers = {"B1": "Brno", "B2": "Brno"}


def test_a_skipped_day_is_made_up_for_and_later_days_stay_as_they_were(workplace: Workplace, tmp_path: Path) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "3", {"B1": "Cheb", "B2": "Brno", "B3": "Brno"}, day(3))

    take_in(workplace, tmp_path / "2", {"B1": "Opava", "B4": "Brno"}, day(2))

    assert known_at(workplace, day(1)) == BOTH
    assert known_at(workplace, day(2)) == {"B1": "Opava", "B4": "Brno"}
    assert known_at(workplace, day(3)) == {"B1": "Cheb", "B2": "Brno", "B3": "Brno"}
    assert known_at(workplace, day(9)) == known_at(workplace, day(3))


def test_a_date_before_the_first_drop_is_computed_from_it_or_from_a_drop_of_its_own(
    workplace: Workplace, tmp_path: Path
) -> None:
    first = take_in(workplace, tmp_path / "5", BOTH, day(5))
    same = take_in(workplace, tmp_path / "5", BOTH, day(1))
    take_in(workplace, tmp_path / "3", {"B1": "Cheb", "B2": "Brno"}, day(3))

    assert same == first
    assert [known_at(workplace, day(n))["B1"] for n in (1, 2, 3, 4, 5)] == ["Brno", "Brno", "Cheb", "Cheb", "Brno"]


def test_a_late_drop_can_be_delivered_again_and_taken_back(workplace: Workplace, tmp_path: Path) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "3", {"B1": "Cheb", "B2": "Brno"}, day(3))
    before = workplace.rows("select borrower_id, city, _known_from, _known_to from versions.borrowers order by 1, 2")
    late = take_in(workplace, tmp_path / "2", {"B1": "Opava"}, day(2))
    with workplace.connect() as connection:
        batches.supersede(connection, batches.chain.batch(connection, late))

    after = workplace.rows("select borrower_id, city, _known_from, _known_to from versions.borrowers order by 1, 2")

    assert after == before


def test_a_drop_in_the_middle_is_replaced_without_touching_the_days_after_it(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "2", {"B1": "Cheb", "B2": "Cheb"}, day(2))
    take_in(workplace, tmp_path / "3", {"B1": "Cheb", "B2": "Opava"}, day(3))

    take_in(workplace, tmp_path / "2-again", {"B1": "Brno", "B2": "Cheb"}, day(2))

    assert known_at(workplace, day(2)) == {"B1": "Brno", "B2": "Cheb"}
    assert known_at(workplace, day(3)) == {"B1": "Cheb", "B2": "Opava"}


def test_a_drop_in_the_middle_may_be_replaced_again_and_again(workplace: Workplace, tmp_path: Path) -> None:
    original: Borrowers = {"B1": "Cheb", "B2": "Cheb"}
    three: Borrowers = {"B1": "Cheb", "B2": "Opava"}
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "2", original, day(2))
    take_in(workplace, tmp_path / "3", three, day(3))

    take_in(workplace, tmp_path / "2-blocked", BOTH, day(2), is_blocked=True)
    assert known_at(workplace, day(2)) == original
    for name, borrowers in (("b", BOTH), ("a", original), ("c", {"B1": "Opava"}), ("a", original)):
        take_in(workplace, tmp_path / f"2-{name}", borrowers, day(2))
        assert [known_at(workplace, day(n)) for n in (1, 2, 3, 9)] == [BOTH, borrowers, three, three]


def test_a_replacement_that_was_never_judged_gives_way_to_what_it_was_to_replace(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "2", {"B1": "Cheb", "B2": "Cheb"}, day(2))
    write_drop(tmp_path / "2-killed", borrowers=[a_borrower("B1"), a_borrower("B2", born_on="tomorrow")])
    with workplace.connect() as connection:
        batches.extract(connection, sources.load_source("contract"), tmp_path / "2-killed", day(2), run_id="killed")

    take_in(workplace, tmp_path / "3", BOTH, day(3))

    assert known_at(workplace, day(2)) == {"B1": "Cheb", "B2": "Cheb"}
    assert workplace.rows("select * from quarantine.rows where closed_on is null or closed_on > opened_on") == []


def test_a_date_before_the_first_drop_is_not_computed_from_a_late_one(workplace: Workplace, tmp_path: Path) -> None:
    late: Borrowers = {"B1": "Cheb", "B2": "Cheb"}
    take_in(workplace, tmp_path / "5", BOTH, day(5))
    take_in(workplace, tmp_path / "3", late, day(3))

    take_in(workplace, tmp_path / "3", late, day(1))

    assert [known_at(workplace, day(n)) for n in (0, 1, 3, 5)] == [BOTH, late, late, BOTH]


def test_the_first_drop_is_replaced_and_what_it_tells_of_the_time_before_stays(
    workplace: Workplace, tmp_path: Path
) -> None:
    late: Borrowers = {"B1": "Cheb", "B2": "Cheb"}
    take_in(workplace, tmp_path / "5", BOTH, day(5))
    take_in(workplace, tmp_path / "3", late, day(3))
    take_in(workplace, tmp_path / "5-blocked", {"B1": "Opava"}, day(5), is_blocked=True)
    assert [known_at(workplace, day(n)) for n in (1, 3, 5)] == [BOTH, late, BOTH]

    take_in(workplace, tmp_path / "5-again", {"B1": "Opava"}, day(5))

    assert [known_at(workplace, day(n)) for n in (1, 3, 5)] == [BOTH, late, {"B1": "Opava"}]


def test_a_date_before_the_first_drop_can_be_judged_once_that_one_is_replaced(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "3", BOTH, day(3))
    take_in(workplace, tmp_path / "1-again", {"B1": "Opava"}, day(1))

    assert not judge_batches(day(0)).is_blocked
    assert known_at(workplace, day(0)) == BOTH


def test_an_exported_date_takes_another_drop_only_with_a_reason_or_as_late(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "2", BOTH, day(2))
    say_exported(workplace, day(2))

    with pytest.raises(AlreadyExported, match=r"other bytes in borrowers\.csv.*--replace REASON.*or --late"):
        take_in(workplace, tmp_path / "2-again", {"B1": "Cheb", "B2": "Brno"}, day(2))
    take_in(workplace, tmp_path / "2-again", {"B1": "Cheb", "B2": "Brno"}, day(2), is_late=True)

    assert known_at(workplace, day(2)) == BOTH
    assert known_at(workplace, day(3)) == {"B1": "Cheb", "B2": "Brno"}
    (told,) = summary.status(day(2)).deliveries
    assert "came late: 2026-03-03 stays as it went out, and what it brought is known from 2026-03-04 on." in told
    assert workplace.rows("select known_from from ops.batches where batch_date = %s order by 1", day(2)) == [
        (day(2),),
        (day(3),),
    ]


def test_a_day_that_went_out_on_older_data_takes_its_own_drop_only_as_late(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    say_exported(workplace, day(2))

    with pytest.raises(
        AlreadyExported, match="2026-03-03 is already exported without a drop of 2026-03-03, and now there is one"
    ):
        take_in(workplace, tmp_path / "2", {"B1": "Cheb"}, day(2))


def test_a_late_drop_does_not_undo_a_newer_one(workplace: Workplace, tmp_path: Path) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "3", BOTH, day(3))
    say_exported(workplace, day(1))

    with pytest.raises(SourceError, match="would only repeat what is older"):
        take_in(workplace, tmp_path / "1-again", {"B1": "Cheb"}, day(1), is_late=True)


def test_a_drop_that_would_change_a_later_day_that_went_out_on_older_data_needs_a_decision(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    say_exported(workplace, day(3))

    with pytest.raises(AlreadyExported, match="2026-03-04 is already exported without a drop of 2026-03-03"):
        take_in(workplace, tmp_path / "2", {"B1": "Cheb"}, day(2))
    take_in(workplace, tmp_path / "2", {"B1": "Cheb"}, day(2), is_late=True)

    assert [known_at(workplace, day(n)) for n in (2, 3, 4)] == [BOTH, BOTH, {"B1": "Cheb"}]


def test_what_came_late_is_known_on_its_date_once_there_is_a_reason(workplace: Workplace, tmp_path: Path) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    say_exported(workplace, day(1))
    take_in(workplace, tmp_path / "1-again", {"B1": "Cheb"}, day(1), is_late=True)

    take_in(workplace, tmp_path / "1-again", {"B1": "Cheb"}, day(1), may_replace=True)

    assert [known_at(workplace, day(n)) for n in (1, 2)] == [{"B1": "Cheb"}, {"B1": "Cheb"}]


def test_a_drop_is_refused_whose_news_the_delta_after_it_would_lose(workplace: Workplace, tmp_path: Path) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    take_in(workplace, tmp_path / "3", {}, day(3), delta={"B1": "Cheb"})
    with pytest.raises(SourceError, match="is a delta and tells changes without saying since when"):
        take_in(workplace, tmp_path / "2", {"B1": "Brno", "B2": "Opava"}, day(2))
    take_in(workplace, tmp_path / "5", {}, day(5), delta={"B1": "Opava"}, after=day(3))

    take_in(workplace, tmp_path / "4", {"B1": "Brno", "B2": "Opava"}, day(4))

    assert [known_at(workplace, day(n))["B2"] for n in (3, 4, 5)] == ["Brno", "Opava", "Brno"]


def test_a_delta_adds_replaces_and_removes_by_key_and_leaves_the_rest(workplace: Workplace, tmp_path: Path) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))

    take_in(workplace, tmp_path / "2", {}, day(2), delta={"B1": "Cheb", "B3": "Opava"}, after=day(1))
    take_in(workplace, tmp_path / "3", {}, day(3), delta={"B2": None}, after=day(2))

    assert known_at(workplace, day(2)) == {"B1": "Cheb", "B2": "Brno", "B3": "Opava"}
    assert known_at(workplace, day(3)) == {"B1": "Cheb", "B3": "Opava"}
    assert workplace.value("select count(*) from versions.loans where _known_to is null") == 2


def test_a_delta_needs_what_it_follows(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the delta of 2026-03-03 follows nothing"):
        take_in(workplace, tmp_path / "2", {}, day(2), delta={"B1": "Cheb"})
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    with pytest.raises(SourceError, match="follows the drop of 2026-03-03, but the last one known is of 2026-03-02"):
        take_in(workplace, tmp_path / "3", {}, day(3), delta={"B1": "Cheb"}, after=day(2))


def test_a_batch_that_was_compared_with_another_state_is_not_accepted(
    workplace: Workplace, drop: Callable[..., Path]
) -> None:
    source = sources.load_source("contract")
    with workplace.connect() as connection:
        loaded = batches.extract(connection, source, drop(), day(2), run_id="test")
        other = batches.extract(connection, source, drop("other", borrowers=[a_borrower("B1")]), day(1), run_id="test")
        batches.accept(connection, str(other["batch_id"]))

    with workplace.connect() as connection, pytest.raises(SourceError, match=r"extract 2026-03-03 .* again"):
        batches.accept(connection, str(loaded["batch_id"]))


@pytest.mark.parametrize("seed", [0, 1, *[pytest.param(n, marks=pytest.mark.slow) for n in range(2, 12)]])
def test_what_is_known_on_a_date_is_the_newest_drop_up_to_it_in_whatever_order_they_came(
    workplace: Workplace, tmp_path: Path, seed: int
) -> None:
    """Against a plain model: the last drop whose date is not after D, else the first that ever came.

    Full drops come in any order and again; some are blocked by the gate, and what they were to replace holds again.
    Deltas come for a newer date only, as a lender sends them; what comes before one is refused, for it would be lost.
    """
    chance = random.Random(seed)  # noqa: S311
    model: dict[date, dict[str, str]] = {}
    accepted: dict[date, int] = {}
    before_all_time: dict[str, str] = {}
    first: date | None = None
    is_settled = False
    deltas: set[date] = set()
    for number in range(12):
        is_delta = bool(model) and chance.random() < 0.3
        as_of = max(model) + timedelta(days=1) if is_delta else day(chance.randrange(6))
        is_blocked = chance.random() < 0.2
        borrowers = {key: chance.choice(CITIES) for key in ("B1", "B2", "B3", "B4") if chance.random() < 0.7}
        delta: dict[str, str | None] | None = None
        if is_delta:
            delta = {**borrowers, chance.choice(("B1", "B2", "B3", "B4")): None}
            borrowers = {**model[max(model)], **borrowers}
            borrowers = {key: city for key, city in borrowers.items() if delta.get(key, "") is not None}
        else:
            borrowers |= {"B0": "Brno"}
        follows = max(model) if is_delta else None
        if not is_delta and min((d for d in model if d > as_of), default=None) in deltas:
            with pytest.raises(SourceError, match="is a delta and tells changes since"):
                take_in(workplace, tmp_path / str(number), borrowers, as_of)
            continue
        take_in(workplace, tmp_path / str(number), borrowers, as_of, delta=delta, after=follows, is_blocked=is_blocked)
        if not is_blocked:
            deltas = deltas | {as_of} if is_delta else deltas - {as_of}
            first = first or as_of
            # Delivered again with others on top of it, the first stays what the time before it is computed from.
            is_settled = is_settled or (
                as_of == first
                and any(d != as_of and moment > accepted.get(as_of, -1) for d, moment in accepted.items())
            )
            if as_of == first and not is_settled:
                before_all_time = borrowers
            model[as_of] = borrowers
            accepted[as_of] = number

        for n in range(-1, 14):
            known = [d for d in model if d <= day(n)]
            expected = model[max(known)] if known else before_all_time
            assert known_at(workplace, day(n)) == expected, f"seed {seed}, after drop {number}, {day(n)}"
    assert workplace.value("select count(*) from versions.loans where _known_to is null") == len(
        small_portfolio()["loans"]
    )


def test_what_a_replaced_drop_found_wrong_holds_nobody_on_its_date_any_more(
    workplace: Workplace, tmp_path: Path
) -> None:
    def bad(folder: Path, as_of: date, *, is_blocked: bool = False) -> None:
        borrowers = {**BOTH, "B3": "Brno"}
        write_drop(folder, borrowers=[a_borrower(key, born_on="tomorrow" if key == "B3" else "") for key in borrowers])
        with workplace.connect() as connection:
            done = batches.extract(connection, sources.load_source("contract"), folder, as_of, run_id="test")
            (batches.reject if is_blocked else batches.accept)(connection, str(done["batch_id"]))

    def held_on(as_of: date) -> int:
        return int(
            workplace.value(
                "select count(*) from quarantine.rows where opened_on <= %s and (closed_on is null or closed_on > %s)",
                as_of,
                as_of,
            )
        )

    take_in(workplace, tmp_path / "1", BOTH, day(1))
    bad(tmp_path / "2", day(2))
    take_in(workplace, tmp_path / "3", {"B1": "Cheb", "B2": "Brno"}, day(3))

    take_in(workplace, tmp_path / "2-again", BOTH, day(2))

    assert [held_on(day(n)) for n in (1, 2, 3, 4)] == [0, 0, 1, 1]


def test_a_blocked_replacement_in_the_middle_leaves_what_was_found_as_it_was(
    workplace: Workplace, tmp_path: Path
) -> None:
    take_in(workplace, tmp_path / "1", BOTH, day(1))
    write_drop(tmp_path / "2", borrowers=[a_borrower("B1"), a_borrower("B2"), a_borrower("B3", born_on="tomorrow")])
    with workplace.connect() as connection:
        done = batches.extract(connection, sources.load_source("contract"), tmp_path / "2", day(2), run_id="test")
        batches.accept(connection, str(done["batch_id"]))
    take_in(workplace, tmp_path / "3", {"B1": "Cheb", "B2": "Brno"}, day(3))
    before = workplace.rows("select opened_on, closed_on from quarantine.rows")

    take_in(workplace, tmp_path / "2-again", {"B1": "Opava", "B2": "Opava"}, day(2), is_blocked=True)

    assert workplace.rows("select opened_on, closed_on from quarantine.rows") == before == [(day(2), None)]
    assert known_at(workplace, day(2)) == {"B1": None, "B2": None}
