"""Markdown as HTML: what it means, that nothing in it runs, and that it does not take long."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.gateway.markdown import LONGEST, render

# Of CPU: some times what the slowest of these takes, and a part of what they would without their bounds.
_LONG_SECONDS = 5

_ALLOWED = {
    "a": {"href", "title", "target", "rel"},
    "ol": {"start"},
    "pre": {"data-language"},
    "span": {"class"},
    "td": {"class"},
    "th": {"class"},
}
_TAGS = {
    "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "p", "s", "strong", "table",
    "tbody", "thead", "tr", "ul", *_ALLOWED,
}  # fmt: skip


class _Inspector(HTMLParser):
    """Fails for every tag and attribute that is not known to be harmless; keeps the links."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _TAGS
        assert {name for name, _ in attrs} <= _ALLOWED.get(tag, set())
        self.links += [value or "" for name, value in attrs if name == "href"]


def links_in(html: str) -> list[str]:
    inspector = _Inspector()
    inspector.feed(html)
    inspector.close()
    return inspector.links


def test_text_is_marked_up() -> None:
    assert render("a **b** ~~c~~\nd") == "<p>a <strong>b</strong> <s>c</s><br>\nd</p>\n"


def test_tables_keep_the_alignment_of_their_columns_without_a_style() -> None:
    html = render("|a|b|\n|-|-:|\n|1|2|")
    assert '<td class="right">2</td>' in html
    assert "style" not in html


def test_code_is_coloured_by_classes_and_says_its_language() -> None:
    html = render("```py\ndef f(): ...\n```")
    assert html.startswith('<pre data-language="Python"><code><span class="k">def</span>')


@pytest.mark.parametrize(
    ("name", "label"), [("yml", "YAML"), ("SH", "Bash"), ("kt", "Kotlin"), ("Dockerfile", "Docker")]
)
def test_languages_are_known_by_the_names_that_models_use(name: str, label: str) -> None:
    assert f'<pre data-language="{label}">' in render(f"```{name}\nx\n```")


def test_code_in_an_unknown_language_is_plain() -> None:
    assert render("```brainfuck\n+<\n```") == '<pre data-language="brainfuck"><code>+&lt;\n</code></pre>\n'


def test_a_list_may_begin_anywhere() -> None:
    assert render("7. seven").startswith('<ol start="7">')


def test_links_open_elsewhere_and_do_not_say_where_from() -> None:
    assert render("[a](https://example.com)") == (
        '<p><a href="https://example.com" target="_blank" rel="noopener noreferrer">a</a></p>\n'
    )


@pytest.mark.parametrize(
    "link",
    [
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](javascript&colon;alert(1))",
        "[a](&#106;avascript:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "[a](vbscript:x)",
        "[a](file:///etc/passwd)",
        "[a](blob:https://example.com/1)",
        "[a](/internal/load)",
        "[a](//example.com)",
        "<javascript:alert(1)>",
        "[a]: javascript:alert(1)\n\n[a]",
        "![a](javascript:alert(1))",
    ],
)
def test_links_lead_nowhere_but_to_the_web_and_to_mail(link: str) -> None:
    assert links_in(render(link)) == []


def test_pictures_are_links_so_that_no_browser_fetches_them() -> None:
    html = render("![a cat](https://example.com/cat.png)")
    assert links_in(html) == ["https://example.com/cat.png"]
    assert "a cat" in html


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<iframe srcdoc='<script>alert(1)</script>'>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "</code></pre><script>alert(1)</script>",
        "```html\n</code></pre><script>alert(1)</script>\n```",
        '```"><script>alert(1)</script>\nx\n```',
        "```x onmouseover=alert(1)\nx\n```",
        '[a](https://e.com "\\" onmouseover=alert(1) x=\\"")',
        '![" onerror="alert(1)](https://e.com)',
        "`<script>`",
        "|<script>|\n|-|\n|<img src=x onerror=alert(1)>|",
        "<style>*{display:none}</style>",
        "<!--><script>alert(1)</script>-->",
        "<form action=/v1/keys><input name=a></form>",
    ],
)
def test_html_in_an_answer_is_only_text(hostile: str) -> None:
    links_in(render(hostile))


_HOSTILE_PIECES = st.sampled_from(
    [
        "<",
        ">",
        '"',
        "'",
        "&",
        "`",
        "```",
        "\n",
        "[",
        "](",
        ")",
        "!",
        "*",
        "_",
        "~~",
        "|",
        "-",
        "script",
        "javascript:",
        "on",
    ]
)


@given(st.lists(_HOSTILE_PIECES | st.text(max_size=3), max_size=40))
def test_whatever_comes_in_only_harmless_tags_come_out(pieces: list[str]) -> None:
    text = "".join(pieces).encode("utf-8", "ignore").decode()
    for link in links_in(render(text)):
        assert link.startswith(("http:", "https:", "mailto:"))


@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "![",
        "[a](",
        "*",
        "*a_ ",
        "> ",
        "- ",
        "`",
        "|",
        "a | b\n-|-\n",
        "<a ",
        "&",
        "\\",
        "[a]: b\n",
        "* a\n  ",
        "_",
    ],
)
def test_no_text_of_one_piece_takes_long(unit: str) -> None:
    began = time.thread_time()
    render(unit * (200_000 // len(unit)))
    render(unit * (LONGEST // len(unit)))
    assert time.thread_time() - began < _LONG_SECONDS


def test_blocks_in_blocks_do_not_take_long() -> None:
    began = time.thread_time()
    render("\n".join(">" * depth + " a" for depth in range(250)))
    render("> " * 50 + "a\n" * (LONGEST // 2 - 100))
    render("\n".join("  " * depth + "- a" for depth in range(170)))
    assert time.thread_time() - began < _LONG_SECONDS


@pytest.mark.parametrize(
    ("language", "unit"),
    [("csharp", "a\n"), ("java", "a\n"), ("console", "a"), ("ini", "="), ("ocaml", "0"), ("matlab", "\n")],
)
def test_code_that_lexers_are_slow_with_does_not_take_long(language: str, unit: str) -> None:
    code = unit * (LONGEST // len(unit) - 20)
    began = time.thread_time()
    html = render(f"```{language}\n{code}\n```")
    assert time.thread_time() - began < _LONG_SECONDS
    assert html.count(unit.strip()) >= LONGEST // len(unit) - 20


def test_many_pieces_of_code_do_not_take_long() -> None:
    began = time.thread_time()
    render("".join(f"```language{number}\n```\n" for number in range(LONGEST // 25)))
    render("```python\n```\n" * (LONGEST // 14))
    assert time.thread_time() - began < _LONG_SECONDS


def test_a_text_too_long_to_be_read_is_shown_as_it_is() -> None:
    text = "**<b>**" * LONGEST
    assert render(text) == f"<pre><code>{text.replace('<', '&lt;').replace('>', '&gt;')}</code></pre>\n"
