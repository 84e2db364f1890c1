"""What must be true of rows that vanished from a table that only grows."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.rules import ExpectNoRows


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """Rules on the deletions that a batch brought of a table with known_at; each row is the key alone."""
    return gx.ExpectationSuite(
        f"raw.{table.name}.deletions", expectations=[rules.rows_are_due(), _known_row_stays(table, loaded)]
    )


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
