"""What a person has before them: the page in a browser, and behind it a real gateway over a model of the test's."""

import asyncio
from collections import deque
from types import TracebackType
from typing import Any

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Dialog, Locator, Page

from tests.serve.gateway.upstream import Exchange, Request, Script, vllm_error
from tests.serve.gateway.vllm_responses import Answering
from tests.serve.gateway.world import Running, World, backend

# What the browser itself writes to the console about an answer that is an error.
_FAILED = "Failed to load resource"
# Notes every breach of the Content-Security-Policy before any script of the page runs.
_WATCH = """
addEventListener("securitypolicyviolation", (event) => console.error("policy: " + event.violatedDirective));
"""
# Looked at with every frame, which is more often than `expect` looks.
_QUIET = (
    "() => !document.querySelector('.answer[aria-busy], .busy') && document.querySelector('[data-part=stop]').hidden"
)
_ASKED = "(text) => [...document.querySelectorAll('.question')].at(-1)?.textContent.includes(text)"


class Model:
    """A script that gives the next of `answers` to each request; texts are answered word by word."""

    def __init__(self, *answers: Script | str) -> None:
        self.answers = deque(answers)
        self.requests: list[Any] = []

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        self.requests.append(request.json)
        answer = self.answers.popleft()
        script = words(answer) if isinstance(answer, str) else answer
        await script(exchange, request)


def words(text: str, hold: asyncio.Event | None = None) -> Answering:
    """`text` in one piece for each of its words. `hold` is waited for before the last one."""
    return Answering(*text.replace(" ", " \0").split("\0"), hold=hold)


def refusal(status: int, message: str) -> Script:
    """A script that answers with an error of the engine."""

    async def refuse(exchange: Exchange, request: Request) -> None:
        await exchange.answer(vllm_error(message, status), status=status)

    return refuse


class Visit:
    """One page. Fails at the end where anything was written to the console, or a dialog was opened."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._on_dialog)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and _FAILED not in message.text:
            self.complaints.append(message.text)

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    @property
    def box(self) -> Locator:
        """Where messages are written."""
        return self.page.locator("#composer textarea")

    @property
    def questions(self) -> Locator:
        return self.page.locator(".question .words")

    @property
    def answers(self) -> Locator:
        return self.page.locator(".answer .text")

    @property
    def problem(self) -> Locator:
        return self.page.get_by_role("alert").and_(self.page.locator("#problem"))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def send(self, text: str) -> None:
        await self.box.fill(text)
        await self.page.locator("#composer").get_by_role("button").click()

    async def ask(self, text: str) -> None:
        """Send `text` and wait for the end of the answer."""
        await self.send(text)
        await self.page.wait_for_function(_ASKED, arg=text)
        await self.answered()

    async def answered(self) -> None:
        """Wait until no answer is coming any more."""
        await self.page.wait_for_function(_QUIET)


class Site:
    """Gateways, and visits to them. Use as an async context manager."""

    def __init__(self, browser: Browser, world: World) -> None:
        self._browser = browser
        self._world = world
        self._visits: list[Visit] = []
        self._contexts: list[BrowserContext] = []

    async def gateway(self, model: Model, *, names: tuple[str, ...] = ("model",), **settings: Any) -> Running:
        """A gateway that has `model` under `names`."""
        upstream = await self._world.upstream(model)
        return await self._world.gateway(
            *(backend(upstream.url, name=name, kind="engine") for name in names), **settings
        )

    async def visit(self, gateway: Running, *, path: str = "/", **options: Any) -> Visit:
        """The page in a browser of its own. `options`: those of a context, such as `locale` and `color_scheme`."""
        context = await self._browser.new_context(**{"locale": "en-GB", **options})
        context.set_default_timeout(10_000)
        await context.add_init_script(_WATCH)
        self._contexts.append(context)
        visit = Visit(await context.new_page())
        self._visits.append(visit)
        await visit.page.goto(gateway.url + path)
        return visit

    async def __aenter__(self) -> "Site":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for context in self._contexts:
            await context.close()
        if kind is None:
            assert [visit.complaints for visit in self._visits] == [[] for _ in self._visits]
