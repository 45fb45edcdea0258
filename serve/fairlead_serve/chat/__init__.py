"""Conversations with a gateway in a terminal: what the chat page does, by the official client and a keyboard."""

from fairlead_serve.chat.run import Options, run

__all__ = ["Options", "run"]
