"""Kinds of defects in delivered data, each with the rule of the raw gate that must catch it.

The one list of them: the tests put each into the clean portfolio's next drop, `python -m benchmarks gate-recall` into a
simulated portfolio's, at a share of the rows. What the simulator can inject (`arrears simulate --defects`) is taken
from there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import polars as pl

from arrears.contract.servicing import contract
from arrears.simulation.portfolio.defects import DEFECTS as SIMULATED
from tests.defects.clean_portfolio import GONE, Row
from tests.defects.delivery import Delivery, Where, key_of, texts, typed

Inject = Callable[[Delivery], object]

# What comes of a defect: the drop is not taken in (`refused`), the export stops (`block`), rows are set aside and their
# loans held back (`row`), somebody is told (`warning`), nothing (`nothing`).
Outcome = Literal["refused", "block", "row", "warning", "nothing"]
Severity = Literal["critical", "warning", "harmless"]


@dataclass(frozen=True, slots=True)
class Defect:
    """One kind.

    Attributes:
        name: what is wrong, for people.
        family: of kinds, for the table in the docs.
        inject: spoils a delivery.
        suite: whose rule must find it; empty where none does.
        rule: its number.
        outcome: what must come of it.
        severity: how bad it would be if it went through. critical: amounts, dates or persons would be wrong in a queue,
            or a loan would be lost; warning: somebody should look; harmless: it must change nothing.
        findings: rows found for each row spoilt.
        rate: at which it is injected, where that is not the delivery's share of rows.
        source: `other` is another lender's first drop, delivered beside the clean one; nothing of it is known.
        slips: why nothing finds it; empty where something must.
        needs_portfolio: it is about many rows, and the clean portfolio's twenty loans are too few for it.
    """

    name: str
    family: str
    inject: Inject
    suite: str = ""
    rule: str = ""
    outcome: Outcome = "row"
    severity: Severity = "critical"
    findings: int = 1
    rate: str = ""
    source: Literal["contract", "other"] = "contract"
    slips: str = ""
    needs_portfolio: bool = False

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


# How rows are spoilt


def change(table: str, column: str, value: Any, where: Where = lambda row: True) -> Inject:
    """A value of some rows becomes another: `value`, or what it makes of the row."""

    def inject(delivery: Delivery) -> None:
        for row in delivery.choose(table, where):
            row[column] = value(row) if callable(value) else value

    return inject


def change_all(table: str, column: str, value: Any, where: Where = lambda row: True) -> Inject:
    """A value of every row becomes another."""

    def inject(delivery: Delivery) -> None:
        for row in delivery.rows(table):
            if where(row):
                row[column] = value(row) if callable(value) else value

    return inject


def again_with(table: str, changes: Callable[[Row], Row], where: Where = lambda row: True) -> Inject:
    """Some rows are there once more, with changes; where these change the key, the new rows are the spoilt ones."""

    def inject(delivery: Delivery) -> None:
        for row in delivery.choose(table, where):
            twin = row | changes(row)
            delivery.rows(table).append(twin)
            if key_of(table, twin) != key_of(table, row):
                delivery.injected[table].remove(key_of(table, row))
                delivery.note(table, [twin])

    return inject


def remove(table: str, where: Where = lambda row: True, *, is_fresh: bool | None = None) -> Inject:
    """Some rows are gone."""

    def inject(delivery: Delivery) -> None:
        gone = delivery.choose(table, where, is_fresh=is_fresh)
        delivery.drop[table] = [row for row in delivery.rows(table) if row not in gone]

    return inject


def keep_share(table: str, share: float) -> Inject:
    """The file was cut off, at the end of a line, after some share of its rows."""
    return lambda delivery: delivery.drop.update(
        {table: delivery.rows(table)[: int(len(delivery.rows(table)) * share)]}
    )


def of_file(table: str, spoil: Callable[[Path], object]) -> Inject:
    """What becomes of the written file."""
    return lambda delivery: (delivery.rows(table), delivery.files.append(lambda folder: spoil(folder / f"{table}.csv")))


def simulated(kind: str) -> Inject:
    """As the simulator injects it; of a table that only grows, into rows that are new (a known one may not change)."""
    told = SIMULATED[kind]
    table = contract()[told.table]
    if told.file is not None:
        return of_file(told.table, told.file)

    def inject(delivery: Delivery) -> None:
        may = None
        if told.eligible is not None:
            frame = typed(delivery.rows(told.table), table)
            flags = frame.select(told.eligible(delivery.day).fill_null(False)).to_series()
            may = {id(row) for row, flag in zip(delivery.rows(told.table), flags, strict=True) if flag}
        is_known = kind in ("changed_known_row", "removed_known_row")
        is_fresh = not is_known if table.only_grows else None
        chosen = delivery.choose(told.table, lambda row: may is None or id(row) in may, is_fresh=is_fresh)
        if told.rows == "removed":
            delivery.drop[told.table] = [row for row in delivery.rows(told.table) if row not in chosen]
        elif told.rows:
            twins = [dict(row) for row in chosen]
            if told.rows == "contradicted":
                twins = [row | {told.column: str(Decimal(row[told.column]) + 1)} for row in twins]
            delivery.rows(told.table).extend(twins)
        else:
            assert told.changed is not None
            spoilt = typed(chosen, table)
            changed = told.changed.cast(spoilt.schema[told.column]).alias(told.column)
            value = texts(spoilt.with_columns(changed).select(told.column))
            for row, new in zip(chosen, value, strict=True):
                row |= new

    return inject


def simulated_value(kind: str) -> Any:
    """What the simulator puts into the column, whatever stood there."""
    value = SIMULATED[kind].changed
    assert value is not None
    return pl.select(value).item()


# Rows of the domain


def _times(factor: str, column: str = "amount") -> Callable[[Row], str]:
    return lambda row: f"{Decimal(row[column]) * Decimal(factor):f}"


def _is(column: str, *values: str) -> Where:
    return lambda row: row.get(column) in values


def _has(*columns: str) -> Where:
    return lambda row: all(row.get(column) for column in columns)


def _day(column: str, **shift: int) -> Callable[[Row], str]:
    """A date of the row, moved by so many days, or set to another year, month or day."""

    def moved(row: Row) -> str:
        day = date.fromisoformat(row[column])
        return (day + timedelta(days=shift.get("days", 0))).isoformat()

    return moved


def spoil_booking(column: str, value: Any) -> Inject:
    """A value of some of the day's repayments."""

    def inject(delivery: Delivery) -> None:
        for row in delivery.choose("transactions", _is("kind", "repayment"), is_fresh=True):
            row[column] = value(row) if callable(value) else value

    return inject


def _plain_loan(delivery: Delivery) -> Where:
    """Tells rows of loans that are paid by a schedule of their own: active, not revolving, not drawn in parts."""
    plain = {
        row["loan_id"]
        for row in delivery.rows("loans")
        if row["product"] != "revolving" and row["status"] == "active" and row.get("is_drawn_in_parts") != "true"
    }
    return lambda row: row["loan_id"] in plain


