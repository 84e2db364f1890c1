"""Writes facts into the ledger, in the transaction of what they record: neither is ever there without the other.

A new kind of entry is one more call of `record` and a line in docs/concepts/ledger.md. Its content names no person.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

# Whatever decides what a recipient is told to do; ids and figures, amounts as text with their four decimals.
LINES = """
with numbered as (
    select
        queue.*,
        row_number() over (
            order by
                queue.recipient_id collate "C", queue.rank, queue.loan_id collate "C",
                queue.party_borrower_id collate "C"
        ) - 1 as line_number
    from marts.collection_queue as queue
    where queue.as_of_date = %(as_of)s
),

opened as (
    insert into ledger.line_openings (
        as_of_date, revision, line_number, loan_id, borrower_id, party_borrower_id, salt, leaf
    )
    select
        as_of_date, %(revision)s, line_number, loan_id, borrower_id, party_borrower_id, uuid_send(gen_random_uuid()),
        cast(
            jsonb_build_object(
                'kind', 'line',
                'as_of_date', to_char(as_of_date, 'YYYY-MM-DD'),
                'revision', cast(%(revision)s as int),
                'number', line_number,
                'recipient_id', recipient_id,
                'rank', rank,
                'loan_id', loan_id,
                'party_borrower_id', party_borrower_id,
                'action', action,
                'channel', channel,
                'days_past_due', days_past_due,
                'currency', currency,
                'arrears_amount', cast(arrears_amount as text),
                'expected_net_amount', cast(expected_net_amount as text),
                'work_on', to_char(work_on, 'YYYY-MM-DD'),
                'deadline_on', to_char(deadline_on, 'YYYY-MM-DD')
            ) as text
        )
    from numbered
    returning line_number, sha256('\\x00'::bytea || salt || convert_to(leaf, 'UTF8')) as leaf_hash
)

insert into ledger.lines (as_of_date, revision, line_number, leaf_hash, previous_hash)
select
    %(as_of)s, %(revision)s, line_number, leaf_hash,
    coalesce(lag(leaf_hash) over (order by line_number), decode(repeat('00', 32), 'hex'))
from opened
"""

EXPORT = """
with lines as (
    select
        count(*) as line_count,
        ledger.root_of(array_agg(leaf_hash order by line_number)) as root,
        (array_agg(leaf_hash order by line_number desc))[1] as last_line
    from ledger.lines
    where as_of_date = %(as_of)s and revision = %(revision)s
)

select jsonb_build_object(
    'as_of_date', to_char(exports.as_of_date, 'YYYY-MM-DD'),
    'revision', exports.revision,
    'export_number', exports.export_number,
    'manifest_sha256', exports.manifest_sha256,
    'code_version', exports.code_version,
    'reason', exports.reason,
    'lines', lines.line_count,
    'lines_root', encode(lines.root, 'hex'),
    'last_line', encode(lines.last_line, 'hex')
)
from ops.exports as exports
cross join lines
where exports.as_of_date = %(as_of)s and exports.revision = %(revision)s
"""

BATCH = """
select jsonb_build_object(
    'batch_id', batch_id,
    'source', source,
    'batch_date', to_char(batch_date, 'YYYY-MM-DD'),
    'mode', mode,
    'state', state,
    'content_sha256', content_sha256,
    'replaces_batch_id', replaces_batch_id
)
from ops.batches
where batch_id = %s
"""


# A model is its card: base points, scale, bins and their points, in an order of their own. Another card under the same
# name is another version.
MODELS = """
select
    models.model_id,
    jsonb_build_object(
        'model_id', models.model_id,
        'model_role', models.model_role,
        'is_calibrated', models.is_calibrated,
        'valid_from', to_char(models.valid_from, 'YYYY-MM-DD'),
        'bins', count(bins.model_id),
        'card_sha256', encode(
            sha256(
                convert_to(
                    concat_ws(
                        chr(30),
                        cast(to_jsonb(models) as text),
                        string_agg(
                            cast(to_jsonb(bins) as text), chr(30)
                            order by bins.characteristic collate "C", bins.value_from nulls first,
                                cast(to_jsonb(bins) as text) collate "C"
                        )
                    ),
                    'UTF8'
                )
            ),
            'hex'
        )
    )
