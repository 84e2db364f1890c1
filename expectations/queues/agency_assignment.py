"""What must be true of the day's assignments, whatever the solver and the models before it did."""

from datetime import date

import great_expectations as gx
import great_expectations.expectations as gxe

from expectations import rules

KEY = ("loan_id",)

NOT_WORKABLE = """
with lines as (select * from {batch})
select
    lines.loan_id,
    case
        when loans.loan_id is null then 'has no row in loan_delinquency'
        when loans.held_back_reason is not null then 'is held back, ' || loans.held_back_reason
        else 'has no arrears'
    end as detail
from lines
left join {working}.loan_delinquency as loans on lines.loan_id = loans.loan_id
where loans.loan_id is null or loans.held_back_reason is not null or loans.arrears_amount <= 0
"""

SUPPRESSED = """
with lines as (select * from {batch})
select lines.loan_id, min(suppressions.kind) as detail
from lines
inner join {working}.stg_servicing__suppressions as suppressions
    on lines.borrower_id = suppressions.borrower_id
        and (suppressions.loan_id is null or suppressions.loan_id = lines.loan_id)
        and lines.work_on between suppressions.starts_on and coalesce(suppressions.ends_on, lines.work_on)
inner join seeds.suppression_kinds as kinds on suppressions.kind = kinds.kind and kinds.blocks_assignment
where suppressions.channel is null
group by lines.loan_id
"""

UNDER_NO_CONTRACT = """
with lines as (select * from {batch})
select lines.loan_id, lines.contract_id || ' of ' || lines.agency_id as detail
from lines
left join {working}.int_assignment__contracts_open as contracts
    on lines.contract_id = contracts.contract_id and lines.agency_id = contracts.agency_id
where contracts.contract_id is null
"""

WITHOUT_LICENCE = """
with lines as (select * from {batch})
select lines.loan_id, lines.agency_id || ' in ' || upper(coalesce(borrowers.region, borrowers.country)) as detail
from lines
inner join {working}.stg_servicing__agencies as agencies on lines.agency_id = agencies.agency_id
inner join seeds.recipient_kinds as kinds on agencies.kind = kinds.kind and kinds.needs_licence
inner join {working}.stg_servicing__borrowers as borrowers on lines.borrower_id = borrowers.borrower_id
where not exists (
    select 1 from {working}.stg_servicing__agency_licences as licences
    where licences.agency_id = lines.agency_id
        and upper(licences.jurisdiction) = upper(coalesce(borrowers.region, borrowers.country))
        and lines.work_on between licences.starts_on and coalesce(licences.ends_on, lines.work_on)
)
"""

IN_CONFLICT = """
with lines as (select * from {batch})
select lines.loan_id, lines.agency_id || ' and ' || lines.borrower_id as detail
from lines
inner join {working}.stg_servicing__agency_conflicts as conflicts
    on lines.agency_id = conflicts.agency_id and lines.borrower_id = conflicts.borrower_id
"""

# Accounts at once: what is assigned and what else is placed there. A contract that was over its limit before, by
# placements alone, gets nothing new.
OVER_CAPACITY = """
with lines as (select * from {batch}),
accounts as (
    select contract_id, loan_id, is_new from lines
    union all
    select placements.contract_id, placements.loan_id, false as is_new
    from {working}.stg_servicing__placements as placements
    left join lines on placements.loan_id = lines.loan_id and placements.contract_id = lines.contract_id
    where lines.loan_id is null and placements.placed_on <= date '{as_of_date}'
        and (placements.recalled_on is null or placements.recalled_on > date '{as_of_date}')
)
select
    accounts.contract_id,
    accounts.contract_id || ' has ' || count(distinct accounts.loan_id)
    || ' accounts and room for ' || contracts.capacity as detail
from accounts
inner join {working}.int_assignment__contracts_open as contracts on accounts.contract_id = contracts.contract_id
where contracts.capacity is not null
group by accounts.contract_id, contracts.capacity
having count(distinct accounts.loan_id) > contracts.capacity and bool_or(accounts.is_new)
"""

OTHER_THAN_DECIDED = """
with lines as (select * from {batch}),
totals as (select count(*) as line_count, coalesce(sum(expected_net_amount), 0) as net_amount from lines)
select totals.line_count || ' lines of ' || totals.net_amount || ' against ' || runs.assigned_count || ' of '
    || runs.objective_amount || ' decided' as detail
from totals
cross join {working}.assignment_run as runs
where totals.line_count <> runs.assigned_count or totals.net_amount <> runs.objective_amount
"""


def suite(working: str, as_of_date: date) -> gx.ExpectationSuite:
    """Rules on the day's agency_assignment.

    Args:
        working: the schema that the run built in.
        as_of_date: the business date D.
    """

    def query(text: str) -> str:
        return text.replace("{working}", working).replace("{as_of_date}", str(as_of_date))

    reason = rules.row("reason-required", "An assignment says why.", "the assignment has no reason")
    return gx.ExpectationSuite(
        "queues.agency_assignment",
        expectations=[
            gxe.ExpectTableRowCountToBeBetween(
                min_value=1,
                meta=rules.table("rows-due", "Somebody is given work."),
                severity="warning",
                description="Somebody is given work.",
            ),
            rules.no_rows(
                query(
                    "with lines as (select * from {batch})"
                    " select loan_id, 'loan ' || loan_id || ' is of ' || as_of_date as detail from lines"
                    " where as_of_date is distinct from date '{as_of_date}'"
                ),
                rules.table("as-of-date", "Every line is of the day that is built."),
            ),
            gxe.ExpectColumnValuesToBeUnique(
                column="loan_id",
                meta=rules.table("one-recipient", "No loan is with two recipients."),
                description="No loan is with two recipients.",
            ),
            rules.no_rows(
                query(OTHER_THAN_DECIDED),
                rules.table("as-decided", "Lines and their total are those that the solver decided."),
            ),
            rules.no_rows(
                query(OVER_CAPACITY),
                rules.table("capacity", "No contract that gets new accounts holds more than it may."),
            ),
            gxe.ExpectColumnValuesToNotBeNull(column="reason", meta=reason, description=reason["sentence"]),
            rules.no_rows(
                query(
                    "with lines as (select * from {batch})"
                    " select loan_id, expected_net_amount as detail from lines"
                    " where is_new and (expected_net_amount is null or expected_net_amount <= 0)"
                ),
                rules.row(
                    "worth-it", "Nothing is newly given that costs more than it brings.", "it is to bring {value}"
                ),
            ),
            rules.no_rows(
                query(NOT_WORKABLE),
                rules.row("loan-workable", "An assigned loan is in arrears and not held back.", "the loan {value}"),
            ),
            rules.no_rows(
                query(SUPPRESSED),
                rules.row(
                    "not-suppressed", "No assigned loan is under a suppression.", "the borrower is under {value}"
                ),
            ),
            rules.no_rows(
                query(UNDER_NO_CONTRACT),
                rules.row("contract-open", "A contract of the recipient is in force.", "{value} is no open contract"),
            ),
            rules.no_rows(
                query(WITHOUT_LICENCE),
                rules.row(
                    "licence",
                    "A recipient that needs a licence has it where the borrower lives.",
                    "{value}: no licence",
                ),
            ),
            rules.no_rows(
                query(IN_CONFLICT),
                rules.row("no-conflict", "No recipient works a borrower it may not.", "conflict between {value}"),
            ),
        ],
    )
