"""Late deliveries, deltas and cursors: where a batch stands in its source's chain, and in which order days went out."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
alter table ops.batches
    add column base_batch_id text references ops.batches,
    add column known_from date,
    add column follows date,
    add column read_until timestamptz,
    add column read_until_is_seen boolean;

update ops.batches as batches set
    known_from = batches.batch_date,
    base_batch_id = case
        when not batches.is_first then (
            select earlier.batch_id from ops.batches as earlier
            where earlier.source = batches.source and earlier.state = 'accepted'
                and earlier.batch_date < batches.batch_date
            order by earlier.batch_date desc
            limit 1
        )
    end;

alter table ops.batches alter column known_from set not null;
comment on column ops.batches.known_from is
'Date from which the batch is known: its own, or a later one where it came after that date was exported (--late).';
comment on column ops.batches.base_batch_id is 'The batch whose state it was compared with; null for the first.';
comment on column ops.batches.follows is 'Of a delta: the date of the delivery from which on it tells the changes.';
comment on column ops.batches.read_until is
'Database source: where the next reading by cursor begins, on the source''s clock.';
comment on column ops.batches.read_until_is_seen is
'Whether read_until is the start of the oldest open transaction, which was seen, or less a configured overlap.';

drop index ops.batches_one_accepted;
create unique index batches_one_accepted on ops.batches (source, batch_date, known_from) where state = 'accepted';
create index batches_in_order on ops.batches (source, known_from, batch_date) where state = 'accepted';

alter table ops.batch_tables
    add column mode text not null default 'full' check (mode in ('full', 'delta')),
    add column complete_from date,
    add column are_keys_compared boolean not null default false;
comment on column ops.batch_tables.mode is 'Full: a row that is missing is deleted; delta: only what changed is there.';
comment on column ops.batch_tables.complete_from is
'Of a full table that grows: rows known before this date are not part of it.';

alter table ops.exports add column export_number bigint;
update ops.exports as exports set export_number = numbered.place
from (
    select as_of_date, row_number() over (order by min(done_at), as_of_date) as place
    from ops.exports where done_at is not null group by as_of_date
) as numbered
where exports.as_of_date = numbered.as_of_date;
comment on column ops.exports.export_number is
'Order in which dates were first exported: a date that is run again reads no past that was exported after it.';
"""


# A first load of millions writes its index once, at the end. Only the owner may drop one, and only of an empty table.
INDEXES = """
create table ops.indexes_set_aside (
    table_name text primary key,
    definition text not null
);
comment on table ops.indexes_set_aside is
'Indexes of versions that a first load puts back in its own transaction: empty but inside of one.';
grant select on ops.indexes_set_aside to arrears_pipeline, arrears_audit;

create function ops.set_current_index_aside(wanted text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    is_empty boolean;
    found text := (
        select indexdef from pg_indexes
        where schemaname = 'versions' and tablename = wanted and indexname = wanted || '_current'
    );
begin
    if found is null then
        return false;
    end if;
    execute format('select not exists (select 1 from versions.%I)', wanted) into is_empty;
    if not is_empty then
        return false;
    end if;
    insert into ops.indexes_set_aside (table_name, definition) values (wanted, found);
    execute format('drop index versions.%I', wanted || '_current');
    return true;
end
$function$;

create function ops.put_current_index_back(wanted text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    found text;
begin
    delete from ops.indexes_set_aside where table_name = wanted returning definition into strict found;
    execute found;
end
$function$;

revoke all on function ops.set_current_index_aside, ops.put_current_index_back from public;
grant execute on function ops.set_current_index_aside, ops.put_current_index_back to arrears_pipeline;
"""


def upgrade() -> None:
    """Alters the tables as arrears_owner."""
    op.execute(TABLES)
    op.execute(INDEXES)
