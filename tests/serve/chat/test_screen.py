"""How answers look, on a terminal and elsewhere."""

import io
import re

import pytest
from rich.console import Console

from fairlead_serve.chat.plain import printable
from fairlead_serve.chat.screen import Screen, _Redrawn, _start_of_last_block
from fairlead_serve.chat.server import Delta, Ended
from fairlead_serve.chat.session import Stopwatch


@pytest.mark.parametrize("control", ["\x00", "\x07", "\x08", "\x0b", "\r", "\x1b", "\x7f", "\x80", "\x9b", "\x9f"])
def test_control_characters_are_taken_out(control: str) -> None:
    assert printable(f"a{control}b") == "ab"


def test_text_of_any_language_with_its_lines_and_tabs_is_left_alone() -> None:
    text = "Grüße,\n\t世界 👩\u200d🚀 \u00a0"
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("one", "one"),
        ("one\n\ntw", "one\n\ntw"),  # it can still become anything
        ("one\n\ntwo\n", "two\n"),
        ("# t\none\n", "one\n"),
        ("- a\n- b\n\n- c\n", "- a\n- b\n\n- c\n"),
        ("1. a\n\n2", "1. a\n\n2"),
        ("one\n\n```\na\n\nb\n", "```\na\n\nb\n"),
        ("```\na\n```\nb\n", "b\n"),
        ("| a |\n|---|\n| b |\n", "| a |\n|---|\n| b |\n"),
        ("a\u2028b\n\nc\n", "c\n"),
        ("", ""),
    ],
)
def test_only_a_block_that_can_grow_no_more_is_printed_for_good(text: str, last: str) -> None:
    assert text[_start_of_last_block(text) :] == last


async def test_an_answer_longer_than_the_terminal_is_drawn_from_its_end_and_printed_whole() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=20, height=6, color_system=None)
    with _Redrawn(console) as display:
        display.add(Delta("```\n" + "".join(f"line {number}\n" for number in range(50))))
        display._draw()
        drawn = stream.getvalue()
    assert "line 49" in drawn
    assert "line 40" not in drawn
    assert [f"line {number}" for number in range(50)] == re.findall(r"line \d+", stream.getvalue()[len(drawn) :])


def test_elsewhere_the_text_is_what_the_server_sent() -> None:
    stream = io.StringIO()
    with Screen(stream).answer() as display:
        for delta in (Delta("Hm.", "reasoning"), Delta("**a**\x1b"), Delta("")):
            display.add(delta)
    assert stream.getvalue() == "**a**\x1b\n"


def test_an_answer_is_timed_from_its_question_to_its_last_token() -> None:
    times = iter([10.0, 10.5, 11.0, 11.5])
    watch = Stopwatch(clock=lambda: next(times))
    for _ in range(3):
        watch.tick()
    assert watch.told(Ended(21)) == "first token after 0.50 s, 20.0 tokens/s, 21 tokens"


def test_an_answer_without_text_says_so() -> None:
    assert Stopwatch().told(Ended()) == "no text"
