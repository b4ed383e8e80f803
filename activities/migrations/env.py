"""Run by Alembic with the connection that `activities.history_migration` hands over: one transaction, under one lock."""

from alembic import context

from activities.history_tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
