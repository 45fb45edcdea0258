"""Which requests belong together: those whose prompts begin alike, so that one engine's prefix cache serves them all.

Works on the bytes of a body, without parsing it: this runs for every request of a Model that routes by prefix.
"""

import hashlib

HEADER = b"x-session-id"
"""Carries the session to the engines; clients may set it themselves, and conversations do."""

_MESSAGES = b'"messages"'
_USER = b'"user"'
_PROMPT = b'"prompt"'
# Looked at, at most: enough for the instructions that many prompts share, and bounded.
_WINDOW = 4096
# Of a bare prompt, which has no turns to end at.
_PROMPT_WINDOW = 256


def session_of(body: bytes) -> bytes:
    """A name for the beginning of the prompt in a JSON `body`: up to the first user's message. b"" for no prompt.

    The same for every later turn of a chat, as long as the client writes its JSON alike.
    """
    start = body.find(_MESSAGES)
    if start >= 0:
        user = body.find(_USER, start, start + _WINDOW)
        # The end of the message, or of its first part; both are the same in the next turn.
        end = body.find(b"}", user, user + _WINDOW) if user >= 0 else -1
        beginning = body[start : end if end >= 0 else start + _WINDOW]
    else:
        start = body.find(_PROMPT)
        if start < 0:
            return b""
        beginning = body[start : start + _PROMPT_WINDOW]
    return hashlib.blake2b(beginning, digest_size=12).hexdigest().encode()
