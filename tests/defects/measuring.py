"""Puts a defect into a drop, has the raw gate judge it, and says what came of it and how much of it was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from random import Random

from arrears.contract.servicing import contract
from arrears.errors import SourceError
from arrears.gate import judge_batches
from tests.defects.catalogue import Defect, Outcome
from tests.defects.clean_portfolio import Drop
from tests.defects.delivery import SHARE, Delivery, Key
from tests.defects.gate_warehouse import GateWarehouse

UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of one defect.

    Attributes:
        outcome: what the gate did.
        failures: suite and rule of everything that did not hold, and how many rows each counted.
        injected: rows spoilt; 0 where a whole file or table is.
        found: of them, those that a rule named; of a warning, those that it counted; all
            where it stopped the export.
        wrong: loans, borrowers or rows set aside that were not spoilt; of a warning, rows counted beyond those spoilt.
        told: the failures in words.
    """

    outcome: Outcome
    failures: Mapping[tuple[str, str], int]
    injected: int
    found: int
    wrong: int
    told: tuple[str, ...]

    def is_caught(self, defect: Defect) -> bool:
        """Whether the defect's rule spoke, or the drop was not taken in."""
        if self.outcome in ("refused", "nothing"):
            return self.outcome == "refused"
        return defect.rule == UNREADABLE or (defect.suite, defect.rule) in self.failures


def spoilt(defect: Defect, drop: Drop, before: Drop, day: date, *, share: float = SHARE, seed: int = 0) -> Delivery:
    """The drop with the defect in it; the choice of rows depends on the seed and the defect's name."""
    delivery = Delivery(drop, before, day, Random(f"{seed} {defect.name}"), share)  # noqa: S311 - nothing secret
    defect.inject(delivery)
    return delivery


def measure(defect: Defect, delivery: Delivery, gate: GateWarehouse, folder: Path) -> Measured:
    """Delivers the spoilt drop for its day, into a warehouse where the drop before is accepted, and judges it."""
    delivery.write(folder)
    try:
        batch_id = gate.deliver_folder(folder, delivery.day, defect.source)
    except SourceError as error:
        return Measured("refused", {}, delivery.injected_count, delivery.injected_count, 0, (str(error),))
    verdict = judge_batches(delivery.day)
    failures = {(result.suite, result.rule.split(" ")[0]): result.failed_count for result in verdict.failures}
    told = tuple(result.told for result in verdict.failures)
    findings = gate.rows(
        "select table_name, rule, loan_id, borrower_id, key from quarantine.rows"
        " where batch_id = %s and stage in ('extract', 'raw') and rule <> 'deletions' order by finding_id",
        batch_id,
    )
    outcome: Outcome = "nothing"
    if verdict.is_blocked:
        outcome = "block"
    elif findings:
        outcome = "row"
    elif failures:
        outcome = "warning"
    if outcome == "warning":
        counted = failures.get((defect.suite, defect.rule), 0)
        most = delivery.injected_count
        wrong = 0 if defect.suite.startswith("raw.deliveries") else max(0, counted - most)
        found = most if counted and defect.suite.startswith("raw.deliveries") else min(counted, most)
        return Measured(outcome, failures, most, found, wrong if most else 0, told)
    found = sum(_is_found(table, key, findings) for table, keys in delivery.injected.items() for key in keys)
    if outcome == "block" and (defect.suite, defect.rule) in failures:
        found = delivery.injected_count
    wrong = len(_wrongly_held(delivery, findings)) if delivery.injected_count else 0
    return Measured(outcome, failures, delivery.injected_count, found, wrong, told)


def _is_found(table: str, key: Key, findings: list[tuple]) -> bool:  # type: ignore[type-arg]
    """By its key, or, where rows of one loan are one finding, by a key of the same loan."""
    return any(
        row[0] == table
        and not row[1].endswith("-held")
        and (_key(table, row[4]) == key or (row[2] is not None and row[2] == key[0] and table == "instalments"))
        for row in findings
    )


def _wrongly_held(delivery: Delivery, findings: list[tuple]) -> set[object]:  # type: ignore[type-arg]
    """Loans, else borrowers, else keys that are set aside and were not spoilt."""
    held = set()
    for table, _, loan_id, borrower_id, key in findings:
        is_spoilt = _key(table, key) in delivery.injected.get(table, [])
        if not is_spoilt and loan_id not in delivery.loans and borrower_id not in delivery.borrowers:
            held.add(loan_id or borrower_id or (table, _key(table, key)))
    return held


def _key(table: str, key: Mapping[str, str] | None) -> Key:
    return tuple(str((key or {}).get(name)) for name in contract()[table].primary_key)
