"""What Alembic runs to bring a store, whose connection it is given, to a version."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
