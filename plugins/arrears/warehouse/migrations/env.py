"""Alembic's entry: the caller hands over an open connection, no URL and no ini file are read."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table="migrations", version_table_schema="ops", transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
