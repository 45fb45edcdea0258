"""What is done to the table of responses, each within a transaction that the caller has begun.

A response is unfinished while it has a deadline. Times are seconds since 1970.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, insert, literal, select, update

from fairlead_serve.conversations import conversation_rows, item_rows
from fairlead_serve.conversations.records import UNFINISHED, Item, Order, Page, StoredResponse
from fairlead_serve.conversations.schema import responses
from fairlead_serve.errors import NotStored

Body = Mapping[str, Any]

_c = responses.c


def create(
    connection: Connection,
    owner: str,
    body: Body,
    *,
    input: Sequence[Item],  # noqa: A002 - OpenAI's name for it
    output: Sequence[Item],
    conversation: str | None,
    previous: str | None,
    deadline: float | None,
    now: float,
) -> None:
    """Add a response; where it is finished, without a deadline, also its turn to its conversation.

    Raises NotStored where there is no `conversation` or no `previous`: both are used.
    """
    if conversation is not None:
        turn = [*input, *output] if deadline is None else ()
        item_rows.append(connection, owner, conversation, turn, now=now)
    if previous is not None:
        used = update(responses).where(_c.id == previous, _c.owner == owner).values(updated_at=now)
        if connection.execute(used).rowcount == 0:
            raise NotStored("response", previous)
    connection.execute(
        insert(responses).values(
            id=body["id"],
            owner=owner,
            conversation=conversation,
            previous=previous,
            deadline=deadline,
            updated_at=now,
            body=body,
            input=input,
            output=output,
        )
    )


def write(connection: Connection, owner: str, name: str, body: Body, *, now: float) -> bool:
    """Replace the body of an unfinished response. False: it is finished, or gone."""
    values: dict[str, Any] = {"body": body, "updated_at": now}
    if body["status"] not in UNFINISHED:
        values["deadline"] = None
    statement = update(responses).where(_c.id == name, _c.owner == owner, _c.deadline.is_not(None))
    return connection.execute(statement.values(values)).rowcount > 0


def finish(connection: Connection, owner: str, name: str, body: Body, output: Sequence[Item], *, now: float) -> None:
    """Write the end of an unfinished response, and the turn into its conversation.

    Raises NotStored where it is finished, or gone: then nothing of the transaction may be kept.
    """
    unfinished = (_c.id == name, _c.owner == owner, _c.deadline.is_not(None))
    found = connection.execute(select(_c.conversation, _c.input).where(*unfinished)).one_or_none()
    if found is None:
        raise NotStored("response", name)
    conversation, asked = found
    turn = [*asked, *output]
    first = 0
    if conversation is not None:
        first = conversation_rows.use(connection, owner, conversation, now=now, positions=len(turn))
    # Only now is it certain: another may have finished it since it was looked at.
    statement = update(responses).where(*unfinished).values(body=body, output=output, deadline=None, updated_at=now)
    if connection.execute(statement).rowcount == 0:
        raise NotStored("response", name)
    if conversation is not None:
        item_rows.put(connection, conversation, first, turn)


def get(connection: Connection, owner: str, name: str) -> StoredResponse:
    """Raises NotStored."""
    statement = select(_c.body, _c.conversation, _c.previous).where(_c.id == name, _c.owner == owner)
    found = connection.execute(statement).one_or_none()
    if found is None:
        raise NotStored("response", name)
    body, conversation, previous = found
    return StoredResponse(name, body, conversation, previous)


def page(connection: Connection, owner: str, name: str, *, after: str | None, limit: int, order: Order) -> Page[Item]:
    """What was asked. Raises NotStored where there is no such response, or no `after` in it."""
    asked = connection.scalar(select(_c.input).where(_c.id == name, _c.owner == owner))
    if asked is None:
        raise NotStored("response", name)
    items: list[Item] = asked if order == "asc" else asked[::-1]
    if after is not None:
        names = [item["id"] for item in items]
        if after not in names:
            raise NotStored("item", after)
        items = items[names.index(after) + 1 :]
    return Page.cut(items, limit)


def everything(connection: Connection, owner: str, name: str) -> list[Item]:
    """What was asked and answered, from the first response of the chain to this one. Raises NotStored."""
    newest = select(_c.id, _c.previous, literal(0).label("age")).where(_c.id == name, _c.owner == owner)
    chain = newest.cte("chain", recursive=True)
    older = select(_c.id, _c.previous, chain.c.age + 1).where(_c.id == chain.c.previous, _c.owner == owner)
    chain = chain.union_all(older)
    statement = select(_c.input, _c.output).join(chain, chain.c.id == _c.id).order_by(chain.c.age.desc())
    turns = connection.execute(statement).all()
    if not turns:
        raise NotStored("response", name)
    return [item for asked, answered in turns for item in (*asked, *answered)]


def remove(connection: Connection, owner: str, name: str) -> None:
    """Delete a response; what it added to a conversation stays. Raises NotStored."""
    result = connection.execute(delete(responses).where(_c.id == name, _c.owner == owner))
    if result.rowcount == 0:
        raise NotStored("response", name)


def fail_late(connection: Connection, now: float, error: Body, *, limit: int) -> int:
    """End up to `limit` unfinished responses whose deadline is over, with `error`; how many."""
    late = select(_c.id, _c.body).where(_c.deadline < now).limit(limit).with_for_update(skip_locked=True)
    rows = [
        {"late": name, "failed": {**body, "status": "failed", "error": error}}
        for name, body in connection.execute(late)
    ]
    if rows:
        statement = update(responses).where(_c.id == bindparam("late"))
        connection.execute(statement.values(body=bindparam("failed"), deadline=None), rows)
    return len(rows)


def remove_unused(connection: Connection, before: float, *, limit: int) -> int:
    """Delete up to `limit` finished ones that nobody has used since `before`; how many.

    One that others go on from is used by them: it goes when they have gone.
    """
    newer = responses.alias("newer")
    unused = (
        select(_c.id)
        .where(_c.updated_at < before, _c.deadline.is_(None), ~exists().where(newer.c.previous == _c.id))
        .order_by(_c.updated_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found = connection.scalars(unused).all()
    if found:
        connection.execute(delete(responses).where(_c.id.in_(found)))
    return len(found)
