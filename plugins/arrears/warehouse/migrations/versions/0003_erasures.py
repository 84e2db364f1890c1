"""Erasures of personal data: of whom, why, and what was blanked; an export's next hash while it is being blanked."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
create table ops.erasures (
    borrower_id text primary key,
    reason text not null,
    erased_by text not null,
    erased_at timestamptz not null default clock_timestamp(),
    blank_from date not null,
    state text not null check (state in ('begun', 'done')),
    counts jsonb not null default '{}'
);
comment on table ops.erasures is
'One row per borrower whose personal data were erased; what is delivered of them later is blanked on its way in.';
comment on column ops.erasures.blank_from is
'First business date on which erased values count as missing; on dates exported before they count as they did.';
comment on column ops.erasures.counts is 'Rows and lines that were blanked, by table and file.';

alter table ops.exports add column becomes_sha256 text;
comment on column ops.exports.becomes_sha256 is
'The hash of its manifest once an erasure that is under way has blanked it; null otherwise.';

grant select on ops.erasures to arrears_pipeline, arrears_audit;
"""


def upgrade() -> None:
    """Creates the table as arrears_owner: the pipeline reads it, only its owner writes it."""
    op.execute(TABLES)
