"""Code in answers: coloured, and copied whole."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.browser.visit import Model, Site, Visit, words

pytestmark = pytest.mark.asyncio(loop_scope="session")

CODE = 'def greet(name: str) -> str:\n    return f"<b>{name}</b> & co."  # as HTML\n'
CLIPBOARD = ["clipboard-read", "clipboard-write"]


async def pasted(visit: Visit) -> str:
    """What is in the clipboard, as a person finds out."""
    await visit.box.fill("")
    await visit.box.press("Control+V")
    return await visit.box.input_value()


async def test_code_has_colours_and_a_name(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model(f"So:\n\n```py\n{CODE}```\n")))
    await visit.ask("Greet")
    code = visit.answers.locator(".code")
    await expect(code).to_contain_text("Python")
    colours = await code.locator("pre").evaluate(
        "(pre) => [...pre.querySelectorAll('.k, .nf, .c1')].map((one) => getComputedStyle(one).color)"
    )
    assert len(set(colours)) == 3


@pytest.mark.parametrize("modern", [True, False])
async def test_code_is_copied_whole(site: Site, modern: bool) -> None:
    visit = await site.visit(await site.gateway(Model(f"So:\n\n```py\n{CODE}```\n")), permissions=CLIPBOARD)
    if not modern:
        # What browsers do where a page comes over plain HTTP.
        await visit.page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    await visit.ask("Greet")
    await visit.button("Copy the code").click()
    await expect(visit.button("Copied")).to_be_visible()
    assert await pasted(visit) == CODE


async def test_an_answer_is_copied_as_it_was_written(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("It is **bold**.")), permissions=CLIPBOARD)
    await visit.ask("How?")
    await visit.page.get_by_role("button", name="Copy the answer").click()
    assert await pasted(visit) == "It is **bold**."


async def test_code_looks_like_code_while_it_grows(site: Site) -> None:
    rest = asyncio.Event()
    visit = await site.visit(await site.gateway(Model(words("```py\ndef f():\n    return 1 or", hold=rest))))
    await visit.send("Greet")
    await expect(visit.answers.locator("pre .k").first).to_have_text("def")
    await expect(visit.answers.locator("pre")).to_have_text("def f():\n    return 1 ")
    rest.set()
    await visit.answered()
    await expect(visit.answers.locator("pre")).to_have_text("def f():\n    return 1 or")
