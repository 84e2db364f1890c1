"""Findings that an operator waived, and what each delivery brought in figures, to compare the next ones with."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
create table ops.gate_waivers (
    as_of_date date not null,
    suite text not null,
    rule text not null,
    key jsonb not null default '{}',
    waived_by text not null check (waived_by <> ''),
    reason text not null check (reason <> ''),
    waived_at timestamptz not null default now(),
    withdrawn_by text,
    withdrawn_because text,
    withdrawn_at timestamptz,
    primary key (as_of_date, suite, rule, key)
);
comment on table ops.gate_waivers is
'One row per finding that an operator lets pass on one date; withdrawn ones stay, and count for nothing.';
comment on column ops.gate_waivers.key is 'Columns that name the row, as text; empty: the rule as a whole.';

alter table ops.gate_results
    add column owner text not null default '',
    add column is_waivable boolean not null default false,
    add column waived_count bigint not null default 0,
    add column waived_by text;
comment on column ops.gate_results.owner is 'Who answers for the rule; empty in results of before it was kept.';
comment on column ops.gate_results.waived_count is 'Of the failed rows, those that an operator let pass.';
comment on column ops.gate_results.waived_by is 'Who let the whole failure pass, so that it stops nothing.';

create table ops.batch_profiles (
    batch_id text not null references ops.batches (batch_id),
    table_name text not null,
    metric text not null,
    column_name text not null default '',
    segment text not null default '',
    row_count bigint not null,
    value numeric not null,
    primary key (batch_id, table_name, metric, column_name, segment)
);
comment on table ops.batch_profiles is
'One row per figure of the rows that a batch brought (new or changed): what the next deliveries are compared with.';

grant select, insert, update on ops.gate_waivers to arrears_pipeline;
grant select, insert, delete on ops.batch_profiles to arrears_pipeline;
grant select on ops.gate_waivers, ops.batch_profiles to arrears_audit;
"""


def upgrade() -> None:
    """Creates the tables as arrears_owner; results of before say that nobody waived them."""
    op.execute(TABLES)
