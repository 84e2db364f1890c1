"""What a gate says when it is shut."""

from datetime import date
from typing import Any

import pytest

from arrears.errors import GateBlocked
from arrears.gate.verdict import Result, Verdict


def a_result(**changes: Any) -> Result:
    given: dict[str, Any] = {
        "suite": "raw.deliveries",
        "expectation": "expect_no_rows",
        "rule": "row-count-fall",
        "scope": "table",
        "severity": "critical",
        "is_passed": False,
        "checked_count": 47,
        "failed_count": 1,
        "sentence": "No table falls.",
        "failing_keys": ({"found": "loans has 3 rows, 20 in the last drop of 2026-03-30"},),
    }
    return Result(**given | changes)


def a_verdict(*results: Result) -> Verdict:
    return Verdict("raw", date(2026, 3, 31), results)


def test_a_blocked_gate_names_expectation_count_first_keys_and_the_next_command() -> None:
    keys = tuple({"loan_id": f"L{number}", "_batch_id": "b"} for number in range(1, 6))

    with pytest.raises(GateBlocked) as blocked:
        a_verdict(a_result(rule="loan-unique", suite="queues.x", failed_count=5, failing_keys=keys)).raise_if_blocked()

    assert str(blocked.value) == (
        "The raw gate blocked 2026-03-31: queues.x loan-unique (expect_no_rows) failed for 5 of 47 rows,"
        " first loan_id=L1; loan_id=L2; loan_id=L3: see `arrears status --as-of 2026-03-31`. Likely cause: A model or a"
        " seed changed and what it builds contradicts the data that it was built from; next: look at the rows with"
        " `arrears explain LOAN_ID`; undo the change or mend it, then `arrears run --as-of 2026-03-31`."
    )


def test_more_than_one_failure_is_counted() -> None:
    with pytest.raises(GateBlocked, match="20 in the last drop of 2026-03-30, and 1 more: see"):
        a_verdict(a_result(), a_result(rule="required-not-empty")).raise_if_blocked()


@pytest.mark.parametrize(
    "harmless", [{"scope": "row"}, {"severity": "warning"}, {"severity": "info"}, {"is_passed": True}]
)
def test_only_a_critical_failure_of_a_whole_table_blocks(harmless: dict[str, Any]) -> None:
    verdict = a_verdict(a_result(**harmless))

    verdict.raise_if_blocked()
    assert not verdict.is_blocked
    assert len(verdict.warnings) == (0 if "is_passed" in harmless else 1)


def test_what_blocks_comes_first() -> None:
    verdict = a_verdict(
        a_result(suite="a", severity="warning"), a_result(suite="b"), a_result(suite="c", is_passed=True)
    )

    assert [failure.suite for failure in verdict.failures] == ["b", "a"]
