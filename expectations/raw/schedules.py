"""What a loan, its schedule and its dates must have to do with one another.

Several rows of one loan may share one fault: a schedule of two hundred instalments under a wrong number is one fault.
Of such rows the first is the finding; the others wait with it (rules that end in `-held`) and count for no threshold.
"""

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded, sql_list
from expectations import rules
from expectations.raw.amounts import FIRST_YEAR
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows, Meta

# Of one instalment, in units of the currency: schedules are rounded to whole units, and the rest is seldom evened out.
LARGEST_ROUNDING = 1

# A schedule may end so long before its loan matures: a rest that is paid in one sum has an instalment of its own.
DAYS_BEFORE_MATURITY = 92

# So many loans of a delivery with a disbursement show that the lender books them.
FEWEST_BOOKED = 5

# Rows that come before their loan by more than ten years have a wrong date.
FAR_BEFORE_DAYS = 3653


def one_finding(ctes: str, table: Table, group: tuple[str, ...], order: str, meta: Meta) -> list[ExpectNoRows]:
    """Two rules on the rows of the CTE `wrong` (the table's, with `detail`): the first of a group, and the others.

    Args:
        ctes: what stands after `with`, up to the CTE `wrong`.
        table: whose rows these are.
        group: columns that say which rows share one fault.
        order: SQL of the order in which one of them is the first.
        meta: of the rule on the first.
    """
    shared = ", ".join(("_source", *group))
    ranked = f"""
        with {ctes},
        ranked as (
            select wrong.*, row_number() over (partition by {shared} order by {order}, _row_hash) as place from wrong
        )
        select {identity(table, "ranked")}, ranked.detail from ranked where ranked.place """
    others = rules.row(
        f"{meta['rule']}-held", f"{meta['sentence']} The other rows wait with the first.", meta["finding"]
    )
    return [rules.no_rows(f"{ranked} = 1", meta), rules.no_rows(f"{ranked} > 1", others)]


def loans_around(loaded: Loaded, delivered: str, columns: tuple[str, ...]) -> str:
    """SQL, to stand in `from`: the loans that rows are of, as delivered beside them, else as known.

    Args:
        loaded: the batches judged together.
        delivered: a CTE with _source and loan_id.
        columns: of loans.
    """
    names = ", ".join(columns)
    return f"""(
            select _source, loan_id, {names} from raw.loans where _batch_id in {loaded.batches_sql} and not _is_deleted
            union all
            select known._source, known.loan_id, {", ".join(f"known.{name}" for name in columns)}
            from {loaded.in_force("loans")} as known
            where known.loan_id in (select loan_id from {delivered})
                and not exists (
                    select 1 from raw.loans as beside
                    where beside._batch_id in {loaded.batches_sql} and not beside._is_deleted
                        and beside.loan_id = known.loan_id and beside._source = known._source
                )
        )"""


