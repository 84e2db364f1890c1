"""A lender's books that change a little every day, the drops made of them, and what a warehouse knows of them by date.

Bookings come on time, ahead or years late; schedules, charges and concessions come and go with dates in the past and
in the future; loans appear, change their terms, and are deleted; rows break and are mended.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from arrears.contract.servicing import contract
from tests.oracle.delinquency_replay import Loan, Row, instant
from tests.oracle.random_loans import (
    BOOKINGS,
    a_booking,
    a_charge,
    a_pause,
    a_random_loan,
    a_reversal,
    a_version,
    money,
    tables_of,
)
from tests.portfolio import write_table

KEYS = {
    "borrowers": ("borrower_id",),
    "loans": ("loan_id",),
    "instalments": ("loan_id", "schedule_version", "instalment_number"),
    "transactions": ("transaction_id",),
    "charges": ("charge_id",),
    "forbearances": ("forbearance_id",),
    "servicer_balances": ("loan_id", "balance_on"),
}
MOST_BROKEN = 9  # at a time: with more in one table the gate would stop the whole day
CHILDREN = tuple(table for table in KEYS if table not in ("borrowers", "loans"))
Key = tuple[object, ...]
Place = tuple[str, Key]
Tables = dict[str, dict[Key, Row]]


def key_of(table: str, row: Row) -> Key:
    """A row's key, as the contract names it."""
    return tuple(row[column] for column in KEYS[table])


@dataclass(frozen=True, slots=True)
class Drop:
    """What a lender delivers: its tables, and which rows of them nobody can take in (of which loan)."""

    tables: Tables
    broken: Mapping[Place, str] = field(default_factory=dict)


class Known:
    """What is known on each date after drops of some dates, whatever the order in which they came.

    On a date the newest drop up to it is known, else the first that came; a booking is known from its booking date on,
    but not before its drop, unless that is the first. A broken row leaves the version before it in force, a booking
    once known stays as it was as long as its loan is there, and the loan is held back.
    """

    def __init__(self) -> None:
        self._tables: dict[date, Tables] = {}
        self._findings: dict[date, dict[Place, str]] = {}
        self._first: date | None = None
        self._loans: dict[date, dict[str, Loan]] = {}

    def take_in(self, on: date, drop: Drop, brought: set[Place] | None = None) -> None:
        """Takes in a drop of a date; of a delta only what it brought is judged, and what comes late mends nothing."""
        self._loans.clear()
        self._first = self._first or on
        before = max((day for day in self._tables if day < on), default=None)
        base = self._tables[before] if before else {table: {} for table in KEYS}
        findings = dict(drop.broken)
        if brought is not None and before:
            findings = {place: loan for place, loan in findings.items() if place in brought}
            findings |= {place: loan for place, loan in self._findings[before].items() if place not in brought}
        if before and max(self._tables) > on:
            findings |= self._findings[before]
        self._tables[on] = {}
        for table in KEYS:
            rows = dict(drop.tables[table])
            for place in drop.broken:
                if place[0] == table:
                    rows.pop(place[1], None)
                    if place[1] in base[table]:
                        rows[place[1]] = base[table][place[1]]
            self._tables[on][table] = rows
        self._findings[on] = findings

    def tables(self, known_on: date) -> Tables:
        """The rows known on a date."""
        assert self._first is not None
        tables = self._tables[max((day for day in self._tables if day <= known_on), default=self._first)]
        bookings = {key: row for key, row in tables["transactions"].items() if booked_on(row) <= known_on}
        return tables | {"transactions": bookings}

    def loans(self, known_on: date) -> dict[str, Loan]:
        """The loans known on a date, by id."""
        if known_on not in self._loans:
            self._loans[known_on] = loans_of(self.tables(known_on))
        return self._loans[known_on]

    def held_back(self, known_on: date) -> set[str]:
        """The loans with a row that could not be taken in."""
        day = max((day for day in self._findings if day <= known_on), default=None)
        return set(self._findings[day].values()) if day else set()


