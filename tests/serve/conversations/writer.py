"""A process that writes turns until it is killed: `python -m tests.serve.conversations.writer URL NAME`.

A line on standard output acknowledges each turn after it has been stored.
"""

import asyncio
import sys
from itertools import count

from fairlead_serve.conversations import Store
from tests.serve.conversations.world import LATER, OWNER, body, message

CONVERSATION = "c"
ITEMS = 4
"""Items of one turn: the question, and what came of it."""

# A turn is long enough for a kill to come in the middle of its writing.
_TEXT = "many words " * 2000


async def write(url: str, writer: str) -> None:
    store = Store(url)
    await store.open()
    for number in count():
        name = f"{writer}-{number}"
        asked, *answered = (message(f"{name}.{part}", _TEXT) for part in range(ITEMS))
        running = body(name, "in_progress")
        await store.begin_response(OWNER, running, input=[asked], conversation=CONVERSATION, deadline=LATER)
        await store.finish_response(OWNER, name, body(name), output=answered)
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(write(*sys.argv[1:]))