def not_before_disbursement(table: Table, column: str, loaded: Loaded, what: str) -> list[ExpectNoRows]:
    """Nothing should happen on a loan before its first disbursement: either date may be the wrong one.

    A fee or a payment in advance is no fault, so a few years are a warning and the replay counts the row; beyond
    `FAR_BEFORE_DAYS` the date is wrong and the row set aside. A date that cannot be at all (`amounts.plausible`) is
    another finding.
    """
    loans = loans_around(loaded, "delivered", ("disbursed_on",))
    near = rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select min(delivered._batch_id) as _batch_id, delivered.loan_id,
            'loan ' || delivered.loan_id || ': {what} on ' || min(delivered.{column}) || ', before its disbursement on '
            || min(loans.disbursed_on) as detail
        from delivered
        inner join {loans} as loans on delivered.loan_id = loans.loan_id and delivered._source = loans._source
        where delivered.{column} < loans.disbursed_on and delivered.{column} >= loans.disbursed_on - {FAR_BEFORE_DAYS}
        group by delivered._source, delivered.loan_id
        """,
        rules.table(f"{column}-from-disbursement", f"No {what} before the loan is disbursed."),
        severity="warning",
    )
    far = one_finding(
        f"""delivered as (select * from {{batch}}),
        wrong as (
            select delivered.*, delivered.{column} || ', years before ' || loans.disbursed_on as detail
            from delivered
            inner join {loans} as loans on delivered.loan_id = loans.loan_id and delivered._source = loans._source
            where delivered.{column} < loans.disbursed_on - {FAR_BEFORE_DAYS}
                and delivered.{column} >= date '{FIRST_YEAR}'
        )""",
        table,
        ("loan_id",),
        column,
        rules.row(
            f"{column}-not-far-before",
            f"No {what} years before the loan is disbursed.",
            f"{column} is {{value}}, when the loan was disbursed",
        ),
    )
    return [near, *far]


def version_is_one(table: Table, loaded: Loaded) -> list[ExpectNoRows]:
    """A version of a schedule takes effect on one day and has one basis; else two versions have one number.

    Of a revolving loan each statement's row takes effect when it is billed. Which of two versions is meant nobody
    knows: all their rows delivered are set aside, and the version before stays in force.
    """
    return one_finding(
        f"""delivered as (select * from {{batch}}),
        brought as (
            select _source, loan_id, schedule_version,
                min(effective_on) as first_on, max(effective_on) as last_on,
                min(coalesce(basis, 'gross')) as basis, max(coalesce(basis, 'gross')) as other_basis
            from delivered
            group by _source, loan_id, schedule_version
        ),
        staying as (
            select brought._source, brought.loan_id, brought.schedule_version,
                min(known.effective_on) as first_on, max(known.effective_on) as last_on,
                min(coalesce(known.basis, 'gross')) as basis, max(coalesce(known.basis, 'gross')) as other_basis
            from brought
            inner join {loaded.in_force("instalments")} as known
                on brought.loan_id = known.loan_id and brought.schedule_version = known.schedule_version
                    and brought._source = known._source
            where not exists ({_replaced(loaded)})
            group by brought._source, brought.loan_id, brought.schedule_version
        ),
        two_in_one as (
            select brought._source, brought.loan_id, brought.schedule_version,
                case
                    when least(brought.first_on, staying.first_on) < greatest(brought.last_on, staying.last_on)
                        then 'effective on ' || least(brought.first_on, staying.first_on) || ' and on '
                            || greatest(brought.last_on, staying.last_on)
                    else 'of basis gross and unpaid'
                end as detail
            from brought
            left join staying
                on brought._source = staying._source and brought.loan_id = staying.loan_id
                    and brought.schedule_version = staying.schedule_version
            where least(brought.first_on, staying.first_on) < greatest(brought.last_on, staying.last_on)
                or least(brought.basis, staying.basis) < greatest(brought.other_basis, staying.other_basis)
        ),
        wrong as (
            select delivered.*, delivered.schedule_version || ' is ' || two_in_one.detail as detail
            from delivered
            inner join two_in_one
                on delivered._source = two_in_one._source and delivered.loan_id = two_in_one.loan_id
                    and delivered.schedule_version = two_in_one.schedule_version
            inner join {loans_around(loaded, "two_in_one", ("product",))} as loans
                on delivered.loan_id = loans.loan_id and delivered._source = loans._source
            where loans.product <> 'revolving'
        )""",
        table,
        ("loan_id", "schedule_version"),
        "instalment_number",
        rules.row(
            "schedule_version-one",
            "A version of a schedule takes effect on one day and has one basis.",
            "two versions have one number: version {value}",
        ),
    )


def first_version_adds_up(loaded: Loaded) -> ExpectNoRows:
    """The principal of a loan's first version is what was agreed, or what was disbursed, but for rounding.

    Later versions may say otherwise (interest that became principal, a rest that was rescheduled); so may a revolving
    loan, one drawn in parts, and a version of what was still unpaid. A line that could not be read is a finding of its
    own.
    """
    loans = loans_around(loaded, "brought", ("principal_amount", "product", "is_drawn_in_parts", "currency"))
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        brought as (
            select _source, loan_id, min(_batch_id) as _batch_id,
                sum(principal_amount) as principal_amount, count(*) as row_count, bool_or(basis = 'unpaid') as is_rest
            from delivered
            where schedule_version = 1
            group by _source, loan_id
        ),
        staying as (
            select brought._source, brought.loan_id,
                sum(known.principal_amount) as principal_amount, count(*) as row_count
            from brought
            inner join {loaded.in_force("instalments")} as known
                on brought.loan_id = known.loan_id and known.schedule_version = 1 and brought._source = known._source
            where not exists ({_replaced(loaded)})
            group by brought._source, brought.loan_id
        ),
        compared as (
            select brought._source, brought._batch_id, brought.loan_id, loans.currency,
                loans.principal_amount as agreed_amount,
                brought.principal_amount + coalesce(staying.principal_amount, 0) as scheduled_amount,
                (brought.row_count + coalesce(staying.row_count, 0)) * {LARGEST_ROUNDING} as rounding_amount
            from brought
            left join staying on brought.loan_id = staying.loan_id and brought._source = staying._source
            inner join {loans} as loans on brought.loan_id = loans.loan_id and brought._source = loans._source
            where brought.is_rest is not true and loans.is_drawn_in_parts is not true and loans.product <> 'revolving'
        ),
        differing as (
            select * from compared where abs(scheduled_amount - agreed_amount) > rounding_amount
        ),
        disbursed as (
            select _source, loan_id, sum(amount) as amount
            from (
                select _source, loan_id, amount from {loaded.in_force("transactions")} as known
                where kind = 'disbursement' and loan_id in (select loan_id from differing)
                union all
                select _source, loan_id, amount from raw.transactions
                where _batch_id in {loaded.batches_sql} and not _is_deleted
                    and kind = 'disbursement' and loan_id in (select loan_id from differing)
            ) as bookings
            group by _source, loan_id
        )
        select differing._batch_id, differing.loan_id,
            'loan ' || differing.loan_id || ' of ' || trim_scale(differing.agreed_amount) || ' ' || differing.currency
            || ' has instalments of ' || trim_scale(differing.scheduled_amount) as detail
        from differing
        left join disbursed on differing.loan_id = disbursed.loan_id and differing._source = disbursed._source
        where (
                disbursed.amount is null
                or abs(differing.scheduled_amount - disbursed.amount) > differing.rounding_amount
            )
            and not exists (
                select 1 from quarantine.rows as held
                where held.batch_id in {loaded.batches_sql} and held.stage = 'extract'
                    and held.table_name = 'instalments' and held.loan_id = differing.loan_id
            )
        """,
        rules.table(
            "first-version-adds-up",
            "The instalments of a loan's first version add up to its principal, or to what was disbursed.",
        ),
        severity="warning",
    )


