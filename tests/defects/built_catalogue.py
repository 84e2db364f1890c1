"""Kinds of faults in what dbt and the solver built, each with the rule of a later gate that must catch it.

They are made in the working tables of a built day, on loans that a query picks; so they fit a portfolio of any size.
"""

from dataclasses import dataclass
from typing import Literal

import psycopg

from arrears.gate.verdict import Stage
from tests.defects.catalogue import Severity

BuiltOutcome = Literal["row", "block", "warning", "nothing"]

# Which loans may be spoilt; one row a loan.
IN_ARREARS = "select loan_id from working.loan_delinquency where arrears_amount > 0 and held_back_reason is null"
MONTHS_LATE = f"{IN_ARREARS} and days_past_due >= 31"
ASSIGNED = "select loan_id from working.agency_assignment where is_new"
LICENSED = """
select assigned.loan_id
from working.agency_assignment as assigned
inner join working.stg_servicing__agencies as agencies on assigned.agency_id = agencies.agency_id
inner join seeds.recipient_kinds as kinds on agencies.kind = kinds.kind and kinds.needs_licence
where (select count(*) from working.agency_assignment as others where others.borrower_id = assigned.borrower_id) = 1
"""
QUEUED = """
select lines.loan_id from working.collection_queue as lines
inner join working.agency_assignment as assigned on lines.loan_id = assigned.loan_id
where assigned.is_new and lines.channel is not null
group by lines.loan_id having count(*) = 1
"""
SCORED = "select loan_id from working.loan_risk_score"
CHOSEN = " where loan_id = any(%(loans)s)"


@dataclass(frozen=True, slots=True)
class BuiltDefect:
    """Statements that break the built day, and the rule that must find it.

    Attributes:
        name: what is wrong, for people.
        stage: the gate that must find it.
        statement: SQL; `%(loans)s` are the loans picked.
        suite: whose rule must find it; empty where none does.
        rule: its number.
        outcome: as of the catalogue of delivered data.
        severity: likewise.
        pick: SQL of the loans that it may happen to.
        rate: at which it is made, where that is not a share of the loans.
        slips: why nothing finds it; empty where something must.
    """

    name: str
    stage: Stage
    statement: str
    suite: str = ""
    rule: str = ""
    outcome: BuiltOutcome = "row"
    severity: Severity = "critical"
    pick: str = IN_ARREARS
    rate: str = ""
    slips: str = ""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")

    @property
    def family(self) -> str:
        """Of kinds, for the table in the docs."""
        return f"built, {self.stage}"

    def inject(self, connection: psycopg.Connection, share: float, seed: int = 0) -> list[str]:
        """Breaks the built day on a share of the loans that it may happen to, one at least; gives these loans.

        Raises:
            LookupError: there is no such loan.
        """
        picked = f"with may as ({self.pick}) select loan_id from may order by md5(loan_id || '{seed}') limit"
        (may,) = connection.execute(f"select count(*) from ({self.pick}) as may".encode()).fetchone() or (0,)
        rows = connection.execute(f"{picked} {max(1, int(may * share))}".encode()).fetchall()
        loans = sorted(row[0] for row in rows)
        if not loans:
            raise LookupError(f"no loan can have this defect: {self.name}")
        for statement in self.statement.split("; "):
            connection.execute(statement.encode(), {"loans": loans})
        return loans


def _of_loans(columns: str) -> str:
    return f"update working.loan_delinquency set {columns}{CHOSEN}"


def _of_lines(columns: str) -> str:
    return f"update working.collection_queue set {columns}{CHOSEN}"


def _suppress(channel: str) -> str:
    return (
        "insert into versions.suppressions (suppression_id, borrower_id, loan_id, kind, channel, starts_on, _source,"
        " _batch_id, _known_from, _row_hash)"
        f" select distinct on (loan_id) 'N-' || loan_id, borrower_id, loan_id, 'cease_contact', {channel},"
        " cast('2020-01-01' as date), 'contract', 'b', cast('0001-01-01' as date), gen_random_uuid()"
        f" from working.collection_queue{CHOSEN}"
    )


