"""Batches, steps, gate results, exports, the run lock, quarantine.

Tables of the contract (raw, versions, load) are not here: they follow the dbt sources file (contract_tables.py).
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
create table ops.portfolio (
    setting text primary key,
    value text not null
);
comment on table ops.portfolio is 'Settings kept from the first run: sources, business time zone, reporting currency.';

create table ops.batches (
    batch_id text primary key,
    source text not null,
    batch_date date not null,
    mode text not null check (mode in ('full', 'delta')),
    is_first boolean not null,
    state text not null check (state in ('loaded', 'accepted', 'rejected', 'superseded')),
    content_sha256 text not null,
    files jsonb not null,
    drop_path text not null,
    run_id text not null,
    replaces_batch_id text references ops.batches,
    loaded_at timestamptz not null default now(),
    decided_at timestamptz
);
comment on table ops.batches is 'One row per delivery of a source; only accepted ones are known to the marts.';
create unique index batches_one_accepted on ops.batches (source, batch_date) where state = 'accepted';
create index batches_by_state on ops.batches (state);

create table ops.batch_tables (
    batch_id text not null references ops.batches,
    table_name text not null,
    is_delivered boolean not null,
    file text,
    file_sha256 text,
    reading_sha256 text,
    row_count bigint not null default 0,
    unreadable_count bigint not null default 0,
    duplicate_count bigint not null default 0,
    new_count bigint not null default 0,
    changed_count bigint not null default 0,
    deleted_count bigint not null default 0,
    warnings jsonb not null default '[]',
    delivered_columns text[] not null default '{}',
    primary key (batch_id, table_name)
);
comment on table ops.batch_tables is 'What a batch brought of each contract table, and of a file with malformed lines.';

create table ops.step_runs (
    step_run_id bigint generated always as identity primary key,
    run_id text not null,
    as_of_date date not null,
    step text not null,
    source text,
    state text not null check (state in ('running', 'done', 'failed', 'blocked')),
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    counts jsonb,
    error_kind text,
    exit_code int,
    message text
);
comment on table ops.step_runs is 'Every step of every run: when, how it ended, what it counted.';
create index step_runs_by_date on ops.step_runs (as_of_date, step_run_id);

create table ops.model_runs (
    step_run_id bigint not null references ops.step_runs,
    model text not null,
    resource_type text not null,
    status text not null,
    seconds numeric(12, 3) not null,
    row_count bigint,
    message text,
    primary key (step_run_id, model)
);
comment on table ops.model_runs is 'Every dbt model, seed and test of a step, from dbt''s own results.';

create table ops.gate_results (
    as_of_date date not null,
    stage text not null check (stage in ('raw', 'marts', 'queues')),
    suite text not null,
    expectation text not null,
    rule text not null,
    scope text not null check (scope in ('row', 'table')),
    severity text not null check (severity in ('critical', 'warning', 'info')),
    is_passed boolean not null,
    checked_count bigint not null,
    failed_count bigint not null,
    failing_keys jsonb not null default '[]',
    sentence text not null,
    primary key (as_of_date, stage, suite, rule)
);
comment on table ops.gate_results is 'Every expectation of the last gate run of a date and stage.';

create table ops.exports (
    as_of_date date not null,
    revision int not null check (revision > 0),
    state text not null check (state in ('intended', 'done', 'replaced')),
    manifest_sha256 text not null,
    code_version text not null,
    reason text,
    run_id text not null,
    intended_at timestamptz not null default now(),
    done_at timestamptz,
    primary key (as_of_date, revision)
);
comment on table ops.exports is 'One row per export of a date: intended at publishing, done when it is visible.';

create table ops.published_days (
    as_of_date date primary key,
    run_id text not null,
    published_at timestamptz not null default now()
);
comment on table ops.published_days is 'Dates whose rows stand in the marts.';

create table ops.run_lock (
    is_held boolean primary key default true check (is_held),
    run_id text not null,
    owner_kind text not null check (owner_kind in ('process', 'dag_run')),
    host text not null,
    pid int not null,
    process_started_at double precision not null,
    as_of_date date not null,
    taken_at timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp()
);
comment on table ops.run_lock is 'At most one row: the run that holds the warehouse.';

create table ops.public_holidays (
    country text not null,
    holiday_on date not null,
    name text not null,
    primary key (country, holiday_on)
);
comment on table ops.public_holidays is 'Public holidays by country, from the package holidays.';

create table quarantine.rows (
    finding_id text primary key,
    as_of_date date not null,
    stage text not null check (stage in ('extract', 'raw', 'marts', 'queues')),
    source text,
    table_name text not null,
    batch_id text,
    suite text,
    rule text not null,
    reason text not null,
    severity text not null check (severity in ('critical', 'warning', 'info')),
    loan_id text,
    borrower_id text,
    key jsonb,
    row_data jsonb,
    file text,
    line bigint,
    opened_on date not null,
    closed_on date,
    closed_by text,
    check (closed_on is null or closed_on >= opened_on)
);
comment on table quarantine.rows is 'Rows that were kept out, each with its place and the reason; closed when mended.';
create index rows_by_batch on quarantine.rows (batch_id, table_name);
create index rows_open on quarantine.rows (source, table_name) where closed_on is null;
create index rows_by_loan on quarantine.rows (loan_id) where loan_id is not null;
"""

GRANTS = """
grant select, insert, update, delete on all tables in schema ops to arrears_pipeline;
revoke delete on ops.published_days from arrears_pipeline;
revoke all on ops.migrations from arrears_pipeline;
grant select on ops.migrations to arrears_pipeline;
grant select, insert, update, delete on quarantine.rows to arrears_pipeline;
grant select on all tables in schema ops to arrears_audit;
"""


def upgrade() -> None:
    """Creates the tables as arrears_owner."""
    op.execute(TABLES)
    op.execute(GRANTS)