def has_instalments(loaded: Loaded) -> ExpectNoRows:
    """Nothing can be said to be due on a loan without a schedule: its state says so and it is held back.

    A revolving loan may have had no statement yet; of a loan closed or sold long ago nobody may have kept the schedule.
    """
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.loan_id, 'loan ' || delivered.loan_id || ' has no instalment' as detail
        from delivered
        where delivered.status in ('active', 'written_off') and delivered.product <> 'revolving'
            and not exists (
                select 1 from {loaded.in_force("instalments")} as known
                where known.loan_id = delivered.loan_id and known._source = delivered._source
            )
            and not exists (
                select 1 from raw.instalments as beside
                where beside._batch_id in {loaded.batches_sql} and not beside._is_deleted
                    and beside.loan_id = delivered.loan_id and beside._source = delivered._source
            )
            and not exists (
                select 1 from quarantine.rows as held
                where held.batch_id in {loaded.batches_sql} and held.stage = 'extract'
                    and held.table_name = 'instalments' and held.loan_id = delivered.loan_id
            )
        """,
        rules.table("has-instalments", "Every loan that is not revolving has a schedule."),
        severity="warning",
    )


def reaches_maturity(loaded: Loaded) -> ExpectNoRows:
    """A schedule that ends long before its loan matures was cut off, or is an older one's rest.

    Of a loan drawn in parts the schedule may follow the drawings.
    """
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        open as (
            select * from delivered
            where status in ('active', 'written_off') and product <> 'revolving' and is_drawn_in_parts is not true
        ),
        claims as (
            select known._source, known.loan_id, max(known.due_on) as due_on
            from {loaded.in_force("instalments")} as known
            where known.loan_id in (select loan_id from open)
            group by known._source, known.loan_id
            union all
            select _source, loan_id, max(due_on) from raw.instalments
            where _batch_id in {loaded.batches_sql} and not _is_deleted and loan_id in (select loan_id from open)
            group by _source, loan_id
        ),
        ends as (select _source, loan_id, max(due_on) as ends_on from claims group by _source, loan_id)
        select open._batch_id, open.loan_id,
            'loan ' || open.loan_id || ' matures on ' || open.maturity_on || ' and its last instalment is due on '
            || ends.ends_on as detail
        from open
        inner join ends on open.loan_id = ends.loan_id and open._source = ends._source
        where ends.ends_on < open.maturity_on - {DAYS_BEFORE_MATURITY}
            and not exists (
                select 1 from quarantine.rows as held
                where held.batch_id in {loaded.batches_sql} and held.stage = 'extract'
                    and held.table_name = 'instalments' and held.loan_id = open.loan_id
            )
        """,
        rules.table("schedule-reaches-maturity", "The schedule of a loan that is not revolving reaches its maturity."),
        severity="warning",
    )


