"""Take the pictures of the chat page that the documentation shows: `python -m tools.screenshots [FOLDER]`.

A real gateway, with a model that says what is written here.
"""

import asyncio
import contextlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from tests.browser.visit import Model, Site
from tests.serve.gateway.upstream import END_OF_CHUNKS, Exchange, Request
from tests.serve.gateway.vllm_responses import events
from tests.serve.gateway.world import World

_QUESTION = "How does a binary search work? Show it in Python."
_ANSWER = '''\
A **binary search** halves what is left with every look, so a million entries take at most 20 looks. \
The entries have to be *sorted*.

```python
def search(entries: list[int], wanted: int) -> int | None:
    """The index of `wanted`, None where it is not there."""
    low, high = 0, len(entries)
    while low < high:
        middle = (low + high) // 2
        if entries[middle] < wanted:
            low = middle + 1  # it is further right
        else:
            high = middle
    return low if entries[low : low + 1] == [wanted] else None
```

| entries | looks |
|---|--:|
| 1 000 | 10 |
| 1 000 000 | 20 |

In earnest, take [`bisect`](https://docs.python.org/3/library/bisect.html): it is written in C.
'''
_EARLIER = (
    "Summarise the incident of last Tuesday",
    "把这段话翻译成英文",
    "Which index would speed this query up?",
    "A regular expression for ISO dates",
)
_TOKEN_SECONDS = 0.015
_SHOTS: dict[str, dict[str, Any]] = {
    "chat.png": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "light"},
    "chat-phone.png": {
        "viewport": {"width": 412, "height": 915},
        "color_scheme": "dark",
        "is_mobile": True,
        "has_touch": True,
    },
}


async def _answer(exchange: Exchange, request: Request) -> None:
    """`_ANSWER`, at the pace of a model."""
    await exchange.begin_stream()
    for event in events(request.json, re.findall(r"\s*\S+\s*?", _ANSWER)):
        await exchange.chunks(event)
        await asyncio.sleep(_TOKEN_SECONDS)
    await exchange.send(END_OF_CHUNKS)


async def _shoot(browser: Browser, folder: Path) -> None:
    for name, options in _SHOTS.items():
        async with contextlib.AsyncExitStack() as stack, Site(browser, World(stack)) as site:
            gateway = await site.gateway(
                Model(*("Done." for _ in _EARLIER), _answer), names=("qwen-coder", "tiny-chat")
            )
            visit = await site.visit(gateway, device_scale_factor=2, **options)
            for question in _EARLIER:
                await visit.page.goto(gateway.url)
                await visit.ask(question)
            await visit.page.goto(gateway.url)
            await visit.ask(_QUESTION)
            await visit.answers.locator("table").wait_for()
            await visit.page.locator("#scroll").evaluate("(thread) => thread.scrollTo(0, 0)")
            await visit.page.screenshot(path=folder / name)


async def main(folder: Path) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        await _shoot(browser, folder)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")))
