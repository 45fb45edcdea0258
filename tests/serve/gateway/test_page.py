"""The chat page as it is served. What it does in a browser is tested in tests/browser."""

import re
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve import __version__
from fairlead_serve.keys import KeyFile
from tests.serve.gateway.client import Answer
from tests.serve.gateway.world import Running, World

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; font-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@pytest.fixture
async def gateway(world: World) -> Running:
    return await world.gateway()


async def render(world: World, gateway: Running, body: Any, **headers: str) -> Answer:
    return await world.post(gateway, body, path="/page/markdown", headers=headers)


async def test_a_browser_gets_the_page(world: World, gateway: Running) -> None:
    answer = await world.get(gateway, "/", headers=HTML)
    assert answer.status == 200
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert answer.header("vary") == "accept"
    assert answer.body.startswith(b"<!doctype html>")


async def test_the_page_tells_of_all_its_modules_at_once(world: World, gateway: Running) -> None:
    told = (await world.get(gateway, "/", headers=HTML)).header("link") or ""
    modules = set(re.findall(r"<page/(\w+\.js)>; rel=modulepreload", told))
    sources = {name: (await world.get(gateway, f"/page/{name}")).body.decode() for name in modules}
    assert {name for text in sources.values() for name in re.findall(r'from "\./(\w+\.js)"', text)} < modules


async def test_a_program_gets_who_answers(world: World, gateway: Running) -> None:
    answer = await world.get(gateway, "/", headers={"accept": "*/*"})
    assert answer.json == {"message": "Fairlead", "version": __version__}
    assert answer.header("vary") == "accept"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/page/chat.css", "text/css"),
        ("/page/chat.js", "text/javascript"),
        ("/page/icon.svg", "image/svg+xml"),
    ],
)
async def test_every_part_is_guarded_and_asked_for_anew(world: World, gateway: Running, path: str, kind: str) -> None:
    answer = await world.get(gateway, path, headers=HTML)
    assert (answer.header("content-type") or "").split(";")[0] == kind
    assert answer.header("content-security-policy") == POLICY
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("referrer-policy") == "no-referrer"
    assert answer.header("cache-control") == "no-cache"


async def test_a_browser_that_has_a_part_is_not_sent_it_again(world: World, gateway: Running) -> None:
    first = await world.get(gateway, "/page/chat.css")
    again = await world.get(gateway, "/page/chat.css", headers={"if-none-match": f'W/"other", {first.header("etag")}'})
    assert (again.status, again.body) == (304, b"")
    assert again.header("etag") == first.header("etag")
    assert again.header("content-security-policy") == POLICY


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2fapp.py", "%2e%2e/app.py", "chat.css/"])
async def test_nothing_but_the_parts_of_the_page_is_served(world: World, gateway: Running, name: str) -> None:
    answer = await world.get(gateway, f"/page/{name}")
    assert (answer.status, answer.error["code"]) == (404, "unknown_url")


async def test_nothing_in_the_page_is_inline_or_from_elsewhere(world: World, gateway: Running) -> None:
    page = (await world.get(gateway, "/", headers=HTML)).body.decode()
    assert "style=" not in page
    assert "<style" not in page
    assert "<script>" not in page
    assert " on" not in page.replace(" on ", "")
    assert "//" not in page.replace("<!--", "")


async def test_markdown_is_rendered(world: World, gateway: Running) -> None:
    answer = await render(world, gateway, {"text": "**你好**"})
    assert answer.json == {"html": "<p><strong>你好</strong></p>\n"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", {"text": 1}, {"words": "a"}, b'{"text": "\\ud800"}'])
async def test_what_is_not_a_text_is_refused(world: World, gateway: Running, body: Any) -> None:
    answer = await render(world, gateway, body)
    assert answer.status == 400
    assert answer.error["type"] == "invalid_request_error"


async def test_more_than_any_answer_is_refused(world: World, gateway: Running) -> None:
    answer = await render(world, gateway, {"text": "a" * 256 * 1024})
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")


async def test_the_page_needs_no_key_but_its_work_does(world: World, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    _, secret = KeyFile(keys).create("laptop", requests_per_minute=1)
    gateway = await world.gateway(key_file=keys)
    assert (await world.get(gateway, "/", headers=HTML)).status == 200
    assert (await world.get(gateway, "/page/chat.js")).status == 200
    assert (await render(world, gateway, {"text": "a"})).status == 401
    # Reading an answer is part of asking for it: it counts as nothing.
    for _ in range(3):
        assert (await render(world, gateway, {"text": "a"}, authorization=f"Bearer {secret}")).status == 200