def of_plain_loans(table: str, column: str, value: Any, where: Where = lambda row: True) -> Inject:
    """A value of some rows of loans with a schedule of their own."""

    def inject(delivery: Delivery) -> None:
        plain = _plain_loan(delivery)
        change(table, column, value, lambda row: plain(row) and where(row))(delivery)

    return inject


def reverse(of: Where = lambda row: True, **changes: Any) -> Inject:
    """Some new bookings reverse known repayments; changes are values, or made of the repayment."""

    def inject(delivery: Delivery) -> None:
        reversed_before = {row.get("reverses_transaction_id") for row in delivery.rows("transactions")}

        def may(row: Row) -> bool:
            is_open = row["kind"] == "repayment" and row["transaction_id"] not in reversed_before
            return bool(is_open and of(row))

        for row in delivery.choose("transactions", may, is_fresh=False):
            delivery.injected["transactions"].remove(key_of("transactions", row))
            made = {
                "transaction_id": f"{row['transaction_id']}-X",
                "loan_id": row["loan_id"],
                "kind": "reversal",
                "effective_on": delivery.day.isoformat(),
                "booked_at": f"{delivery.day}T09:00:00+00:00",
                "amount": row["amount"],
                "reverses_transaction_id": row["transaction_id"],
            } | {name: value(row) if callable(value) else value for name, value in changes.items()}
            delivery.rows("transactions").append(made)
            delivery.note("transactions", [made])

    return inject


def _reverse_again(delivery: Delivery) -> None:
    """A booking that is reversed already is reversed once more; and a reversal."""
    _reverse_reversal(delivery, lambda row: row["reverses_transaction_id"])


def _reverse_the_reversal(delivery: Delivery) -> None:
    _reverse_reversal(delivery, lambda row: row["transaction_id"])


def _reverse_reversal(delivery: Delivery, which: Callable[[Row], str]) -> None:
    for row in delivery.choose("transactions", _is("kind", "reversal"), is_fresh=False):
        delivery.injected["transactions"].remove(key_of("transactions", row))
        made = row | {
            "transaction_id": f"{row['transaction_id']}-X",
            "booked_at": f"{delivery.day}T09:00:00+00:00",
            "effective_on": delivery.day.isoformat(),
            "reverses_transaction_id": which(row),
        }
        delivery.rows("transactions").append(made)
        delivery.note("transactions", [made])


def _twice_in_one_drop(delivery: Delivery) -> None:
    """Two reversals of one booking; the later one is the spoilt one."""
    reverse()(delivery)
    for (number,) in list(delivery.injected["transactions"]):
        (row,) = [row for row in delivery.rows("transactions") if row["transaction_id"] == number]
        twin = row | {"transaction_id": f"{number}-2", "booked_at": f"{delivery.day}T10:00:00+00:00"}
        delivery.rows("transactions").append(twin)
        delivery.injected["transactions"].remove((number,))
        delivery.note("transactions", [twin])


def _new_loan(delivery: Delivery, **changes: str) -> list[Row]:
    """Some loans are there once more under numbers of their own, without anything that hangs on them."""
    plain = _plain_loan(delivery)
    made = []
    for row in delivery.choose("loans", plain):
        loan = row | {"loan_id": f"{row['loan_id']}-N"} | changes
        delivery.rows("loans").append(loan)
        made.append(row | {"new": loan["loan_id"]})
    delivery.forget()
    delivery.note("loans", [{"loan_id": row["new"]} for row in made])
    return made


def _with_schedules(delivery: Delivery, made: list[Row], share: float = 1.0) -> None:
    new = {row["loan_id"]: row["new"] for row in made}
    schedules: dict[str, list[Row]] = {number: [] for number in new}
    for row in delivery.rows("instalments"):
        if row["loan_id"] in new:
            schedules[row["loan_id"]].append(row)
    for number, rows in schedules.items():
        rows = [row for row in rows if row["schedule_version"] == "1"]
        kept = rows[: max(1, int(len(rows) * share))]
        delivery.rows("instalments").extend(row | {"loan_id": new[number]} for row in kept)


def _loan_of_a_wrong_product(delivery: Delivery) -> None:
    """Loans under a product that nobody knows, with their schedules, which wait with them."""
    _with_schedules(delivery, _new_loan(delivery, product="karaoke"))


def _schedule_cut_short(delivery: Delivery) -> None:
    _with_schedules(delivery, _new_loan(delivery), share=0.5)


def _another_version(changes: Callable[[Row, int, int], Row | None], *, is_new: bool = True) -> Inject:
    """The schedules of some loans are restated.

    Args:
        changes: of an instalment, its place in the schedule and how many there are; None leaves it out.
        is_new: whether under a number of their own, or under the one that is known.
    """

    def inject(delivery: Delivery) -> None:
        plain = _plain_loan(delivery)
        rows = delivery.rows("instalments")
        several = {row["loan_id"] for row in rows if row["schedule_version"] != "1"}
        chosen = delivery.choose(
            "instalments",
            lambda row: row["instalment_number"] == "1" and row["loan_id"] not in several and plain(row),
            count=max(1, int(delivery.share * len(delivery.rows("loans")))),
        )
        delivery.forget()
        loans = {row["loan_id"] for row in chosen}
        schedules: dict[str, list[Row]] = {number: [] for number in loans}
        for row in rows:
            if row["loan_id"] in loans:
                schedules[row["loan_id"]].append(row)
        for schedule in schedules.values():
            for place, row in enumerate(schedule):
                changed = changes(row, place, len(schedule))
                if changed is None:
                    continue
                if is_new:
                    rows.append(row | {"schedule_version": "2"} | changed)
                else:
                    row.update(changed)
            delivery.note(
                "instalments",
                [(schedule[-1] if is_new else schedule[0]) | ({"schedule_version": "2"} if is_new else {})],
            )

    return inject


def _loan_goes_and_is_booked_on(delivery: Delivery) -> None:
    """Loans are deleted with all that hangs on them, and something is booked on them the same day."""
    chosen = {row["loan_id"]: row for row in delivery.choose("transactions", _is("kind", "repayment"), is_fresh=True)}
    for table in contract().values():
        if "loan_id" in table.column_names and (delivery.rows(table.name) or table.name == "loans"):
            delivery.drop[table.name] = [
                row
                for row in delivery.rows(table.name)
                if row.get("loan_id") not in chosen or row is chosen.get(row.get("loan_id", ""))
            ]


def _add(table: str, changes: Callable[[Row, date], Row]) -> Inject:
    """New rows on some loans; made of the loan and the day."""

    def inject(delivery: Delivery) -> None:
        plain = _plain_loan(delivery)
        loans = delivery.choose("loans", plain)
        delivery.forget()
        made = [changes(loan, delivery.day) for loan in loans]
        delivery.rows(table).extend(made)
        delivery.note(table, made)

    return inject


