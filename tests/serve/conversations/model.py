"""What the store does, said once more in plain Python, for one owner and one caller at a time."""
# ruff: noqa: A002 - `id` and `input` are OpenAI's names

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead_serve.conversations import Item
from fairlead_serve.errors import NotStored, StoreError

_UNFINISHED = {"queued", "in_progress"}


@dataclass
class Response:
    body: Mapping[str, Any]
    input: list[Item]
    output: list[Item]
    conversation: str | None
    previous: str | None


@dataclass
class Model:
    """Its calls are those of the store without the owner; what they return is as simple as can be."""

    conversations: dict[str, list[Item]] = field(default_factory=dict)
    metadata: dict[str, Mapping[str, str]] = field(default_factory=dict)
    responses: dict[str, Response] = field(default_factory=dict)

    def create_conversation(self, id: str, *, metadata: Mapping[str, str], items: Sequence[Item]) -> None:
        if id in self.conversations:
            raise StoreError
        self.conversations[id] = list(items)
        self.metadata[id] = metadata

    def get_conversation(self, id: str) -> Mapping[str, str]:
        self.history(id)
        return self.metadata[id]

    def update_conversation(self, id: str, *, metadata: Mapping[str, str]) -> Mapping[str, str]:
        self.history(id)
        self.metadata[id] = metadata
        return metadata

    def delete_conversation(self, id: str) -> None:
        self.history(id)
        del self.conversations[id], self.metadata[id]
        for name in [name for name, one in self.responses.items() if one.conversation == id]:
            del self.responses[name]

    def add_items(self, conversation: str, items: Sequence[Item]) -> None:
        self.conversations[conversation] = self._with(conversation, items)

    def _with(self, conversation: str, items: Sequence[Item]) -> list[Item]:
        whole = [*self.history(conversation), *items]
        if len({item["id"] for item in whole}) < len(whole):
            raise StoreError
        return whole

    def get_item(self, conversation: str, id: str) -> Item:
        for item in self.history(conversation):
            if item["id"] == id:
                return item
        raise NotStored("item", id)

    def delete_item(self, conversation: str, id: str) -> None:
        item = self.get_item(conversation, id)
        self.conversations[conversation].remove(item)

    def history(self, conversation: str) -> list[Item]:
        if conversation not in self.conversations:
            raise NotStored("conversation", conversation)
        return list(self.conversations[conversation])

    def begin_response(
        self,
        body: Mapping[str, Any],
        *,
        input: Sequence[Item],
        conversation: str | None,
        previous: str | None,
        deadline: float,
    ) -> None:
        self.save_response(body, input=input, output=[], conversation=conversation, previous=previous)

    def save_response(
        self,
        body: Mapping[str, Any],
        *,
        input: Sequence[Item],
        output: Sequence[Item],
        conversation: str | None,
        previous: str | None,
    ) -> None:
        turn = [*input, *output] if body["status"] not in _UNFINISHED else []
        whole = None if conversation is None else self._with(conversation, turn)
        if previous is not None:
            self.get_response(previous)
        if body["id"] in self.responses:
            raise StoreError
        if conversation is not None and whole is not None:
            self.conversations[conversation] = whole
        self.responses[body["id"]] = Response(body, list(input), list(output), conversation, previous)

    def update_response(self, id: str, body: Mapping[str, Any]) -> bool:
        response = self.responses.get(id)
        if response is None or response.body["status"] not in _UNFINISHED:
            return False
        response.body = body
        return True

    def finish_response(self, id: str, body: Mapping[str, Any], *, output: Sequence[Item]) -> bool:
        response = self.responses.get(id)
        if response is None or response.body["status"] not in _UNFINISHED:
            return False
        if response.conversation is not None:
            self.add_items(response.conversation, [*response.input, *output])
        response.body, response.output = body, list(output)
        return True

    def get_response(self, id: str) -> Mapping[str, Any]:
        if id not in self.responses:
            raise NotStored("response", id)
        return self.responses[id].body

    def delete_response(self, id: str) -> None:
        self.get_response(id)
        del self.responses[id]

    def response_history(self, id: str) -> list[Item]:
        self.get_response(id)
        chain: list[Item] = []
        name: str | None = id
        while name in self.responses:
            response = self.responses[name]
            chain = [*response.input, *response.output, *chain]
            name = response.previous
        return chain
