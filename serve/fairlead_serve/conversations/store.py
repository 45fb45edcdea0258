"""The store: every call is one transaction, whole or not at all, whatever becomes of the process or the database.

Calls name their owner, and see nothing of another's. Each but `close` may raise StoreUnavailable within seconds; where
the connection breaks at the very end of a writing call, it is not known whether the call has been kept. A call that is
cancelled is carried out all the same.
"""
# ruff: noqa: A002 - `id` and `input` are OpenAI's names

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from fairlead_serve.conversations import conversation_rows, item_rows, response_rows
from fairlead_serve.conversations.database import Database
from fairlead_serve.conversations.records import Conversation, Item, Order, Page, StoredResponse
from fairlead_serve.errors import NotStored

_LATE_AT_ONCE = 100
_ENDED = {"code": "server_error", "message": "the gateway ended while answering"}


class Store:
    """Conversations and responses in the database at `url`. Ids are the caller's to choose: long and random."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """`url`: `sqlite:///path/to/file` or `postgresql://user:password@host/name`; else ConfigurationError."""
        self._database = Database(url)
        self._clock = clock

    async def open(self) -> None:
        """Make the database ready, which takes the migrations that it lacks. Any number of gateways may, at once.

        Raises StoreUnavailable, after which it may be tried again, and ConfigurationError where that would not help:
        the URL or the permissions are wrong, or the database is a newer release's.
        """
        await self._database.open()

    async def close(self) -> None:
        """Close every connection."""
        await self._database.close()

    async def ping(self) -> None:
        """Raises StoreUnavailable where the database does not answer."""
        await self._database.read(lambda connection: connection.scalar(select(1)))

    # --- conversations -----------------------------------------------------------------------------

    async def create_conversation(
        self, owner: str, id: str, *, metadata: Mapping[str, str], items: Sequence[Item] = ()
    ) -> Conversation:
        """Begin a conversation with `items`."""
        now = self._clock()

        def create(connection: Connection) -> Conversation:
            created = conversation_rows.create(connection, owner, id, metadata, now=now)
            if items:
                item_rows.append(connection, owner, id, items, now=now)
            return created

        return await self._database.write(create)

    async def get_conversation(self, owner: str, id: str) -> Conversation:
        """Raises NotStored."""
        return await self._database.read(lambda connection: conversation_rows.get(connection, owner, id))

    async def list_conversations(
        self, owner: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Conversation]:
        """By last use. Raises NotStored where there is no conversation `after`."""
        return await self._database.read(
            lambda connection: conversation_rows.page(connection, owner, after=after, limit=limit, order=order)
        )

    async def update_conversation(self, owner: str, id: str, *, metadata: Mapping[str, str]) -> Conversation:
        """Replace the metadata. Raises NotStored."""
        return await self._database.write(
            lambda connection: conversation_rows.describe(connection, owner, id, metadata, now=self._clock())
        )

    async def delete_conversation(self, owner: str, id: str) -> None:
        """Delete a conversation with its items and its responses. Raises NotStored."""
        await self._database.write(lambda connection: conversation_rows.remove(connection, owner, id))

    # --- items -------------------------------------------------------------------------------------

    async def add_items(self, owner: str, conversation: str, items: Sequence[Item]) -> None:
        """Add `items` at the end, together and in order; this is a use.

        Raises NotStored, and StoreError where the conversation has an item of one of their ids.
        """
        await self._database.write(
            lambda connection: item_rows.append(connection, owner, conversation, items, now=self._clock())
        )

    async def list_items(
        self, owner: str, conversation: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item]:
        """Raises NotStored where there is no such conversation, or no item `after` in it."""
        return await self._database.read(
            lambda connection: item_rows.page(connection, owner, conversation, after=after, limit=limit, order=order)
        )

    async def get_item(self, owner: str, conversation: str, id: str) -> Item:
        """Raises NotStored where there is no such conversation, or no such item in it."""
        return await self._database.read(lambda connection: item_rows.get(connection, owner, conversation, id))

    async def delete_item(self, owner: str, conversation: str, id: str) -> None:
        """Raises NotStored where there is no such conversation, or no such item in it."""
        await self._database.write(
            lambda connection: item_rows.remove(connection, owner, conversation, id, now=self._clock())
        )

    async def history(self, owner: str, conversation: str) -> list[Item]:
        """All items, the oldest first; whole turns only. Raises NotStored."""
        return await self._database.read(lambda connection: item_rows.everything(connection, owner, conversation))

    # --- responses ---------------------------------------------------------------------------------

    async def begin_response(
        self,
        owner: str,
        body: Mapping[str, Any],
        *,
        input: Sequence[Item],
        conversation: str | None = None,
        previous: str | None = None,
        deadline: float,
    ) -> None:
        """Make a response known that is `queued` or `in_progress`. Its conversation gets nothing before its end.

        `deadline`: after that, in seconds since 1970, nobody works on it any more. Raises NotStored where
        `conversation` or `previous` are not there.
        """
        await self._database.write(
            lambda connection: response_rows.create(
                connection,
                owner,
                body,
                input=input,
                output=(),
                conversation=conversation,
                previous=previous,
                deadline=deadline,
                now=self._clock(),
            )
        )

    async def update_response(self, owner: str, id: str, body: Mapping[str, Any]) -> bool:
        """Replace the body. False, and nothing is written, where the response is finished or gone.

        A body whose status is final finishes it without adding anything to its conversation.
        """
        return await self._database.write(
            lambda connection: response_rows.write(connection, owner, id, body, now=self._clock())
        )

    async def finish_response(self, owner: str, id: str, body: Mapping[str, Any], *, output: Sequence[Item]) -> bool:
        """Write the end of a response and, if it has a conversation, what was asked and answered into that.

        False, and nothing is written, where it is finished already (cancelled elsewhere, given up) or gone.
        """
        try:
            await self._database.write(
                lambda connection: response_rows.finish(connection, owner, id, body, output, now=self._clock())
            )
        except NotStored:
            return False
        return True

    async def save_response(
        self,
        owner: str,
        body: Mapping[str, Any],
        *,
        input: Sequence[Item],
        output: Sequence[Item],
        conversation: str | None = None,
        previous: str | None = None,
    ) -> None:
        """Begin and finish a response at once. Raises NotStored where `conversation` or `previous` are not there."""
        await self._database.write(
            lambda connection: response_rows.create(
                connection,
                owner,
                body,
                input=input,
                output=output,
                conversation=conversation,
                previous=previous,
                deadline=None,
                now=self._clock(),
            )
        )

    async def get_response(self, owner: str, id: str) -> StoredResponse:
        """Raises NotStored."""
        return await self._database.read(lambda connection: response_rows.get(connection, owner, id))

    async def delete_response(self, owner: str, id: str) -> None:
        """Delete a response; what it added to its conversation stays there. Raises NotStored."""
        await self._database.write(lambda connection: response_rows.remove(connection, owner, id))

    async def list_input_items(
        self, owner: str, response: str, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Item]:
        """Raises NotStored where there is no such response, or no item `after` in what it was asked."""
        return await self._database.read(
            lambda connection: response_rows.page(connection, owner, response, after=after, limit=limit, order=order)
        )

    async def response_history(self, owner: str, id: str) -> list[Item]:
        """What was asked and answered in the whole chain of `previous` up to this response, the oldest first.

        It begins after the last link that was deleted. Raises NotStored where this response itself is not there.
        """
        return await self._database.read(lambda connection: response_rows.everything(connection, owner, id))

    # --- for the keeper: of all owners -------------------------------------------------------------

    async def abandon(self, now: float) -> int:
        """Fail the unfinished responses whose deadline was before `now`; how many. Conversations get none of it."""
        total = 0
        while count := await self._database.write(
            lambda connection: response_rows.fail_late(connection, now, _ENDED, limit=_LATE_AT_ONCE)
        ):
            total += count
        return total

    async def sweep(self, before: float, *, batch: int = 500) -> int:
        """Delete up to `batch` conversations, with all of theirs, and responses unused since `before`; how many."""
        swept = await self._database.write(
            lambda connection: conversation_rows.remove_unused(connection, before, limit=batch)
        )
        if swept < batch:
            swept += await self._database.write(
                lambda connection: response_rows.remove_unused(connection, before, limit=batch - swept)
            )
        return swept
