"""Conversations: found again after a reload and after a restart, left, opened and deleted."""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, expect

from tests.browser.visit import Model, Site, Visit, words
from tests.serve.gateway.world import Running, World, backend

pytestmark = pytest.mark.asyncio(loop_scope="session")


def listed(visit: Visit) -> Locator:
    """The conversations in the list, as links."""
    return visit.page.get_by_role("navigation").get_by_role("listitem").get_by_role("link")


async def make(visit: Visit, gateway: Running, texts: list[str], **metadata: str) -> str:
    """A conversation of these messages, question and answer in turn, as another client would make it; its id."""
    request = visit.page.request
    items = [
        {"type": "message", "role": "assistant" if index % 2 else "user", "content": text}
        for index, text in enumerate(texts)
    ]
    made = await request.post(f"{gateway.url}/v1/conversations", data={"metadata": metadata})
    conversation = (await made.json())["id"]
    for start in range(0, len(items), 20):
        await request.post(
            f"{gateway.url}/v1/conversations/{conversation}/items", data={"items": items[start : start + 20]}
        )
    return str(conversation)


async def metadata(visit: Visit, gateway: Running) -> dict[str, Any]:
    """What is kept with the conversation that is open."""
    conversation = urlsplit(visit.page.url).fragment
    answer = await visit.page.request.get(f"{gateway.url}/v1/conversations/{conversation}")
    found: dict[str, Any] = (await answer.json())["metadata"]
    return found


async def test_a_conversation_is_there_again_after_a_reload(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("It is **Paris**.")))
    await visit.ask("What is the capital of France?\nIn one sentence.")
    await expect(listed(visit)).to_have_text(["What is the capital of France?"])
    await visit.page.reload()
    await expect(visit.questions).to_have_text("What is the capital of France? In one sentence.")
    await expect(visit.answers).to_have_text("It is Paris.")
    await expect(visit.answers.locator("strong")).to_have_text("Paris")
    await expect(listed(visit)).to_have_attribute("aria-current", "page")
    await expect(visit.page).to_have_title("What is the capital of France? · Fairlead")


async def test_a_conversation_is_there_again_after_a_restart_of_the_server(
    site: Site, world: World, tmp_path: Path
) -> None:
    upstream = await world.upstream(Model("One.", "Two."))
    served = backend(upstream.url, kind="engine")
    database = f"sqlite:///{tmp_path}/conversations.db"
    async with contextlib.AsyncExitStack() as stack:
        gateway = await World(stack).gateway(served, database_url=database)
        port = urlsplit(gateway.url).port
        visit = await site.visit(gateway)
        await visit.ask("First")
    await visit.send("Second")
    await expect(visit.problem).to_contain_text("The server cannot be reached")
    await expect(visit.box).to_have_value("Second")
    await world.gateway(served, database_url=database, port=port)
    await visit.box.press("Enter")
    await visit.answered()
    await expect(visit.questions).to_have_text(["First", "Second"])
    await expect(visit.answers).to_have_text(["One.", "Two."])
    await visit.page.reload()
    await expect(visit.answers).to_have_text(["One.", "Two."])
    await expect(listed(visit)).to_have_text(["First"])


