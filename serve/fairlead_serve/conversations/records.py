"""What the store gives back. Plain values, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

Item = dict[str, Any]
"""One of OpenAI's item objects. Its `id` is unique in its conversation."""

Order = Literal["asc", "desc"]
"""The oldest first, or the newest."""

UNFINISHED = frozenset({"queued", "in_progress"})
"""The statuses of a response that somebody works on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Conversation:
    """A conversation without its items. `updated_at` is its last use; both times are in seconds since 1970."""

    id: str
    created_at: int
    updated_at: int
    metadata: dict[str, str]


@dataclass(frozen=True)
class StoredResponse:
    """A response: `body` is OpenAI's object as it was last written, `previous` the response that it went on from."""

    id: str
    body: dict[str, Any]
    conversation: str | None
    previous: str | None

    @property
    def status(self) -> str:
        """OpenAI's status, such as `in_progress` or `completed`."""
        return str(self.body["status"])

    @property
    def finished(self) -> bool:
        """Whether nobody works on it any more."""
        return self.status not in UNFINISHED


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and whether it goes on."""

    data: list[T]
    has_more: bool

    @classmethod
    def cut(cls, found: Sequence[T], limit: int) -> "Page[T]":
        """The first `limit` of `found`, which was asked for one more to see whether there is one."""
        return cls(list(found[:limit]), has_more=len(found) > limit)