def booked_on(row: Row) -> date:
    """The business date of a booking; the beginning of time where it is not said."""
    return instant(row["booked_at"]).date() if row["booked_at"] else date.min


def loans_of(tables: Tables) -> dict[str, Loan]:
    """Rows by table put together by loan."""
    rows: dict[str, dict[str, list[Row]]] = {
        str(loan_id): {table: [] for table in CHILDREN} for (loan_id,) in tables["loans"]
    }
    for table in CHILDREN:
        for row in tables[table].values():
            if row["loan_id"] in rows:
                rows[row["loan_id"]][table].append(row)
    return {
        str(loan_id): Loan(loan, *(rows[str(loan_id)][table] for table in CHILDREN))
        for (loan_id,), loan in tables["loans"].items()
    }


class Lender:
    """The books of a lender, from the first day on; the same seed gives the same books."""

    def __init__(self, seed: int, loan_count: int, first: date, last: date) -> None:
        self._chance = random.Random(seed)  # noqa: S311
        self._first, self._last = first, last
        self._loan_count = loan_count
        self._number = 1_000_000
        self._tables: Tables = {table: {} for table in KEYS}
        self._broken: dict[Place, tuple[str, Row | None]] = {}  # by place: the loan, and what comes instead of the row
        self._gone: dict[str, list[tuple[str, Row]]] = {}
        self._delivered: Tables = {table: {} for table in KEYS}
        self._coming: list[tuple[date, str, Row]] = []
        loans = [a_random_loan(self._chance, number, last) for number in range(loan_count)]
        self._all_borrowers = tables_of(loans)["borrowers"]
        for loan in loans:
            self._coming += self._arrivals(loan)

    def turn(self, day: date, change_count: int) -> Drop:
        """What the books say at the end of a day, on which so many things changed beside what comes in time."""
        for on, table, row in self._coming:
            if on <= day:
                self._tables[table][key_of(table, row)] = row
        self._coming = [coming for coming in self._coming if coming[0] > day]
        for _ in range(change_count):
            self._change(day)
        self._tables["borrowers"] = {(row["borrower_id"],): row for row in self._all_borrowers}
        present = {loan_id for (loan_id,) in self._tables["loans"]}
        tables: Tables = {
            table: {key: row for key, row in rows.items() if table == "borrowers" or row["loan_id"] in present}
            for table, rows in self._tables.items()
        }
        broken = {}
        for (table, key), (loan_id, instead) in self._broken.items():
            if loan_id not in present:
                continue
            broken[table, key] = loan_id
            if instead is None:
                tables[table].pop(key, None)
            else:
                tables[table][key] = instead
        self._delivered = {table: dict(rows) for table, rows in tables.items()}
        return Drop(tables, broken)

    def _arrivals(self, loan: Loan) -> Iterator[tuple[date, str, Row]]:
        """When each row of a loan comes into the books."""
        chance, first = self._chance, self._first
        begins = chance.choice([first] * 9 + [self._some_day()])

        def comes(dated: date) -> date:
            early = chance.choice([dated] * 7 + [dated - timedelta(5), self._some_day(), self._some_day()])
            return max(begins, early)

        yield begins, "loans", loan.loan
        by_version = {row["schedule_version"]: comes(row["effective_on"]) for row in loan.instalments}
        for row in loan.instalments:
            is_billed = loan.is_revolving and chance.random() < 0.8
            yield (
                max(begins, row["effective_on"]) if is_billed else by_version[row["schedule_version"]],
                "instalments",
                row,
            )
        came: dict[str, date] = {}
        for row in loan.transactions:
            on = comes(instant(row["booked_at"]).date() if row["booked_at"] else row["effective_on"])
            on = max(on, came.get(row["reverses_transaction_id"], on))
            came[row["transaction_id"]] = on
            yield on, "transactions", row
        for table, rows, dated in (
            ("charges", loan.charges, "due_on"),
            ("forbearances", loan.forbearances, "starts_on"),
            ("servicer_balances", loan.balances, "balance_on"),
        ):
            for row in rows:
                yield comes(row[dated]), table, row

    def _some_day(self) -> date:
        return self._first + timedelta(self._chance.randint(0, (self._last - self._first).days))

    def _change(self, day: date) -> None:
        changes = {
            self._change_terms: 3,
            self._change_status: 1,
            self._book: 6,
            self._reverse: 2,
            self._reschedule: 3,
            self._change_instalment: 2,
            self._charge: 2,
            self._change_charge: 2,
            self._pause: 2,
            self._change_pause: 3,
            self._break: 2,
            self._mend: 2,
            self._delete_or_bring_back: 0.5,
        }
        (change,) = self._chance.choices(list(changes), list(changes.values()))
        loans = [row for row in self._tables["loans"].values() if row["loan_id"] not in self._gone]
        change(day, self._chance.choice(loans))

    def _put(self, table: str, row: Row) -> None:
        self._tables[table][key_of(table, row)] = row

    def _rows(self, table: str, loan: Row) -> list[Row]:
        return [row for row in self._tables[table].values() if row["loan_id"] == loan["loan_id"]]

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _change_terms(self, day: date, loan: Row) -> None:
        chance = self._chance
        term, value = chance.choice(
            [
                ("tolerance_amount", chance.choice([Decimal(0), Decimal(10), money(chance, loan["currency"], 0, 100)])),
                ("grace_days", chance.choice([0, 1, 5, 30])),
                ("allocation_mode", chance.choice(["oldest_first", "component_first"])),
                ("allocation_order", chance.choice(["interest>principal", "principal>penalty"])),
                ("borrower_id", chance.choice(self._all_borrowers)["borrower_id"]),
                (
                    "disbursed_on",
                    self._another_start(loan),
                ),
                ("is_drawn_in_parts", chance.choice([True, False])),
            ]
        )
        self._put("loans", loan | {term: value})

    def _another_start(self, loan: Row) -> date:
        """An earlier day of disbursement or a later one, on which no booking is valued before nor instalment due."""
        rows = [(table, row) for table in CHILDREN for row in self._rows(table, loan)]
        rows += [(table, row) for _, table, row in self._coming if row["loan_id"] == loan["loan_id"]]
        days = {"transactions": "effective_on", "instalments": "due_on"}
        dates: list[date] = [row[days[table]] for table, row in rows if table in days]
        start: date = loan["disbursed_on"] + timedelta(self._chance.choice([-9, 30]))
        return min([start, *dates])

    def _change_status(self, day: date, loan: Row) -> None:
        status = self._chance.choice(["active", "closed", "sold", "written_off"])
        days = self._chance.choice([-100, -1, 0, 1, 10])
        self._put("loans", loan | {"status": status, "status_on": day + timedelta(days)})

    def _book(self, day: date, loan: Row) -> None:
        number, instalments = self._next_number(), self._rows("instalments", loan)
        row = a_booking(self._chance, loan, number, dict(BOOKINGS), loan["disbursed_on"], day, instalments)
        self._put("transactions", row)

    def _reverse(self, day: date, loan: Row) -> None:
        free = self._bookings_not_reversed(loan)
        if free:
            self._put("transactions", a_reversal(self._chance, loan, self._chance.choice(free), day))

    def _bookings_not_reversed(self, loan: Row) -> list[Row]:
        """Nor going to be reversed, nor broken."""
        bookings = self._rows("transactions", loan)
        reversals = [*bookings, *(row for _, table, row in self._coming if table == "transactions")]
        reversed_keys = {row["reverses_transaction_id"] for row in reversals}
        return [
            row
            for row in bookings
            if row["kind"] != "reversal"
            and row["transaction_id"] not in reversed_keys
            and ("transactions", key_of("transactions", row)) not in self._broken
        ]

    def _reschedule(self, day: date, loan: Row) -> None:
        chance, before = self._chance, self._rows("instalments", loan)
        coming = [row for _, table, row in self._coming if table == "instalments" and row["loan_id"] == loan["loan_id"]]
        version = max((row["schedule_version"] for row in (*before, *coming)), default=0) + 1
        effective_on = day + timedelta(chance.choice([-400, -60, -1, 0, 0, 1, 7]))
        terms = dict(loan)
        for row in a_version(chance, terms, version, effective_on, before):
            self._put("instalments", row)
        self._put("loans", terms)

    def _change_instalment(self, day: date, loan: Row) -> None:
        chance = self._chance
        rows = self._rows("instalments", loan)
        if not rows:
            return
        row = chance.choice(rows)
        change = chance.choice(["amount", "due_on", "gone", "version gone"])
        if change == "amount":
            self._put("instalments", row | {"interest_amount": money(chance, loan["currency"], 0, 40)})
        elif change == "due_on":
            due_on = row["due_on"] + timedelta(chance.choice([-30, -1, 1, 30]))
            self._put("instalments", row | {"due_on": max(loan["disbursed_on"], due_on)})
        for gone in rows:
            is_same = gone["schedule_version"] == row["schedule_version"]
            if (change == "gone" and gone is row) or (change == "version gone" and is_same):
                self._drop("instalments", gone)

    def _charge(self, day: date, loan: Row) -> None:
        begun, instalments = loan["disbursed_on"], self._rows("instalments", loan)
        self._put("charges", a_charge(self._chance, loan, self._next_number(), begun, instalments))

    def _change_charge(self, day: date, loan: Row) -> None:
        chance = self._chance
        rows = self._rows("charges", loan)
        if not rows:
            return
        row = chance.choice(rows)
        change = chance.choice(["waived", "waived", "amount", "gone"])
        if change == "waived":
            waived_on = chance.choice([None, day, day + timedelta(3), row["due_on"] + timedelta(1)])
            self._put("charges", row | {"waived_on": waived_on})
        elif change == "amount":
            self._put("charges", row | {"amount": money(chance, loan["currency"], 1, 30)})
        else:
            self._drop("charges", row)

    def _pause(self, day: date, loan: Row) -> None:
        self._put("forbearances", a_pause(self._chance, loan, self._next_number(), loan["disbursed_on"]))

    def _change_pause(self, day: date, loan: Row) -> None:
        chance = self._chance
        rows = self._rows("forbearances", loan)
        if not rows:
            return
        row = chance.choice(rows)
        if chance.random() < 0.2:
            self._drop("forbearances", row)
        else:
            ends_on = chance.choice([None, day, day + timedelta(2), row["starts_on"] + timedelta(20)])
            self._put("forbearances", row | {"ends_on": ends_on and max(row["starts_on"], ends_on)})

    def _break(self, day: date, loan: Row) -> None:
        """A row comes that nobody can take in, or a booking once known changes or vanishes."""
        chance = self._chance
        if len(self._broken) >= MOST_BROKEN:
            self._mend(day, loan)
            return
        number = self._next_number()
        booking = a_booking(chance, loan, number, {"repayment": 1}, loan["disbursed_on"], day, ())
        known = [row for row in self._bookings_not_reversed(loan) if self._is_delivered("transactions", row)]
        kinds = ["negative", "unreadable", "reverses nothing", "year 206", "unheard of"]
        kinds += ["changed", "vanished"] if known else []
        kind = chance.choice(kinds)
        if kind in ("changed", "vanished"):
            row = chance.choice(known)
            changed = row | {"amount": row["amount"] + 1}
            self._spoil("transactions", row, changed if kind == "changed" else None)
        elif kind == "unheard of":
            if self._is_delivered("loans", loan):
                self._spoil("loans", loan, loan | {"tolerance_amount": Decimal(-1)})
        elif kind == "year 206":
            charge = a_charge(chance, loan, number, loan["disbursed_on"], ())
            self._spoil("charges", charge, charge | {"due_on": date(206, 1, 1)})
        else:
            wrong: dict[str, Row] = {
                "negative": {"amount": Decimal(-5)},
                "unreadable": {"amount": "ten"},
                "reverses nothing": {"kind": "reversal", "reverses_transaction_id": "nothing", "reduces_claim": None},
            }
            self._spoil("transactions", booking, booking | wrong[kind])

    def _spoil(self, table: str, row: Row, instead: Row | None) -> None:
        self._broken[table, key_of(table, row)] = row["loan_id"], instead

    def _mend(self, day: date, loan: Row) -> None:
        """What was broken comes as it should be, or no more."""
        if not self._broken:
            return
        place = self._chance.choice(list(self._broken))
        _, row = self._broken.pop(place)
        table, key = place
        if row is None or key in self._tables[table] or self._chance.random() < 0.5:
            return
        good: Row = {"due_on": day}
        if table == "transactions":
            effective_on = max(row["effective_on"], self._tables["loans"][row["loan_id"],]["disbursed_on"])
            good = {"effective_on": effective_on, "amount": Decimal(7), "kind": "repayment"}
            good["reverses_transaction_id"] = None
        self._put(table, row | good)

    def _delete_or_bring_back(self, day: date, loan: Row) -> None:
        if self._gone and self._chance.random() < 0.5:
            loan_id = self._chance.choice(list(self._gone))
            for table, row in self._gone.pop(loan_id):
                self._put(table, row)
            return
        if len(self._gone) > self._loan_count // 20 or len(self._tables["loans"]) < 5:
            return
        rows = [(table, row) for table in CHILDREN for row in self._rows(table, loan)]
        self._gone[loan["loan_id"]] = [("loans", loan), *rows]
        for table, row in self._gone[loan["loan_id"]]:
            self._drop(table, row)
        self._broken = {place: found for place, found in self._broken.items() if found[0] != loan["loan_id"]}

    def _drop(self, table: str, row: Row) -> None:
        del self._tables[table][key_of(table, row)]
        self._broken.pop((table, key_of(table, row)), None)

    def _is_delivered(self, table: str, row: Row) -> bool:
        return key_of(table, row) in self._delivered[table] and (table, key_of(table, row)) not in self._broken


