"""What must be true of the day's risk scores. The mart holds changes, so it may be empty; scores cover every loan."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import rules

KEY = ("loan_id", "model_id")

# The lowest and the highest score that a scorecard can give.
_OUT_OF_RANGE = """
with rows as (select * from {batch}),
bins as (
    select model_id, characteristic, min(points) as lowest, max(points) as highest
    from seeds.scorecard_bins
    group by model_id, characteristic
),
ranges as (
    select
        models.model_id,
        models.base_points + sum(bins.lowest) as lowest,
        models.base_points + sum(bins.highest) as highest
    from seeds.scorecard_models as models
    inner join bins on models.model_id = bins.model_id
    group by models.model_id, models.base_points
)
select rows.loan_id, rows.model_id, coalesce(cast(trim_scale(rows.score) as text), 'empty') as detail
from rows
left join ranges on rows.model_id = ranges.model_id
where rows.score is null or ranges.model_id is null or rows.score not between ranges.lowest and ranges.highest
"""


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on the day's loan_risk_score, and on the scores that it holds the changes of."""
    probability = rules.row(
        "default_probability-share",
        "A default probability lies in 0..1.",
        "default_probability is {value}, a probability lies in 0..1",
    )
    return gx.ExpectationSuite(
        "marts.loan_risk_score",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=0, meta=rules.table("rows-due", "Changes of scores are counted."), severity="info"
            ),
            rules.no_rows(
                f"""
                with rows as (select * from {{batch}})
                select loan_id, model_id, as_of_date as detail from rows
                where as_of_date is distinct from date '{as_of_date}'
                """,
                rules.table("as-of-date", "Every row is of the day that is built."),
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="default_probability",
                min_value=0,
                max_value=1,
                meta=probability,
                description=probability["sentence"],
            ),
            rules.no_rows(
                _OUT_OF_RANGE,
                rules.row(
                    "score-range",
                    "A score lies in the range of its scorecard.",
                    "score is {value}, outside its scorecard",
                ),
            ),
            rules.no_rows(
                f"""
                with rows as (select * from {{batch}})
                select loans.loan_id, 'loan ' || loans.loan_id || ' has no score of a champion' as detail
                from {working}.loan_delinquency as loans
                left join {working}.int_risk__loans_scored as scored
                    on loans.loan_id = scored.loan_id and scored.model_role = 'champion'
                where scored.loan_id is null and (select count(*) from rows) >= 0
                """,
                rules.table("scores-complete", "Every open loan has a champion's score."),
            ),
        ],
    )
