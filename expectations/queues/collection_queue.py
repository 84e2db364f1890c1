"""What must be true of the work queue before anybody receives it."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import rules

KEY = ("recipient_id", "loan_id", "party_borrower_id")
CHANNELS = ("call", "sms", "email", "letter", "visit")
REVIEW = "review"

IN_TWO_QUEUES = """
with lines as (select * from {batch})
select loan_id, loan_id || ' is in the queues of ' || string_agg(distinct recipient_id, ', ') as detail
from lines
group by loan_id
having count(distinct recipient_id) > 1
"""

OTHER_THAN_ASSIGNED = """
with lines as (select distinct recipient_id, loan_id, arrears_amount, currency from {batch} where true),
queued as (
    select recipient_id, currency, count(*) as loan_count, sum(arrears_amount) as arrears_amount
    from lines group by recipient_id, currency
),
assigned as (
    select assignments.agency_id as recipient_id, loans.currency, count(*) as loan_count,
        sum(loans.arrears_amount) as arrears_amount
    from {working}.agency_assignment as assignments
    inner join {working}.loan_delinquency as loans on assignments.loan_id = loans.loan_id
    group by assignments.agency_id, loans.currency
)
select coalesce(queued.recipient_id, assigned.recipient_id) as recipient_id,
    coalesce(queued.recipient_id, assigned.recipient_id) || ' has ' || coalesce(queued.loan_count, 0) || ' loans with '
    || coalesce(queued.arrears_amount, 0) || ' ' || coalesce(queued.currency, assigned.currency) || ', assigned are '
    || coalesce(assigned.loan_count, 0) || ' with ' || coalesce(assigned.arrears_amount, 0) as detail
from queued
full outer join assigned on queued.recipient_id = assigned.recipient_id and queued.currency = assigned.currency
where queued.loan_count is distinct from assigned.loan_count
    or queued.arrears_amount is distinct from assigned.arrears_amount
"""

OTHER_THAN_MART = """
with lines as (select * from {batch})
select lines.recipient_id, lines.loan_id, lines.party_borrower_id,
    lines.days_past_due || ' days, ' || lines.arrears_amount || ' ' || lines.currency as detail
from lines
left join {working}.loan_delinquency as loans on lines.loan_id = loans.loan_id
where loans.loan_id is null
    or lines.days_past_due is distinct from loans.days_past_due
    or lines.arrears_amount is distinct from loans.arrears_amount
    or lines.currency is distinct from loans.currency
    or lines.borrower_id is distinct from loans.borrower_id
"""

STRANGERS = """
with lines as (select * from {batch})
select lines.recipient_id, lines.loan_id, lines.party_borrower_id,
    lines.party_borrower_id || ' as ' || lines.party_role as detail
from lines
left join {working}.stg_servicing__loan_parties as parties
    on lines.loan_id = parties.loan_id and lines.party_borrower_id = parties.borrower_id
        and lines.party_role = parties.role
where not (lines.party_role = 'borrower' and lines.party_borrower_id = lines.borrower_id)
    and parties.loan_id is null
"""

# On the channel of the line, or on all; a review contacts nobody.
SUPPRESSED = """
with lines as (select * from {batch})
select
    lines.recipient_id,
    lines.loan_id,
    lines.party_borrower_id,
    lines.channel || ', ' || min(suppressions.kind) as detail
from lines
inner join {working}.stg_servicing__suppressions as suppressions
    on lines.party_borrower_id = suppressions.borrower_id
        and (suppressions.loan_id is null or suppressions.loan_id = lines.loan_id)
        and (suppressions.channel is null or suppressions.channel = lines.channel)
        and lines.work_on between suppressions.starts_on and coalesce(suppressions.ends_on, lines.work_on)
inner join seeds.suppression_kinds as kinds on suppressions.kind = kinds.kind and kinds.blocks_contact
where lines.channel is not null
group by lines.recipient_id, lines.loan_id, lines.party_borrower_id, lines.channel
"""

UNWANTED = """
with lines as (select * from {batch})
select distinct lines.recipient_id, lines.loan_id, lines.party_borrower_id, lines.channel as detail
from lines
inner join {working}.stg_servicing__contact_preferences as preferences
    on lines.party_borrower_id = preferences.borrower_id and lines.channel = preferences.channel
        and lines.work_on between preferences.starts_on and coalesce(preferences.ends_on, lines.work_on)
where not preferences.is_allowed and preferences.place = 'any'
"""


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on the day's collection_queue.

    Args:
        working: the schema that the run built in.
        as_of_date: the business date D.
    """

    def query(text: str) -> str:
        return text.replace("{working}", working).replace("{as_of_date}", str(as_of_date))

    key = rules.table("key-unique", "A recipient has one line for a loan and party.")
    reason = rules.row("reason-required", "A line says why the account is in the queue.", "the line has no reason")
    channels = ", ".join(CHANNELS)
    channel = rules.row("channel-values", f"channel is one of {channels}.", "channel is {value}, which is none")
    return gx.ExpectationSuite(
        "queues.collection_queue",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=1,
                meta=rules.table("rows-due", "Somebody has work tomorrow."),
                severity="warning",
                description="Somebody has work tomorrow.",
            ),
            rules.no_rows(
                query(
                    "with lines as (select * from {batch})"
                    " select loan_id, 'loan ' || loan_id || ' is of ' || as_of_date as detail from lines"
                    " where as_of_date is distinct from date '{as_of_date}'"
                ),
                rules.table("as-of-date", "Every line is of the day that is built."),
            ),
            rules.no_rows(
                query(
                    "with lines as (select * from {batch})"
                    " select loan_id, 'loan ' || loan_id || ' is to be worked on ' || work_on as detail from lines"
                    " where work_on is null or work_on <= date '{as_of_date}'"
                ),
                rules.table("worked-after", "Every line is to be worked after the day that is built."),
            ),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=list(KEY), meta=key, description=key["sentence"]),
            rules.no_rows(query(IN_TWO_QUEUES), rules.table("one-queue", "No loan is in two recipients' queues.")),
            rules.no_rows(
                query(OTHER_THAN_ASSIGNED),
                rules.table(
                    "totals", "Loans and arrears by recipient and currency are those of the assignments and the marts."
                ),
            ),
            gxe.ExpectColumnValuesToNotBeNull(column="reason", meta=reason, description=reason["sentence"]),
            gxe.ExpectColumnValuesToBeInSet(
                column="channel", value_set=list(CHANNELS), meta=channel, description=channel["sentence"]
            ),
            rules.no_rows(
                query(
                    "with lines as (select * from {batch})"
                    " select recipient_id, loan_id, party_borrower_id, action as detail from lines"
                    f" where channel is null and action is distinct from '{REVIEW}'"
                ),
                rules.row("channel-required", "Only a review has no channel.", "the action {value} has no channel"),
            ),
            rules.no_rows(
                query(OTHER_THAN_MART),
                rules.row("as-in-mart", "Days, arrears and borrower are those of loan_delinquency.", "it says {value}"),
            ),
            rules.no_rows(
                query(STRANGERS),
                rules.row(
                    "party", "The party is the borrower or a party to the loan.", "{value} is no party to the loan"
                ),
            ),
            rules.no_rows(
                query(SUPPRESSED),
                rules.row("not-suppressed", "Nobody is contacted against a suppression.", "suppressed: {value}"),
            ),
            rules.no_rows(
                query(UNWANTED),
                rules.row("wanted", "Nobody is contacted on a channel they refused.", "refused: {value}"),
            ),
        ],
    )
