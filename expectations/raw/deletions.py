"""What must be true of rows that vanished: from a table that only grows, and of loans and their schedules."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded, sql_list
from expectations import rules
from expectations.rules import ExpectNoRows


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """Rules on the deletions that a batch brought of a watched table; each row is the key alone."""
    found = [rules.rows_are_due()]
    if table.only_grows:
        found.append(_known_row_stays(table, loaded))
    if table.name == "loans":
        found.append(_loan_leaves_whole(loaded))
    if table.name == "instalments":
        found.append(_schedule_stays_whole(loaded))
    return gx.ExpectationSuite(f"raw.{table.name}.deletions", expectations=found)


def is_watched(table: Table) -> bool:
    """Whether there are rules on the table's deletions."""
    return table.only_grows or table.name in ("loans", "instalments")


def _loan_leaves_whole(loaded: Loaded) -> ExpectNoRows:
    """A drop without a loan that states its schedule all the same has lost the loan; nobody would collect it any more.

    Only where schedules are stated whole: a delta may leave out what goes with the loan.
    """
    whole = sql_list(sorted(source for source, table in loaded.whole if table == "instalments"))
    refusing = sql_list(loaded.refusing_sources("loans"))
    return rules.no_rows(
        f"""
        with vanished as (select * from {{batch}})
        select vanished._batch_id, vanished.loan_id,
            'loan ' || vanished.loan_id || ' is gone, and ' || count(*) || ' of its instalments are not' as detail
        from vanished
        inner join {loaded.in_force("instalments")} as known
            on vanished.loan_id = known.loan_id and vanished._source = known._source
        where vanished._source in {whole} and vanished._source not in {refusing}
            and not exists ({_gone_too("known", loaded)})
        group by vanished._batch_id, vanished.loan_id
        """,
        rules.table("loan-leaves-whole", "A loan leaves together with its schedule."),
        severity="warning",
    )


def _schedule_stays_whole(loaded: Loaded) -> ExpectNoRows:
    """Single instalments that vanish from a version of which nothing else changes are lost, not rescheduled."""
    refusing = sql_list(loaded.refusing_sources("instalments"))
    return rules.no_rows(
        f"""
        with vanished as (select * from {{batch}}),
        shrunk as (
            select _batch_id, _source, loan_id, schedule_version, count(*) as row_count, min(instalment_number) as first
            from vanished
            where _source not in {refusing}
            group by _batch_id, _source, loan_id, schedule_version
        )
        select shrunk._batch_id, shrunk.loan_id,
            'loan ' || shrunk.loan_id || ' lacks ' || shrunk.row_count || ' instalments of version '
            || shrunk.schedule_version || ', first ' || shrunk.first as detail
        from shrunk
        inner join {loaded.in_force("loans")} as loans
            on shrunk.loan_id = loans.loan_id and shrunk._source = loans._source
        where loans.product <> 'revolving'
            and exists (
                select 1 from {loaded.in_force("instalments")} as known
                where known.loan_id = shrunk.loan_id and known._source = shrunk._source
                    and known.schedule_version = shrunk.schedule_version
                    and not exists ({_gone_too("known", loaded)})
            )
            and not exists (
                select 1 from raw.instalments as now
                where now._batch_id in {loaded.batches_sql} and not now._is_deleted
                    and now.loan_id = shrunk.loan_id and now._source = shrunk._source
                    and now.schedule_version >= shrunk.schedule_version
            )
        """,
        rules.table("schedule-stays-whole", "No single instalments vanish from a schedule that is otherwise the same."),
        severity="warning",
    )


def _gone_too(known: str, loaded: Loaded) -> str:
    """SQL: the batches delete this known instalment."""
    return f"""
                select 1 from raw.instalments as gone
                where gone._batch_id in {loaded.batches_sql} and gone._is_deleted and gone._source = {known}._source
                    and gone.loan_id = {known}.loan_id and gone.schedule_version = {known}.schedule_version
                    and gone.instalment_number = {known}.instalment_number"""


def _known_row_stays(table: Table, loaded: Loaded) -> ExpectNoRows:
    """Rows that vanish together with their loan (or borrower, where they have no loan) are no finding."""
    matches = " and ".join(f"vanished.{column} = known.{column}" for column in table.primary_key)
    key = ", ".join(f"vanished.{column}" for column in table.primary_key)
    parents = [parent for parent in ("loan", "borrower") if f"{parent}_id" in table.column_names]
    stays = " or ".join(_parent_is_there(parent, parents, loaded) for parent in parents) or "true"
    return rules.no_rows(
        f"""
        with vanished as (select * from {{batch}})
        select vanished._batch_id, vanished._row_hash, {key}
        from vanished
        inner join {loaded.in_force(table.name)} as known
            on {matches} and vanished._source = known._source
        where {stays}
        """,
        rules.row(
            "known-row-vanishes",
            "A row once known does not vanish, unless its loan vanishes with it.",
            "the row was known before and is gone from the drop; the version first known stays in force",
            is_waivable=True,
        ),
    )


def _parent_is_there(parent: str, parents: list[str], loaded: Loaded) -> str:
    """SQL: the row hangs on this parent, and the parent is known and has not vanished from the drop too.

    Where it has and its deletion is refused, the row's is refused with it (`Loaded.refusing`).
    """
    key, parent_table = f"{parent}_id", f"{parent}s"
    hangs = f"known.{key} is not null"
    if parent == "borrower" and "loan" in parents:
        hangs = "known.loan_id is null"
    return f"""({hangs} and exists (
            select 1 from {loaded.in_force(parent_table)} as holder
            where holder.{key} = known.{key} and holder._source = known._source
                and not exists (
                    select 1 from raw.{parent_table} as gone
                    where gone.{key} = holder.{key} and gone._batch_id in {loaded.batches_sql} and gone._is_deleted
                        and gone._source = holder._source
                )
        ))"""
