"""What a gate found, and whether the day may go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from arrears.errors import GateBlocked
from arrears.gate.advice import advise, next_step

Stage = Literal["raw", "marts", "queues"]
Scope = Literal["row", "table"]
Severity = Literal["critical", "warning", "info"]

# How many keys of failing rows are named: in ops.gate_results, and in a sentence.
KEYS_KEPT = 20
KEYS_NAMED = 3


def stops_the_day(scope: str, severity: str, waived_by: str | None) -> bool:
    """Whether a failure stops the export for itself: single rows are held back, they do not stop it."""
    return scope == "table" and severity == "critical" and waived_by is None


@dataclass(frozen=True, slots=True)
class Result:
    """One expectation of one suite, checked once. Counts are rows."""

    suite: str
    expectation: str
    rule: str
    scope: Scope
    severity: Severity
    is_passed: bool
    checked_count: int
    failed_count: int
    sentence: str
    failing_keys: tuple[Mapping[str, str], ...] = ()
    is_waivable: bool = False
    waived_count: int = 0
    waived_by: str | None = None

    @property
    def is_blocking(self) -> bool:
        """Whether the export must stop for this alone."""
        return not self.is_passed and stops_the_day(self.scope, self.severity, self.waived_by)

    @property
    def told(self) -> str:
        """One clause for a person: which expectation failed, how often, where first."""
        keys = [_named(key) for key in self.failing_keys[:KEYS_NAMED]]
        first = f", first {'; '.join(keys)}" if keys else ""
        waived = f" (waived by {self.waived_by})" if self.waived_by else ""
        return (
            f"{self.suite} {self.rule} ({self.expectation}) failed for {self.failed_count} of"
            f" {self.checked_count} rows{first}{waived}"
        )


def _named(key: Mapping[str, str]) -> str:
    if "found" in key:
        return key["found"]
    return ", ".join(f"{name}={value}" for name, value in key.items() if not name.startswith("_"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one gate for one date."""

    stage: Stage
    as_of_date: date
    results: tuple[Result, ...]
    held_count: int = 0
    accepted_batches: tuple[str, ...] = ()
    rejected_batches: tuple[str, ...] = ()
    data_docs: Path | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Result, ...]:
        """All that failed, what blocks first."""
        failed = (result for result in self.results if not result.is_passed)
        return tuple(sorted(failed, key=lambda result: (not result.is_blocking, result.suite, result.rule)))

    @property
    def is_blocked(self) -> bool:
        """Whether the day stops here."""
        return any(result.is_blocking for result in self.results)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A clause for each failure that does not block."""
        return tuple(result.told for result in self.failures if not result.is_blocking)

    @property
    def told(self) -> dict[str, Any]:
        """What the audit ledger keeps: how it ended and which rules did not hold, in counts; no keys of rows."""
        failed = [
            {
                "suite": result.suite,
                "rule": result.rule,
                "scope": result.scope,
                "severity": result.severity,
                "checked": result.checked_count,
                "failed": result.failed_count,
                **({"waived": result.waived_count} if result.waived_count else {}),
            }
            for result in self.failures
        ]
        return {
            "as_of_date": self.as_of_date.isoformat(),
            "stage": self.stage,
            "is_blocked": self.is_blocked,
            "expectations": len(self.results),
            "held": self.held_count,
            "failed": failed,
            "accepted_batches": list(self.accepted_batches),
            "rejected_batches": list(self.rejected_batches),
        }

    def raise_if_blocked(self) -> None:
        """Ends the step where the gate is shut.

        Raises:
            GateBlocked: names the expectation, how many rows failed, the first keys and the next command.
        """
        if not self.is_blocked:
            return
        first = self.failures[0]
        more = sum(result.is_blocking for result in self.results) - 1
        others = f", and {more} more" if more else ""
        advice = advise(first.suite, first.rule)
        next_one = f"; next: {next_step(advice, first.suite, first.rule, self.as_of_date)}" if advice else ""
        cause = f". Likely cause: {advice.cause.rstrip('.')}{next_one}" if advice and first.failed_count else ""
        raise GateBlocked(
            f"The {self.stage} gate blocked {self.as_of_date}: {first.told}{others}:"
            f" see `arrears status --as-of {self.as_of_date}`{cause}."
        )
