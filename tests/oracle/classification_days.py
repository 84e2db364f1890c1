"""Classes by rule book, day by day: a plain second implementation of docs/concepts/classification.md.

It walks every loan through every day of its life and asks each rule whether it holds that day; what holds a loan in a
class is a date in a variable. It reads the same seeds as the models and shares nothing else with them.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

from tests.classified import DAY, Event, Loan, Measure, Report, due_dates, months_after, never_late_between

Rule = Mapping[str, str]


class Book:
    """A rule book's seeds in the version in force on a date."""

    def __init__(self, folder: Path, as_of: date) -> None:
        self.name = folder.name
        self.tables: dict[str, list[Rule]] = defaultdict(list)
        for file in sorted(folder.glob("*.csv")):
            table = file.stem.removeprefix(f"{folder.name}_")
            with file.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    if row["valid_from"] <= as_of.isoformat() and (row["valid_to"] or "9999") >= as_of.isoformat():
                        self.tables[table].append(row)
        self.ranks = {row["class"]: int(row["class_rank"]) for row in self.tables["classes"]}
        self.segments = {row["exposure_class"]: row["segment"] for row in self.tables["segments"]}
        self.cures = {self.ranks[row["class"]]: row for row in self.tables["cures"]}


class Walk:
    """One book over all loans and days."""

    def __init__(self, book: Book, loans: list[Loan], events: list[Event], reports: Iterable[Report], as_of: date):
        self.book = book
        self.loans = {loan.loan_id: loan for loan in loans if loan.exposure_class in book.segments}
        self.all_loans = {loan.loan_id: loan for loan in loans}
        self.events = events
        self.reports = list(reports)
        self.as_of = as_of
        self.of_borrower: dict[str, list[Loan]] = defaultdict(list)
        for loan in loans:
            self.of_borrower[loan.borrower_id].append(loan)
        first = min(loan.disbursed_on for loan in loans)
        self.days = [first + DAY * n for n in range((as_of - first).days + 1)]
        self.state_of_day = {
            loan.loan_id: {
                stretch.first + DAY * n: stretch
                for stretch in never_late_between(loan, as_of)
                for n in range((stretch.last - stretch.first).days + 1)
            }
            for loan in loans
        }
        self.suspended = {loan.loan_id: self._suspended(loan) for loan in loans}

    def _suspended(self, loan: Loan) -> set[date]:
        days: set[date] = set()
        for rule in self.book.tables["suspensions"]:
            for event in self.events:
                if event.kind != rule["event_kind"] or event.borrower_id != loan.borrower_id:
                    continue
                if event.loan_id not in (None, loan.loan_id) or (event.discovered_on or event.occurred_on) > self.as_of:
                    continue
                day, count = event.occurred_on, 0
                while day <= self.as_of and (event.ended_on is None or day < event.ended_on):
                    if rule["longest_days"] and count == int(rule["longest_days"]):
                        break
                    days.add(day)
                    day, count = day + DAY, count + 1
        return days

    def count_days(self) -> None:
        """Fills self.counts[loan][counter][day], by calendar_excl."""
        self.counts: dict[str, dict[str, dict[date, int]]] = {
            loan_id: {"days_past_due": {}, "days_material": {}, "days_in_excess": {}} for loan_id in self.all_loans
        }
        for loan_id, loan in self.all_loans.items():
            for day, stretch in self.state_of_day[loan_id].items():
                if stretch.oldest is not None:
                    suspended = sum(
                        stretch.oldest + DAY * n in self.suspended[loan_id]
                        for n in range(1, (day - stretch.oldest).days + 1)
                    )
                    self.counts[loan_id]["days_past_due"][day] = (day - stretch.oldest).days - suspended
            for since, last in loan.in_excess:
                for n in range((last - since).days + 1):
                    self.counts[loan_id]["days_in_excess"][since + DAY * n] = n
        for rule in self.book.tables["materiality"]:
            inside = [x for x in self.loans.values() if self.book.segments[x.exposure_class] == rule["segment"]]
            subjects: dict[str, list[Loan]] = defaultdict(list)
            for loan in inside:
                subjects[loan.loan_id if rule["level"] == "facility" else loan.borrower_id].append(loan)
            for members in subjects.values():
                self._count_material(members, rule)

    def _count_material(self, members: list[Loan], rule: Rule) -> None:
        count = 0
        for day in self.days:
            arrears = counted = exposure = Decimal(0)
            for loan in members:
                stretch = self.state_of_day[loan.loan_id].get(day)
                if stretch is not None:
                    arrears += stretch.arrears * loan.rate
                    exposure += stretch.outstanding * loan.rate
                    if day not in self.suspended[loan.loan_id]:
                        counted += stretch.arrears * loan.rate
            limits = (Decimal(rule["absolute_amount"]), Decimal(rule["relative_share"]) * exposure)
            if arrears <= limits[0] or arrears <= limits[1]:
                count = 0
                continue
            if counted > limits[0] and counted > limits[1]:
                count += 1
            for loan in members:
                self.counts[loan.loan_id]["days_material"][day] = count

    def days_reach(self, loan_id: str, counter: str, convention: str, days_from: str, day: date) -> bool:
        """Whether a count of days stands at days_from or more."""
        if not days_from:
            return False
        count = self.counts[loan_id][counter].get(day)
        if counter == "days_past_due" and count is None and convention == "rbi_day_end":
            tomorrow = self.state_of_day[loan_id].get(day + DAY)
            if tomorrow is not None and tomorrow.oldest == day:
                count = 0
        if count is None:
            return False
        return count + (convention == "rbi_day_end") >= int(days_from)

    def applies(self, rule: Rule, loan: Loan) -> bool:
        """Whether a rule's segment is the loan's."""
        return not rule["segment"] or self.book.segments[loan.exposure_class] == rule["segment"]

    def signs_of(self, loan: Loan, rule: Rule) -> list[tuple[date, date | None]]:
        """First and last days on which a trigger holds for a loan."""
        found: list[tuple[date, date | None]] = []
        after = DAY * int(rule["days_after"])
        for event in self.events:
            mine = event.loan_id in (None, loan.loan_id) or rule["level"] == "borrower"
            if event.kind == rule["trigger"] and event.borrower_id == loan.borrower_id and mine:
                last = event.ended_on - DAY if event.ended_on else None
                found.append(((event.discovered_on or event.occurred_on) + after, last))
        givers = self.of_borrower[loan.borrower_id] if rule["level"] == "borrower" else [loan]
        for giver in givers:
            found += [(first + after, last) for kind, first, last in giver.signs if kind == rule["trigger"]]
            if rule["trigger"] == "distressed_restructuring":
                found += [(m.start, self.measure_to(m, rule)) for m in giver.measures]
        return found

    @staticmethod
    def measure_to(measure: Measure, rule: Rule) -> date:
        """The last day on which a measure itself is a ground."""
        return measure.in_force_to if rule["while_in_force"] == "true" else measure.grace_to

    def walk(self) -> dict[str, list[int]]:
        """The rank of each loan's class on each day of self.days."""
        self.count_days()
        self.grounds: dict[str, list[tuple[int, int]]] = {}
        self.measure_rules = [r for r in self.book.tables["triggers"] if r["trigger"] == "distressed_restructuring"]
        for loan in self.loans.values():
            self.grounds[loan.loan_id] = self._grounds_of(loan)
        self.watching: dict[str, dict[int, list[bool]]] = {}
        for loan in self.loans.values():
            self._restructured_again(loan)
        for loan in self.loans.values():
            self.watching[loan.loan_id] = {rank: self._held(loan, rank) for rank in self.book.ranks.values() if rank}
        spread = self._spread()
        return {loan_id: self._final(loan, spread[loan_id]) for loan_id, loan in self.loans.items()}

    def _grounds_of(self, loan: Loan) -> list[tuple[int, int]]:
        """By day, the worst rank of grounds other than measures, and of measures."""
        thresholds = [
            (self.book.ranks[rule["class"]], giver.loan_id, rule)
            for rule in self.book.tables["day_thresholds"]
            if self.applies(rule, loan)
            for giver in (self.of_borrower[loan.borrower_id] if rule["level"] == "borrower" else [loan])
            if not rule["products"] or giver.product in rule["products"].split("|")
        ]
        spans = [
            (self.book.ranks[rule["class"]], rule["trigger"] == "distressed_restructuring", first, last or date.max)
            for rule in self.book.tables["triggers"]
            if self.applies(rule, loan)
            for first, last in self.signs_of(loan, rule)
        ]
        found = []
        for day in self.days:
            plain = measure = 0
            for rank, giver, rule in thresholds:
                if rank > plain and self.days_reach(giver, rule["counter"], rule["convention"], rule["days_from"], day):
                    plain = rank
            for rank, is_measure, first, last in spans:
                if first <= day <= last:
                    plain, measure = (plain, max(measure, rank)) if is_measure else (max(plain, rank), measure)
            found.append((plain, measure))
        return found

    def measures_of(self, loan: Loan) -> list[tuple[Measure, int]]:
        """Measures that count for a loan, with the rank they give."""
        found = []
        for rule in self.measure_rules:
            if self.applies(rule, loan):
                givers = self.of_borrower[loan.borrower_id] if rule["level"] == "borrower" else [loan]
                found += [(m, self.book.ranks[rule["class"]]) for giver in givers for m in giver.measures]
        return found

    def first_due(self, loan: Loan, measure: Measure) -> date | None:
        """The first payment date after a measure."""
        return next((due_on for due_on in due_dates(loan, self.as_of) if due_on > measure.start), None)

    def observation(self, loan: Loan, rank: int) -> list[bool]:
        """Days under observation, where the measure itself gives the class; in it, the days of a second measure."""
        cure = self.book.cures.get(rank)
        measures = [m for m, given in self.measures_of(loan) if given >= rank]
        held = [False] * len(self.days)
        if cure is None or not cure["restructured_from"] or not measures:
            return held
        months = max(
            int(cure["restructured_months"]),
            int(cure["restructured_periods"] or 0) * (loan.period_months or 0),
        )
        until = date.min  # first day out
        inside = was_ground = False
        before = Decimal(0)
        for n, day in enumerate(self.days):
            plain, measure = self.grounds[loan.loan_id][n]
            is_ground, is_measure = plain >= rank, measure >= rank
            for m in measures:
                if m.start == day:
                    begin = (
                        (self.first_due(loan, m) or m.grace_to)
                        if cure["restructured_from"] == "first_due"
                        else m.grace_to
                    )
                    if inside and day > self.started:
                        self.again.add((loan.loan_id, m.start))
                    if not inside:
                        self.started = day
                    inside = True
                    until = max(until, months_after(begin, months), day + DAY)
            stretch = self.state_of_day[loan.loan_id].get(day)
            arrears = stretch.arrears if stretch else Decimal(0)
            is_late = stretch is not None and stretch.oldest is not None
            if inside:
                if is_ground and cure["restructured_from"] == "start" and not was_ground:
                    until = max(until, months_after(day, months))
                if is_ground and cure["restructured_from"] == "last_day":
                    until = max(until, months_after(day + DAY, months))
                if cure["restructured_from"] == "first_due" and is_late and arrears > before:
                    until = max(until, months_after(day - DAY, months))
                elif cure["restructured_from"] != "first_due" and self._bad(loan, cure, day):
                    until = max(until, months_after(day + DAY, months))
                waits = self._is_late(loan, cure, cure["restructured_wait_from_days"], day)
                inside = day < until or is_ground or is_measure or waits
            held[n] = inside
            was_ground, before = is_ground, arrears
        return held

    def _bad(self, loan: Loan, cure: Rule, day: date) -> bool:
        return self._is_late(loan, cure, cure["restart_from_days"], day)

    def _is_late(self, loan: Loan, cure: Rule, days_from: str, day: date) -> bool:
        givers = self.of_borrower[loan.borrower_id] if cure["level"] == "borrower" else [loan]
        used = {rule["counter"] for rule in self.book.tables["day_thresholds"]} - {"days_material"}
        return any(
            self.days_reach(giver.loan_id, counter, cure["convention"], days_from, day)
            for giver in givers
            for counter in used | {"days_past_due"}
        )

    def _restructured_again(self, loan: Loan) -> None:
        self.again: set[tuple[str, date]] = set()
        for rank in self.book.cures:
            self.observation(loan, rank)
        for rule in self.book.tables["triggers"]:
            if rule["trigger"] == "restructured_again":
                for m in loan.measures:
                    if (loan.loan_id, m.start) in self.again:
                        for n, day in enumerate(self.days):
                            if m.start <= day <= m.grace_to:
                                plain, measure = self.grounds[loan.loan_id][n]
                                rank = self.book.ranks[rule["class"]]
                                self.grounds[loan.loan_id][n] = max(plain, rank), measure

    def _held(self, loan: Loan, rank: int) -> list[bool]:
        cure = self.book.cures.get(rank)
        grounds = self.grounds[loan.loan_id]
        if cure is None:
            return [max(plain, measure) >= rank for plain, measure in grounds]
        months = max(int(cure["months"] or 0), int(cure["periods"] or 0) * (loan.period_months or 0))
        observed = self.observation(loan, rank)
        others = [x for x in self.of_borrower[loan.borrower_id] if x is not loan and x.loan_id in self.loans]
        later = [m for m, given in self.measures_of(loan) if given < rank] if cure["restructured_from"] else []
        long_months = int(cure["restructured_months"] or 0)
        held, inside, until = [], False, date.min
        entered = date.min
        long_inside, long_until = False, date.min
        for n, day in enumerate(self.days):
            is_ground = max(grounds[n]) >= rank
            if is_ground and not inside:
                entered = day
            bad = months > 0 and self._bad(loan, cure, day)
            if is_ground:
                inside, until = True, months_after(day + DAY, months)
            elif inside and bad:
                until = months_after(day + DAY, months)
            elif inside:
                waits = self._is_late(loan, cure, cure["wait_from_days"], day) or (
                    cure["waits_for_borrower"] == "true"
                    and any(max(self.grounds[x.loan_id][n]) >= rank for x in others)
                )
                inside = day < until or waits
            if later:  # a measure while held: the longer time, from the last bad day or the measure
                windows = [(m.start, max(m.in_force_to, months_after(m.grace_to, long_months) - DAY)) for m in later]
                if inside and any(first <= day and last >= entered for first, last in windows):
                    long_inside = True
                    long_until = max(long_until, months_after(self._last_ground(grounds, rank, n) + DAY, long_months))
                if long_inside:
                    for m in later:
                        if m.start <= day:
                            long_until = max(long_until, months_after(m.grace_to, long_months))
                    if is_ground or bad:
                        long_until = max(long_until, months_after(day + DAY, long_months))
                    long_inside = day < long_until
            held.append(inside or observed[n] or long_inside)
        return held

    def _last_ground(self, grounds: list[tuple[int, int]], rank: int, n: int) -> date:
        while max(grounds[n]) < rank:
            n -= 1
        return self.days[n]

    def _spread(self) -> dict[str, list[int]]:
        """The rank that contagion gives each loan on each day."""
        found = {loan_id: [0] * len(self.days) for loan_id in self.loans}
        for rule in self.book.tables["contagion"]:
            rank, share = self.book.ranks[rule["class"]], Decimal(rule["share_over"])
            reached: dict[str, list[Loan]] = defaultdict(list)
            for loan in self.loans.values():
                if self.applies(rule, loan):
                    subject = loan.borrower_id if rule["level"] == "borrower" else loan.group_id
                    if subject:
                        reached[subject].append(loan)
            for subject, targets in reached.items():
                members = [
                    x
                    for x in self.all_loans.values()
                    if (x.borrower_id if rule["level"] == "borrower" else x.group_id) == subject
                ]
                for n, day in enumerate(self.days):
                    total = counted = Decimal(0)
                    for loan in members:
                        stretch = self.state_of_day[loan.loan_id].get(day)
                        if stretch is None:
                            continue
                        amount = stretch.outstanding * loan.rate
                        total += amount
                        if rule["counted_class"]:
                            states = self.watching.get(loan.loan_id, {})
                            if states and states[self.book.ranks[rule["counted_class"]]][n]:
                                counted += amount
                        elif self.days_reach(
                            loan.loan_id, "days_past_due", "calendar_excl", rule["counted_days_from"], day
                        ):
                            counted += amount
                    if rule["with_elsewhere"] == "true":
                        known = [x for x in self.reports if x.borrower_id == subject and x.reported_on <= day]
                        if known:
                            latest = max(known, key=lambda report: report.reported_on)
                            total, counted = total + latest.debt, counted + latest.overdue
                    if counted > share * total:
                        for target in targets:
                            found[target.loan_id][n] = max(found[target.loan_id][n], rank)
        return found

    def _final(self, loan: Loan, spread: list[int]) -> list[int]:
        held = self.watching[loan.loan_id]
        classes = []
        begun: dict[int, date | None] = dict.fromkeys(held)
        left: dict[int, date] = {}
        for n, day in enumerate(self.days):
            rank = max([spread[n], *(r for r, days in held.items() if days[n])], default=0)
            for r, days in held.items():
                if days[n]:
                    begun[r] = begun[r] or day
                    left[r] = day + DAY
                else:
                    begun[r] = None
            for rule in self.book.tables["ageing"]:
                start = begun[self.book.ranks[rule["class"]]]
                if start and months_after(start, int(rule["months"])) <= day:
                    rank = max(rank, self.book.ranks[rule["aged_class"]])
            for better, cure in self.book.cures.items():
                for worse, first_out in left.items():
                    if worse > better and worse in self.book.cures:
                        months = sum(int(c["months"] or 0) for r, c in self.book.cures.items() if better <= r < worse)
                        if int(cure["months"] or 0) and day < months_after(first_out, months):
                            rank = max(rank, better)
            classes.append(rank)
        return classes
