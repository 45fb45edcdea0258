"""The upstream half of the byte path: a small HTTP/1.1 client on asyncio protocols and httptools.

Why not a library: none hands its bytes on from the socket's own callback, and a task woken for every chunk costs
more than the chunk; `bench` prints the ratio to the same relay on FastAPI and aiohttp. It does what the gateway needs
and no more: keep-alive connections per origin, one request at a time on each, chunked or counted bodies, TLS. No
redirects, no cookies, no proxies, no compression.

Errors: `UpstreamUnreachable` before a connection is there, `UpstreamBroken` when it ends before the answer
does, `AnswerTooLarge` when a bound is given. Nothing else leaves this package (apart from cancellation).
"""

from fairlead_serve.gateway.upstream.answer import Answer
from fairlead_serve.gateway.upstream.client import UpstreamClient
from fairlead_serve.gateway.upstream.errors import AnswerTooLarge, UpstreamBroken, UpstreamError, UpstreamUnreachable
from fairlead_serve.gateway.upstream.origin import Headers, Origin

__all__ = [
    "Answer",
    "AnswerTooLarge",
    "Headers",
    "Origin",
    "UpstreamBroken",
    "UpstreamClient",
    "UpstreamError",
    "UpstreamUnreachable",
]
