"""What must be true of delivered placements."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import from_contract
from expectations.raw.from_contract import identity
from expectations.rules import ExpectNoRows


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, and a contract that is the agency's own."""
    return gx.ExpectationSuite(
        "raw.placements",
        expectations=[*from_contract.expectations(table, loaded), _contract_is_of_the_agency(table, loaded)],
    )


def _contract_is_of_the_agency(table: Table, loaded: Loaded) -> ExpectNoRows:
    """Else its room and its price would be taken from one agency for an account that is with another."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        contracts as (
            select contract_id, agency_id from raw.agency_contracts
            where _batch_id in {loaded.batches_sql} and not _is_deleted
            union
            select known.contract_id, known.agency_id from {loaded.in_force("agency_contracts")} as known
        )
        select {identity(table)}, delivered.contract_id || ', ' || delivered.agency_id as detail
        from delivered
        where delivered.contract_id in (select contract_id from contracts)
            and not exists (
                select 1 from contracts
                where contracts.contract_id = delivered.contract_id and contracts.agency_id = delivered.agency_id
            )
        """,
        rules.row(
            "contract-of-the-agency",
            "A placement names a contract of its agency.",
            "contract and agency are {value}: another agency's contract",
        ),
    )
