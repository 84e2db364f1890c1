"""What must be true of delivered bookings."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import amounts, from_contract, schedules
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows

# A payment is valued within days of its booking; a correction may reach back for a quarter.
DAYS_AHEAD, DAYS_BACK = 14, 92


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, those on amounts and dates, and those on reversals and waivers."""
    return gx.ExpectationSuite(
        "raw.transactions",
        expectations=[
            *from_contract.expectations(table, loaded),
            amounts.positive("amount"),
            amounts.plausible("effective_on"),
            amounts.not_far_ahead("effective_on", loaded),
            amounts.as_fine_as_the_currency(table, ["amount"], loaded),
            *schedules.not_before_disbursement(table, "effective_on", loaded, "booking is valued"),
            schedules.credit_is_within_the_loan(loaded),
            _value_date_is_near_the_booking(loaded),
            _booking_is_there_once(loaded),
            _waiver_names_a_component(table),
            _reversal_names_a_booking(table, loaded),
            _reversal_is_whole(table, loaded),
            _reversal_is_not_reversed(table, loaded),
            _booking_is_reversed_once(table, loaded),
        ],
    )


def _value_date_is_near_the_booking(loaded: Loaded) -> ExpectNoRows:
    """Day and month that have changed places, another year, a correction of long ago: somebody should look.

    In a first drop bookings may bear the day on which they were taken over from another system.
    """
    first = ", ".join(f"'{batch.batch_id}'" for batch in loaded.batches if batch.is_first) or "''"
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.transaction_id,
            'booking ' || delivered.transaction_id || ' of ' || cast(delivered.booked_at as date) || ' is valued on '
            || delivered.effective_on as detail
        from delivered
        where delivered._batch_id not in ({first})
            and delivered.effective_on - cast(delivered.booked_at as date) not between -{DAYS_BACK} and {DAYS_AHEAD}
        """,
        rules.table(
            "effective_on-near-booking",
            f"A booking is valued at most {DAYS_BACK} days before it was booked, and {DAYS_AHEAD} after.",
        ),
        severity="warning",
    )


def _booking_is_there_once(loaded: Loaded) -> ExpectNoRows:
    """Two bookings of one loan, kind, amount and instant are one, delivered under two numbers.

    Where only the day is told (its end stands for it), two equal payments are two.
    """
    same = ("loan_id", "_source", "kind", "amount", "effective_on", "booked_at")
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        credits as (
            select * from delivered
            where kind in ('repayment', 'recovery', 'credit_note') and extract(second from booked_at) <> 59.999999
        ),
        bookings as (
            select transaction_id, {", ".join(same)},
                coalesce(channel, '') as channel, coalesce(component, '') as component
            from credits
            union
            select known.transaction_id, {", ".join(f"known.{name}" for name in same)},
                coalesce(known.channel, ''), coalesce(known.component, '')
            from {loaded.in_force("transactions")} as known
            inner join credits on {" and ".join(f"known.{name} = credits.{name}" for name in same)}
        )
        select credits._batch_id, credits.transaction_id,
            'booking ' || credits.transaction_id || ' is booking ' || min(bookings.transaction_id) || ' again' as detail
        from credits
        inner join bookings
            on {" and ".join(f"credits.{name} = bookings.{name}" for name in same)}
                and coalesce(credits.channel, '') = bookings.channel
                and coalesce(credits.component, '') = bookings.component
                and credits.transaction_id > bookings.transaction_id
        group by credits._batch_id, credits.transaction_id
        """,
        rules.table("booking-once", "No payment is booked twice at one instant, under two numbers."),
        severity="warning",
    )