async def test_the_last_used_conversation_is_the_first_in_the_list(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.", "Two.", "Three.")))
    await visit.ask("First")
    await visit.button("New conversation").click()
    await expect(visit.questions).to_have_count(0)
    await visit.ask("Second")
    await expect(listed(visit)).to_have_text(["Second", "First"])
    await listed(visit).filter(has_text="First").click()
    await expect(visit.answers).to_have_text(["One."])
    await visit.ask("Third")
    await expect(listed(visit)).to_have_text(["First", "Second"])


async def test_every_conversation_has_an_address_and_the_back_button_works(site: Site) -> None:
    gateway = await site.gateway(Model("One.", "Two."))
    visit = await site.visit(gateway)
    await visit.ask("First")
    await expect(visit.page).to_have_url(re.compile(r"/#conv_\w+$"))
    other = await site.visit(gateway, path=f"/#{urlsplit(visit.page.url).fragment}")
    await expect(other.answers).to_have_text("One.")
    await visit.button("New conversation").click()
    await visit.ask("Second")
    await visit.page.go_back()
    await expect(visit.page.get_by_text("What would you like to know?")).to_be_visible()
    await visit.page.go_back()
    await expect(visit.answers).to_have_text("One.")
    await visit.page.go_forward()
    await visit.page.go_forward()
    await expect(visit.answers).to_have_text("Two.")


async def test_an_address_that_leads_nowhere_says_so(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.")), path="/#conv_0")
    await expect(visit.problem).to_contain_text("That does not exist")
    await visit.ask("First")
    await expect(visit.answers).to_have_text("One.")


async def test_a_conversation_is_deleted_only_when_that_is_meant(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.")))
    await visit.ask("First")
    await listed(visit).hover()
    await visit.button("Delete the conversation “First”").click()
    await visit.page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await expect(listed(visit)).to_have_count(1)
    await visit.button("Delete the conversation “First”").click()
    await visit.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(listed(visit)).to_have_count(0)
    await expect(visit.questions).to_have_count(0)
    await visit.page.reload()
    await expect(visit.page.get_by_text("What you ask is kept here.")).to_be_visible()


async def test_an_answer_goes_on_while_another_conversation_is_open(site: Site) -> None:
    rest = asyncio.Event()
    visit = await site.visit(await site.gateway(Model(words("one and the rest", hold=rest), "Two.")))
    await visit.send("First")
    await expect(visit.answers).to_have_text("one and the ")
    await visit.button("New conversation").click()
    await visit.ask("Second")
    rest.set()
    await listed(visit).filter(has_text="First").click()
    await expect(visit.answers).to_have_text("one and the rest")
    await visit.answered()


async def test_what_is_written_waits_in_its_conversation(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.")))
    await visit.ask("First")
    await visit.box.fill("for the first")
    await visit.button("New conversation").click()
    await expect(visit.box).to_have_value("")
    await visit.box.fill("for a new one")
    await visit.page.reload()
    await expect(visit.box).to_have_value("for a new one")
    await listed(visit).click()
    await expect(visit.box).to_have_value("for the first")


async def test_a_long_conversation_is_read_from_its_end(site: Site) -> None:
    gateway = await site.gateway(Model())
    visit = await site.visit(gateway)
    conversation = await make(visit, gateway, [f"message {number}" for number in range(120)])
    await visit.page.goto(f"{gateway.url}/#{conversation}")
    await visit.page.reload()
    await expect(visit.questions).to_have_count(50)
    await expect(visit.page.get_by_text("message 119")).to_be_in_viewport()
    await visit.button("Show earlier messages").click()
    await expect(visit.questions).to_have_count(60)
    await expect(visit.questions.first).to_have_text("message 0")
    await expect(visit.button("Show earlier messages")).to_be_hidden()


async def test_a_list_longer_than_a_page_goes_on(site: Site) -> None:
    gateway = await site.gateway(Model())
    visit = await site.visit(gateway)
    for number in range(32):
        await make(visit, gateway, [], title=f"Number {number}")
    await visit.page.reload()
    await expect(listed(visit)).to_have_count(30)
    await visit.button("Show more").click()
    await expect(listed(visit)).to_have_count(32)
    await expect(visit.button("Show more")).to_be_hidden()


async def test_items_that_are_no_text_are_named(site: Site) -> None:
    gateway = await site.gateway(Model("One."))
    visit = await site.visit(gateway)
    call = {"type": "function_call", "call_id": "1", "name": "weather", "arguments": "{}"}
    picture = {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}
    made = await visit.page.request.post(f"{gateway.url}/v1/conversations", data={"items": [picture, call]})
    await visit.page.goto(f"{gateway.url}/#{(await made.json())['id']}")
    await expect(visit.page.get_by_text("Not shown here: input_image")).to_be_visible()
    await expect(visit.page.get_by_text("Not shown here: function_call")).to_be_visible()


async def test_settings_reach_the_model_and_stay_with_the_conversation(site: Site) -> None:
    model = Model("One.", "Two.")
    gateway = await site.gateway(model, names=("small", "large"))
    visit = await site.visit(gateway)
    await visit.page.get_by_label("Model").select_option("large")
    await settle(visit, "Be brief.", "0.3")
    await visit.page.reload()
    await visit.ask("First")
    assert model.requests[0]["model"] == "large"
    assert model.requests[0]["instructions"] == "Be brief."
    assert model.requests[0]["temperature"] == 0.3
    assert await metadata(visit, gateway) == {
        "title": "First",
        "model": "large",
        "instructions": "Be brief.",
        "temperature": "0.3",
    }
    await visit.page.get_by_label("Model").select_option("small")
    await visit.page.reload()
    await expect(visit.page.get_by_label("Model")).to_have_value("small")
    await visit.button("Settings").click()
    await expect(visit.page.get_by_label("System prompt")).to_have_value("Be brief.")
    await visit.button("Reset").click()
    await visit.page.keyboard.press("Escape")
    await visit.ask("Second")
    assert model.requests[1]["model"] == "small"
    assert "temperature" not in model.requests[1]
    await visit.button("New conversation").click()
    await visit.button("Settings").click()
    await expect(visit.page.get_by_label("System prompt")).to_have_value("")


async def settle(visit: Visit, instructions: str, temperature: str = "") -> None:
    """Set the system prompt and the temperature."""
    await visit.button("Settings").click()
    await visit.page.get_by_label("System prompt").fill(instructions)
    if temperature:
        await visit.page.get_by_label("Temperature").fill(temperature)
    await visit.page.keyboard.press("Tab")
    await visit.page.keyboard.press("Escape")


async def test_a_long_system_prompt_is_kept_whole(site: Site) -> None:
    model = Model("One.")
    gateway = await site.gateway(model)
    visit = await site.visit(gateway)
    prompt = "船" * 511 + "🚢" + "x" * 3000
    await settle(visit, prompt)
    await visit.ask("First")
    assert model.requests[0]["instructions"] == prompt
    kept = await metadata(visit, gateway)
    assert kept["instructions_0"] == prompt[:512]
    await visit.page.reload()
    await visit.button("Settings").click()
    await expect(visit.page.get_by_label("System prompt")).to_have_value(prompt)


async def test_a_system_prompt_that_cannot_be_kept_is_refused_in_words(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model()))
    await settle(visit, "x" * 5000)
    await visit.send("First")
    await expect(visit.problem).to_contain_text("904 characters too long: at most 4,096 are kept")
    await expect(visit.box).to_have_value("First")


async def test_what_others_keep_with_a_conversation_stays(site: Site) -> None:
    gateway = await site.gateway(Model("One."))
    visit = await site.visit(gateway)
    conversation = await make(visit, gateway, ["Hello"], team="docs", title="Ours")
    await visit.page.goto(f"{gateway.url}/#{conversation}")
    await expect(visit.questions).to_have_text("Hello")
    await settle(visit, "Be brief.")
    await visit.ask("First")
    assert await metadata(visit, gateway) == {
        "team": "docs",
        "title": "Ours",
        "model": "model",
        "instructions": "Be brief.",
    }
