"""Receipts of what was delivered to recipients."""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
create table ops.deliveries (
    as_of_date date not null,
    revision int not null,
    recipient_id text not null,
    target text not null,
    file text not null,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    delivery text not null,
    path text not null,
    byte_count bigint not null,
    was_there boolean not null,
    run_id text not null,
    delivered_at timestamptz not null default clock_timestamp(),
    primary key (as_of_date, revision, recipient_id, target, file, sha256),
    foreign key (as_of_date, revision) references ops.exports
);
comment on table ops.deliveries is
'One row per file that a target has: the receipt that keeps it from being sent again. Grows, never changes.';
comment on column ops.deliveries.target is 'The URL of delivery.yml, without the user.';
comment on column ops.deliveries.delivery is 'The name of the delivery in delivery.yml.';
comment on column ops.deliveries.path is 'Where below the target; a file there is ours if a receipt says so.';
comment on column ops.deliveries.was_there is
'Whether the very bytes were there already: sent by a delivery that was killed before its receipt.';
create index deliveries_by_place on ops.deliveries (target, path);

grant select, insert on ops.deliveries to arrears_pipeline;
grant select on ops.deliveries to arrears_audit;
"""


def upgrade() -> None:
    """Creates the table as arrears_owner: the pipeline adds receipts and can neither change nor remove them."""
    op.execute(TABLES)
