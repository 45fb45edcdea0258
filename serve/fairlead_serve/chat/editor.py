"""Lines that a person types: with editing, and a history that outlives the process."""

import contextlib
import readline
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

_PROMPT = "> "
_LONGEST_HISTORY = 1000


class LineEditor:
    """Reads lines from the terminal. `history`: the file of earlier ones, which only its owner can read.

    `trouble` says why there is none, where it cannot be used.
    """

    def __init__(self, history: Path) -> None:
        self._history = history
        self.trouble = ""
        # Or each line of a pasted text would be a question of its own; Python turns it off.
        readline.parse_and_bind("set enable-bracketed-paste on")
        readline.set_history_length(_LONGEST_HISTORY)
        with self._noting_trouble():
            history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            history.touch(mode=0o600)
            readline.read_history_file(history)

    def read(self, *, prefill: str = "") -> str:
        """One line, begun with `prefill`. Raises EOFError and KeyboardInterrupt, as the person says."""
        known = readline.get_current_history_length()
        readline.set_startup_hook(lambda: readline.insert_text(prefill))
        try:
            return input(_PROMPT)
        finally:
            readline.set_startup_hook(None)
            # At once: terminals are closed without asking. Only what is new: other chats write there, too.
            if not self.trouble and (new := readline.get_current_history_length() - known):
                with self._noting_trouble():
                    readline.append_history_file(new, self._history)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Keep what is typed in the block for the next line, without showing it amid what is printed."""
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        silent = [*before]
        silent[3] = before[3] & ~termios.ECHO
        termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
        try:
            yield
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)

    @contextlib.contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        """A chat without a memory is better than none."""
        try:
            yield
        except OSError as error:
            self.trouble = f"what is typed is not remembered: {self._history}: {error.strerror}"
