"""Responses for servers that know only chat completions: the request translated there, the stream translated back.

Pure. The two forms are OpenAI's: https://platform.openai.com/docs/api-reference/chat and .../responses.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairlead_serve.gateway.items import Item, item_id, new_id, text_of

Event = dict[str, Any]

# Parameters that both forms have under the same name, vLLM's own among them.
_SAME = (
    "model", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "user", "parallel_tool_calls", "logit_bias",
    "presence_penalty", "frequency_penalty", "repetition_penalty", "chat_template_kwargs",
)  # fmt: skip


def chat_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of /v1/chat/completions that asks for what `body`, of /v1/responses with a list as input, asks for."""
    chat: dict[str, Any] = {name: body[name] for name in _SAME if body.get(name) is not None}
    chat["messages"] = [*_instructions(body), *_messages(body["input"])]
    chat["stream"] = True
    chat["stream_options"] = {"include_usage": True}
    if body.get("max_output_tokens") is not None:
        chat["max_tokens"] = body["max_output_tokens"]
    if tools := [_tool(tool) for tool in body.get("tools") or () if tool.get("type") == "function"]:
        chat["tools"] = tools
        if (choice := body.get("tool_choice")) is not None:
            chat["tool_choice"] = _tool_choice(choice)
    if effort := (body.get("reasoning") or {}).get("effort"):
        chat["reasoning_effort"] = effort
    if (form := (body.get("text") or {}).get("format")) and form.get("type") != "text":
        chat["response_format"] = _response_format(form)
    return chat


def _instructions(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []


def _messages(items: Sequence[Item]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for item in items:
        match item["type"]:
            case "message":
                role = "system" if item["role"] == "developer" else item["role"]
                messages.append({"role": role, "content": _content(item)})
            case "function_call":
                call = {
                    "id": item["call_id"],
                    "type": "function",
                    "function": {"name": item["name"], "arguments": item.get("arguments") or "{}"},
                }
                # Calls made at once are one message there, and follow what was said with them.
                if messages and messages[-1]["role"] == "assistant":
                    messages[-1].setdefault("tool_calls", []).append(call)
                else:
                    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            case "function_call_output":
                messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": _output(item)})
    return messages


def _content(item: Item) -> str | list[dict[str, Any]]:
    content = item["content"]
    if item["role"] == "assistant" or isinstance(content, str):
        return text_of(item)
    if all(part["type"] == "input_text" for part in content):
        return text_of(item)
    return [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "input_text":
        return {"type": "text", "text": part["text"]}
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part.get("image_url")}}
    return dict(part)


def _output(item: Item) -> str:
    output = item.get("output")
    return output if isinstance(output, str) else text_of({"content": output})


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}


def _tool_choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _response_format(form: Mapping[str, Any]) -> dict[str, Any]:
    if form.get("type") != "json_schema":
        return {"type": form.get("type")}  # whoever answers says what is wrong with it
    return {"type": "json_schema", "json_schema": {key: value for key, value in form.items() if key != "type"}}


class ChatEvents:
    """Turns the chunks of one chat completion into the events of a response."""

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._output: list[Item] = []
        self._open: Item | None = None
        self._tools: dict[int, Item] = {}
        self._status = "completed"
        self._finished = False
        self._usage: dict[str, Any] | None = None

    def feed(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        """The events that `chunk` stands for."""
        if not self._response:
            yield from self._begin(chunk)
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            # vLLM, DeepSeek and Ollama have three names for it.
            for field in ("reasoning", "reasoning_content", "thinking"):
                if delta.get(field):
                    yield from self._text("reasoning", "reasoning_text", delta[field])
                    break
            if delta.get("content"):
                yield from self._text("message", "output_text", delta["content"])
            for call in delta.get("tool_calls") or ():
                yield from self._call(call)
            reason = choice.get("finish_reason")
            self._finished = self._finished or bool(reason)
            if reason == "length":
                self._status = "incomplete"

    def end(self) -> Iterator[Event]:
        """The events at the end of the stream; none where no reason was given for it, as when Ollama fails midway."""
        if not self._finished:
            return
        yield from self._close()
        reason = {"reason": "max_output_tokens"} if self._status == "incomplete" else None
        response = {
            **self._response,
            "status": self._status,
            "output": self._output,
            "usage": self._usage,
            "incomplete_details": reason,
        }
        yield {"type": f"response.{self._status}", "response": response}

    def _begin(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        self._response = {
            "id": new_id("resp"),
            "object": "response",
            "created_at": chunk.get("created") or int(time.time()),
            "model": chunk.get("model") or "",
            "status": "in_progress",
            "output": [],
        }
        yield {"type": "response.created", "response": dict(self._response)}
        yield {"type": "response.in_progress", "response": dict(self._response)}

    def _text(self, kind: str, part: str, delta: str) -> Iterator[Event]:
        if self._open is None or self._open["type"] != kind:
            yield from self._close()
            item: Item = {"type": kind, "id": item_id(kind), "status": "in_progress", "content": []}
            if kind == "message":
                item["role"] = "assistant"
            else:
                item["summary"] = []
            yield self._add(item)
            item["content"] = [_empty_part(part)]
            yield self._event("response.content_part.added", content_index=0, part=_empty_part(part))
        assert self._open is not None  # noqa: S101 - for the reader of types
        self._open["content"][0]["text"] += delta
        yield self._event(f"response.{part}.delta", content_index=0, delta=delta, **_logprobs(kind))

    def _call(self, call: Mapping[str, Any]) -> Iterator[Event]:
        index, function = call.get("index", 0), call.get("function") or {}
        if index not in self._tools:
            yield from self._close()
            self._tools[index] = {
                "type": "function_call",
                "id": item_id("function_call"),
                "call_id": call.get("id") or new_id("call"),
                "name": function.get("name") or "",
                "arguments": "",
                "status": "in_progress",
            }
            yield self._add(self._tools[index])
        if arguments := function.get("arguments"):
            self._tools[index]["arguments"] += arguments
            yield self._event("response.function_call_arguments.delta", delta=arguments)

    def _add(self, item: Item) -> Event:
        self._open = item
        self._output.append(item)
        return {"type": "response.output_item.added", "output_index": len(self._output) - 1, "item": dict(item)}

    def _close(self) -> Iterator[Event]:
        item = self._open
        if item is None:
            return
        if item["type"] == "function_call":
            done = {"arguments": item["arguments"], "name": item["name"]}
            yield self._event("response.function_call_arguments.done", **done)
        else:
            part = item["content"][0]
            text = part["text"]
            yield self._event(f"response.{part['type']}.done", content_index=0, text=text, **_logprobs(item["type"]))
            yield self._event("response.content_part.done", content_index=0, part=part)
        item["status"] = self._status
        yield {"type": "response.output_item.done", "output_index": len(self._output) - 1, "item": item}
        self._open = None

    def _event(self, kind: str, **fields: Any) -> Event:
        item_id = self._output[-1]["id"]
        return {"type": kind, "output_index": len(self._output) - 1, "item_id": item_id, **fields}


def _logprobs(kind: str) -> dict[str, Any]:
    """OpenAI's types want them with the text of a message, and not with reasoning."""
    return {"logprobs": []} if kind == "message" else {}


def _empty_part(kind: str) -> dict[str, Any]:
    return {"type": kind, "text": "", **({"annotations": [], "logprobs": []} if kind == "output_text" else {})}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    prompt, answer = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": usage.get("total_tokens") or prompt + answer,
    }
