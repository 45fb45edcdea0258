"""Asking and being answered: how an answer grows, is stopped, and is asked for again."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.browser.visit import Model, Site, Visit, refusal, words
from tests.serve.gateway.upstream import Exchange, Request
from tests.serve.gateway.vllm_responses import Answering

pytestmark = pytest.mark.asyncio(loop_scope="session")

FULL = refusal(503, "the disk is on fire")


def said(request: Any) -> list[tuple[str, str]]:
    """(role, text) of every message that a model was asked with."""
    return [(item["role"], "".join(part["text"] for part in item["content"])) for item in request["input"]]


async def test_an_answer_is_seen_while_it_grows(site: Site) -> None:
    rest = asyncio.Event()
    visit = await site.visit(await site.gateway(Model(words("The **first** part, and the last.", hold=rest))))
    await visit.send("Well?")
    await expect(visit.questions).to_have_text("Well?")
    await expect(visit.answers).to_have_text("The first part, and the ")
    await expect(visit.answers.locator("strong")).to_have_text("first")
    await expect(visit.button("Stop")).to_be_visible()
    rest.set()
    await visit.answered()
    await expect(visit.answers).to_have_text("The first part, and the last.")


async def test_what_the_end_says_of_the_beginning_holds_in_the_end(site: Site) -> None:
    rest = asyncio.Event()
    answer = Answering("See [the book][1].", "\n\nIt is good.\n\n", "[1]: https://example.com/book", hold=rest)
    visit = await site.visit(await site.gateway(Model(answer)))
    await visit.send("Where?")
    await expect(visit.answers.locator("p").first).to_have_text("See [the book][1].")
    rest.set()
    await expect(visit.answers.get_by_role("link", name="the book")).to_have_attribute("href", re.compile("book$"))
    await expect(visit.answers).to_have_text("See the book. It is good.")


async def test_how_fast_it_was_is_told(site: Site) -> None:
    rest = asyncio.Event()
    visit = await site.visit(await site.gateway(Model(words("one two three four", hold=rest))))
    await visit.send("Count")
    await expect(visit.page.get_by_text(re.compile(r"^first token after [\d.]+ s$"))).to_be_visible()
    # A rate is one over a time that can be measured.
    await visit.page.wait_for_timeout(100)
    rest.set()
    speed = re.compile(r"^first token after [\d.]+ s · [\d.,]+ tokens/s · 4 tokens$")
    await expect(visit.page.get_by_text(speed)).to_be_visible()


async def test_what_a_model_thinks_is_not_what_it_says(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model(Answering("Four.", reasoning=["Two", " and two ..."]))))
    await visit.ask("2 + 2")
    await expect(visit.answers).to_have_text("Four.")
    thoughts = visit.page.get_by_text("Two and two ...")
    await expect(thoughts).to_be_hidden()
    await visit.page.get_by_text("Thoughts").click()
    await expect(thoughts).to_be_visible()


@pytest.mark.parametrize("way", ["button", "key"])
async def test_a_stopped_answer_is_kept_as_far_as_it_came(site: Site, way: str) -> None:
    endless = words("It was a dark and stormy night and", hold=asyncio.Event())
    visit = await site.visit(await site.gateway(Model(endless, "Another.")))
    await visit.send("A story")
    await expect(visit.answers).to_have_text("It was a dark and stormy night ")
    await (visit.button("Stop").click() if way == "button" else visit.page.keyboard.press("Escape"))
    await visit.answered()
    assert endless.left == 1
    await expect(visit.page.get_by_text("This answer is not complete.")).to_be_visible()
    await visit.page.reload()
    await expect(visit.answers).to_have_text("It was a dark and stormy night")
    await expect(visit.page.get_by_text("This answer is not complete.")).to_be_visible()
    await visit.button("Regenerate").click()
    await expect(visit.answers).to_have_text("Another.")
    await visit.answered()
    await expect(visit.page.get_by_text("This answer is not complete.")).to_be_hidden()


async def test_who_stops_before_the_model_begins_has_the_text_back(site: Site) -> None:
    reached = asyncio.Event()

    async def silent(exchange: Exchange, request: Request) -> None:
        reached.set()
        await exchange.gone()

    visit = await site.visit(await site.gateway(Model(silent, "Now.")))
    await visit.send("Hello")
    await reached.wait()
    await visit.page.keyboard.press("Escape")
    await expect(visit.box).to_have_value("Hello")
    await expect(visit.questions).to_have_count(0)
    await expect(visit.problem).to_be_hidden()
    await visit.box.press("Enter")
    await expect(visit.answers).to_have_text("Now.")


async def test_another_answer_takes_the_place_of_the_last(site: Site) -> None:
    model = Model("One.", "Two.", "Three.")
    visit = await site.visit(await site.gateway(model))
    await visit.ask("First")
    await visit.ask("Second")
    await visit.button("Regenerate").click()
    await visit.answered()
    await expect(visit.answers).to_have_text(["One.", "Three."])
    assert said(model.requests[2]) == [("user", "First"), ("assistant", "One."), ("user", "Second")]
    await visit.page.reload()
    await expect(visit.answers).to_have_text(["One.", "Three."])


async def test_an_edited_question_is_asked_again_without_what_came_after_it(site: Site) -> None:
    model = Model("One.", "Two.", "Three.")
    visit = await site.visit(await site.gateway(model))
    await visit.ask("First")
    await visit.ask("Second")
    await edit(visit, "First", "In other words")
    await expect(visit.questions).to_have_text(["In other words"])
    await visit.answered()
    await expect(visit.answers).to_have_text(["Three."])
    assert said(model.requests[2]) == [("user", "In other words")]
    await visit.page.reload()
    await expect(visit.questions).to_have_text(["In other words"])
    await expect(visit.answers).to_have_text(["Three."])


async def edit(visit: Visit, question: str, words: str) -> None:
    article = visit.page.locator(".question").filter(has_text=question)
    await article.hover()
    await article.get_by_role("button", name="Edit").click()
    await visit.page.get_by_role("textbox", name="Edit your message").fill(words)
    await visit.page.keyboard.press("Enter")


async def test_who_edits_can_leave_it_as_it_was(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.")))
    await visit.ask("First")
    await visit.questions.hover()
    await visit.button("Edit").click()
    await visit.page.get_by_role("textbox", name="Edit your message").fill("Something else")
    await visit.page.keyboard.press("Escape")
    await expect(visit.questions).to_have_text("First")
    await expect(visit.button("Edit")).to_be_focused()
    await expect(visit.answers).to_have_text("One.")


async def test_a_refused_question_is_back_in_the_box_with_the_reason(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model(FULL, "Now.")))
    await visit.send("Hello")
    await expect(visit.problem).to_contain_text("The model is not available now")
    await expect(visit.problem).to_contain_text("the disk is on fire")
    await expect(visit.box).to_have_value("Hello")
    await expect(visit.questions).to_have_count(0)
    await visit.box.press("Enter")
    await visit.answered()
    await expect(visit.answers).to_have_text("Now.")
    await expect(visit.problem).to_be_hidden()


async def test_what_was_written_in_the_meantime_stays_after_what_comes_back(site: Site) -> None:
    rest = asyncio.Event()

    async def late(exchange: Exchange, request: Request) -> None:
        await rest.wait()
        await FULL(exchange, request)

    visit = await site.visit(await site.gateway(Model(late)))
    await visit.send("Hello")
    await expect(visit.box).to_have_value("")
    await visit.box.fill("and more")
    rest.set()
    await expect(visit.box).to_have_value("Hello\n\nand more")


async def test_what_cannot_be_asked_again_is_there_as_it_was(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.", "Two.", FULL, FULL)))
    await visit.ask("First")
    await visit.ask("Second")
    await visit.button("Regenerate").click()
    await expect(visit.problem).to_be_visible()
    await expect(visit.answers).to_have_text(["One.", "Two."])
    await expect(visit.box).to_have_value("")
    await edit(visit, "First", "In other words")
    await expect(visit.box).to_have_value("In other words")
    await expect(visit.questions).to_have_text(["First", "Second"])
    await visit.page.reload()
    await expect(visit.questions).to_have_text(["First", "Second"])
    await expect(visit.answers).to_have_text(["One.", "Two."])
    await expect(visit.box).to_have_value("In other words")


async def test_what_was_on_its_way_when_the_page_was_left_is_there_again(site: Site) -> None:
    reached = asyncio.Event()

    async def silent(exchange: Exchange, request: Request) -> None:
        reached.set()
        await exchange.gone()

    visit = await site.visit(await site.gateway(Model("One.", silent)))
    await visit.ask("First")
    await edit(visit, "First", "In other words")
    await reached.wait()
    await visit.page.reload()
    await expect(visit.questions).to_have_text(["First"])
    await expect(visit.answers).to_have_text(["One."])
    await expect(visit.box).to_have_value("In other words")


async def test_another_tab_does_not_meddle_with_a_turn(site: Site) -> None:
    rest = asyncio.Event()
    visit = await site.visit(await site.gateway(Model("One.", words("In other words", hold=rest))))
    await visit.ask("First")
    await edit(visit, "First", "Again")
    await expect(visit.answers).to_have_text("In other ")
    other = await visit.page.context.new_page()
    await other.goto(visit.page.url)
    await expect(other.locator("#greeting")).to_be_hidden()
    await expect(other.locator(".question")).to_have_count(0)
    rest.set()
    await visit.answered()
    for page in (visit.page, other):
        await page.reload()
        await expect(page.locator(".question .words")).to_have_text(["Again"])
        await expect(page.locator(".answer .text")).to_have_text(["In other words"])
        await expect(page.locator("#composer textarea")).to_have_value("")


async def test_who_is_quicker_than_the_server_is_waited_for(site: Site) -> None:
    ready = asyncio.Event()

    async def late(route: Route) -> None:
        await ready.wait()
        await route.continue_()

    gateway = await site.gateway(Model("One."))
    visit = await site.visit(gateway)
    await visit.page.route("**/v1/models", late)
    await visit.page.reload()
    await visit.send("First")
    await expect(visit.box).to_have_value("First")
    ready.set()
    await expect(visit.answers).to_have_text("One.")
    await expect(visit.box).to_have_value("")


async def test_an_answer_that_breaks_off_says_so_and_stays(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model(Answering("Half", " an answer", lost=True))))
    await visit.send("Hello")
    await expect(visit.problem).to_contain_text("The answer broke off")
    await expect(visit.answers).to_have_text("Half")
    await expect(visit.page.get_by_text("This answer is not complete.")).to_be_visible()
    await expect(visit.box).to_have_value("")


async def test_the_same_words_twice_are_two_questions(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.", FULL, "Two.")))
    await visit.ask("Go on")
    await visit.send("Go on")
    await expect(visit.box).to_have_value("Go on")
    await expect(visit.questions).to_have_count(1)
    await visit.box.press("Enter")
    await expect(visit.answers).to_have_text(["One.", "Two."])


async def test_an_input_method_that_chooses_a_word_sends_nothing(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model()), locale="zh-CN")
    await visit.box.fill("ni hao")
    await visit.box.dispatch_event(
        "keydown", {"key": "Enter", "isComposing": True, "bubbles": True, "cancelable": True}
    )
    await visit.box.press("Shift+Enter")
    await expect(visit.box).to_have_value("ni hao\n")
    await expect(visit.questions).to_have_count(0)
