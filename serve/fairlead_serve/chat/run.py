"""`fairlead chat`, put together: one answer for a script, or a session for a person."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from fairlead_serve.chat.editor import LineEditor
from fairlead_serve.chat.screen import Screen
from fairlead_serve.chat.server import Delta, Question, Server
from fairlead_serve.chat.session import Session
from fairlead_serve.errors import ChatError, ConfigurationError


@dataclass(frozen=True)
class Options:
    """What to chat with, and how.

    `url` ends with /v1. `key`: an API key, empty where there is none. `model` empty: the first that the server lists.
    `conversation`: the one to go on with; empty: the last one with `latest`, else a new one. `history`: the file that
    remembers what was typed.
    """

    url: str
    key: str
    history: Path
    model: str = ""
    system: str = ""
    temperature: float | None = None
    conversation: str = ""
    latest: bool = False


def run(options: Options, question: str, *, stdin: IO[str], stdout: IO[str]) -> None:
    """Answer `question` and what `stdin` holds, if that is no terminal; without either, chat with who is there.

    A single answer is written as it comes, alone; it is kept only if it goes on with a conversation. Raises ChatError
    and ConfigurationError.
    """
    asks_once = bool(question) or not stdin.isatty()
    if not stdin.isatty():
        question = "\n\n".join(filter(None, (question, stdin.read().strip())))
    if asks_once and not question:
        message = "there is nothing to ask; give a question as an argument or on standard input"
        raise ConfigurationError(message)
    screen = Screen(stdout)
    with asyncio.Runner() as runner:
        server = Server(options.url, options.key)
        try:
            common = runner.run(_common(server, options))
            if asks_once:
                runner.run(_answer(server, screen, replace(common, text=question)))
            else:
                Session(server, screen, LineEditor(options.history), runner, common).run()
        finally:
            runner.run(server.close())


async def _common(server: Server, options: Options) -> Question:
    """What all questions have in common."""
    conversation = options.conversation or None
    if options.latest and conversation is None:
        found = await server.conversations(1)
        if not found:
            message = "there is no conversation to continue; leave --continue out"
            raise ChatError(message)
        conversation = found[0].id
    model = options.model or (await server.models())[0]
    return Question("", model, conversation, options.system or None, options.temperature)


async def _answer(server: Server, screen: Screen, question: Question) -> None:
    with screen.answer() as display:
        async for piece in server.ask(question):
            if isinstance(piece, Delta):
                display.add(piece)
