"""Alembic runs this for every command: in the transaction that it is handed."""

from alembic import context

from fairlead_serve.conversations.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