def _waiver_names_a_component(table: Table) -> ExpectNoRows:
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select {identity(table)} from delivered
        where delivered.kind = 'waiver' and delivered.component is null
        """,
        rules.row("waiver-component", "A waiver says which component it waives.", "the waiver names no component"),
    )


def _with_reversals(loaded: Loaded) -> str:
    """CTEs: delivered; reversals, those among them; bookings, what they may name: as known, else as delivered.

    The version known first is the one in force, so a booking known already is taken from there.
    """
    return f"""
        with delivered as (select * from {{batch}}),
        reversals as (select * from delivered where kind = 'reversal'),
        bookings as (
            select known._source, known.transaction_id, known.loan_id, known.kind, known.amount
            from {loaded.in_force("transactions")} as known
            inner join reversals
                on known.transaction_id = reversals.reverses_transaction_id and known._source = reversals._source
            union
            select beside._source, beside.transaction_id, beside.loan_id, beside.kind, beside.amount
            from raw.transactions as beside
            inner join reversals
                on beside.transaction_id = reversals.reverses_transaction_id and beside._source = reversals._source
            where beside._batch_id in {loaded.batches_sql} and not beside._is_deleted
                and not exists (
                    select 1 from {loaded.in_force("transactions")} as known
                    where known.transaction_id = beside.transaction_id and known._source = beside._source
                )
        )"""


def _reversal_names_a_booking(table: Table, loaded: Loaded) -> ExpectNoRows:
    """A booking that could not be read is delivered all the same: the reversal follows from that finding."""
    return rules.no_rows(
        f"""{_with_reversals(loaded)}
        select {identity(table, "reversals")}, coalesce(reversals.reverses_transaction_id, 'no booking') as detail
        from reversals
        left join bookings
            on reversals.reverses_transaction_id = bookings.transaction_id and reversals._source = bookings._source
                and reversals.loan_id = bookings.loan_id
        where bookings.transaction_id is null
        and not exists (
            select 1 from quarantine.rows as held
            where held.batch_id in {loaded.batches_sql} and held.stage = 'extract'
                and held.table_name = 'transactions'
                and held.key ->> 'transaction_id' = reversals.reverses_transaction_id
        )
        """,
        rules.row(
            "reversal-known",
            "A reversal names a known booking of its loan.",
            "it reverses {value}, which is no known booking of this loan",
        ),
    )


def _reversal_is_whole(table: Table, loaded: Loaded) -> ExpectNoRows:
    return rules.no_rows(
        f"""{_with_reversals(loaded)}
        select {identity(table, "reversals")},
            trim_scale(reversals.amount) || ' of ' || trim_scale(bookings.amount) || ' booked in '
            || bookings.transaction_id as detail
        from reversals
        inner join bookings
            on reversals.reverses_transaction_id = bookings.transaction_id and reversals._source = bookings._source
        where reversals.amount <> bookings.amount
        """,
        rules.row("reversal-whole", "A reversal takes back the whole amount.", "it reverses {value}"),
    )


def _reversal_is_not_reversed(table: Table, loaded: Loaded) -> ExpectNoRows:
    return rules.no_rows(
        f"""{_with_reversals(loaded)}
        select {identity(table, "reversals")}, bookings.transaction_id as detail
        from reversals
        inner join bookings
            on reversals.reverses_transaction_id = bookings.transaction_id and reversals._source = bookings._source
        where bookings.kind = 'reversal'
        """,
        rules.row("reversal-of-reversal", "No reversal is reversed.", "it reverses the reversal {value}"),
    )


def _booking_is_reversed_once(table: Table, loaded: Loaded) -> ExpectNoRows:
    """The reversal that was known, or booked, first stands; the others are findings.

    One that is set aside by another rule reverses nothing and stands in nobody's way.
    """
    return rules.no_rows(
        f"""{_with_reversals(loaded)},
        sound as (
            select
                reversals.*,
                row_number() over (
                    partition by reversals._source, reversals.reverses_transaction_id
                    order by reversals.booked_at nulls last, reversals.transaction_id collate "C", reversals._row_hash
                ) as place
            from reversals
            inner join bookings
                on reversals.reverses_transaction_id = bookings.transaction_id and reversals._source = bookings._source
                    and reversals.loan_id = bookings.loan_id
                    and reversals.amount = bookings.amount
                    and bookings.kind <> 'reversal'
        )
        select {identity(table, "sound")}, sound.reverses_transaction_id as detail
        from sound
        left join {loaded.in_force("transactions")} as known
            on sound.reverses_transaction_id = known.reverses_transaction_id and sound._source = known._source
                and known.kind = 'reversal'
                and known.transaction_id <> sound.transaction_id
        where known.transaction_id is not null or sound.place > 1
        """,
        rules.row("reversal-once", "A booking is reversed once.", "{value} is reversed already"),
    )
