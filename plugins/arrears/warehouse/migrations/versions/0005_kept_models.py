"""Models that are kept from day to day: for what they were built, and which batches changed since."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
create table ops.batch_changes (
    change_number bigint generated always as identity primary key,
    batch_id text not null,
    state text not null
);
comment on table ops.batch_changes is
'One row per change of a batch''s state, in order: what is built from the batches is behind by those it has not seen.';

create function ops.note_batch_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
begin
    insert into ops.batch_changes (batch_id, state) values (new.batch_id, new.state);
    return null;
end
$function$;
revoke all on function ops.note_batch_change from public;

create trigger batch_changes after insert or update of state on ops.batches
for each row execute function ops.note_batch_change();

create table ops.kept_models (
    model text primary key,
    as_of_date date not null,
    change_number bigint not null,
    project text not null,
    built_at timestamptz not null default now()
);
comment on table ops.kept_models is
'One row per model kept from day to day: the date, the last change of a batch and the project it was built for.';

create table ops.unpublished_loans (
    loan_id text primary key,
    changed_from date not null
);
comment on table ops.unpublished_loans is
'One row per loan computed again since marts were published, from the day it may read otherwise; an empty id: all.';

grant select, insert, update, delete on ops.unpublished_loans to arrears_pipeline;
grant select on ops.unpublished_loans to arrears_audit;
grant select on ops.batch_changes to arrears_pipeline, arrears_audit;
grant select, insert, update, delete on ops.kept_models to arrears_pipeline;
grant select on ops.kept_models to arrears_audit;
"""


def upgrade() -> None:
    """Creates the tables as arrears_owner."""
    op.execute(TABLES)
