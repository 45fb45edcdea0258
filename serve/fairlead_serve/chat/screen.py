"""What a person sees: answers as they come, rendered, and remarks in between.

On a terminal a block of Markdown (a paragraph, a list, code) is redrawn in place until the next one begins; then it is
printed for good. So nothing that has scrolled away changes, and nothing flickers. Elsewhere the text is written as is.
"""

import asyncio
from collections.abc import Sequence
from typing import IO, ClassVar, Protocol, Self

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.segment import Segment, SegmentLines
from rich.syntax import Syntax
from rich.text import Text

from fairlead_serve.chat.plain import printable
from fairlead_serve.chat.server import Delta, Said

# Redrawn at most this often: an eye sees no more, and code is costly to colour.
_FRAME_SECONDS = 1 / 15


class Display(Protocol):
    """Shows one answer while it comes; a context, whose end is the answer's."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def add(self, delta: Delta) -> None:
        """More of it has come."""


class Screen:
    """Where the chat is shown. Whatever comes from a server is made safe for a terminal, if it is one."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._console = Console(file=stream, highlight=False)

    def note(self, text: str) -> None:
        """A remark of the chat itself."""
        self._console.print(Text(printable(text), style="dim"))

    def error(self, text: str) -> None:
        """What went wrong."""
        self._console.print(Text(printable(text), style="red"))

    def said(self, messages: Sequence[Said]) -> None:
        """What was said before."""
        for one in messages:
            text = printable(one.text)
            _print(self._console, _Prose(text) if one.role == "assistant" else Text(f"> {text}", style="bold"))

    def answer(self) -> Display:
        """Shows the next answer; has to be used within a running event loop."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            return _Redrawn(self._console)
        return _Written(self._stream)


class _Written:
    """The text of an answer and nothing else, for a program to read; its last line has an end."""

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
        text = printable(delta.text) if self._stream.isatty() else delta.text
        if delta.kind == "text" and text:
            self._stream.write(text)
            self._stream.flush()
            self._last = text[-1]


class _Redrawn:
    """An answer on a terminal: whole blocks printed, the last one redrawn as it grows."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="visible",
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._kind = "text"
        self._text = ""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._live.start()
        self._live.update(Text("…", style="dim"), refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._console:
            self._print(len(self._text))
            self._live.stop()

    def add(self, delta: Delta) -> None:
        if delta.kind != self._kind:
            self._print(len(self._text))
            self._kind = delta.kind
        self._text += printable(delta.text)
        if "\n" in delta.text and (whole := _start_of_last_block(self._text)):
            self._print(whole)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FRAME_SECONDS, self._frame)

    def _print(self, length: int) -> None:
        """Print this much of the text for good, and draw the rest below it; in one write, or it would flicker."""
        with self._console:
            self._live.update(Text(), refresh=True)
            _print(self._console, self._rendered(self._text[:length]))
            self._text = self._text[length:]
            self._draw()

    def _draw(self) -> None:
        lines = _lines(self._console, self._rendered(self._text))
        # What is above the top of the terminal cannot be drawn over.
        self._live.update(SegmentLines(lines[1 - self._console.height :], new_lines=True), refresh=True)

    def _frame(self) -> None:
        self._timer = None
        self._draw()

    def _rendered(self, text: str) -> RenderableType:
        return _Prose(text) if self._kind == "text" else Text(text, style="dim")


def _print(console: Console, block: RenderableType) -> None:
    """Print `block`, if there is anything in it, and a blank line."""
    if lines := _lines(console, block):
        console.print(SegmentLines(lines, new_lines=True))


def _lines(console: Console, block: RenderableType) -> list[list[Segment]]:
    """The lines of `block`, and a blank one; without those around it, which each kind has more or fewer of."""
    lines = console.render_lines(block, pad=False)
    full = [number for number, line in enumerate(lines) if any(segment.text.strip() for segment in line)]
    return [*lines[full[0] : full[-1] + 1], []] if full else []


class _Code(CodeBlock):
    """Code as it can be copied, in the terminal's own colours: without a frame, and nothing behind its lines."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        syntax = Syntax("", self.lexer_name, theme="ansi_dark", background_color="default")
        yield syntax.highlight(str(self.text).rstrip())


class _Prose(Markdown):
    """Markdown of a model: HTML is text, lines stay lines, and the address of a link is seen and not followed."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {**Markdown.elements, "fence": _Code, "code_block": _Code}

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = _parse(text)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


def _parse(text: str) -> list[Token]:
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).parse(text)


def _start_of_last_block(text: str) -> int:
    """Where the block begins that may still grow. A line without its end does not count: it can become anything."""
    whole = text[: text.rfind("\n") + 1]
    starts = [token.map[0] for token in _parse(whole) if token.level == 0 and token.map]
    if not starts:
        return 0
    return sum(len(line) + 1 for line in whole.split("\n")[: starts[-1]])
