"""Runs migrations: all that are due in one transaction, one process at a time.

The URL comes from ``esdfs db upgrade`` (``config.attributes["url"]``) or from ``alembic -x url=…``. There is
no ``alembic.ini``: ``[tool.alembic]`` in ``pyproject.toml`` is all there is to say.
"""

from alembic import context

from esdfs.errors import InvalidRequest
from esdfs.journal.engines import parse, writer_engine
from esdfs.journal.tables import metadata

# "esdfs" in ASCII; any number will do as long as nobody else locks it.
LOCK = 0x6573646673

url = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True).get("url")
if not url:
    raise InvalidRequest("say which database: alembic -x url=sqlite:///PATH …")

engine = writer_engine(parse(url))
try:
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # SQLite needs none: the transaction begins by taking the file's write lock, before it looks which
            # migrations are due.
            connection.exec_driver_sql("SET lock_timeout = '60s'; SET statement_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK})")
            connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            render_as_batch=True,
            transactional_ddl=True,
            compare_server_default=True,
        )
        with context.begin_transaction():
            context.run_migrations()
finally:
    engine.dispose()  # closes the session, and with it frees the lock
