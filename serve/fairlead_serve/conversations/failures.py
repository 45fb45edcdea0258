"""What databases and their drivers fail with, under the names that the rest of the project knows."""

import contextlib
import os
import socket
from collections.abc import Iterator

from sqlalchemy.exc import DBAPIError, IntegrityError, NotSupportedError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fairlead_serve.errors import ConfigurationError, StoreError, StoreUnavailable

# By their SQLSTATE: no such user or wrong password, no such database or schema, no permission.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_REFUSED_BY_POSTGRESQL = ("28", "3D", "3F", "42501")
# https://www.sqlite.org/rescode.html
_REFUSED_BY_SQLITE = ("SQLITE_NOTADB", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise what goes wrong in the block as StoreUnavailable, or StoreError where an id is taken.

    Mistakes in a statement stay what they are: nothing but another release mends those.
    """
    try:
        yield
    except IntegrityError as error:
        message = "an id was to be stored that is taken already; nothing was written"
        raise StoreError(message) from error
    except (ProgrammingError, NotSupportedError):
        raise
    except PoolTimeoutError as error:
        message = "the database is too slow: every connection to it is in use"
        raise StoreUnavailable(message) from error
    except (DBAPIError, OSError) as error:
        message = f"the database does not answer: {reason(error)}"
        raise StoreUnavailable(message) from error


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Raise ConfigurationError where the database refuses what is needed to begin, and waiting would not help."""
    try:
        yield
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None) or ""
        name = getattr(error.orig, "sqlite_errorname", None) or ""
        if state.startswith(_REFUSED_BY_POSTGRESQL) or name.startswith(_REFUSED_BY_SQLITE):
            message = f"the database refuses: {reason(error)}; change databaseUrl, or what it leads to"
            raise ConfigurationError(message) from error
        raise


def reason(error: DBAPIError | OSError) -> str:
    """Why, in one line without addresses and values: clients see it."""
    if isinstance(error, DBAPIError):
        cause = error.driver_exception
        # The first argument: asyncpg adds the details, which quote values, only to the whole text.
        return str(cause.args[0] if cause.args else type(cause).__name__).partition("\n")[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    return os.strerror(error.errno) if error.errno else type(error).__name__
