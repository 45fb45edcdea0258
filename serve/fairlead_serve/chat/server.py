"""What the chat asks of a gateway, through OpenAI's own client. Its errors become ours here."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import openai
from openai import AsyncOpenAI
from openai.pagination import AsyncConversationCursorPage
from openai.types.conversations import Conversation, ConversationItem, Message
from openai.types.responses import ResponseStreamEvent

from fairlead_serve.chat.plain import printable
from fairlead_serve.errors import ChatError

_CONNECT_SECONDS = 5.0
# Longer than a gateway lets a request wait, so that it is the gateway that says why there is no answer.
_SILENCE_SECONDS = 660.0
_PAGE = 100
_KINDS: dict[str, Literal["text", "reasoning"]] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}


@dataclass(frozen=True)
class Question:
    """What is asked of `model`. `conversation`: what it follows, and becomes a part of; None: nothing is kept."""

    text: str
    model: str
    conversation: str | None = None
    system: str | None = None
    temperature: float | None = None


@dataclass(frozen=True)
class Begun:
    """The answer has begun: from here on the server keeps what it has, however it ends."""


@dataclass(frozen=True)
class Delta:
    """More of an answer, or of the reasoning before it."""

    text: str
    kind: Literal["text", "reasoning"] = "text"


@dataclass(frozen=True)
class Ended:
    """The answer is whole; or, with `cut`, it met a bound such as `max_output_tokens`. `tokens`: its length."""

    tokens: int | None = None
    cut: str = ""


Piece = Begun | Delta | Ended


@dataclass(frozen=True)
class Talk:
    """One conversation in a list of them. `begun`: in local time."""

    id: str
    title: str
    begun: datetime


@dataclass(frozen=True)
class Said:
    """One message of a conversation."""

    role: str
    text: str


class Server:
    """A gateway at `url`, or anything that speaks as it does. Every method raises ChatError."""

    def __init__(self, url: str, key: str) -> None:
        """`key`: an API key; empty where none is needed."""
        self.url = url
        # A person sees an error sooner than the third attempt, and repeats the question with a key.
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=key or "none",  # the client insists on one
            max_retries=0,
            timeout=openai.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def models(self) -> list[str]:
        """What can be asked; at least one."""
        with self._translated():
            names = [model.id async for model in self._client.models.list()]
        if not names:
            message = f"{self.url} serves no model"
            raise ChatError(message)
        return names

    async def conversations(self, limit: int) -> list[Talk]:
        """The caller's conversations, the last used first."""
        page = AsyncConversationCursorPage[Conversation]
        options: openai.RequestOptions = {"params": {"limit": limit}}
        with self._translated():
            # The client has no name for this route, which is the gateway's own.
            found = await self._client.get_api_list("/conversations", model=Conversation, page=page, options=options)
        return [Talk(one.id, _title(one), datetime.fromtimestamp(one.created_at).astimezone()) for one in found.data]

    async def begin(self, title: str) -> str:
        """A new conversation's id."""
        with self._translated():
            return (await self._client.conversations.create(metadata={"title": title})).id

    async def forget(self, conversation: str) -> None:
        """Delete a conversation and all that was said in it."""
        with self._translated():
            await self._client.conversations.delete(conversation)

    async def said(self, conversation: str, limit: int) -> list[Said]:
        """The last messages of a conversation, the oldest first; of its last `limit` items."""
        with self._translated():
            page = await self._client.conversations.items.list(conversation, limit=limit, order="desc")
        return [Said(item.role, _text_of(item)) for item in reversed(page.data) if isinstance(item, Message)]

    async def take_back(self, conversation: str) -> str:
        """Delete the last turn of a conversation; its question."""
        items = self._client.conversations.items
        with self._translated():
            turn: list[ConversationItem] = []
            async for item in items.list(conversation, limit=_PAGE, order="desc"):
                turn.append(item)
                if isinstance(item, Message) and item.role == "user":
                    for one in turn:
                        await items.delete(_id_of(one), conversation_id=conversation)
                    return _text_of(item)
        message = "there is nothing to take back"
        raise ChatError(message)

    async def ask(self, question: Question) -> AsyncIterator[Piece]:
        """The answer as it comes. Closing the iterator ends it at the server, too."""
        with self._translated():
            stream = await self._client.responses.create(
                stream=True,
                input=question.text,
                model=question.model,
                conversation=question.conversation,
                instructions=question.system,
                temperature=question.temperature,
                store=False,  # the conversation has it all
            )
            whole = False
            async with stream:
                async for event in stream:
                    if (piece := _piece(event)) is not None:
                        whole = whole or isinstance(piece, Ended)
                        yield piece
        if not whole:
            message = "the answer broke off"
            raise ChatError(message)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except openai.APIConnectionError as error:
            message = f"{self.url} does not answer ({_cause(error)}); give another address with --url, "
            raise ChatError(message + "or start a server: fairlead serve -f model.yaml") from error
        except openai.APIError as error:
            raise ChatError(_words(error)) from error


def _piece(event: ResponseStreamEvent) -> Piece | None:
    """What `event` means to a reader. Raises ChatError for the end of an answer that failed."""
    kind = _KINDS.get(event.type)
    if kind is not None:
        return Delta(getattr(event, "delta", ""), kind)
    match event.type:
        case "response.created":
            return Begun()
        case "response.completed" | "response.incomplete":
            response = event.response
            details = response.incomplete_details
            return Ended(response.usage.output_tokens if response.usage else None, (details and details.reason) or "")
        case "response.failed":
            raise ChatError(printable(event.response.error.message if event.response.error else "the answer failed"))
        case "error":
            raise ChatError(printable(event.message))
    return None


def _title(conversation: Conversation) -> str:
    metadata = conversation.metadata
    title = metadata.get("title") if isinstance(metadata, dict) else None
    return " ".join(str(title or conversation.id).split())


def _text_of(item: Message) -> str:
    return "".join(getattr(part, "text", "") for part in item.content)


def _id_of(item: ConversationItem) -> str:
    return item.id or ""


def _cause(error: openai.APIConnectionError) -> str:
    """The words of the system, such as `Connection refused`."""
    return printable(str(error.__cause__ or error)) or type(error.__cause__).__name__


def _words(error: openai.APIError) -> str:
    """What the server says, without the client's frame around it."""
    body: Any = error.body
    message = body.get("message") if isinstance(body, dict) else None
    if not message and isinstance(error, openai.APIStatusError):
        message = f"the server answered {error.status_code} and no reason; is its address right, with its /v1?"
    words = printable(str(message or error.message))
    if isinstance(error, openai.AuthenticationError):
        words += "; set FAIRLEAD_API_KEY to a key of this server"
    return words