def write(folder: Path, drop: Drop) -> Path:
    """Writes a full drop; a table without rows has its header."""
    folder.mkdir(parents=True, exist_ok=True)
    for table, rows in drop.tables.items():
        file = folder / f"{table}.csv"
        if rows:
            write_table(file, [{column: _text(value) for column, value in row.items()} for row in rows.values()])
        else:
            file.write_text(",".join(contract()[table].column_names) + "\n", encoding="utf-8")
    return folder


def write_delta(folder: Path, before: Drop, drop: Drop) -> set[Place]:
    """Writes what a drop has otherwise than the one before it; gives the keys that it brings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "drop.yml").write_text("mode: delta\n", encoding="utf-8")
    brought: set[Place] = set()
    for table, rows in drop.tables.items():
        changed = [row for key, row in rows.items() if before.tables[table].get(key) != row]
        gone = [key for key in before.tables[table] if key not in rows]
        lines = [{column: _text(value) for column, value in row.items()} | {"_deleted": ""} for row in changed]
        lines += [dict(zip(KEYS[table], map(_text, key), strict=True)) | {"_deleted": "true"} for key in gone]
        if lines:
            write_table(folder / f"{table}.csv", lines)
        brought |= {(table, key_of(table, row)) for row in changed} | {(table, key) for key in gone}
    return brought


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
