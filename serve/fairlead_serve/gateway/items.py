"""Items: what a conversation is made of. Messages, tool calls, their outputs, reasoning; OpenAI's objects as dicts.

Clients may write them short (a string, `{"role", "content"}`); they are kept whole, each with an id of ours, so that
what is read later does not depend on how it was written.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fairlead_serve.errors import ApiError

Item = dict[str, Any]

_ROLES = ("user", "assistant", "system", "developer")
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
# Types whose objects have a status in OpenAI's description.
_WITH_STATUS = frozenset({"message", "function_call", "function_call_output"})
# Fields that have to be there, as texts.
_TEXTS = {"function_call": ("call_id", "name", "arguments"), "function_call_output": ("call_id",)}
_MAX_ITEMS = 10_000
# More than any tool's schema has, and far from where those give up who write and read JSON.
_MAX_LEVELS = 100


def new_id(prefix: str) -> str:
    """`prefix_` and 192 random bits: nobody guesses another's."""
    return f"{prefix}_{secrets.token_hex(24)}"


def item_id(kind: str) -> str:
    """A new id for an item of the type `kind`."""
    return new_id(_PREFIXES.get(kind, "item"))


def user_message(text: str) -> Item:
    return message("user", text)


def message(role: str, text: str) -> Item:
    """A whole message of one text."""
    return _message({"role": role, "content": text}, "item")


def parse_items(value: Any, *, param: str) -> list[Item]:
    """Items as a client sent them, made whole. Raises ApiError 400 that names the place, below `param`."""
    if isinstance(value, str):
        return [user_message(value)]
    if not isinstance(value, list):
        raise _wrong(param, "expected a text or a list of items")
    if len(value) > _MAX_ITEMS:
        raise _wrong(param, f"at most {_MAX_ITEMS} items can be sent at once")
    return [_parse(item, f"{param}[{index}]") for index, item in enumerate(value)]


def refuse_deep(value: Any, place: str) -> None:
    """Raises ApiError 400 where lists and objects lie in each other too deep for all who handle them later."""
    if _is_deeper(value, _MAX_LEVELS):
        raise _wrong(place, f"at most {_MAX_LEVELS} lists and objects can lie in each other")


def text_of(item: Mapping[str, Any]) -> str:
    """The text of a message; "" for what has none."""
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def for_engine(items: Sequence[Item]) -> list[Item]:
    """`items` as an engine takes them for its input: vLLM's types know no ids and states of what a user says.

    Without the calls that were cut: their arguments are half a JSON, which no engine takes.
    """
    return [_for_engine(item) for item in items if not _is_cut_call(item)]


def _for_engine(item: Item) -> Item:
    if item["type"] == "message" and item.get("role") != "assistant":
        return {key: item[key] for key in ("type", "role", "content")}
    if item["type"] == "function_call_output":
        return {key: item[key] for key in ("type", "call_id", "output") if key in item}
    return {key: value for key, value in item.items() if value is not None}


def _is_cut_call(item: Item) -> bool:
    return item["type"] == "function_call" and item.get("status") == "incomplete"


def _parse(item: Any, place: str) -> Item:
    if not isinstance(item, dict):
        raise _wrong(place, "expected an object")
    refuse_deep(item, place)
    kind = item.get("type") or ("message" if "role" in item else None)
    if not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise _wrong(f"{place}.type", "name the item's type, such as message")
    if kind == "item_reference":
        raise _wrong(place, "send the item itself; references to stored items are not taken")
    if kind == "message":
        return _message(item, place)
    whole = {**item, "type": kind, "id": item_id(kind)}
    if kind in _WITH_STATUS:
        whole["status"] = _status(item)
    if kind == "reasoning":
        whole["summary"] = item.get("summary") or []
    for field in _TEXTS.get(kind, ()):
        if not isinstance(item.get(field), str):
            raise _wrong(f"{place}.{field}", "expected a string")
    if kind == "function_call_output" and not isinstance(item.get("output"), str | list):
        raise _wrong(f"{place}.output", "expected a text or a list of parts")
    return whole


def _message(item: Mapping[str, Any], place: str) -> Item:
    role = item.get("role")
    if role not in _ROLES:
        raise _wrong(f"{place}.role", f"expected one of {', '.join(_ROLES)}")
    return {
        "type": "message",
        "id": item_id("message"),
        "status": _status(item),
        "role": role,
        "content": _content(item.get("content"), role, f"{place}.content"),
    }


def _status(item: Mapping[str, Any]) -> str:
    return "incomplete" if item.get("status") == "incomplete" else "completed"


def _content(content: Any, role: str, place: str) -> list[Item]:
    kind = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        return [_text_part(kind, content)]
    if not isinstance(content, list):
        raise _wrong(place, "expected a text or a list of parts")
    return [_part(part, kind, f"{place}[{index}]") for index, part in enumerate(content)]


def _part(part: Any, kind: str, place: str) -> Item:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise _wrong(place, f"expected an object with a type, such as {kind}")
    if part["type"] not in {"text", "input_text", "output_text"}:
        return part
    if not isinstance(part.get("text"), str):
        raise _wrong(f"{place}.text", "expected a string")
    return {**part, **_text_part(kind, part["text"])} if part["type"] != kind else {**_text_part(kind, ""), **part}


def _text_part(kind: str, text: str) -> Item:
    # OpenAI's types want annotations and logprobs with every text of a model.
    return {"type": kind, "text": text, **({"annotations": [], "logprobs": []} if kind == "output_text" else {})}


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _wrong(place: str, expectation: str) -> ApiError:
    return ApiError(400, f"the field {place!r} is wrong: {expectation}", param=place)
