"""What must be true of delivered borrowers. Nothing that is said of them holds their data."""

import great_expectations as gx

from arrears.contract.servicing import Table
from arrears.gate.batches import Loaded
from expectations import rules
from expectations.raw import from_contract
from expectations.rules import ExpectNoRows

# UTF-8 read as Latin-1 or as Windows-1252 makes two or three letters of one, the first of them one of these; the other
# is what a replaced letter looks like.
MISREAD = "[ÂÃ][\u0080-\u00bf]|[ÃÂ][€‚ƒ„…†‡ˆ‰Š‹Œ‘’“”•–—˜™š›œžŸ]|â€|\ufffd"
TEXTS = ("name", "street", "city")


def suite(table: Table, loaded: Loaded) -> gx.ExpectationSuite:
    """The contract's rules, letters that can be read, and each person once."""
    return gx.ExpectationSuite(
        "raw.borrowers",
        expectations=[*from_contract.expectations(table, loaded), _text_is_readable(), _person_is_there_once(loaded)],
    )


def _text_is_readable() -> ExpectNoRows:
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}})
        select delivered._batch_id, delivered.borrower_id,
            'borrower ' || delivered.borrower_id || ' has letters of another encoding' as detail
        from delivered
        where {" or ".join(f"delivered.{column} ~ '{MISREAD}'" for column in TEXTS)}
        """,
        rules.table("text-readable", "Names and addresses were read in the encoding that they were written in."),
        severity="warning",
    )


def _person_is_there_once(loaded: Loaded) -> ExpectNoRows:
    """Two numbers for one person: each would be contacted as often as one may be, and a suppression holds one alone."""
    return rules.no_rows(
        f"""
        with delivered as (select * from {{batch}}),
        persons as (
            select _source, borrower_id, national_id, country from raw.borrowers
            where _batch_id in {loaded.batches_sql} and not _is_deleted and national_id is not null
            union
            select known._source, known.borrower_id, known.national_id, known.country
            from {loaded.in_force("borrowers")} as known
            where known.national_id is not null
                and not exists (
                    select 1 from raw.borrowers as now
                    where now._batch_id in {loaded.batches_sql} and now._source = known._source
                        and now.borrower_id = known.borrower_id
                )
        )
        select delivered._batch_id, delivered.borrower_id,
            'borrower ' || delivered.borrower_id || ' is also ' || min(persons.borrower_id) as detail
        from delivered
        inner join persons
            on delivered._source = persons._source and delivered.national_id = persons.national_id
                and delivered.country = persons.country and delivered.borrower_id > persons.borrower_id
        group by delivered._batch_id, delivered.borrower_id
        """,
        rules.table("person-once", "A person has one number; national_id and country tell."),
        severity="warning",
    )
