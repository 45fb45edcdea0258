"""The chat page: static files, and the one thing that it asks a server for besides the public API, markdown as HTML."""

import asyncio
import hashlib
from importlib.resources import files
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from fairlead_serve import __version__
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway import markdown
from fairlead_serve.gateway.inbound import decode, read_body
from fairlead_serve.gateway.openapi import json_body

# No answer of a model is this long; the page sends a few paragraphs at a time.
_MARKDOWN_BYTES = 256 * 1024
_MARKDOWN_SECONDS = 30.0
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Everything that the page needs comes from here, and nothing that it shows can load or run anything.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "font-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Asked for anew every time: after an upgrade nobody has the old half of the page.
    "cache-control": "no-cache",
}


class _File:
    """A file as it is served. Its etag is its content's digest."""

    def __init__(self, name: str, content: bytes) -> None:
        self._content = content
        self._kind = _CONTENT_TYPES["." + name.rpartition(".")[2]]
        self._etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    def answer(self, request: Request, **more: str) -> Response:
        """The file, or 304 for a browser that has it already."""
        headers = {**_HEADERS, **more, "etag": self._etag}
        if self._etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers, media_type=self._kind)


class _Markdown(msgspec.Struct):
    text: str


_decoder = msgspec.json.Decoder(_Markdown)


def create_router() -> APIRouter:
    router = APIRouter(tags=["page"])
    known = {one.name: _File(one.name, one.read_bytes()) for one in files("fairlead_serve").joinpath("page").iterdir()}
    page = known.pop("index.html")
    # All modules at once: a browser would find them one import after the other.
    modules = ", ".join(f"<page/{name}>; rel=modulepreload" for name in sorted(known) if name.endswith(".js"))
    # One at a time: more would not be done sooner, and each takes its share of the time of every stream.
    rendering = asyncio.Semaphore(1)

    @router.get("/", summary="The chat page for a browser; who answers here, for all others")
    async def root(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return page.answer(request, vary="accept", link=modules)
        return JSONResponse({"message": "Fairlead", "version": __version__}, headers={"vary": "accept"})

    @router.get("/page/{name}", summary="A part of the chat page", response_class=Response)
    async def part(request: Request, name: str) -> Response:
        if name not in known:
            raise ApiError(404, "the chat page has no such file", code="unknown_url")
        return known[name].answer(request)

    @router.post("/page/markdown", summary="Markdown as HTML", openapi_extra=json_body({"text": {"type": "string"}}))
    async def render_markdown(request: Request) -> dict[str, Any]:
        body = await read_body(request.scope, request.receive, limit=_MARKDOWN_BYTES, seconds=_MARKDOWN_SECONDS)
        text = decode(body, _decoder).text
        async with rendering:
            return {"html": await asyncio.to_thread(markdown.render, text)}

    return router
