"""What is done to the table of conversations, each within a transaction that the caller has begun.

`now` and times are seconds since 1970. NotStored is raised for what is not there and for what is another owner's:
one statement looks for both.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Row, delete, insert, select, tuple_, update

from fairlead_serve.conversations.records import Conversation, Order, Page
from fairlead_serve.conversations.schema import conversations
from fairlead_serve.errors import NotStored

_c = conversations.c
_SHOWN = (_c.id, _c.created_at, _c.updated_at, _c.metadata)


def create(connection: Connection, owner: str, name: str, metadata: Mapping[str, str], *, now: float) -> Conversation:
    """Begin a conversation without items. Raises StoreError where the id is taken."""
    values = {"id": name, "created_at": now, "updated_at": now, "metadata": metadata}
    statement = insert(conversations).values(owner=owner, next_position=0, **values).returning(*_SHOWN)
    return _conversation(connection.execute(statement).one())


def get(connection: Connection, owner: str, name: str) -> Conversation:
    """Raises NotStored."""
    found = connection.execute(select(*_SHOWN).where(_c.id == name, _c.owner == owner)).one_or_none()
    if found is None:
        raise NotStored("conversation", name)
    return _conversation(found)


def page(connection: Connection, owner: str, *, after: str | None, limit: int, order: Order) -> Page[Conversation]:
    """By last use. Raises NotStored where there is no `after`."""
    place = tuple_(_c.updated_at, _c.id)
    descending = order == "desc"
    statement = select(*_SHOWN).where(_c.owner == owner).limit(limit + 1)
    if after is not None:
        used = connection.scalar(select(_c.updated_at).where(_c.id == after, _c.owner == owner))
        if used is None:
            raise NotStored("conversation", after)
        statement = statement.where(place < (used, after) if descending else place > (used, after))
    columns = (_c.updated_at, _c.id)
    statement = statement.order_by(*(column.desc() if descending else column for column in columns))
    return Page.cut([_conversation(row) for row in connection.execute(statement)], limit)


def describe(connection: Connection, owner: str, name: str, metadata: Mapping[str, str], *, now: float) -> Conversation:
    """Replace the metadata, which is a use. Raises NotStored."""
    statement = update(conversations).where(_c.id == name, _c.owner == owner).returning(*_SHOWN)
    found = connection.execute(statement.values(metadata=metadata, updated_at=now)).one_or_none()
    if found is None:
        raise NotStored("conversation", name)
    return _conversation(found)


def use(connection: Connection, owner: str, name: str, *, now: float, positions: int = 0) -> int:
    """Note a use and reserve `positions` for items; the first of them. Raises NotStored.

    Nobody else uses the conversation until the transaction has ended. Whatever else a transaction changes, it does
    this first: all take their locks in one order, so none waits for one that waits for it.
    """
    statement = (
        update(conversations)
        .where(_c.id == name, _c.owner == owner)
        .values(updated_at=now, next_position=_c.next_position + positions)
        .returning(_c.next_position)
    )
    end = connection.scalar(statement)
    if end is None:
        raise NotStored("conversation", name)
    return int(end) - positions


def remove(connection: Connection, owner: str, name: str) -> None:
    """Delete a conversation; the database deletes what belongs to it. Raises NotStored."""
    result = connection.execute(delete(conversations).where(_c.id == name, _c.owner == owner))
    if result.rowcount == 0:
        raise NotStored("conversation", name)


def remove_unused(connection: Connection, before: float, *, limit: int) -> int:
    """Delete up to `limit` that nobody has used since `before`; how many. Those in use at this moment are left out."""
    unused = select(_c.id).where(_c.updated_at < before).order_by(_c.updated_at).limit(limit)
    found = connection.scalars(unused.with_for_update(skip_locked=True)).all()
    if found:
        connection.execute(delete(conversations).where(_c.id.in_(found)))
    return len(found)


def _conversation(row: Row[str, float, float, dict[str, str]]) -> Conversation:
    name, created_at, updated_at, metadata = row
    return Conversation(name, int(created_at), int(updated_at), metadata)
