"""The audit ledger: a hash-chained Merkle log that can only grow, and the queue lines of each export as trees of it."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = r"""
create table ledger.entries (
    position bigint primary key check (position >= 0),
    leaf text not null,
    salt bytea not null check (length(salt) = 16),
    leaf_hash bytea not null check (length(leaf_hash) = 32),
    kind text not null generated always as (cast(leaf as jsonb) ->> 'kind') stored,
    subject text not null generated always as (cast(leaf as jsonb) ->> 'subject') stored,
    number int not null generated always as (cast(cast(leaf as jsonb) ->> 'number' as int)) stored,
    unique (kind, subject, number)
);
comment on table ledger.entries is
'One row per fact of the audit ledger, in order; each leaf holds the hash of the one before. Grows, never changes.';
comment on column ledger.entries.leaf is 'What is hashed, as JSON: position, previous, kind, subject, number, content.';
comment on column ledger.entries.leaf_hash is 'sha256 of a zero byte, the salt and the leaf (RFC 6962, leaf hash).';
comment on column ledger.entries.number is 'Counts what became of one subject, from 1: a fact told again adds nothing.';

create table ledger.lines (
    as_of_date date not null,
    revision int not null,
    line_number bigint not null check (line_number >= 0),
    leaf_hash bytea not null check (length(leaf_hash) = 32),
    previous_hash bytea not null check (length(previous_hash) = 32),
    primary key (as_of_date, revision, line_number)
);
comment on table ledger.lines is
'One row per queue line of an export: a leaf of the tree whose root stands in the export''s entry.';
comment on column ledger.lines.previous_hash is 'The leaf hash of the line before: tells which line was tampered with.';

create table ledger.line_openings (
    as_of_date date not null,
    revision int not null,
    line_number bigint not null,
    loan_id text not null,
    borrower_id text not null,
    party_borrower_id text not null,
    salt bytea not null check (length(salt) = 16),
    leaf text not null,
    primary key (as_of_date, revision, line_number)
);
comment on table ledger.line_openings is
'One row per queue line that can be opened: what was hashed, and its salt. `arrears erase` removes a person''s.';
create index line_openings_by_loan on ledger.line_openings (loan_id, as_of_date);
create index line_openings_by_borrower on ledger.line_openings (borrower_id);
create index line_openings_by_party on ledger.line_openings (party_borrower_id);
"""

FUNCTIONS = r"""
create function ledger.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $function$
begin
    raise exception 'The audit ledger only grows: % of %.% is refused.', lower(tg_op), tg_table_schema, tg_table_name
        using errcode = 'insufficient_privilege';
end
$function$;

-- The root of a tree by RFC 6962: pair by pair, level by level; one that is left alone goes up as it is.
create function ledger.root_of(leaf_hashes bytea[]) returns bytea
language plpgsql immutable set search_path = pg_catalog, pg_temp as $function$
declare
    level bytea[] := leaf_hashes;
begin
    if coalesce(cardinality(level), 0) = 0 then
        return sha256('');
    end if;
    while cardinality(level) > 1 loop
        level := (
            select array_agg(
                case when pairs.right_hash is null then pairs.left_hash
                    else sha256('\x01'::bytea || pairs.left_hash || pairs.right_hash) end
                order by pairs.place
            )
            from (
                select nodes.place, nodes.hash as left_hash, lead(nodes.hash) over (order by nodes.place) as right_hash
                from unnest(level) with ordinality as nodes (hash, place)
            ) as pairs
            where pairs.place % 2 = 1
        );
    end loop;
    return level[1];
end
$function$;

-- Adds a fact, once: what the last entry of the subject says already adds nothing. Gives the fact's position.
-- The lock is held until the caller's transaction ends: two writers cannot both follow the same entry.
create function ledger.append(new_kind text, new_subject text, new_content jsonb) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    before record;
    last record;
    new_position bigint;
    new_salt bytea := uuid_send(gen_random_uuid());
    new_leaf text;
begin
    perform pg_advisory_xact_lock(7231002);
    select entries.position, entries.number, cast(entries.leaf as jsonb) -> 'content' as content
    into before
    from ledger.entries as entries
    where entries.kind = new_kind and entries.subject = new_subject
    order by entries.number desc
    limit 1;
    if before.content = new_content then
        return before.position;
    end if;
    select entries.position, entries.leaf_hash
    into last
    from ledger.entries as entries
    order by entries.position desc
    limit 1;
    new_position := coalesce(last.position + 1, 0);
    new_leaf := cast(
        jsonb_build_object(
            'position', new_position,
            'previous', encode(coalesce(last.leaf_hash, decode(repeat('00', 32), 'hex')), 'hex'),
            'kind', new_kind,
            'subject', new_subject,
            'number', coalesce(before.number, 0) + 1,
            'recorded_at', to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'content', new_content
        ) as text
    );
    insert into ledger.entries (position, leaf, salt, leaf_hash)
    values (
        new_position, new_leaf, new_salt, sha256('\x00'::bytea || new_salt || convert_to(new_leaf, 'UTF8'))
    );
    return new_position;
end
$function$;

create trigger only_grows before update or delete on ledger.entries
for each row execute function ledger.refuse_change();
create trigger is_not_emptied before truncate on ledger.entries
for each statement execute function ledger.refuse_change();
create trigger only_grows before update or delete on ledger.lines
for each row execute function ledger.refuse_change();
create trigger is_not_emptied before truncate on ledger.lines
for each statement execute function ledger.refuse_change();
create trigger only_grows_or_forgets before update on ledger.line_openings
for each row execute function ledger.refuse_change();
create trigger is_not_emptied before truncate on ledger.line_openings
for each statement execute function ledger.refuse_change();

revoke all on function ledger.append(text, text, jsonb) from public;
grant execute on function ledger.append(text, text, jsonb) to arrears_pipeline;
grant select on ledger.entries to arrears_pipeline;
grant select, insert on ledger.lines, ledger.line_openings to arrears_pipeline;
grant select on ledger.entries, ledger.lines, ledger.line_openings to arrears_audit;
"""

# Its id tells this log from every other; what went before it is counted, because it has no entries.
OPENED = """
select ledger.append(
    'opened', 'ledger',
    jsonb_build_object(
        'log_id', gen_random_uuid(),
        'batches_before', (select count(*) from ops.batches where state <> 'loaded'),
        'exports_before', (select count(*) from ops.exports where state <> 'intended')
    )
)
"""


def upgrade() -> None:
    """Creates the tables as arrears_owner: the pipeline adds to them, and can neither change nor remove."""
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    op.execute(OPENED)
