"""`fairlead chat` as people and scripts use it: on a terminal of its own, or in a pipe."""

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_SECONDS = 30
_ROWS, _COLUMNS = 24, 80
# What moves, erases and colours.
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# The command, with the terminal for its own, so that Ctrl-C is a signal to it.
_MAIN = """
import fcntl, signal, termios
from fairlead_serve.cli import main
# Whoever runs the tests in the background has it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
main()
"""
CTRL_C, CTRL_D, CTRL_U, ENTER, UP = "\x03", "\x04", "\x15", "\r", "\x1b[A"


class Terminal:
    """One running command. `raw` is every byte that it sent to its terminal."""

    def __init__(self, process: asyncio.subprocess.Process, master: int) -> None:
        self._process = process
        self._master = master
        self._changed = asyncio.Event()
        self._seen = 0
        self.raw = b""
        asyncio.get_running_loop().add_reader(master, self._receive)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def enter(self, line: str) -> None:
        self.type(line + ENTER)

    async def shows(self, words: str) -> str:
        """Wait until `words` are shown, after what was waited for before; everything up to them."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while (at := self._text.find(words, self._seen)) < 0:
                self._changed.clear()
                await self._changed.wait()
        before, self._seen = self._seen, at + len(words)
        return self._text[before : self._seen]

    async def answered(self) -> str:
        """Wait until an answer is whole and the next line can be typed."""
        return await self.shows(" tokens\r\n") + await self.shows("> ")

    async def ended(self) -> int:
        """Wait until the command has ended; its exit code."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await self._process.wait()

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        os.close(self._master)

    @property
    def _text(self) -> str:
        """All that was shown, without colours and movements."""
        return _SEQUENCE.sub("", self.raw.decode(errors="replace"))

    def _receive(self) -> None:
        try:
            self.raw += os.read(self._master, 65536)
        except OSError:  # the command has ended
            asyncio.get_running_loop().remove_reader(self._master)
        self._changed.set()


@dataclass(frozen=True)
class Printed:
    """What a command in a pipe left behind."""

    code: int
    out: str
    error: str


@dataclass(frozen=True)
class Chat:
    """Starts chats of one person, whose files are in `home`."""

    home: Path

    @property
    def history(self) -> Path:
        return self.home / "state" / "fairlead" / "chat_history"

    @contextlib.asynccontextmanager
    async def on_terminal(
        self, url: str, *arguments: str, until: str = "> ", **variables: str
    ) -> AsyncIterator[Terminal]:
        """A chat that has shown the words of `until`: by default, one that waits for its first line."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-c", _MAIN, "chat", "--url", f"{url}/v1", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self._environment(variables),
            start_new_session=True,
        )
        os.close(slave)
        terminal = Terminal(process, master)
        try:
            await terminal.shows(until)
            yield terminal
        finally:
            await terminal.close()

    async def in_pipe(self, url: str, *arguments: str, stdin: str = "", **variables: str) -> Printed:
        """A chat that is called by a script."""
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "fairlead_serve.cli", "chat", "--url", f"{url}/v1", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(variables),
        )
        async with asyncio.timeout(_PATIENCE_SECONDS):
            out, error = await process.communicate(stdin.encode())
        return Printed(process.returncode or 0, out.decode(), error.decode())

    def _environment(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Nothing of the tester's own keys, addresses and history."""
        kept = {key: value for key, value in os.environ.items() if key in {"PATH", "LANG"}}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "TERM": "xterm",
            **variables,
        }
