"""Markdown as HTML that a page can show whoever wrote it. Pure, no I/O.

Nothing that comes out runs, loads anything or carries a style, whatever comes in: raw HTML is text, pictures are links,
code is coloured by CSS classes alone, and all of it is cleaned against a list at the end.

Nor does it take long. Parsing is linear, 3 us a character of ordinary text and 40 us of the worst there is, so a bound
on the length is enough. Lexers are not: there are texts that make them search the same line again from each place in
it, so they get the languages that were measured, short lines and little time.
"""

import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import format as format_tokens
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_all_lexers, get_lexer_by_name
from pygments.token import STANDARD_TYPES, Text

LONGEST = 32 * 1024
"""How many characters are read as markdown. A longer text is shown as it is."""

# Of CPU, for all the code in one text. What is not coloured by then stays plain.
_LEXING_SECONDS = 0.1
_LONGEST_LINE = 1000
_LONGEST_LABEL = 30
# Pygments' names. None of these lexers takes longer than _LEXING_SECONDS between two tokens within the bounds above.
_LANGUAGES = {
    "awk", "bash", "batch", "c", "clojure", "cmake", "console", "cpp", "csharp", "css", "cuda", "dart", "diff",
    "django", "docker", "elixir", "erlang", "fish", "fortran", "fsharp", "go", "graphql", "groovy", "haskell",
    "html", "http", "ini", "java", "javascript", "json", "jsonnet", "jsx", "julia", "kotlin", "less", "lua",
    "make", "markdown", "nasm", "nginx", "nixos", "objective-c", "ocaml", "perl", "php", "postgresql",
    "powershell", "prolog", "promql", "properties", "protobuf", "puppet", "pycon", "pytb", "python", "rego",
    "restructuredtext", "ruby", "rust", "scala", "scheme", "scss", "solidity", "splus", "sql", "swift", "systemd",
    "terraform", "tex", "toml", "tsx", "typescript", "vb.net", "verilog", "vhdl", "vim", "vue", "xml", "yaml",
    "zig",
}  # fmt: skip
# Those by all the names that they go by. Pygments itself would look for plugins whenever it does not know a name.
_NAMES = {
    **{alias: names[0] for _, names, *_ in get_all_lexers(plugins=False) for alias in names if names[0] in _LANGUAGES},
    "jsonc": "json", "kt": "kotlin", "node": "javascript", "patch": "diff", "yml": "yaml",
}  # fmt: skip
_TAGS = {
    "a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s",
    "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ALIGNMENTS = {"text-align:center": "center", "text-align:right": "right"}


class _Patience:
    """How much longer lexers may work on one text, in seconds of CPU."""

    def __init__(self) -> None:
        self._left = _LEXING_SECONDS

    def tokens(self, lexer: Lexer, code: str) -> Iterator[tuple[Any, str]]:
        """The tokens of `code`; one for all that is left when there is no time left."""
        deadline = time.thread_time() + self._left
        for index, kind, text in lexer.get_tokens_unprocessed(code):
            self._left = deadline - time.thread_time()
            if self._left < 0:
                yield Text, code[index:]
                return
            yield kind, text


class _Renderer(RendererHTML):
    """markdown-it's, with our own form of code, pictures and aligned cells."""

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:  # noqa: ARG002
        token = tokens[idx]
        name = (token.info.split() or [""])[0]
        label, code = _coloured(token.content, name, env["patience"])
        attribute = f' data-language="{escape(label)}"' if label else ""
        return f"<pre{attribute}><code>{code}</code></pre>\n"

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A link: a browser that fetched the picture would tell its server who reads the answer, and when."""
        source = str(tokens[idx].attrs["src"])
        text = self.renderInlineAsText(tokens[idx].children, options, env) or source
        return f'<a href="{escape(source)}">{escape(text)}</a>'

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:  # noqa: ARG002
        style = str(tokens[idx].attrs.get("style", ""))
        alignment = f' class="{_ALIGNMENTS[style]}"' if style in _ALIGNMENTS else ""
        return f"<{tokens[idx].tag}{alignment}>"

    th_open = td_open


_PARSER = MarkdownIt("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
_PARSER.enable(["table", "strikethrough"])
_FORMATTER = HtmlFormatter(nowrap=True)
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    attributes={"a": {"href", "title"}, "ol": {"start"}, "pre": {"data-language"}},
    allowed_classes={
        "span": set(filter(None, STANDARD_TYPES.values())),
        "td": set(_ALIGNMENTS.values()),
        "th": set(_ALIGNMENTS.values()),
    },
    set_tag_attribute_values={"a": {"target": "_blank"}},
    link_rel="noopener noreferrer",
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
)


def render(text: str) -> str:
    """`text`, CommonMark with tables, strikethrough and line breaks as they are written, as clean HTML."""
    if len(text) > LONGEST:
        return f"<pre><code>{escape(text)}</code></pre>\n"
    html: str = _PARSER.render(text, {"patience": _Patience()})
    return _CLEANER.clean(html)


def _coloured(code: str, name: str, patience: _Patience) -> tuple[str, str]:
    """(the language as people write it, the code as HTML); the code is plain where the language is unknown."""
    known = _NAMES.get(name.lower())
    if known is None:
        return name[:_LONGEST_LABEL], escape(code)
    lexer = get_lexer_by_name(known)
    if max(map(len, code.splitlines()), default=0) > _LONGEST_LINE:
        return lexer.name, escape(code)
    return lexer.name, format_tokens(patience.tokens(lexer, code), _FORMATTER)
