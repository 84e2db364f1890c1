"""Scheduled runs that wait for the warehouse: the earliest date is served first."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
create table ops.waiting_runs (
    run_id text primary key,
    as_of_date date not null,
    seen_at timestamptz not null default clock_timestamp()
);
comment on table ops.waiting_runs is
'One row per scheduled run that was put off because another one held the warehouse; seen_at: when it last asked.';

grant select, insert, update, delete on ops.waiting_runs to arrears_pipeline;
grant select on ops.waiting_runs to arrears_audit;
"""


def upgrade() -> None:
    """Creates the table as arrears_owner."""
    op.execute(TABLES)