from seeds.scorecard_models as models
left join seeds.scorecard_bins as bins on models.model_id = bins.model_id
where models.valid_from <= %(as_of)s and (models.valid_to is null or models.valid_to >= %(as_of)s)
group by models.*, models.model_id, models.model_role, models.is_calibrated, models.valid_from
order by models.model_id collate "C"
"""


def record(connection: psycopg.Connection, kind: str, subject: str, content: Mapping[str, Any]) -> int:
    """Adds a fact, unless the last one of its kind and subject says the same; gives its position.

    Args:
        connection: in whose transaction it is written; other writers wait until that ends.
        kind: what sort of fact it is: batch, gate, export.
        subject: what it is about, without a person's name: a batch's id, a date and a stage.
        content: ids and figures, as JSON.
    """
    row = connection.execute("select ledger.append(%s, %s, %s)", [kind, subject, Jsonb(dict(content))]).fetchone()
    assert row is not None
    return int(row[0])


def record_batch(connection: psycopg.Connection, batch_id: str) -> None:
    """What has become of a batch: accepted, rejected, superseded, accepted again."""
    row = connection.execute(BATCH, [batch_id]).fetchone()
    assert row is not None
    record(connection, "batch", batch_id, row[0])


def record_models(connection: psycopg.Connection, as_of: date) -> None:
    """Which versions of the scoring models are in force on a date; a version that is known already adds nothing."""
    for model_id, content in connection.execute(MODELS, {"as_of": as_of}).fetchall():
        record(connection, "model", str(model_id), content)


def record_export(connection: psycopg.Connection, as_of: date, revision: int) -> None:
    """An export that became visible, and a leaf for each of its queue lines."""
    given = {"as_of": as_of, "revision": revision}
    connection.execute(LINES, given)
    row = connection.execute(EXPORT, given).fetchone()
    assert row is not None
    record(connection, "export", f"{as_of}/{revision}", row[0])


def record_blanked_export(connection: psycopg.Connection, as_of: date, revision: int, was: str, manifest: str) -> None:
    """An export whose files an erasure has written anew: its manifest has another hash since."""
    content = {
        "as_of_date": as_of.isoformat(),
        "revision": revision,
        "was_manifest_sha256": was,
        "manifest_sha256": manifest,
    }
    record(connection, "export_blanked", f"{as_of}/{revision}", content)


def record_delivery(connection: psycopg.Connection, name: str, receipt: Mapping[str, Any]) -> None:
    """A file that a target has: of which export, whose, where and its hash.

    Args:
        connection: in whose transaction the receipt is written.
        name: the delivery's, as delivery.yml calls it.
        receipt: the key of its row in ops.deliveries.
    """
    as_of, revision = receipt["as_of_date"], receipt["revision"]
    subject = f"{as_of}/{revision}/{receipt['recipient_id']}/{name}/{receipt['file']}"
    record(connection, "delivery", subject, {**receipt, "as_of_date": as_of.isoformat()})


def forget_lines(connection: psycopg.Connection, borrower_id: str) -> int:
    """Removes what opens the leaves of a borrower's queue lines; the leaves stay, so that nothing else is touched.

    What is recorded is which leaves cannot be opened any more, not whose they were.
    """
    rows = connection.execute(
        "delete from ledger.line_openings where borrower_id = %(id)s or party_borrower_id = %(id)s"
        " returning to_char(as_of_date, 'YYYY-MM-DD'), revision, line_number",
        {"id": borrower_id},
    ).fetchall()
    if rows:
        record(connection, "erasure", "lines", {"lines": sorted([list(row) for row in rows])})
    return len(rows)
