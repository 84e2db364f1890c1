"""How a rule is written down: its number, its scope, a sentence for people, and the one expectation of our own.

Scope `row`: a row that breaks the rule is quarantined and its loan held back, the rest goes out. Scope `table`: with
severity critical the whole export stops.
"""

from typing import Any, ClassVar, Literal

import great_expectations.expectations as gxe

Meta = dict[str, Any]


def row(rule: str, sentence: str, finding: str = "", *, is_waivable: bool = False) -> Meta:
    """Meta of a rule on single rows.

    Args:
        rule: its number, unique in the suite.
        sentence: what must hold, for the docs and the gate's results.
        finding: what is said of a row that breaks it; `{value}` is the column's value, or the query's column `detail`.
        is_waivable: whether an operator may take such a row in as it is. Not where nothing could be computed with it,
            where nobody knows which row is meant, or where the law says no.
    """
    return {
        "rule": rule,
        "scope": "row",
        "sentence": sentence,
        "finding": finding or f"breaks the rule: {sentence}",
        "is_waivable": is_waivable,
    }


def table(rule: str, sentence: str, *, is_waivable: bool = False) -> Meta:
    """Meta of a rule on a whole table or delivery; a query's column `detail` says what was found.

    Args:
        rule: its number, unique in the suite.
        sentence: what must hold.
        is_waivable: whether an operator may let the day pass all the same: a matter of judgement, not of sums that are
            wrong or of the law.
    """
    return {"rule": rule, "scope": "table", "sentence": sentence, "finding": "{value}", "is_waivable": is_waivable}


class ExpectNoRows(gxe.UnexpectedRowsExpectation):  # type: ignore[misc]
    """A query must find nothing. Unlike its parent it only counts: the rows are fetched where there are any.

    The query reads its batch through a CTE, `with delivered as (select * from {batch})`, so that the batch has an alias
    of ours whether or not the query has a join.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"observed_value": count}}


def no_rows(query: str, meta: Meta, severity: Literal["critical", "warning", "info"] = "critical") -> ExpectNoRows:
    """The rule that a query finds nothing; its sentence is what the docs show."""
    return ExpectNoRows(unexpected_rows_query=query, meta=meta, severity=severity, description=meta["sentence"])


def rows_are_due(sentence: str = "There are rows to check.") -> gxe.ExpectTableRowCountToBeBetween:
    """A suite that ran on nothing where rows were due has failed."""
    return gxe.ExpectTableRowCountToBeBetween(min_value=1, meta=table("rows-due", sentence), description=sentence)
