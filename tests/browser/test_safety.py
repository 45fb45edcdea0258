"""What models write is not to be trusted: nothing in it runs, loads or leads to a place that runs something."""

import asyncio
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.browser.visit import Model, Site, words

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOSTILE = """
<script>window.run = 1</script>
<img src="https://example.com/a.png" onerror="window.run = 2">
<svg onload="window.run = 3"></svg><iframe src="javascript:top.run = 4"></iframe>

[click](javascript:window.run=5) <javascript:window.run=6> [data](data:text/html,<script>opener.run=7</script>)

![picture](https://example.com/b.png) ![x](x"onerror="window.run=8)

<a href="javascript:window.run=9">html</a> <style>body { display: none }</style>

```html"><script>window.run=10</script>
</code></pre><script>window.run = 11</script>
```

| <img src=x onerror="window.run=12"> |
|---|
| <details open ontoggle="window.run=13"> |

<form action="/v1/conversations"><button>send</button></form> <meta http-equiv="refresh" content="0;url=https://example.com">
The end.
"""


@pytest.mark.parametrize("grown", [True, False])
async def test_nothing_that_a_model_writes_runs(site: Site, grown: bool) -> None:
    rest = asyncio.Event()
    gateway = await site.gateway(Model(words(HOSTILE, hold=rest)))
    visit = await site.visit(gateway)
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    await visit.send("Hello")
    await expect(visit.answers).to_contain_text("The ")
    rest.set()
    await visit.answered()
    if not grown:
        await visit.page.reload()
    await expect(visit.answers).to_contain_text("The end.")
    await expect(visit.answers.locator(".code")).to_have_count(1)
    assert await visit.page.evaluate("window.run") is None
    assert await visit.answers.locator("script, img, svg, iframe, style, form, meta, [style], [onerror]").count() == 0
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(gateway.url).netloc}
    links = [await link.get_attribute("href") for link in await visit.answers.locator("a[href]").all()]
    assert links == ["https://example.com/b.png"]


@pytest.mark.parametrize("hostile", ["<img src=x onerror='window.run=1'>", "<script>window.run = 1</script>"])
async def test_nothing_that_is_typed_or_kept_runs(site: Site, hostile: str) -> None:
    visit = await site.visit(await site.gateway(Model("One."), names=(hostile,)))
    await visit.ask(hostile)
    await visit.page.reload()
    await expect(visit.questions).to_have_text(hostile)
    await expect(visit.page.get_by_role("navigation").get_by_role("link", name=hostile)).to_be_visible()
    assert await visit.page.evaluate("window.run") is None


async def test_the_page_lets_no_script_in_that_is_not_its_own(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model()))
    await visit.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'run = 1'}))"
    )
    await visit.page.evaluate("document.body.setAttribute('onclick', 'run = 2'); document.body.click()")
    await visit.page.evaluate("document.body.setAttribute('style', 'display: none')")
    assert await visit.page.evaluate("window.run") is None
    await expect(visit.page.locator("body")).to_be_visible()
    directives = {complaint for complaint in visit.complaints if complaint.startswith("policy: ")}
    assert directives == {"policy: script-src-elem", "policy: script-src-attr", "policy: style-src-attr"}
    visit.complaints.clear()
