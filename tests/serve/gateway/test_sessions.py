"""Requests whose prompts begin alike belong to one session."""

import json
from typing import Any

from fairlead_serve.gateway.sessions import session_of


def chat(*messages: tuple[str, Any], **more: Any) -> bytes:
    said = [{"role": role, "content": content} for role, content in messages]
    return json.dumps({"model": "m", "messages": said, **more}).encode()


FIRST = (("system", "Be {brief}."), ("user", "Hello"))


def test_every_turn_of_a_chat_is_of_one_session() -> None:
    first = session_of(chat(*FIRST, stream=True))
    assert first
    assert session_of(chat(*FIRST, ("assistant", "Hi"), ("user", "More"), max_tokens=5)) == first


def test_another_beginning_is_another_session() -> None:
    assert session_of(chat(*FIRST)) != session_of(chat(("user", "Hello")))
    assert session_of(chat(("user", "Hello"))) != session_of(chat(("user", "Hallo")))


def test_content_in_parts_makes_a_session_too() -> None:
    parts = [{"type": "text", "text": "Hello"}]
    first = session_of(chat(("user", parts)))
    assert session_of(chat(("user", parts), ("assistant", "Hi"), ("user", "More"))) == first
    assert session_of(chat(("user", [{"type": "text", "text": "Hallo"}]))) != first


def test_prompts_share_a_session_when_their_beginning_is_long_and_equal() -> None:
    code = "def f(x):\n" * 100
    assert session_of(json.dumps({"prompt": code}).encode()) == session_of(json.dumps({"prompt": code + "y"}).encode())


def test_what_has_no_prompt_has_no_session() -> None:
    assert session_of(b'{"model": "m", "input": "x"}') == b""
