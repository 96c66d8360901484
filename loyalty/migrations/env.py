"""What alembic runs: migrations on the connection, and in the transaction, that it is given."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,
    transactional_ddl=True,  # SQLite's DDL is, too; alembic does not rely on it by itself
)
context.run_migrations()
