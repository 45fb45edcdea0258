"""The tables, alike on SQLite and PostgreSQL. `migrations/` leads to them; a test compares the two.

Times are seconds since 1970. Objects of OpenAI are JSON in text columns: PostgreSQL's own JSON types refuse the
character NUL, which people and models do write.
"""

from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class Document(TypeDecorator[Any]):
    """A JSON value."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:  # noqa: ARG002 - SQLAlchemy's signature
        return msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        # None: not a JSON null, but no row at that side of an outer join.
        return None if value is None else msgspec.json.decode(value)


class Name(TypeDecorator[str]):
    """An id or an owner: any text. What PostgreSQL refuses is escaped as in JSON; usual names stay as they are."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else msgspec.json.encode(value).decode()[1:-1]

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else msgspec.json.decode(f'"{value}"', type=str)


conversations = Table(
    "conversations",
    metadata,
    Column("id", Name),
    Column("owner", Name, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    # Where the next item goes. Whoever writes it holds the row until the end of the transaction, so that turns
    # which are added at once come one after the other.
    Column("next_position", Integer, nullable=False),
    Column("metadata", Document, nullable=False),
    PrimaryKeyConstraint("id"),
    Index(None, "owner", "updated_at", "id"),
    Index(None, "updated_at"),
)

items = Table(
    "items",
    metadata,
    Column("conversation", Name, ForeignKey(conversations.c.id, ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("id", Name, nullable=False),
    Column("body", Document, nullable=False),
    PrimaryKeyConstraint("conversation", "position"),
    UniqueConstraint("conversation", "id"),
)

responses = Table(
    "responses",
    metadata,
    Column("id", Name),
    Column("owner", Name, nullable=False),
    Column("conversation", Name, ForeignKey(conversations.c.id, ondelete="CASCADE")),
    # No foreign key: a response may be deleted while others go on from it.
    Column("previous", Name),
    # After that nobody works on it any more. NULL: it is finished.
    Column("deadline", Double),
    Column("updated_at", Double, nullable=False),
    Column("body", Document, nullable=False),
    Column("input", Document, nullable=False),
    Column("output", Document, nullable=False),
    PrimaryKeyConstraint("id"),
    Index(None, "conversation"),
    Index(None, "previous"),
    Index(None, "updated_at"),
)
Index(
    None,
    responses.c.deadline,
    sqlite_where=responses.c.deadline.is_not(None),
    postgresql_where=responses.c.deadline.is_not(None),
)
