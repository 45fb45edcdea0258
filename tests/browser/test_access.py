"""Keys, and what is said when something is wrong."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Locator, expect

from fairlead_serve.keys import KeyFile
from tests.browser.visit import Model, Site, Visit, refusal
from tests.serve.gateway.world import Running

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def locked(site: Site, tmp_path: Path, *models: str) -> tuple[Running, str]:
    """(a gateway that wants keys, one of them)."""
    _, secret = KeyFile(tmp_path / "keys.yaml").create("laptop", models=models or ("*",))
    gateway = await site.gateway(Model("One.", "Two."), names=("small", "large"), key_file=tmp_path / "keys.yaml")
    return gateway, secret


def dialog(visit: Visit) -> Locator:
    return visit.page.get_by_role("dialog", name="API key")


async def enter(visit: Visit, key: str, *, remember: bool = False) -> None:
    await dialog(visit).get_by_label("API key").fill(key)
    await dialog(visit).get_by_label("Remember it on this device").set_checked(remember)
    await dialog(visit).get_by_role("button", name="Use this key").click()


async def test_a_server_that_wants_a_key_gets_one(site: Site, tmp_path: Path) -> None:
    gateway, secret = await locked(site, tmp_path)
    visit = await site.visit(gateway)
    await expect(dialog(visit)).to_contain_text("The server wants an API key.")
    await enter(visit, secret)
    await expect(dialog(visit)).to_be_hidden()
    await visit.ask("First")
    await expect(visit.answers).to_have_text("One.")
    await visit.page.reload()
    await expect(visit.answers).to_have_text("One.")
    assert secret not in visit.page.url


async def test_a_wrong_key_is_called_wrong(site: Site, tmp_path: Path) -> None:
    gateway, secret = await locked(site, tmp_path)
    visit = await site.visit(gateway)
    await enter(visit, "flk-wrong")
    await expect(dialog(visit)).to_contain_text("The server does not accept this key")
    await enter(visit, "not a ключ")
    await expect(dialog(visit)).to_contain_text("A key has no spaces")
    await enter(visit, secret)
    await expect(dialog(visit)).to_be_hidden()
    await visit.ask("First")


@pytest.mark.parametrize("remember", [False, True])
async def test_a_key_is_remembered_only_where_that_is_wanted(site: Site, tmp_path: Path, remember: bool) -> None:
    gateway, secret = await locked(site, tmp_path)
    visit = await site.visit(gateway)
    await enter(visit, secret, remember=remember)
    await expect(visit.page.get_by_label("Model")).to_have_value("small")
    another = await visit.page.context.new_page()
    await another.goto(gateway.url)
    again = another.get_by_role("dialog", name="API key")
    await (expect(again).to_be_hidden() if remember else expect(again).to_be_visible())
    if remember:
        await expect(another.get_by_label("Model")).to_have_value("small")


async def test_a_forgotten_key_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    gateway, secret = await locked(site, tmp_path)
    visit = await site.visit(gateway)
    await enter(visit, secret, remember=True)
    await visit.box.fill("a draft")
    await visit.button("API key").click()
    await dialog(visit).get_by_role("button", name="Forget the key").click()
    await expect(dialog(visit)).to_contain_text("The server wants an API key.")
    left = await visit.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert left == "[{},{}]"


async def test_a_key_that_is_revoked_is_asked_for_again_and_nothing_is_lost(site: Site, tmp_path: Path) -> None:
    gateway, secret = await locked(site, tmp_path)
    visit = await site.visit(gateway)
    await enter(visit, secret)
    await visit.ask("First")
    file = KeyFile(tmp_path / "keys.yaml")
    file.revoke("laptop")
    _, other = file.create("another")
    await revoked(visit, gateway, secret)
    await visit.send("Second")
    await dialog(visit).get_by_role("button", name="Cancel").click()
    await expect(visit.problem).to_contain_text("The server wants an API key")
    await expect(visit.box).to_have_value("Second")
    await visit.page.goto(gateway.url)
    await enter(visit, other)
    # Conversations are the key's that made them.
    await expect(visit.page.get_by_text("What you ask is kept here.")).to_be_visible()


async def revoked(visit: Visit, gateway: Running, secret: str) -> None:
    """Ask until the gateway has read its file again."""
    headers = {"authorization": f"Bearer {secret}"}
    async with asyncio.timeout(10):
        while (await visit.page.request.get(f"{gateway.url}/v1/models", headers=headers)).status != 401:
            pass


async def test_only_models_that_the_key_may_use_are_offered(site: Site, tmp_path: Path) -> None:
    gateway, secret = await locked(site, tmp_path, "lar*")
    visit = await site.visit(gateway)
    await enter(visit, secret)
    await expect(visit.page.get_by_label("Model").get_by_role("option")).to_have_text(["large"])


@pytest.mark.parametrize(
    ("status", "title"),
    [(400, "The server does not take this"), (429, "Too many requests"), (500, "The server failed")],
)
async def test_an_error_is_said_in_words(site: Site, status: int, title: str) -> None:
    visit = await site.visit(await site.gateway(Model(refusal(status, "the words of the engine"))))
    await visit.send("Hello")
    await expect(visit.problem).to_contain_text(title)
    await expect(visit.problem).to_contain_text("the words of the engine")
    await expect(visit.problem).to_contain_text("req_")
    await visit.button("Close").click()
    await expect(visit.problem).to_be_hidden()


async def test_a_server_without_models_says_what_to_do(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model(), names=()))
    await expect(visit.problem).to_contain_text("No model is served here yet")


async def test_what_could_not_be_read_at_the_start_can_be_tried_again(site: Site) -> None:
    gateway = await site.gateway(Model("One."))
    visit = await site.visit(gateway)
    await visit.page.route("**/v1/models", lambda route: route.abort())
    await visit.page.reload()
    await expect(visit.problem).to_contain_text("The server cannot be reached")
    await visit.page.unroute("**/v1/models")
    await visit.button("Try again").click()
    await expect(visit.problem).to_be_hidden()
    await visit.ask("First")
    await expect(visit.answers).to_have_text("One.")