BUILT: tuple[BuiltDefect, ...] = (
    BuiltDefect(
        "arrears that are not the sum of their components",
        "marts",
        _of_loans("arrears_fee_amount = arrears_fee_amount + 1"),
        "marts.loan_delinquency",
        "arrears-add-up",
    ),
    BuiltDefect(
        "arrears too high, and so their components",
        "marts",
        _of_loans("arrears_fee_amount = arrears_fee_amount + 1, arrears_amount = arrears_amount + 1"),
        outcome="nothing",
        slips="no gate replays a loan a second time; the oracle tests and servicer_reconciliation do",
    ),
    BuiltDefect(
        "a bucket that does not fit",
        "marts",
        _of_loans("bucket = case when days_delinquent > 360 then '1-30' else '360+' end"),
        "marts.loan_delinquency",
        "bucket-fits",
    ),
    BuiltDefect(
        "days counted from another date",
        "marts",
        _of_loans("days_past_due = days_past_due + 1"),
        "marts.loan_delinquency",
        "days-from-oldest-unpaid",
    ),
    BuiltDefect(
        "days counted in months of thirty",
        "marts",
        _of_loans("days_past_due = days_past_due - days_past_due / 30"),
        "marts.loan_delinquency",
        "days-from-oldest-unpaid",
        pick=MONTHS_LATE,
    ),
    BuiltDefect(
        "a day lost with the clocks' change, in date and days",
        "marts",
        _of_loans(
            "oldest_unpaid_due_on = oldest_unpaid_due_on + 1, days_past_due = days_past_due - 1,"
            " days_delinquent = greatest(days_delinquent - 1, 0)"
        ),
        outcome="nothing",
        pick=f"{IN_ARREARS} and days_delinquent not in (0, 1, 31, 61, 91, 121, 151, 181, 361)",
        slips="no gate replays a loan a second time; the oracle tests and servicer_reconciliation do",
    ),
    BuiltDefect(
        "more days delinquent than past due",
        "marts",
        _of_loans("days_delinquent = days_past_due + 1"),
        "marts.loan_delinquency",
        "delinquent-within-past-due",
    ),
    BuiltDefect(
        "negative arrears",
        "marts",
        _of_loans(
            "arrears_amount = -1, arrears_principal_amount = -1, arrears_interest_amount = 0, arrears_fee_amount = 0,"
            " arrears_penalty_amount = 0"
        ),
        "marts.loan_delinquency",
        "arrears_amount-not-negative",
    ),
    BuiltDefect(
        "a loan lost on the way",
        "marts",
        f"delete from working.loan_delinquency{CHOSEN}",
        "marts.loan_delinquency",
        "loans-complete",
        "block",
    ),
    BuiltDefect(
        "a closed loan that is still there",
        "marts",
        f"update versions.loans set status = 'closed', status_on = disbursed_on{CHOSEN}",
        "marts.loan_delinquency",
        "loans-complete",
        "block",
    ),
    BuiltDefect(
        "a row of another day",
        "marts",
        _of_loans("as_of_date = as_of_date - 1"),
        "marts.loan_delinquency",
        "as-of-date",
        "block",
    ),
    BuiltDefect(
        "fees added to every loan",
        "marts",
        "update working.loan_delinquency set arrears_fee_amount = arrears_fee_amount + 1",
        "marts.loan_delinquency",
        "row-findings",
        "block",
        rate="all rows",
    ),
    BuiltDefect(
        "a score outside its scorecard",
        "marts",
        f"update working.loan_risk_score set score = 99999{CHOSEN}",
        "marts.loan_risk_score",
        "score-range",
        pick=SCORED,
    ),
    BuiltDefect(
        "a probability above 1",
        "marts",
        f"update working.loan_risk_score set default_probability = 1.2{CHOSEN}",
        "marts.loan_risk_score",
        "default_probability-share",
        pick=SCORED,
    ),
    BuiltDefect(
        "a score of another day",
        "marts",
        f"update working.loan_risk_score set as_of_date = as_of_date - 1{CHOSEN}",
        "marts.loan_risk_score",
        "as-of-date",
        "block",
        pick=SCORED,
    ),
    BuiltDefect(
        "a loan without a score",
        "marts",
        f"delete from working.int_risk__loans_scored{CHOSEN}",
        "marts.loan_risk_score",
        "scores-complete",
        "block",
    ),
    BuiltDefect(
        "a balance counted twice",
        "marts",
        "update working.portfolio_at_risk set balance_amount = balance_amount * 2",
        "marts.portfolio_at_risk",
        "balances-add-up",
        "block",
        rate="all rows",
    ),
    BuiltDefect(
        "more at risk for 90 days than for 60",
        "marts",
        "update working.portfolio_at_risk set par_90_amount = par_60_amount + 1",
        "marts.portfolio_at_risk",
        "parts-within-whole",
        "block",
        rate="all rows",
    ),
    BuiltDefect(
        "figures that the servicing system states otherwise",
        "marts",
        f"delete from working.servicer_reconciliation{CHOSEN}; insert into working.servicer_reconciliation (as_of_date,"
        " loan_id, product, currency, balance_on, days_past_due, servicer_days_past_due, days_difference, cause)"
        " select as_of_date, loan_id, product, currency, as_of_date, days_past_due, days_past_due + 30, 30,"
        " 'unexplained'"
        f" from working.loan_delinquency{CHOSEN}",
        outcome="nothing",
        slips="the mart servicer_reconciliation tells it, no gate does: an exported day would end otherwise",
    ),
    BuiltDefect(
        "a suppression that the models overlooked",
        "queues",
        _suppress("null"),
        "queues.agency_assignment",
        "not-suppressed",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a channel that is suppressed",
        "queues",
        _suppress("channel"),
        "queues.collection_queue",
        "not-suppressed",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a channel that is refused",
        "queues",
        "insert into versions.contact_preferences (borrower_id, channel, place, is_allowed, starts_on, _source,"
        " _batch_id, _known_from, _row_hash) select distinct party_borrower_id, channel, 'any', false,"
        " cast('2020-01-02' as date), 'contract', 'b', cast('0001-01-01' as date), gen_random_uuid()"
        f" from working.collection_queue{CHOSEN}",
        "queues.collection_queue",
        "wanted",
        pick=f"{QUEUED} and min(lines.party_borrower_id) in (select party_borrower_id from working.collection_queue"
        " group by party_borrower_id having count(*) = 1)",
    ),
    BuiltDefect(
        "a loan held back and assigned all the same",
        "queues",
        _of_loans("held_back_reason = 'a reason'"),
        "queues.agency_assignment",
        "loan-workable",
        pick=ASSIGNED,
    ),
    BuiltDefect(
        "a recipient without a licence",
        "queues",
        "update versions.borrowers set country = 'XX', region = null where borrower_id in"
        f" (select borrower_id from working.agency_assignment{CHOSEN})",
        "queues.agency_assignment",
        "licence",
        pick=LICENSED,
    ),
    BuiltDefect(
        "a recipient in conflict",
        "queues",
        "insert into versions.agency_conflicts (agency_id, borrower_id, reason, _source, _batch_id, _known_from,"
        " _row_hash) select agency_id, borrower_id, 'relative', 'contract', 'b', cast('0001-01-01' as date),"
        f" gen_random_uuid() from working.agency_assignment{CHOSEN}",
        "queues.agency_assignment",
        "no-conflict",
        pick=LICENSED,
    ),
    BuiltDefect(
        "more accounts than the contract holds",
        "queues",
        "update working.int_assignment__contracts_open set capacity = 0 where contract_id in"
        f" (select contract_id from working.agency_assignment{CHOSEN})",
        "queues.agency_assignment",
        "capacity",
        "block",
        pick=ASSIGNED,
        rate="one contract",
    ),
    BuiltDefect(
        "an assignment under no contract",
        "queues",
        f"update working.agency_assignment set contract_id = 'none'{CHOSEN}",
        "queues.agency_assignment",
        "contract-open",
        pick=ASSIGNED,
    ),
    BuiltDefect(
        "an assignment that nobody decided",
        "queues",
        f"delete from working.agency_assignment{CHOSEN}; delete from working.collection_queue{CHOSEN}",
        "queues.agency_assignment",
        "as-decided",
        "block",
        pick=ASSIGNED,
    ),
    BuiltDefect(
        "a loan in two queues",
        "queues",
        "insert into working.collection_queue select (jsonb_populate_record(lines, jsonb_build_object('recipient_id',"
        " (select min(agency_id) from working.stg_servicing__agencies where agency_id <> lines.recipient_id),"
        " 'rank', 99999))).* from working.collection_queue as lines where loan_id = any(%(loans)s)",
        "queues.collection_queue",
        "one-queue",
        "block",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a line lost on the way",
        "queues",
        f"delete from working.collection_queue{CHOSEN}",
        "queues.collection_queue",
        "totals",
        "block",
        pick=QUEUED,
    ),
    BuiltDefect(
        "an amount changed on the way",
        "queues",
        _of_lines("arrears_amount = arrears_amount + 1"),
        "queues.collection_queue",
        "totals",
        "block",
        pick=QUEUED,
    ),
    BuiltDefect(
        "days changed on the way",
        "queues",
        _of_lines("days_past_due = days_past_due + 1"),
        "queues.collection_queue",
        "as-in-mart",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a line of another day",
        "queues",
        _of_lines("as_of_date = as_of_date - 1"),
        "queues.collection_queue",
        "as-of-date",
        "block",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a line to be worked before it went out",
        "queues",
        _of_lines("work_on = as_of_date - 1"),
        "queues.collection_queue",
        "worked-after",
        "block",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a line to a stranger",
        "queues",
        "update working.collection_queue as lines set party_borrower_id = (select min(borrower_id) from"
        " working.stg_servicing__borrowers where borrower_id <> lines.borrower_id) where loan_id = any(%(loans)s)",
        "queues.collection_queue",
        "party",
        pick=QUEUED,
    ),
    BuiltDefect(
        "an unknown channel",
        "queues",
        _of_lines("channel = 'pigeon'"),
        "queues.collection_queue",
        "channel-values",
        pick=QUEUED,
    ),
    BuiltDefect(
        "a call without a channel",
        "queues",
        _of_lines("channel = null, action = 'call'"),
        "queues.collection_queue",
        "channel-required",
        pick=QUEUED,
    ),
    BuiltDefect(
        "nobody has work",
        "queues",
        "delete from working.collection_queue; delete from working.agency_assignment;"
        " update working.assignment_run set assigned_count = 0, objective_amount = 0",
        "queues.collection_queue",
        "rows-due",
        "warning",
        rate="all rows",
    ),
)
