"""A chat with a person: lines in, answers out, until they leave."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from fairlead_serve.chat.editor import LineEditor
from fairlead_serve.chat.screen import Screen
from fairlead_serve.chat.server import Begun, Delta, Ended, Question, Server
from fairlead_serve.errors import ChatError

_TITLE_CHARACTERS = 80
_LISTED = 20
_SHOWN = 20
_HELP = """\
/new               begin another conversation
/list              the last conversations
/open N|ID         go on with one of them
/undo              take the last question and its answer back
/retry             ask the last question again
/model [NAME]      ask another model, or see which there are
/system [TEXT]     tell the model how to answer from now on; without TEXT: as it likes
/quit, Ctrl-D      leave; the conversation is kept
Ctrl-C stops an answer, and what came of it is kept. A space before a / makes it a question."""


class Stopwatch:
    """Measures one answer from the question on."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked = clock()
        self._first = 0.0
        self._last = 0.0

    def tick(self) -> None:
        """Something of the answer has come."""
        self._last = self._clock()
        self._first = self._first or self._last

    def told(self, ended: Ended) -> str:
        """How fast it was, in words, and whether it is all."""
        words = [f"first token after {self._first - self._asked:.2f} s"] if self._first else ["no text"]
        if ended.tokens is not None:
            if self._last > self._first:
                words.append(f"{(ended.tokens - 1) / (self._last - self._first):.1f} tokens/s")
            words.append(f"{ended.tokens} tokens")
        if ended.cut:
            words.append(f"cut by {ended.cut}")
        return ", ".join(words)


class Session:
    """One person at one terminal. `question`: what all questions have in common; its text does not count."""

    def __init__(
        self, server: Server, screen: Screen, editor: LineEditor, runner: asyncio.Runner, question: Question
    ) -> None:
        self._server = server
        self._screen = screen
        self._editor = editor
        self._runner = runner
        self._question = question
        self._prefill = ""
        self._unanswered = ""
        self._listed: list[str] = []
        self._leaving = False
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "/help": self._help,
            "/new": self._new,
            "/list": self._list,
            "/open": self._open,
            "/undo": self._undo,
            "/retry": self._retry,
            "/model": self._model,
            "/system": self._system,
            "/quit": self._quit,
        }

    def run(self) -> None:
        """Chat until the person leaves. Raises ChatError where the conversation to go on with is not there."""
        self._screen.note(f"{self._question.model} at {self._server.url}; /help lists the commands")
        if self._question.conversation is not None:
            self._runner.run(self._open(self._question.conversation))
        trouble = ""
        while not self._leaving:
            if self._editor.trouble != trouble:
                trouble = self._editor.trouble
                self._screen.note(trouble)
            try:
                line = self._editor.read(prefill=self._prefill)
            except (EOFError, KeyboardInterrupt) as end:
                self._screen.note("")  # the line that was begun
                self._leaving = isinstance(end, EOFError)
                self._prefill = ""
            else:
                self._do(self._obey(line))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work` until it is done, or fails, or the person presses Ctrl-C; what is lost can be typed again."""
        self._prefill = ""
        try:
            with self._editor.away():
                self._runner.run(work)
        except KeyboardInterrupt:
            self._screen.note("stopped")
        except ChatError as error:
            self._screen.error(str(error))

    async def _obey(self, line: str) -> None:
        command, _, rest = line.strip().partition(" ")
        if not line.startswith("/"):
            if command:
                await self._ask(line.strip())
        elif command in self._commands:
            await self._commands[command](rest.strip())
        else:
            self._prefill = line
            message = f"there is no command {command}; /help lists them, and a space before it makes it a question"
            raise ChatError(message)

    async def _ask(self, text: str) -> None:
        self._prefill = self._unanswered = text
        if self._question.conversation is not None:
            return await self._answer(text)
        conversation = await self._server.begin(" ".join(text.split())[:_TITLE_CHARACTERS])
        self._question = replace(self._question, conversation=conversation)
        try:
            return await self._answer(text)
        except (ChatError, asyncio.CancelledError):
            if self._unanswered:  # nothing was kept: then there is no conversation either
                self._question = replace(self._question, conversation=None)
                with contextlib.suppress(ChatError):  # a server that is away now has told so already
                    await self._server.forget(conversation)
            raise

    async def _answer(self, text: str) -> None:
        watch = Stopwatch()
        ended = Ended()
        with self._screen.answer() as display:
            async for piece in self._server.ask(replace(self._question, text=text)):
                match piece:
                    case Begun():
                        self._prefill = self._unanswered = ""
                    case Delta():
                        watch.tick()
                        display.add(piece)
                    case Ended():
                        ended = piece
        self._screen.note(watch.told(ended))

    # --- commands; each gets what was typed after its name ------------------------------------------

    async def _help(self, _: str) -> None:
        self._screen.note(_HELP)

    async def _quit(self, _: str) -> None:
        self._leaving = True

    async def _new(self, _: str) -> None:
        self._question = replace(self._question, conversation=None)
        self._unanswered = ""
        self._screen.note("a new conversation")

    async def _list(self, _: str) -> None:
        found = await self._server.conversations(_LISTED)
        self._listed = [one.id for one in found]
        for number, one in enumerate(found, start=1):
            self._screen.note(f"{number:>3}  {one.begun:%Y-%m-%d %H:%M}  {one.title}")
        if not found:
            self._screen.note("there are no conversations yet")

    async def _open(self, which: str) -> None:
        if which.isdecimal() and 0 < int(which) <= len(self._listed):
            which = self._listed[int(which) - 1]
        self._screen.said(await self._server.said(which, _SHOWN))
        self._screen.note(f"conversation {which}")
        self._question = replace(self._question, conversation=which)
        self._unanswered = ""

    async def _undo(self, _: str) -> None:
        taken = await self._take_back()
        self._screen.note(f"taken back: {taken}")

    async def _retry(self, _: str) -> None:
        await self._ask(self._unanswered or await self._take_back())

    async def _take_back(self) -> str:
        if self._question.conversation is None:
            message = "nothing was asked yet"
            raise ChatError(message)
        return await self._server.take_back(self._question.conversation)

    async def _model(self, name: str) -> None:
        models = await self._server.models()
        if name and name not in models:
            message = f"there is no model {name}; there are: {', '.join(models)}"
            raise ChatError(message)
        self._question = replace(self._question, model=name or self._question.model)
        others = [model for model in models if model != self._question.model]
        self._screen.note(f"{self._question.model}" + (f"; there are also: {', '.join(others)}" if others else ""))

    async def _system(self, text: str) -> None:
        self._question = replace(self._question, system=text or None)
        self._screen.note("from now on as told" if text else "no instructions from now on")