def has_disbursement(loaded: Loaded) -> ExpectNoRows:
    """Where a third of the loans delivered have a disbursement among their bookings, one without has lost its own.

    A lender that books none, or whose history begins later, has hardly any loans with.
    """
    latest = max(batch.batch_date for batch in loaded.batches)
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        open as (
            select * from delivered
            where status in ('active', 'written_off') and disbursed_on < date '{latest}'
        ),
        disbursed as (
            select known._source, known.loan_id from {loaded.in_force("transactions")} as known
            where known.kind = 'disbursement' and known.loan_id in (select loan_id from open)
            union
            select _source, loan_id from raw.transactions
            where _batch_id in {loaded.batches_sql} and not _is_deleted
                and kind = 'disbursement' and loan_id in (select loan_id from open)
        ),
        told as (
            select open._batch_id, open.loan_id, open.disbursed_on, disbursed.loan_id is not null as is_booked,
                count(disbursed.loan_id) over (partition by open._batch_id) as booked_count,
                count(*) over (partition by open._batch_id) as loan_count
            from open
            left join disbursed on open.loan_id = disbursed.loan_id and open._source = disbursed._source
        )
        select told._batch_id, told.loan_id,
            'loan ' || told.loan_id || ' was disbursed on ' || told.disbursed_on || ' and no booking says so' as detail
        from told
        where not told.is_booked and told.booked_count >= {FEWEST_BOOKED} and told.booked_count * 3 >= told.loan_count
            and not exists (
                select 1 from quarantine.rows as held
                where held.batch_id in {loaded.batches_sql} and held.stage = 'extract'
                    and held.table_name = 'transactions' and held.loan_id = told.loan_id
            )
        """,
        rules.table("has-disbursement", "Every loan's disbursement is booked, where many loans' are."),
        severity="warning",
    )


def principal_is_the_schedules(loaded: Loaded) -> ExpectNoRows:
    """A known loan's principal does not move away from the schedule that was agreed with it.

    Where the first version is delivered too, `first_version_adds_up` compares them.
    """
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        moved as (
            select delivered.*, known.principal_amount as known_amount
            from delivered
            inner join {loaded.in_force("loans")} as known
                on delivered.loan_id = known.loan_id and delivered._source = known._source
            where delivered.principal_amount <> known.principal_amount
                and delivered.product <> 'revolving' and delivered.is_drawn_in_parts is not true
                and not exists (
                    select 1 from raw.instalments as now
                    where now._batch_id in {loaded.batches_sql} and now._source = delivered._source
                        and now.loan_id = delivered.loan_id and now.schedule_version = 1
                )
        ),
        scheduled as (
            select moved._source, moved.loan_id, sum(known.principal_amount) as amount,
                count(*) * {LARGEST_ROUNDING} as rounding_amount
            from moved
            inner join {loaded.in_force("instalments")} as known
                on moved.loan_id = known.loan_id and known.schedule_version = 1 and moved._source = known._source
            group by moved._source, moved.loan_id
            having bool_or(known.basis = 'unpaid') is not true
        )
        select moved._batch_id, moved.loan_id,
            'loan ' || moved.loan_id || ' of ' || trim_scale(moved.known_amount) || ' is now of '
            || trim_scale(moved.principal_amount) || ' ' || moved.currency || ', its instalments add up to '
            || trim_scale(scheduled.amount) as detail
        from moved
        inner join scheduled on moved.loan_id = scheduled.loan_id and moved._source = scheduled._source
        where abs(moved.principal_amount - scheduled.amount)
            > greatest(scheduled.rounding_amount, abs(moved.known_amount - scheduled.amount))
        """,
        rules.table("principal-of-the-schedule", "A known loan's principal stays that of its schedule."),
        severity="warning",
    )


