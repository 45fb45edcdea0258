"""The page in its forms: narrow, dark, Chinese, by keyboard alone, for a screen reader, for people who read back."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.visit import Model, Site, Visit, words

pytestmark = pytest.mark.asyncio(loop_scope="session")

NARROW: dict[str, Any] = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
WIDE_ANSWER = f"""
{"long" * 60} `{"code" * 60}` https://example.com/{"path" * 60}

```sh
{"command " * 60}
```

| {" | ".join(["column"] * 30)} |
{"|-" * 30}|
| {" | ".join(["cell"] * 30)} |

{"1. " * 12}deep
"""

# The least contrast of any text that is shown, and that text. Colours are read from a canvas, whatever their notation.
CONTRAST = """() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const over = (above, below) =>
    below.map((value, index) => (above[index] * above[3] + value * (255 - above[3])) / 255);
  const behind = (element) => element
    ? over(rgba(getComputedStyle(element).backgroundColor), behind(element.parentElement))
    : rgba("white");
  const luminance = (colour) => colour.slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = [21, ""];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ opacityProperty: true })) continue;
    const ground = behind(element);
    const text = over(rgba(getComputedStyle(element).color), ground);
    const [dark, light] = [ground, text].map(luminance).sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < least[0]) least = [contrast, walker.currentNode.data];
  }
  return least;
}"""


async def test_a_narrow_page_does_not_scroll_sideways(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model(WIDE_ANSWER)), **NARROW)
    await visit.box.fill("wide" * 100)
    await visit.button("Send").tap()
    await visit.answered()
    await expect(visit.answers.locator("table")).to_be_attached()
    assert await visit.page.evaluate("document.documentElement.scrollWidth") == 360
    assert await visit.page.locator("#scroll").evaluate("(one) => one.scrollWidth === one.clientWidth")


async def test_everything_can_be_reached_on_a_narrow_page(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.", "Two.", "Three."), names=("small", "large")), **NARROW)
    await visit.page.get_by_label("Model").select_option("large")
    await visit.button("Settings").tap()
    await visit.page.get_by_label("System prompt").fill("Be brief.")
    await expect(visit.page.get_by_label("Temperature")).to_be_in_viewport()
    await visit.button("Settings").tap()
    await visit.box.fill("First")
    await visit.button("Send").tap()
    await visit.answered()
    await visit.button("Regenerate").tap()
    await visit.answered()
    await visit.button("Edit").tap()
    await visit.page.get_by_role("textbox", name="Edit your message").fill("Second")
    await visit.page.locator(".question").get_by_role("button", name="Send").tap()
    await visit.answered()
    await expect(visit.answers).to_have_text("Three.")
    await visit.button("Conversations").tap()
    await visit.button("New conversation").tap()
    await expect(visit.page.get_by_role("navigation")).to_be_hidden()
    await visit.button("Conversations").tap()
    await visit.page.get_by_role("link", name="First").tap()
    await expect(visit.page.get_by_role("navigation")).to_be_hidden()
    await expect(visit.answers).to_have_text("Three.")
    await visit.button("Conversations").tap()
    await visit.button("Delete the conversation “First”").tap()
    await visit.page.get_by_role("dialog").get_by_role("button", name="Delete").tap()
    await expect(visit.questions).to_have_count(0)


async def test_enter_breaks_the_line_where_there_is_no_other_key_for_it(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model()), **NARROW)
    await visit.box.press_sequentially("a")
    await visit.box.press("Enter")
    await visit.box.press_sequentially("b")
    await expect(visit.box).to_have_value("a\nb")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_can_be_read(site: Site, scheme: Any) -> None:
    code = "```py\n# note\n@a\nclass B(int):\n  x = f'{1}' + None\n```"
    answer = f"So *that*:\n\n> quoted `code` [link](https://e.com)\n\n{code}"
    visit = await site.visit(await site.gateway(Model(answer)), color_scheme=scheme)
    await visit.ask("First")
    await visit.send("Second")
    await expect(visit.problem).to_be_visible()
    await visit.button("Settings").click()
    contrast, text = await visit.page.evaluate(CONTRAST)
    assert contrast >= 4.5, text
    paper = await visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", paper))) < 60) == (scheme == "dark")


async def test_a_chinese_browser_gets_chinese(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("好。")), locale="zh-TW")
    await expect(visit.page.locator("html")).to_have_attribute("lang", "zh-Hans")
    await expect(visit.page.get_by_text("想了解些什么？")).to_be_visible()
    await visit.box.fill("你好")
    await visit.button("发送").click()
    await expect(visit.answers).to_have_text("好。")
    await expect(visit.button("重新生成")).to_be_visible()
    english = "[...document.querySelectorAll('[data-text], [data-label]')].filter((one) => !/[^\\\\x00-\\\\x7f]/.test("
    english += "one.dataset.text ? one.textContent : one.ariaLabel)).map((one) => one.outerHTML)"
    assert await visit.page.evaluate(english) == []


async def test_both_languages_say_the_same_things(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model()), locale="fr-FR")
    await expect(visit.page.locator("html")).to_have_attribute("lang", "en")
    source = await (await visit.page.request.get(visit.page.url + "page/strings.js")).text()
    english, chinese = source.split("  zh: {")
    sentence = re.compile(r'^    (\w+):\s+"(.*)",$', re.MULTILINE)
    said = dict(sentence.findall(english))
    assert len(said) > 50
    places = re.compile(r"\{\w+\}")
    assert {name: sorted(places.findall(text)) for name, text in said.items()} == {
        name: sorted(places.findall(text)) for name, text in sentence.findall(chinese)
    }


async def test_the_keyboard_is_enough(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("One.", "Two.")))
    await expect(visit.box).to_be_focused()
    await visit.page.keyboard.type("First")
    await visit.page.keyboard.press("Enter")
    await visit.answered()
    await expect(visit.box).to_be_focused()
    for name in ("Regenerate", "Copy the answer", "Edit"):
        await tab_to(visit, name)
    await visit.page.keyboard.press("Enter")
    await visit.page.keyboard.type(" and more")
    await visit.page.keyboard.press("Enter")
    await visit.answered()
    await expect(visit.questions).to_have_text("First and more")
    await expect(visit.box).to_be_focused()
    await tab_to(visit, "Settings")
    await visit.page.keyboard.press("Enter")
    await visit.page.keyboard.press("Tab")
    await visit.page.keyboard.type("Be brief.")
    await visit.page.keyboard.press("Escape")
    await expect(visit.button("Settings")).to_be_focused()
    await tab_to(visit, "Delete the conversation “First”")
    await visit.page.keyboard.press("Enter")
    await tab_to(visit, "Delete", back=False)
    await visit.page.keyboard.press("Enter")
    await expect(visit.questions).to_have_count(0)


async def tab_to(visit: Visit, name: str, *, back: bool = True) -> None:
    """Press Tab until the button of that name has the focus."""
    button = visit.button(name)
    for _ in range(20):
        if await button.evaluate("(button) => button === document.activeElement"):
            return
        await visit.page.keyboard.press("Shift+Tab" if back else "Tab")
    pytest.fail(f"{name} is not reached")


async def test_a_screen_reader_knows_what_everything_is(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("It is **bold**.\n\n```py\nx\n```")))
    await visit.ask("How?")
    await expect(visit.page.locator("body")).to_match_aria_snapshot("""
        - navigation "Conversations":
          - button "New conversation"
          - list:
            - listitem:
              - link "How?"
              - button "Delete the conversation “How?”"
          - link "API reference"
        - main:
          - heading "How?" [level=1]
          - text: Model
          - combobox "Model"
          - button "Settings"
          - region "Conversation":
            - article "You":
              - paragraph: How?
              - button "Edit"
            - article "Answer by model":
              - paragraph:
                - text: It is
                - strong: bold
                - text: .
              - text: Python
              - button "Copy the code"
              - group "Code":
                - code: x
              - button "Copy the answer"
              - button "Regenerate"
          - textbox "Message"
          - button "Send"
        - log
    """)


async def test_a_screen_reader_says_whole_blocks_once(site: Site) -> None:
    rest = asyncio.Event()
    text = "The first **block**.\n\n```py\nx = 1\n```\n\nThe last one is here"
    visit = await site.visit(await site.gateway(Model(words(text, hold=rest))))
    await visit.send("Talk")
    log = visit.page.get_by_role("log")
    await expect(log).to_have_text("The first block. Code: Python")
    await expect(visit.page.locator(".answer")).to_have_attribute("aria-busy", "true")
    rest.set()
    await expect(log).to_have_text("The first block. Code: Python The last one is here The answer is complete.")
    assert await visit.page.locator("[aria-live]").count() == 1


async def test_who_scrolls_up_is_left_there_while_the_answer_grows(site: Site) -> None:
    rest = asyncio.Event()
    lines = "\n\n".join(f"Line {number}." for number in range(80))
    visit = await site.visit(await site.gateway(Model(words(f"{lines}\n\nNow the end.", hold=rest))))
    await visit.send("Long")
    await expect(visit.page.get_by_text("Line 79.", exact=True)).to_be_in_viewport()
    await visit.page.get_by_role("region", name="Conversation").hover()
    await visit.page.mouse.wheel(0, -2000)
    await expect(visit.button("Go to the end")).to_be_visible()
    rest.set()
    await visit.answered()
    end = visit.answers.get_by_text("Now the end.")
    await expect(end).to_be_attached()
    await expect(end).not_to_be_in_viewport()
    await visit.button("Go to the end").click()
    await expect(end).to_be_in_viewport()
    await expect(visit.button("Go to the end")).to_be_hidden()


async def test_who_wants_no_motion_sees_none(site: Site) -> None:
    rest = asyncio.Event()
    visit = await site.visit(await site.gateway(Model(words("one two", hold=rest))), reduced_motion="reduce")
    await visit.send("Count")
    await expect(visit.answers).to_have_text("one ")
    assert await visit.page.evaluate("document.getAnimations().length") == 0
    rest.set()
    await visit.answered()
    await expect(visit.answers).to_have_text("one two")


async def test_words_from_right_to_left_begin_at_the_right(site: Site) -> None:
    visit = await site.visit(await site.gateway(Model("שלום עולם")))
    await visit.ask("مرحبا")
    for text in (visit.questions, visit.answers):
        assert await text.evaluate("(one) => getComputedStyle(one).direction") == "rtl"
