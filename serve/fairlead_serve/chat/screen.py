"""What a person sees: answers as they come, rendered, and remarks in between.

On a terminal a block of Markdown (a paragraph, a list, code) is redrawn in place until the next one begins; then it is
printed for good. So nothing that has scrolled away changes, and nothing flickers. Elsewhere the text is written as is.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import IO, Protocol, Self

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import CodeBlock, Markdown
from rich.segment import SegmentLines
from rich.syntax import Syntax
from rich.text import Text

from fairlead_serve.chat.plain import printable
from fairlead_serve.chat.server import Delta, Said

# Redrawn at most this often: an eye sees no more, and code is costly to colour.
_FRAME_SECONDS = 1 / 15
_DIM = "dim"


class Display(Protocol):
    """Shows one answer while it comes, as a context."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def add(self, delta: Delta) -> None:
        """More of it has come."""


class Screen:
    """Where the chat is shown. All text is made safe for a terminal first, if it is one."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks on, with a terminal that can redraw."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def note(self, text: str) -> None:
        """A remark of the chat itself."""
        self._console.print(Text(printable(text), style=_DIM))

    def error(self, text: str) -> None:
        """Something went wrong."""
        self._console.print(Text(printable(text), style="red"))

    def said(self, messages: Sequence[Said]) -> None:
        """What was said before."""
        for one in messages:
            if one.role == "assistant":
                with self.answer() as display:
                    display.add(Delta(one.text))
            else:
                self._console.print(Text(f"> {printable(one.text)}", style="bold"))

    def answer(self) -> "Display":
        """Shows the next answer."""
        if self.is_terminal:
            return _Redrawn(self._console)
        return _Written(self._stream)


class _Written:
    """The text of an answer and nothing else, as bytes for a program; a last line has its end."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._last = "\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last != "\n":
            self._stream.write("\n")
        self._stream.flush()

    def add(self, delta: Delta) -> None:
        if delta.kind == "text" and delta.text:
            self._stream.write(printable(delta.text) if self._stream.isatty() else delta.text)
            self._stream.flush()
            self._last = delta.text[-1]
