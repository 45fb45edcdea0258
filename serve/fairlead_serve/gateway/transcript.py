"""What an answer has become so far, put together from the events of its stream. Pure state, no I/O.

The events are those of OpenAI's Responses; see `openai.types.responses.ResponseStreamEvent`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead_serve.gateway.items import Item


@dataclass
class _Growing:
    """One item of the output, and the texts that are being added to it: (list in the item, its index) -> pieces."""

    item: Item
    texts: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    done: bool = False

    def add(self, place: str, index: int, delta: str) -> None:
        self.texts.setdefault((place, index), []).append(delta)

    def cut(self) -> Item:
        """The item as far as it has come."""
        if self.done:
            return self.item
        item: Item = {**self.item, "status": "incomplete"}
        for (place, index), pieces in self.texts.items():
            text = "".join(pieces)
            if place not in {"content", "summary"}:
                item[place] = text
                continue
            parts = [dict(part) for part in item.get(place) or []]
            if index < len(parts):
                parts[index]["text"] = text
            item[place] = parts
        return item


class Transcript:
    """The output of one answer. Feed it every event, in order."""

    def __init__(self) -> None:
        self._items: dict[int, _Growing] = {}
        self._handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "response.output_item.added": self._added,
            "response.output_item.done": self._done,
            "response.content_part.added": self._part,
            "response.reasoning_part.added": self._part,
            "response.reasoning_summary_part.added": self._summary_part,
            "response.output_text.delta": self._text,
            "response.reasoning_text.delta": self._text,
            "response.refusal.delta": self._text,
            "response.reasoning_summary_text.delta": self._summary,
            "response.function_call_arguments.delta": self._arguments,
            "response.custom_tool_call_input.delta": self._custom_input,
        }

    def feed(self, event: Mapping[str, Any]) -> None:
        """Note one event; those that add nothing to the output are ignored."""
        handler = self._handlers.get(event.get("type", ""))
        if handler is not None:
            handler(event)

    @property
    def complete(self) -> bool:
        """Whether every item that was begun was also ended."""
        return all(growing.done for growing in self._items.values())

    def output(self) -> list[Item]:
        """Every item, in order; those that were not ended are marked incomplete."""
        return [self._items[index].cut() for index in sorted(self._items)]

    def _added(self, event: Mapping[str, Any]) -> None:
        self._items[event["output_index"]] = _Growing(event["item"])

    def _done(self, event: Mapping[str, Any]) -> None:
        self._items[event["output_index"]] = _Growing(event["item"], done=True)

    def _at(self, event: Mapping[str, Any]) -> _Growing | None:
        return self._items.get(event["output_index"])

    def _part(self, event: Mapping[str, Any]) -> None:
        self._new_part(event, "content")

    def _summary_part(self, event: Mapping[str, Any]) -> None:
        self._new_part(event, "summary")

    def _new_part(self, event: Mapping[str, Any], place: str) -> None:
        growing = self._at(event)
        if growing is not None:
            growing.item = {**growing.item, place: [*(growing.item.get(place) or []), event["part"]]}

    def _text(self, event: Mapping[str, Any]) -> None:
        self._add(event, "content", event.get("content_index", 0))

    def _summary(self, event: Mapping[str, Any]) -> None:
        self._add(event, "summary", event.get("summary_index", 0))

    def _arguments(self, event: Mapping[str, Any]) -> None:
        self._add(event, "arguments", 0)

    def _custom_input(self, event: Mapping[str, Any]) -> None:
        self._add(event, "input", 0)

    def _add(self, event: Mapping[str, Any], place: str, index: int) -> None:
        growing = self._at(event)
        if growing is not None:
            growing.add(place, index, event["delta"])
