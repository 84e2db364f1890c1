"""Rules on measures of a day beside those of the last good days; how far they may lie is the seed drift_tolerances.

They read a relation with one row per measure and what it is of: `table_name`, `column_name` (or a currency),
`observed_value`, `row_count`, and of the good days compared with, `day_count`, `lowest`, `highest`; `allowance` is the
sampling error of a share. A measure beyond its tolerance is a finding on the day as a whole, so an operator may waive
it.
"""

from collections.abc import Sequence

from arrears.gate.thresholds import Thresholds, Tolerance
from expectations import rules
from expectations.rules import ExpectNoRows

# A share may lie so far off; anything else is a multiple or a fraction.
SHARES = ("null_share", "par_30_share", "mix", "changed_null_share", "changed_mix")
WORDS = {
    "row_count_low": "Rows brought are not far fewer than on such weekdays.",
    "row_count_high": "Rows brought are not far more than on the busiest day.",
    "null_share": "Columns are filled as they were.",
    "median": "Amounts lie where they lay.",
    "mix": "Kinds come in the shares they had.",
    "changed_null_share": "A table's columns are not emptied by what changes in it.",
    "changed_median": "A table's amounts are not others by what changes in it.",
    "changed_mix": "A table's kinds are not others by what changes in it.",
    "balance": "The balance is near what it was.",
    "par_30_share": "The share of the balance that is 30 days late is near what it was.",
    "loans_to_place": "As many accounts are in collection as there were.",
    "loans_placed": "As many accounts are given to recipients as there were.",
}
# Of a share that may fall as it likes; what is compared with no past has neither a highest value nor an allowance.
RISEN = "measures.observed_value > measures.highest + tolerance.tolerance + measures.allowance"
FAR = {"warning": "", "critical": "-far"}


def expectations(measures: Sequence[str], thresholds: Thresholds, identity: Sequence[str]) -> list[ExpectNoRows]:
    """A rule for each measure and severity of which a tolerance is in force.

    Args:
        measures: those that the relation has.
        thresholds: with the tolerances in force.
        identity: columns of the relation that say what a row is of.
    """
    found = []
    for measure in measures:
        for severity, suffix in FAR.items():
            own = [one for one in thresholds.tolerances if (one.measure, one.severity) == (measure, severity)]
            if own:
                name = f"drift-{measure.replace('_', '-')}{suffix}"
                meta = rules.table(name, WORDS[measure], is_waivable=True)
                found.append(rules.no_rows(_query(measure, own, identity), meta, own[0].severity))
    return found


def days_back(measures: Sequence[str], thresholds: Thresholds) -> int:
    """How many days the relation must look back for these measures."""
    return max((one.days_back for one in thresholds.tolerances if one.measure in measures), default=0)


def _query(measure: str, tolerances: Sequence[Tolerance], identity: Sequence[str]) -> str:
    values = ", ".join(
        f"('{one.table}', {one.minimum_count}, {one.minimum_days}, cast({one.tolerance} as numeric))"
        for one in tolerances
    )
    beyond = {
        "row_count_low": "measures.lowest >= tolerance.minimum_count"
        " and measures.observed_value * tolerance.tolerance < measures.lowest",
        "row_count_high": "measures.observed_value > measures.highest * tolerance.tolerance",
        "null_share": RISEN,
        "changed_null_share": RISEN,
    }.get(
        measure,
        f"({RISEN} or measures.observed_value < measures.lowest - tolerance.tolerance - measures.allowance)"
        if measure in SHARES
        else "(measures.observed_value > measures.highest * tolerance.tolerance"
        " or measures.observed_value * tolerance.tolerance < measures.lowest)",
    )
    compared = """ || ', on the last ' || measures.day_count || ' good days ' || trim_scale(round(measures.lowest, 4))
            || case when measures.highest > measures.lowest
                then ' to ' || trim_scale(round(measures.highest, 4)) else '' end"""
    if measure.startswith("changed_"):
        compared = """ || ' by the change of ' || measures.row_count || ' rows'"""
    enough = "true" if measure == "row_count_low" else "measures.row_count >= tolerance.minimum_count"
    return f"""
        with measures as (select * from {{batch}}),
        tolerances as (
            select * from (values {values}) as given (table_name, minimum_count, minimum_days, tolerance)
        )
        select {", ".join(f"measures.{name}" for name in identity)},
            concat_ws(' ', measures.table_name, nullif(measures.column_name, '')) || ': {measure.replace("_", " ")} is '
            || trim_scale(round(measures.observed_value, 4)){compared} as detail
        from measures
        cross join lateral (
            select * from tolerances
            where tolerances.table_name in (measures.table_name, '*')
            order by tolerances.table_name = '*'
            limit 1
        ) as tolerance
        where measures.measure = '{measure}' and measures.day_count >= tolerance.minimum_days and {enough}
            and {beyond}
    """