def credit_is_within_the_loan(loaded: Loaded) -> ExpectNoRows:
    """A credit above all that the loan was ever to pay is of another loan, or in another currency.

    Bookings have no currency of their own: the contract says that it is the loan's. Most credits are below the
    principal and not looked at any further.
    """
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        large as (
            select delivered._source, delivered._batch_id, delivered.transaction_id, delivered.loan_id,
                delivered.amount, loans.currency, loans.principal_amount
            from delivered
            inner join {loans_around(loaded, "delivered", ("principal_amount", "currency", "product"))} as loans
                on delivered.loan_id = loans.loan_id and delivered._source = loans._source
            where delivered.kind in ('repayment', 'recovery', 'credit_note')
                and delivered.amount > loans.principal_amount and loans.product <> 'revolving'
        ),
        claims as (
            select _source, loan_id, principal_amount + interest_amount + fee_amount + penalty_amount as amount
            from {loaded.in_force("instalments")} as known where loan_id in (select loan_id from large)
            union all
            select _source, loan_id, principal_amount + interest_amount + fee_amount + penalty_amount
            from raw.instalments
            where _batch_id in {loaded.batches_sql} and not _is_deleted and loan_id in (select loan_id from large)
            union all
            select _source, loan_id, amount
            from {loaded.in_force("charges")} as known where loan_id in (select loan_id from large)
            union all
            select _source, loan_id, amount
            from raw.charges
            where _batch_id in {loaded.batches_sql} and not _is_deleted and loan_id in (select loan_id from large)
        ),
        asked as (select _source, loan_id, sum(amount) as amount from claims group by _source, loan_id)
        select large._batch_id, large.transaction_id,
            'booking ' || large.transaction_id || ' of ' || trim_scale(large.amount) || ' ' || large.currency
            || ' is more than the whole loan ' || large.loan_id || ' was to pay' as detail
        from large
        inner join asked on large.loan_id = asked.loan_id and large._source = asked._source
        where large.amount > asked.amount
        """,
        rules.table("credit-within-the-loan", "No credit is more than its loan was ever to pay."),
        severity="warning",
    )


def _replaced(loaded: Loaded) -> str:
    """SQL: the batches bring `known`, an instalment, anew, or it is gone and may be."""
    refusing = sql_list(loaded.refusing_sources("instalments"))
    return f"""
                select 1 from raw.instalments as now
                where now._batch_id in {loaded.batches_sql} and now._source = known._source
                    and now.loan_id = known.loan_id and now.schedule_version = known.schedule_version
                    and now.instalment_number = known.instalment_number
                    and (not now._is_deleted or now._source not in {refusing})"""