def _pause(**changes: str) -> Inject:
    return _add(
        "forbearances",
        lambda loan, day: (
            {
                "forbearance_id": f"{loan['loan_id']}-F",
                "loan_id": loan["loan_id"],
                "kind": "delinquency_pause",
                "agreed_on": (day - timedelta(days=20)).isoformat(),
                "starts_on": (day - timedelta(days=20)).isoformat(),
                "ends_on": (day - timedelta(days=5)).isoformat(),
                "is_distressed": "false",
            }
            | changes
        ),
    )


def _charge(**changes: str) -> Inject:
    return _add(
        "charges",
        lambda loan, day: (
            {
                "charge_id": f"{loan['loan_id']}-C",
                "loan_id": loan["loan_id"],
                "kind": "fee",
                "due_on": day.isoformat(),
                "amount": "5",
            }
            | changes
        ),
    )


def _promise(**changes: str) -> Inject:
    return _add(
        "promises",
        lambda loan, day: (
            {
                "promise_id": f"{loan['loan_id']}-P",
                "loan_id": loan["loan_id"],
                "made_on": day.isoformat(),
                "due_on": (day + timedelta(days=10)).isoformat(),
                "amount": "50",
            }
            | changes
        ),
    )


def _balance(**changes: str) -> Inject:
    return _add(
        "servicer_balances",
        lambda loan, day: {"loan_id": loan["loan_id"], "balance_on": day.isoformat(), "days_past_due": "0"} | changes,
    )


def _guarantee(**changes: str) -> Inject:
    return _add(
        "guarantees",
        lambda loan, day: (
            {
                "guarantee_id": f"{loan['loan_id']}-G",
                "guarantor_name": "Example Guarantor",
                "guarantor_kind": "person",
                "cover_share": "0.5",
                "currency": loan["currency"],
                "starts_on": day.isoformat(),
                "clock_starts": "called",
                "demand_after_days": "30",
            }
            | changes
        ),
    )


def _rate(value: Callable[[Row], str], *, is_every: bool = False) -> Inject:
    """The rate of one currency, or of every one, told for today; made of the last one."""

    def inject(delivery: Delivery) -> None:
        last: dict[tuple[str, str], Row] = {}
        for row in delivery.known("fx_rates"):
            pair = (row["currency"], row["base_currency"])
            if pair not in last or row["quoted_on"] > last[pair]["quoted_on"]:
                last[pair] = row
        every = sorted(last.values(), key=lambda row: key_of("fx_rates", row))
        made = [
            row | {"quoted_on": delivery.day.isoformat(), "rate": value(row)}
            for row in (every if is_every else [delivery.dice.choice(every)])
        ]
        keys = {key_of("fx_rates", row) for row in made}
        rows = [row for row in delivery.rows("fx_rates") if key_of("fx_rates", row) not in keys]
        delivery.drop["fx_rates"] = rows + made
        delivery.note("fx_rates", made)

    return inject


def _rates_stop(delivery: Delivery) -> None:
    """No rate has come for a month."""
    since = (delivery.day - timedelta(days=30)).isoformat()
    kept = [row for row in delivery.rows("fx_rates") if row["quoted_on"] < since]
    delivery.drop["fx_rates"] = kept or [row | {"quoted_on": since} for row in delivery.rows("fx_rates")]


def _rates_of_a_currency_gone(delivery: Delivery) -> None:
    gone = delivery.rows("fx_rates")[0]["currency"]
    delivery.drop["fx_rates"] = [row for row in delivery.rows("fx_rates") if row["currency"] != gone]


def _without_column(table: str, column: str) -> Inject:
    """The column is gone from every row, and so from the file."""
    return lambda delivery: [row.update({column: GONE}) for row in delivery.rows(table)]


def _of_a_lender(prefix: str) -> Inject:
    """Every row is another lender's."""

    def inject(delivery: Delivery) -> None:
        for table in contract().values():
            for row in delivery.rows(table.name):
                row |= {column: prefix + row[column] for column in table.prefixed_columns if row.get(column)}

    return inject


def _take_loans(prefix: str, count: int | None = None, share: float | None = None) -> Inject:
    """Some loans of the other lender have keys that the first lender uses too, without anything that hangs on them."""

    def inject(delivery: Delivery) -> None:
        wanted = count if share is None else max(2, int(share * len(delivery.rows("loans"))))
        for row in delivery.choose("loans", count=wanted):
            delivery.injected["loans"].remove(key_of("loans", row))
            taken = row | {"loan_id": row["loan_id"].removeprefix(prefix)}
            delivery.rows("loans").append(taken)
            delivery.loans.discard(row["loan_id"])
            delivery.note("loans", [taken])

    return inject


def _book_for_the_other(prefix: str) -> Inject:
    """The other lender books on loans of the first."""

    def inject(delivery: Delivery) -> None:
        for row in delivery.choose("transactions", _is("kind", "repayment"), count=1):
            delivery.forget()
            made = row | {"transaction_id": "X-N", "loan_id": row["loan_id"].removeprefix(prefix)}
            delivery.rows("transactions").append(made)
            delivery.note("transactions", [made])

    return inject


def _other_rate(delivery: Delivery) -> None:
    for row in delivery.choose("fx_rates", count=1):
        row["rate"] = f"{Decimal(row['rate']) * Decimal('1.01'):.8f}"


def _swap_header(*pair: str) -> Callable[[Path], None]:
    """Two names in the header have changed places."""

    def spoil(path: Path) -> None:
        header, rest = path.read_text(encoding="utf-8").split("\n", 1)
        names = header.split(",")
        left, right = (names.index(name) for name in pair)
        names[left], names[right] = names[right], names[left]
        path.write_text(",".join(names) + "\n" + rest, encoding="utf-8")

    return spoil


def _without_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


def _twice_over(path: Path) -> None:
    """The file's rows stand in it twice."""
    content = path.read_bytes()
    path.write_bytes(content + content.split(b"\n", 1)[1])


