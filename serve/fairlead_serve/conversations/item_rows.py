"""What is done to the table of items, each within a transaction that the caller has begun."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, insert, select

from fairlead_serve.conversations import conversation_rows
from fairlead_serve.conversations.records import Item, Order, Page
from fairlead_serve.conversations.schema import conversations, items
from fairlead_serve.errors import NotStored

_c = items.c


def append(connection: Connection, owner: str, conversation: str, new: Sequence[Item], *, now: float) -> None:
    """Add `new` at the end, together and in order. Raises NotStored, and StoreError where an id is there already."""
    first = conversation_rows.use(connection, owner, conversation, now=now, positions=len(new))
    put(connection, conversation, first, new)


def put(connection: Connection, conversation: str, first: int, new: Sequence[Item]) -> None:
    """Add `new` at the positions from `first`, which the caller has reserved. Raises StoreError as `append`."""
    rows = [
        {"conversation": conversation, "position": position, "id": item["id"], "body": item}
        for position, item in enumerate(new, start=first)
    ]
    if rows:
        connection.execute(insert(items), rows)


def page(
    connection: Connection, owner: str, conversation: str, *, after: str | None, limit: int, order: Order
) -> Page[Item]:
    """Raises NotStored where there is no such conversation, or no `after` in it."""
    descending = order == "desc"
    wanted: list[ColumnElement[bool]] = []
    if after is not None:
        position, _ = _find(connection, owner, conversation, after)
        wanted.append(_c.position < position if descending else _c.position > position)
    by = _c.position.desc() if descending else _c.position
    statement = _of(owner, conversation, *wanted).order_by(by).limit(limit + 1)
    return Page.cut(_bodies(connection, conversation, statement), limit)


def everything(connection: Connection, owner: str, conversation: str) -> list[Item]:
    """All items, the oldest first. Raises NotStored."""
    return _bodies(connection, conversation, _of(owner, conversation).order_by(_c.position))


def get(connection: Connection, owner: str, conversation: str, name: str) -> Item:
    """Raises NotStored where there is no such conversation, or no such item in it."""
    _, body = _find(connection, owner, conversation, name)
    return body


def remove(connection: Connection, owner: str, conversation: str, name: str, *, now: float) -> None:
    """Delete an item, which is a use. Raises NotStored."""
    conversation_rows.use(connection, owner, conversation, now=now)
    result = connection.execute(delete(items).where(_c.conversation == conversation, _c.id == name))
    if result.rowcount == 0:
        raise NotStored("item", name)


def _find(connection: Connection, owner: str, conversation: str, name: str) -> tuple[int, Item]:
    """The position and the body of an item."""
    found = connection.execute(_of(owner, conversation, _c.id == name)).one_or_none()
    if found is None:
        raise NotStored("conversation", conversation)
    position, body = found
    if position is None:
        raise NotStored("item", name)
    return position, body


def _bodies(connection: Connection, conversation: str, statement: Select[int | None, Item]) -> list[Item]:
    rows = connection.execute(statement).all()
    if not rows:
        raise NotStored("conversation", conversation)
    return [body for position, body in rows if position is not None]


def _of(owner: str, conversation: str, *wanted: ColumnElement[bool]) -> Select[int | None, Item]:
    """The `wanted` items of a conversation; one row of NULL where it has none, and no row where it is not there."""
    return (
        select(_c.position, _c.body)
        .select_from(conversations)
        .join(items, and_(_c.conversation == conversations.c.id, *wanted), isouter=True)
        .where(conversations.c.id == conversation, conversations.c.owner == owner)
    )
