"""Alembic's entry: runs the migrations on the connection it is handed."""

from alembic import context

settings = context.config.attributes
context.configure(
    connection=settings["connection"], target_metadata=settings["metadata"], render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