def _with_byte_order_mark(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def _with_a_torn_line(path: Path) -> None:
    lines = path.read_bytes().splitlines()
    lines[len(lines) // 2] = lines[len(lines) // 2].rsplit(b",", 3)[0]
    path.write_bytes(b"\n".join(lines) + b"\n")


def _told_in_drop_yml(table: str) -> Inject:
    """drop.yml says how many rows the file has; then the file loses its last ones."""

    def inject(delivery: Delivery) -> None:
        rows = delivery.rows(table)
        delivery.said["tables"] = {table: {"rows": len(rows)}}
        delivery.drop[table] = rows[: -max(1, int(delivery.share * len(rows)))]

    return inject


def _yesterday(*tables: str) -> Inject:
    """The tables are yesterday's."""

    def inject(delivery: Delivery) -> None:
        for table in tables:
            delivery.drop[table] = [dict(row) for row in delivery.known(table)]

    return inject


def _all_of_yesterday(delivery: Delivery) -> None:
    delivery.said["as_of"] = (delivery.day - timedelta(days=1)).isoformat()


def _bookings_of_today(keep: float = 1.0, times: int = 1) -> Inject:
    """Fewer, or more, bookings than happened today."""

    def inject(delivery: Delivery) -> None:
        fresh = delivery.is_fresh("transactions")
        old = [row for row in delivery.rows("transactions") if not fresh(row)]
        new = [row for row in delivery.rows("transactions") if fresh(row)]
        kept = new[: int(len(new) * keep)]
        more = [
            row
            | {
                "transaction_id": f"{row['transaction_id']}-{copy}",
                "amount": f"{Decimal(row['amount']) / (copy + 2):.0f}",
            }
            for copy in range(times - 1)
            for row in kept
            if row["kind"] == "repayment" and Decimal(row["amount"]) > 100
        ]
        delivery.drop["transactions"] = old + kept + more

    return inject


def _loans_gone_alone(delivery: Delivery) -> None:
    """Loans are gone, and their schedules and earlier bookings are there still."""
    remove("loans", _plain_loan(delivery))(delivery)
    fresh = delivery.is_fresh("transactions")
    delivery.drop["transactions"] = [
        row for row in delivery.rows("transactions") if row["loan_id"] not in delivery.loans or not fresh(row)
    ]


def _loans_gone(delivery: Delivery) -> None:
    """Loans are gone with all that hangs on them."""
    gone = {row["loan_id"] for row in delivery.choose("loans", _plain_loan(delivery))}
    for table in contract().values():
        if "loan_id" in table.column_names and delivery.rows(table.name):
            delivery.drop[table.name] = [row for row in delivery.rows(table.name) if row.get("loan_id") not in gone]


def _instalments_gone(delivery: Delivery) -> None:
    """Single instalments of schedules that stay otherwise."""
    plain = _plain_loan(delivery)
    several = {row["loan_id"] for row in delivery.rows("instalments") if row["schedule_version"] != "1"}
    remove(
        "instalments",
        lambda row: row["instalment_number"] == "3" and row["loan_id"] not in several and plain(row),
    )(delivery)


def _person_twice(delivery: Delivery) -> None:
    """Persons are there again under other numbers."""
    again_with("borrowers", lambda row: {"borrower_id": f"{row['borrower_id']}-N"}, _has("national_id"))(delivery)


def _reverse_another_loans(delivery: Delivery) -> None:
    """Reversals on a loan name another loan's booking."""
    reverse()(delivery)
    others = [row for row in delivery.known("transactions") if row["kind"] == "repayment"]
    for (number,) in delivery.injected["transactions"]:
        (row,) = [row for row in delivery.rows("transactions") if row["transaction_id"] == number]
        row["reverses_transaction_id"] = delivery.dice.choice(
            [each for each in others if each["loan_id"] != row["loan_id"]]
        )["transaction_id"]


def _before_disbursement(delivery: Delivery) -> None:
    disbursed = {row["loan_id"]: row["disbursed_on"] for row in delivery.rows("loans")}
    for row in delivery.choose("transactions", _is("kind", "repayment"), is_fresh=True):
        row["effective_on"] = (date.fromisoformat(disbursed[row["loan_id"]]) - timedelta(days=3)).isoformat()


def _payment_twice(delivery: Delivery) -> None:
    """Today's payments are booked a second time, at the same instant, under numbers of their own."""
    for row in delivery.choose("transactions", _is("kind", "repayment"), is_fresh=True):
        twin = row | {"transaction_id": f"{row['transaction_id']}-A"}
        delivery.rows("transactions").append(twin)
        delivery.injected["transactions"].remove(key_of("transactions", row))
        delivery.note("transactions", [twin])


def _payments_of_today(delivery: Delivery, factor: str) -> None:
    fresh = delivery.is_fresh("transactions")
    for row in delivery.rows("transactions"):
        if row["kind"] == "repayment" and fresh(row):
            row["amount"] = _times(factor)(row)


def _mojibake(row: Row) -> str:
    return f"{row['name']} Müller".encode().decode("latin-1")


AHEAD = "2066-03-31"
UNDECIDABLE = "nothing in the delivery contradicts it"

CATALOGUE: tuple[Defect, ...] = (
    # Keys
    Defect(
        "a loan delivered twice with other terms",
        "keys",
        again_with("loans", lambda row: {"grace_days": str(int(row["grace_days"]) + 5)}),
        "raw.loans",
        "key-unique",
        findings=2,
    ),
    Defect(
        "an instalment delivered twice with other amounts",
        "keys",
        again_with("instalments", lambda row: {"interest_amount": str(Decimal(row["interest_amount"]) + 1)}),
        "raw.instalments",
        "key-unique",
        findings=2,
    ),
    Defect(
        "a booking number used twice", "keys", simulated("duplicate_key"), "raw.transactions", "key-unique", findings=2
    ),
    Defect("a loan without a number", "keys", again_with("loans", lambda row: {"loan_id": None}), "", "unreadable"),
    Defect(
        "an agency's contract delivered twice with other terms",
        "keys",
        again_with("agency_contracts", lambda row: {"capacity": str(int(row["capacity"]) + 5)}),
        "raw.agency_contracts",
        "key-unique",
        findings=2,
    ),
    # Required columns
    Defect(
        "a loan without a borrower",
        "required",
        change("loans", "borrower_id", None),
        "raw.loans",
        "borrower_id-required",
    ),
    Defect("a loan without a currency", "required", simulated("null_in_required"), "raw.loans", "currency-required"),
    Defect(
        "an instalment without a due date",
        "required",
        change("instalments", "due_on", None),
        "raw.instalments",
        "due_on-required",
    ),
    Defect(
        "a booking without an amount", "required", spoil_booking("amount", None), "raw.transactions", "amount-required"
    ),
    Defect(
        "a borrower without a name", "required", change("borrowers", "name", None), "raw.borrowers", "name-required"
    ),
    # Types
    Defect(
        "a decimal comma",
        "types",
        spoil_booking("amount", lambda row: row["amount"].replace(".", ",")),
        "",
        "unreadable",
    ),
    Defect("a thousands separator", "types", spoil_booking("amount", "1,234.00"), "", "unreadable"),
    Defect("an amount with its currency", "types", spoil_booking("amount", "110.00 EUR"), "", "unreadable"),
    Defect("n/a for a number", "types", change("loans", "grace_days", "n/a"), "", "unreadable"),
    Defect("yes for true", "types", change("loans", "is_green", "yes"), "", "unreadable"),
    Defect("an instant without its zone", "types", spoil_booking("booked_at", "2026-03-31 09:00:00"), "", "unreadable"),
    Defect(
        "an instalment number with a fraction",
        "types",
        change("instalments", "instalment_number", "3.5"),
        "",
        "unreadable",
    ),
    # Allowed values
    Defect("an unknown product", "values", change("loans", "product", "karaoke"), "raw.loans", "product-values"),
    Defect(
        "a status in other letters",
        "values",
        change("loans", "status", lambda row: row["status"].upper()),
        "raw.loans",
        "status-values",
    ),
    Defect("an unknown kind of booking", "values", simulated("unknown_value"), "raw.transactions", "kind-values"),
    Defect(
        "an unknown kind of suppression",
        "values",
        change("suppressions", "kind", "do_not_call"),
        "raw.suppressions",
        "kind-values",
    ),
    Defect("a currency by its sign", "values", change("loans", "currency", "€"), "raw.loans", "currency-code"),
    Defect("a currency of four letters", "values", simulated("wrong_currency"), "raw.loans", "currency-code"),
    Defect("a time zone that is none", "values", simulated("unknown_time_zone"), "raw.borrowers", "time_zone-iana"),
    Defect(
        "an allocation order with a typing error",
        "values",
        change("loans", "allocation_order", "penalty>fees>interest>principal"),
        "raw.loans",
        "allocation_order-components",
    ),
    Defect(
        "a waiver of nothing in particular",
        "values",
        spoil_booking("kind", "waiver"),
        "raw.transactions",
        "waiver-component",
    ),
    # References
    Defect(
        "a loan of an unknown borrower",
        "references",
        change("loans", "borrower_id", "B99999999"),
        "raw.loans",
        "borrower_id-reference",
    ),
    Defect(
        "a booking on an unknown loan",
        "references",
        simulated("broken_reference"),
        "raw.transactions",
        "loan_id-reference",
    ),
    Defect(
        "a placement with an unknown agency",
        "references",
        change("placements", "agency_id", "A99"),
        "raw.placements",
        "agency_id-reference",
    ),
    Defect(
        "a placement under another agency's contract",
        "references",
        lambda delivery: [
            row.update(
                contract_id=next(
                    each["contract_id"]
                    for each in delivery.rows("agency_contracts")
                    if each["agency_id"] != row["agency_id"]
                )
            )
            for row in delivery.choose("placements")
        ],
        "raw.placements",
        "contract-of-the-agency",
    ),
    Defect(
        "a new booking on a loan that this drop deletes",
        "references",
        _loan_goes_and_is_booked_on,
        "raw.transactions",
        "loan_id-reference",
    ),
    Defect(
        "a loan quarantined with its schedule",
        "references",
        _loan_of_a_wrong_product,
        "raw.loans",
        "product-values",
    ),
    # Shares and ranges
    Defect(
        "a share in percent",
        "ranges",
        change("agency_contracts", "commission_share", "9.5"),
        "raw.agency_contracts",
        "commission_share-share",
    ),
    Defect("a share above 1", "ranges", simulated("share_above_one"), "raw.agency_contracts", "commission_share-share"),
    Defect("a cover above the whole", "ranges", _guarantee(cover_share="1.5"), "raw.guarantees", "cover_share-share"),
    Defect(
        "an interest rate in percent",
        "ranges",
        change("loans", "interest_rate", "7.2"),
        "raw.loans",
        "interest_rate-ratio",
        outcome="warning",
        severity="warning",
    ),
    Defect(
        "a contract for no days past due",
        "ranges",
        change("agency_contracts", "dpd_to", lambda row: str(int(row["dpd_from"]) - 1), _has("dpd_from")),
        "raw.agency_contracts",
        "range-holds-something",
    ),
    # Amounts
    Defect("a negative booking", "amounts", simulated("negative_amount"), "raw.transactions", "amount-positive"),
    Defect("a booking of nothing", "amounts", spoil_booking("amount", "0"), "raw.transactions", "amount-positive"),
    Defect("a promise of nothing", "amounts", simulated("zero_amount"), "raw.promises", "amount-positive"),
    Defect("a negative charge", "amounts", _charge(amount="-5"), "raw.charges", "amount-positive"),
    Defect(
        "a negative interest component",
        "amounts",
        change("instalments", "interest_amount", "-10.00"),
        "raw.instalments",
        "interest_amount-not-negative",
    ),
    Defect(
        "a loan of nothing",
        "amounts",
        change("loans", "principal_amount", "0"),
        "raw.loans",
        "principal_amount-positive",
    ),
    Defect("a part of a cent", "amounts", simulated("amount_too_fine"), "raw.transactions", "amount-minor-unit"),
    Defect(
        "an instalment with a third of a cent",
        "amounts",
        change("instalments", "interest_amount", "10.3333"),
        "raw.instalments",
        "instalment-minor-unit",
    ),
    Defect(
        "yen with sen",
        "amounts",
        lambda delivery: [
            row.update(currency="JPY", principal_amount="1200.50")
            for row in delivery.choose("loans", lambda row: row["currency"] in ("JPY", "EUR"))
        ],
        "raw.loans",
        "principal_amount-minor-unit",
    ),
    Defect(
        "a payment times 100",
        "amounts",
        simulated("amount_times_100"),
        "raw.transactions",
        "credit-within-the-loan",
        outcome="warning",
    ),
    Defect(
        "a payment in a smaller currency",
        "amounts",
        spoil_booking("amount", _times("150")),
        "raw.transactions",
        "credit-within-the-loan",
        outcome="warning",
    ),
    Defect(
        "a payment divided by 100",
        "amounts",
        spoil_booking(
            "amount", lambda row: f"{Decimal(row['amount']) / 100:.0f}" if Decimal(row["amount"]) >= 100 else "1"
        ),
        outcome="nothing",
        slips=f"a part of an instalment is an ordinary payment: {UNDECIDABLE}",
    ),
    Defect(
        "a payment rounded to whole units",
        "amounts",
        spoil_booking("amount", lambda row: f"{Decimal(row['amount']) + 1:.0f}"),
        outcome="nothing",
        severity="warning",
        slips=UNDECIDABLE,
    ),
    Defect(
        "instalments that are not the principal",
        "amounts",
        of_plain_loans(
            "instalments",
            "principal_amount",
            lambda row: str(Decimal(row["principal_amount"]) * 2 + 1000),
            _is("schedule_version", "1"),
        ),
        "raw.instalments",
        "first-version-adds-up",
        outcome="warning",
    ),
    Defect(
        "a schedule with a hundredfold instalment",
        "amounts",
        simulated("schedule_not_adding_up"),
        "raw.instalments",
        "first-version-adds-up",
        outcome="warning",
    ),
    Defect(
        "a known loan's principal times 100",
        "amounts",
        of_plain_loans("loans", "principal_amount", _times("100", "principal_amount")),
        "raw.loans",
        "principal-of-the-schedule",
        outcome="warning",
    ),
    Defect(
        "a known loan in another currency",
        "amounts",
        of_plain_loans("loans", "currency", lambda row: "USD" if row["currency"] != "USD" else "GBP"),
        "raw.loans",
        "currency-stays",
    ),
    Defect(
        "bookings that name a currency of their own",
        "amounts",
        spoil_booking("currency", "USD"),
        "raw.deliveries",
        "currency-of-the-loan",
        outcome="warning",
    ),
    Defect(
        "signs turned round in a whole file",
        "amounts",
        change_all("instalments", "principal_amount", lambda row: f"-{row['principal_amount']}"),
        "raw.instalments",
        "row-findings",
        outcome="block",
        rate="all rows",
    ),
    # Dates
    Defect("a due date in year 206", "dates", simulated("year_0206"), "raw.instalments", "due_on-plausible"),
    Defect("30 February", "dates", change("instalments", "due_on", "2026-02-30"), "", "unreadable"),
    Defect(
        "a day with dots",
        "dates",
        change("instalments", "due_on", lambda row: date.fromisoformat(row["due_on"]).strftime("%d.%m.%Y")),
        "",
        "unreadable",
    ),
    Defect(
        "a day with strokes",
        "dates",
        change("instalments", "due_on", lambda row: date.fromisoformat(row["due_on"]).strftime("%d/%m/%Y")),
        "",
        "unreadable",
    ),
    Defect(
        "a year of two digits",
        "dates",
        change("instalments", "due_on", lambda row: row["due_on"][2:]),
        "",
        "unreadable",
    ),
    Defect(
        "year 26",
        "dates",
        change("instalments", "due_on", lambda row: "0026" + row["due_on"][4:]),
        "raw.instalments",
        "due_on-plausible",
    ),
    Defect(
        "day and month of a value date swapped",
        "dates",
        simulated("swapped_day_month"),
        "raw.transactions",
        "effective_on-near-booking",
        outcome="warning",
        severity="warning",
    ),
    Defect(
        "a value date a day off, by another time zone",
        "dates",
        spoil_booking("effective_on", _day("effective_on", days=-1)),
        outcome="nothing",
        severity="warning",
        slips=f"payments are valued a day earlier every day: {UNDECIDABLE}",
    ),
    Defect(
        "a booking an hour off, by summer time",
        "dates",
        spoil_booking("booked_at", lambda row: row["booked_at"].replace("T", " ").replace("+00:00", "+01:00")),
        outcome="nothing",
        severity="harmless",
    ),
    Defect(
        "a maturity before disbursement",
        "dates",
        simulated("maturity_before_disbursement"),
        "raw.loans",
        "maturity-after-disbursement",
    ),
    Defect(
        "a charge waived in year 206", "dates", _charge(waived_on="0206-01-01"), "raw.charges", "waived_on-plausible"
    ),
    Defect(
        "a status since year 1026",
        "dates",
        change("loans", "status_on", "1026-03-01"),
        "raw.loans",
        "status_on-plausible",
    ),
    Defect(
        "a disbursement in forty years",
        "dates",
        lambda delivery: [
            row.update(disbursed_on="2066-06-01", maturity_on="2067-06-01") for row in delivery.choose("loans")
        ],
        "raw.loans",
        "disbursed_on-not-far-ahead",
    ),
    Defect(
        "a value date five years ahead",
        "dates",
        simulated("future_date"),
        "raw.transactions",
        "effective_on-not-far-ahead",
    ),
    Defect(
        "a value date two months ahead",
        "dates",
        spoil_booking("effective_on", _day("effective_on", days=60)),
        "raw.transactions",
        "effective_on-near-booking",
        outcome="warning",
        severity="warning",
    ),
    Defect(
        "a booking backdated by two years",
        "dates",
        spoil_booking("effective_on", _day("effective_on", days=-730)),
        "raw.transactions",
        "effective_on-near-booking",
        outcome="warning",
        severity="warning",
    ),
    Defect(
        "a booking before disbursement",
        "dates",
        _before_disbursement,
        "raw.transactions",
        "effective_on-from-disbursement",
        outcome="warning",
        severity="warning",
    ),
    Defect(
        "a due date a century ago",
        "dates",
        change(
            "instalments", "due_on", lambda row: "19" + row["due_on"][2:] if row["due_on"] > "2020" else row["due_on"]
        ),
        "raw.instalments",
        "due_on-not-far-before",
    ),
    Defect(
        "a schedule that takes effect in forty years",
        "dates",
        _another_version(lambda row, place, count: {"effective_on": AHEAD} if place + 1 == count else None),
        "raw.instalments",
        "effective_on-not-far-ahead",
    ),
    Defect(
        "a pause since year 206", "dates", _pause(starts_on="0206-03-01"), "raw.forbearances", "starts_on-plausible"
    ),
    Defect(
        "a pause that ends before it starts",
        "dates",
        _add(
            "forbearances",
            lambda loan, day: {
                "forbearance_id": f"{loan['loan_id']}-F",
                "loan_id": loan["loan_id"],
                "kind": "delinquency_pause",
                "agreed_on": day.isoformat(),
                "starts_on": day.isoformat(),
                "ends_on": (day - timedelta(days=14)).isoformat(),
                "is_distressed": "false",
            },
        ),
        "raw.forbearances",
        "ends-after-start",
    ),
    Defect(
        "a servicer's balance of year 206",
        "dates",
        _balance(balance_on="0206-03-31"),
        "raw.servicer_balances",
        "balance_on-plausible",
    ),
    Defect(
        "a suppression that ends before it starts",
        "dates",
        lambda delivery: [
            row.update(ends_on=_day("starts_on", days=-30)(row)) for row in delivery.choose("suppressions")
        ],
        "raw.suppressions",
        "ends-after-start",
    ),
    # Schedules
    Defect(
        "two versions under one number",
        "schedules",
        _another_version(
            lambda row, place, count: {"effective_on": "2026-04-01" if place * 2 < count else "2026-05-01"}
        ),
        "raw.instalments",
        "schedule_version-one",
    ),
    Defect(
        "a known version that takes effect on another day in part",
        "schedules",
        _another_version(
            lambda row, place, count: (
                {"effective_on": _day("effective_on", days=30)(row)} if place + 1 == count else {}
            ),
            is_new=False,
        ),
        "raw.instalments",
        "schedule_version-one",
    ),
    Defect(
        "a known version that is a rest in part",
        "schedules",
        _another_version(lambda row, place, count: {"basis": "unpaid"} if place + 1 == count else {}, is_new=False),
        "raw.instalments",
        "schedule_version-one",
    ),
    Defect(
        "a loan without instalments",
        "schedules",
        lambda delivery: _new_loan(delivery),
        "raw.loans",
        "has-instalments",
        outcome="warning",
    ),
    Defect(
        "a schedule that ends half-way to maturity",
        "schedules",
        _schedule_cut_short,
        "raw.loans",
        "schedule-reaches-maturity",
        outcome="warning",
    ),
    Defect(
        "single instalments gone from a known schedule",
        "schedules",
        _instalments_gone,
        "raw.instalments.deletions",
        "schedule-stays-whole",
        outcome="warning",
    ),
    # Tables that only grow
    Defect(
        "a known booking changed", "bookings", simulated("changed_known_row"), "raw.transactions", "known-row-stays"
    ),
    Defect(
        "a known booking gone",
        "bookings",
        simulated("removed_known_row"),
        "raw.transactions.deletions",
        "known-row-vanishes",
    ),
    Defect(
        "a known contact gone",
        "bookings",
        remove("contacts", _has("loan_id"), is_fresh=False),
        "raw.contacts.deletions",
        "known-row-vanishes",
    ),
    Defect(
        "a reversal of an unknown booking",
        "bookings",
        reverse(reverses_transaction_id=simulated_value("reversal_of_unknown")),
        "raw.transactions",
        "reversal-known",
    ),
    Defect(
        "a reversal of no booking",
        "bookings",
        reverse(reverses_transaction_id=None),
        "raw.transactions",
        "reversal-known",
    ),
    Defect(
        "a reversal of another loan's booking",
        "bookings",
        _reverse_another_loans,
        "raw.transactions",
        "reversal-known",
    ),
    Defect(
        "a reversal of a part",
        "bookings",
        reverse(lambda row: Decimal(row["amount"]) > 2, amount=lambda row: f"{Decimal(row['amount']) / 2:.0f}"),
        "raw.transactions",
        "reversal-whole",
    ),
    Defect("a reversal of a reversal", "bookings", _reverse_the_reversal, "raw.transactions", "reversal-of-reversal"),
    Defect("a booking reversed again", "bookings", _reverse_again, "raw.transactions", "reversal-once"),
    Defect("a booking reversed twice in one drop", "bookings", _twice_in_one_drop, "raw.transactions", "reversal-once"),
    # Duplicates
    Defect("a row twice, the same", "duplicates", simulated("duplicate_row"), outcome="nothing", severity="harmless"),
    Defect(
        "a payment again under another number",
        "duplicates",
        _payment_twice,
        "raw.transactions",
        "booking-once",
        outcome="warning",
    ),
    Defect(
        "a person again under another number",
        "duplicates",
        _person_twice,
        "raw.borrowers",
        "person-once",
        outcome="warning",
        severity="warning",
    ),
    Defect(
        "a file's rows twice over",
        "duplicates",
        of_file("transactions", _twice_over),
        "raw.deliveries",
        "rows-once",
        outcome="warning",
        severity="warning",
        rate="all rows",
    ),
    # Truncation and deletions
    Defect(
        "a file cut in the middle of a line",
        "truncation",
        simulated("truncated_file"),
        "raw.deliveries",
        "row-count-fall",
        outcome="block",
        rate="30 % of the file",
    ),
    Defect(
        "a file cut at the end of a line",
        "truncation",
        keep_share("instalments", 0.7),
        "raw.deliveries",
        "row-count-fall",
        outcome="block",
        rate="30 % of the rows",
    ),
    Defect(
        "a file's last rows gone, drop.yml says how many it had",
        "truncation",
        _told_in_drop_yml("transactions"),
        outcome="refused",
    ),
    Defect(
        "the first drop's schedules cut off",
        "truncation",
        keep_share("instalments", 0.7),
        "raw.loans@other",
        "loans-whole",
        outcome="block",
        rate="30 % of the rows",
        needs_portfolio=True,
        source="other",
    ),
    Defect(
        "the first drop's bookings cut off",
        "truncation",
        keep_share("transactions", 0.7),
        "raw.loans@other",
        "loans-whole",
        outcome="block",
        rate="30 % of the rows",
        source="other",
        needs_portfolio=True,
    ),
    Defect(
        "bookings cut to none",
        "truncation",
        keep_share("transactions", 0),
        "raw.deliveries",
        "required-not-empty",
        outcome="block",
        rate="all rows",
    ),
    Defect(
        "a torn line",
        "truncation",
        of_file("borrowers", _with_a_torn_line),
        "",
        "unreadable",
        rate="one row",
    ),
    Defect(
        "bookings of yesterday",
        "truncation",
        _yesterday("transactions"),
        "raw.deliveries",
        "table-moves",
        outcome="warning",
        rate="all of the day",
        needs_portfolio=True,
    ),
    Defect(
        "loans and borrowers of yesterday",
        "truncation",
        _yesterday("loans", "borrowers"),
        "raw.instalments",
        "loan_id-reference",
        rate="all of the day",
        needs_portfolio=True,
    ),
    Defect(
        "schedules of yesterday",
        "truncation",
        _yesterday("instalments"),
        "raw.loans",
        "has-instalments",
        outcome="warning",
        rate="all of the day",
        needs_portfolio=True,
    ),
    Defect("yesterday's drop again", "truncation", _all_of_yesterday, outcome="refused", rate="the drop"),
    Defect(
        "loans gone, their schedules and bookings still there",
        "deletions",
        _loans_gone_alone,
        "raw.loans.deletions",
        "loan-leaves-whole",
        outcome="warning",
    ),
    Defect(
        "loans gone with all that is theirs",
        "deletions",
        _loans_gone,
        outcome="nothing",
        severity="warning",
        slips=f"loans that were repaid are deleted so: {UNDECIDABLE}",
    ),
    Defect("a suppression gone", "deletions", remove("suppressions"), "raw.deliveries", "deletions", outcome="warning"),
    Defect(
        "all suppressions gone",
        "deletions",
        keep_share("suppressions", 0),
        "raw.deliveries",
        "deletions",
        outcome="warning",
        rate="all rows",
    ),
    Defect(
        "a contact preference gone",
        "deletions",
        remove("contact_preferences"),
        "raw.deliveries",
        "deletions",
        outcome="warning",
    ),
    Defect(
        "all contact preferences gone",
        "deletions",
        keep_share("contact_preferences", 0),
        "raw.deliveries",
        "deletions",
        outcome="warning",
        rate="all rows",
    ),
    Defect(
        "a conflict of interest gone",
        "deletions",
        remove("agency_conflicts"),
        "raw.deliveries",
        "deletions",
        outcome="warning",
    ),
    Defect(
        "one instalment in ten gone",
        "deletions",
        lambda delivery: delivery.drop.update(
            instalments=[row for row in delivery.rows("instalments") if int(row["instalment_number"]) % 10]
        ),
        "raw.deliveries",
        "deletions",
        outcome="warning",
        rate="a tenth",
    ),
    Defect(
        "a table gone",
        "deletions",
        lambda delivery: delivery.removed.add("charges"),
        "raw.deliveries",
        "table-missing",
        outcome="warning",
        rate="the table",
    ),
    Defect(
        "the table of suppressions gone",
        "deletions",
        simulated("missing_table"),
        "raw.deliveries",
        "table-missing",
        outcome="warning",
        rate="the table",
    ),
    # Encoding and headers
    Defect("a file in another encoding", "encoding", simulated("wrong_encoding"), "", "unreadable", rate="the file"),
    Defect(
        "a byte order mark",
        "encoding",
        of_file("borrowers", _with_byte_order_mark),
        outcome="nothing",
        severity="harmless",
        rate="the file",
    ),
    Defect(
        "letters read in another encoding",
        "encoding",
        change("borrowers", "name", _mojibake),
        "raw.borrowers",
        "text-readable",
        outcome="warning",
        severity="warning",
    ),
    Defect("a required column renamed", "header", simulated("renamed_header"), outcome="refused", rate="the file"),
    Defect(
        "a file without its header",
        "header",
        of_file("transactions", _without_header),
        outcome="refused",
        rate="the file",
    ),
    Defect(
        "principal and interest swapped in the header",
        "header",
        of_file("instalments", _swap_header("principal_amount", "interest_amount")),
        "raw.instalments",
        "first-version-adds-up",
        outcome="warning",
        rate="the file",
    ),
    Defect(
        "due and effective dates swapped in the header",
        "header",
        of_file("instalments", _swap_header("due_on", "effective_on")),
        "raw.instalments",
        "row-findings",
        outcome="block",
        rate="the file",
    ),
    Defect(
        "a column more",
        "header",
        simulated("unknown_column"),
        "raw.deliveries",
        "columns",
        outcome="warning",
        severity="warning",
        rate="the file",
    ),
    Defect(
        "an optional column gone",
        "header",
        _without_column("loans", "officer_id"),
        "raw.deliveries",
        "columns-stay",
        outcome="block",
        rate="the column",
    ),
    Defect(
        "a borrowers' column gone",
        "header",
        simulated("missing_column"),
        "raw.deliveries",
        "columns-stay",
        outcome="block",
        rate="the column",
    ),
    Defect(
        "a column shifted in a whole file",
        "header",
        change_all("loans", "product", "EUR"),
        "raw.loans",
        "row-findings",
        outcome="block",
        rate="all rows",
    ),
    # Exchange rates
    Defect("an exchange rate of 0", "rates", _rate(lambda row: "0"), "raw.fx_rates", "rate-positive", rate="one rate"),
    Defect(
        "an exchange rate times 100",
        "rates",
        _rate(_times("100", "rate")),
        "raw.fx_rates",
        "rate-not-far-off",
        rate="one rate",
    ),
    Defect(
        "an exchange rate divided by 100",
        "rates",
        _rate(lambda row: f"{Decimal(row['rate']) / 100:.8f}"),
        "raw.fx_rates",
        "rate-not-far-off",
        rate="one rate",
    ),
    Defect(
        "exchange rates the other way round",
        "rates",
        _rate(lambda row: f"{1 / Decimal(row['rate']):.8f}", is_every=True),
        "raw.fx_rates",
        "rate-near-last",
        outcome="warning",
        rate="today's rates",
    ),
    Defect(
        "no new exchange rates for a month",
        "rates",
        _rates_stop,
        "raw.deliveries",
        "rates-fresh",
        outcome="warning",
        severity="warning",
        rate="all of the month",
    ),
    Defect(
        "a currency's rates gone",
        "rates",
        _rates_of_a_currency_gone,
        "raw.deliveries",
        "deletions",
        outcome="warning",
        rate="one currency",
        needs_portfolio=True,
    ),
    Defect(
        "a loan in a currency without a rate",
        "rates",
        lambda delivery: _with_schedules(delivery, _new_loan(delivery, currency="CHF")),
        "raw.loans",
        "currency-convertible",
        outcome="warning",
        severity="warning",
    ),
    # Distributions and volumes
    Defect(
        "no bookings today",
        "drift",
        _bookings_of_today(keep=0),
        "raw.deliveries",
        "table-moves",
        outcome="warning",
        severity="warning",
        rate="all of the day",
        needs_portfolio=True,
    ),
    Defect(
        "half of today's bookings missing",
        "drift",
        _bookings_of_today(keep=0.5),
        outcome="nothing",
        severity="warning",
        rate="half of the day",
        slips="half of a day lies within what such weekdays had",
        needs_portfolio=True,
    ),
    Defect(
        "ten times today's bookings",
        "drift",
        _bookings_of_today(times=10),
        outcome="nothing",
        severity="warning",
        rate="ten times the day",
        slips="the busiest days of a month have as many",
        needs_portfolio=True,
    ),
    Defect(
        "all telephone numbers empty",
        "drift",
        change_all("borrowers", "phone", None),
        "raw.drift",
        "drift-changed-null-share-far",
        outcome="block",
        severity="critical",
        rate="all rows",
        needs_portfolio=True,
    ),
    Defect(
        "half of the incomes empty",
        "drift",
        change_all("borrowers", "income_amount", None, lambda row: int(row["borrower_id"][1:]) % 2),
        "raw.drift",
        "drift-changed-null-share",
        outcome="block",
        severity="warning",
        rate="half of the rows",
        needs_portfolio=True,
    ),
    Defect(
        "another mix of products",
        "drift",
        change_all(
            "loans", "product", "auto", lambda row: row["product"] == "consumer" and int(row["loan_id"][1:]) % 3 == 0
        ),
        "raw.drift",
        "drift-mix-far",
        outcome="block",
        severity="warning",
        rate="a third of one product",
        needs_portfolio=True,
    ),
    Defect(
        "today's payments twice as high",
        "drift",
        lambda delivery: _payments_of_today(delivery, "2"),
        outcome="nothing",
        severity="warning",
        rate="all of the day",
        slips="twice lies within the range of the last weeks",
        needs_portfolio=True,
    ),
    Defect(
        "every income in cents",
        "drift",
        change_all("borrowers", "income_amount", _times("100", "income_amount"), _has("income_amount")),
        "raw.drift",
        "drift-changed-median-far",
        outcome="block",
        severity="warning",
        rate="all rows",
        needs_portfolio=True,
    ),
    Defect(
        "every loan without grace days",
        "drift",
        change_all("loans", "grace_days", "0"),
        "raw.drift",
        "drift-row-count-high",
        outcome="warning",
        severity="critical",
        rate="all rows",
        needs_portfolio=True,
    ),
    # Agencies
    Defect(
        "a contract of negative room",
        "agencies",
        change("agency_contracts", "capacity", "-5"),
        "raw.agency_contracts",
        "capacity-not-negative",
    ),
    Defect(
        "a contract that ends before it starts",
        "agencies",
        change("agency_contracts", "ends_on", "2001-01-01"),
        "raw.agency_contracts",
        "ends-after-start",
    ),
    Defect(
        "a licence that ends before it starts",
        "agencies",
        change("agency_licences", "ends_on", "2001-01-01"),
        "raw.agency_licences",
        "ends-after-start",
    ),
    Defect(
        "a contract of an unknown agency",
        "agencies",
        change("agency_contracts", "agency_id", "A99"),
        "raw.agency_contracts",
        "agency_id-reference",
    ),
    # Several sources
    Defect(
        "a drop of another lender",
        "sources",
        _of_a_lender("Z"),
        "raw.deliveries",
        "known-loans-recur",
        outcome="block",
        rate="the drop",
    ),
    Defect(
        "a loan number that another lender uses",
        "sources",
        _take_loans("X", count=1),
        "raw.loans@other",
        "key-of-one-source",
        source="other",
        rate="one row",
    ),
    Defect(
        "loan numbers that another lender uses throughout",
        "sources",
        _take_loans("X", share=0.1),
        "raw.loans@other",
        "key-of-one-source",
        outcome="block",
        source="other",
        rate="a tenth",
    ),
    Defect(
        "a booking on another lender's loan",
        "sources",
        _book_for_the_other("X"),
        "raw.transactions@other",
        "loan_id-reference",
        source="other",
        rate="one row",
    ),
    Defect(
        "another rate for one day and currency",
        "sources",
        _other_rate,
        "raw.fx_rates@other",
        "key-of-one-source",
        source="other",
        rate="one rate",
        severity="warning",
    ),
)
