"""The way from any earlier schema to this release's, run by whichever gateway opens the database first.

While gateways are replaced one by one, those of the release before work on the new schema: a migration may add
tables, indexes and columns that can be empty; what nobody reads any more goes in the release after.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from fairlead_serve.errors import ConfigurationError

# Whoever migrates holds PostgreSQL's advisory lock of this number.
_LOCK = int.from_bytes(b"fairlead")


def is_current(connection: Connection) -> bool:
    """Whether the schema is this release's. Raises ConfigurationError where it is a newer one's."""
    scripts = ScriptDirectory.from_config(_config(connection))
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is not None and revision not in {script.revision for script in scripts.walk_revisions()}:
        message = f"the database was written by a newer release (its schema is {revision}); use that one, or newer"
        raise ConfigurationError(message)
    return revision == scripts.get_current_head()


def upgrade(connection: Connection) -> None:
    """Bring the schema to this release's in the transaction of `connection`. Only one does so at a time."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    command.upgrade(_config(connection), "head")


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    # Alembic substitutes `%(name)s` in its settings.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
