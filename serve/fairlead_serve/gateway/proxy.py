"""The byte path: one request read, one backend picked, its answer passed on as bytes.

Nothing of an answer is parsed on the plain path. The first events of a stream are looked at before the 200,
so that an engine that fails at once still gets an honest status; after that, chunks are cut at the ends of
events and copied. Before the first byte a failed attempt is repeated elsewhere, or when an engine is back;
after it, never. Once a stream flows, its chunks go from the upstream's socket to the client's (`line`) without waking
the request's task; it is woken for what has to be looked at: an error, a long silence, the end.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from types import TracebackType

from fairlead_serve.asgi import Receive, Scope, Send
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway import sse, translation
from fairlead_serve.gateway.backends import Backend, RoutingTable
from fairlead_serve.gateway.balancing import Endpoint
from fairlead_serve.gateway.inbound import ClientGone, Inbound, read_inbound
from fairlead_serve.gateway.line import Line, line_of
from fairlead_serve.gateway.upstream import Answer, AnswerTooLarge, UpstreamBroken, UpstreamClient, UpstreamError
from fairlead_serve.internal import DEAD_HEADER
from fairlead_serve.metrics import GatewayMetrics
from fairlead_serve.settings import Sizes, Times

# A request that was lost is sent at most this often: it may be what kills the engine.
_MAX_SENT = 3
# The first attempt elsewhere is made at once; from then on the pause doubles.
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
# How long a client that does not read is waited for with the end of its stream.
_LAST_WORDS_SECONDS = 5.0
# What Ray's HAProxy and proxies answer by themselves, as text, when no engine can be reached.
_INFRASTRUCTURE_STATUSES = frozenset({404, 500, 502, 503, 504})
_DEAD_HEADER = DEAD_HEADER.encode()


class _NotServed(Exception):  # noqa: N818
    """An attempt came to nothing before its first byte. `sent`: how often the backend may have seen the request."""

    def __init__(self, why: str, *, sent: int) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass(frozen=True)
class Proxy:
    """A bare ASGI endpoint that passes requests on to the backend of their model."""

    table: RoutingTable
    client: UpstreamClient
    metrics: GatewayMetrics
    times: Times
    sizes: Sizes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ApiError while nothing has been sent."""
        seconds = self.times.request_seconds
        inbound = await read_inbound(scope, receive, limit=self.sizes.body_bytes, seconds=seconds)
        backend = self.table.find(inbound.model)
        scope["fairlead.model"] = backend.name
        exchange = _Exchange(self, backend, inbound, send, line_of(scope))
        try:
            with _Leaving(receive):
                await exchange.run()
        except asyncio.CancelledError:
            # Not by the client: the process ends and its drain time is over. Nothing awaits this task any more.
            await exchange.fail(
                ApiError(503, "the gateway is stopping", code="gateway_stopping", headers={"retry-after": "1"})
            )


class _Exchange:
    """One request on its way through: what was sent of its answer, and to whom it went."""

    def __init__(self, proxy: Proxy, backend: Backend, inbound: Inbound, send: Send, line: Line | None) -> None:
        self._proxy = proxy
        self._backend = backend
        self._inbound = inbound
        self._send = send
        self._line = line
        self._meter = proxy.metrics.meter(backend.name)
        self._status = 0
        self._streaming = False
        self._last_events = b""
        self._began = time.perf_counter()

    async def run(self) -> None:
        """Answer the request. Raises ApiError while nothing has been sent; ends a stream with it after."""
        self._backend.last_request = time.time()
        outcome = 500  # of an error that nobody expected
        try:
            await self._within_time()
            outcome = self._status
        except ApiError as error:
            outcome = error.status
            raise
        except asyncio.CancelledError:
            outcome = self._status or 499  # the client left first; nginx's number for it
            raise
        finally:
            self._meter.done(outcome, time.perf_counter() - self._began)

    async def _within_time(self) -> None:
        backend = self._backend
        seconds = backend.settings.request_seconds or self._proxy.times.request_seconds
        try:
            async with asyncio.timeout(seconds):
                # Who waits for an engine takes no place: the bounds of a cold start are others.
                await backend.wait_ready()
                async with backend.admission:
                    await self._attempts()
        except TimeoutError:
            await self.fail(ApiError(504, f"no whole answer within {seconds:g} s", code="request_timeout"))
        except ApiError as error:
            await self.fail(error)

    async def fail(self, error: ApiError) -> None:
        """Raise `error` while nothing has been sent; end a stream with it, unless it was at its end."""
        if not self._status:
            raise error
        if not self._streaming:
            return  # half a body: the server cuts the connection
        last = b"" if sse.is_done(self._last_events) else sse.failure(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _attempts(self) -> None:
        backend = self._backend
        tried: set[str] = set()
        sent = 0
        pause = 0.0
        while True:
            endpoint = backend.balancer.pick(tried=tried)
            if endpoint is None:
                await backend.wait_ready()
                continue
            try:
                with backend.using(endpoint):
                    return await self._attempt(endpoint, fresh=bool(tried))
            except _NotServed as failure:
                tried.add(endpoint.url)
                sent += failure.sent
                backend.suspect(endpoint)
                if sent >= _MAX_SENT:
                    raise backend.unavailable(f"{sent} attempts were lost, the last one: {failure}") from failure
                if not backend.is_engine and len(tried) == len(backend.balancer.endpoints):
                    raise backend.unreachable(str(failure)) from failure
                self._meter.retried("lost" if failure.sent else "unreachable")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS) or _FIRST_PAUSE_SECONDS

    async def _attempt(self, endpoint: Endpoint, *, fresh: bool) -> None:
        inbound, backend = self._inbound, self._backend
        upstream_model = backend.settings.upstream_model
        body = inbound.with_model(upstream_model) if upstream_model else inbound.body
        try:
            answer = await self._proxy.client.request(
                endpoint.origin, "POST", inbound.path, [*inbound.headers, *backend.headers], body, fresh=fresh
            )
        except UpstreamError as error:
            raise _NotServed(str(error), sent=error.sent) from error
        try:
            if answer.status == 200 and answer.header(b"content-type").startswith(b"text/event-stream"):
                await self._stream(answer)
            else:
                await self._whole(answer)
        finally:
            answer.abort()

    async def _whole(self, answer: Answer) -> None:
        try:
            body = await answer.read(self._proxy.sizes.answer_bytes)
        except UpstreamBroken as error:
            raise _NotServed(str(error), sent=error.sent) from error
        except AnswerTooLarge as error:
            raise ApiError(502, str(error), code="answer_too_large") from error
        if not 200 <= answer.status < 300:
            raise self._refusal(answer, body)
        kind = answer.header(b"content-type") or b"application/json"
        await self._start(answer.status, ((b"content-type", kind), (b"content-length", b"%d" % len(body))))
        await self._send({"type": "http.response.body", "body": body})

    def _refusal(self, answer: Answer, body: bytes) -> Exception:
        """What an answer other than 2xx means: the engine's word on this request, or that there is no engine."""
        backend = self._backend
        if backend.is_engine:
            if answer.header(_DEAD_HEADER):
                return _NotServed("the engine has died", sent=0)
            is_json = answer.header(b"content-type").startswith(b"application/json")
            if answer.status in _INFRASTRUCTURE_STATUSES and not is_json:
                return _NotServed(f"the engine's proxy answered {answer.status}", sent=answer.sent)
            if translation.is_dead_engine(answer.status, body):
                return _NotServed("the engine died while it answered", sent=answer.sent)
        if translation.is_wrong_task(answer.status, body):
            return backend.not_supported(self._inbound.path)
        return translation.api_error(answer.status, body, model=backend.name, retry_after=answer.header(b"retry-after"))

    async def _stream(self, answer: Answer) -> None:
        splitter = sse.Splitter()
        with _Silence(answer, self._proxy.times.keep_alive_comment_seconds) as silence:
            events = await self._first_events(answer, splitter)
            error = sse.find_error(events)
            if error is None or error[0]:
                self._streaming = True
                await self._start(200, sse.HEADERS)
            send = self._send
            while error is None:
                await send({"type": "http.response.body", "body": events, "more_body": True})
                silence.broken()
                if events is not sse.KEEP_ALIVE:
                    self._last_events = events
                events = await self._next_events(answer, splitter, silence)
                if not events:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                error = sse.find_error(events)
            before, payload = error
            self._backend.suspect_all()
            if before:
                await send({"type": "http.response.body", "body": before, "more_body": True})
            raise translation.stream_error(payload, model=self._backend.name)

    async def _first_events(self, answer: Answer, splitter: sse.Splitter) -> bytes:
        """The first whole events, or a comment when they are long in coming. Raises _NotServed."""
        try:
            events = await self._whole_events(answer, splitter)
        except UpstreamBroken as error:
            raise _NotServed(str(error), sent=error.sent) from error
        if not events:
            raise _NotServed("an empty stream", sent=answer.sent)
        return events

    async def _next_events(self, answer: Answer, splitter: sse.Splitter, silence: "_Silence") -> bytes:
        """The next whole events; a comment after a long silence; b"" at the end. Raises ApiError."""
        line = self._line
        try:
            if line is not None and line.open:
                events = await self._unpushed_events(answer, splitter, line, silence)
            else:
                events = await self._whole_events(answer, splitter)
        except UpstreamBroken as error:
            self._backend.suspect_all()
            raise translation.engine_lost(self._backend.name) from error
        if events is None:
            raise translation.engine_lost(self._backend.name)
        return events

    async def _unpushed_events(
        self, answer: Answer, splitter: sse.Splitter, line: Line, silence: "_Silence"
    ) -> bytes | None:
        """As `_whole_events`, except that plain events are written to `line` as they come and not returned."""
        unsure = b""
        limit = self._proxy.sizes.answer_bytes

        def push(chunk: bytes) -> bool:
            nonlocal unsure
            events = splitter.feed(chunk)
            if not events:
                return splitter.held <= limit
            if sse.may_be_error(events):
                unsure = events
                return False
            self._last_events = events
            silence.broken()
            if not line.write(events):
                answer.hold()
            return True

        line.when_writable(answer.release)
        try:
            ended = await answer.pipe(push)
        finally:
            line.when_writable(None)
        if unsure or not ended:
            self._refuse_endless(splitter)
            return unsure or sse.KEEP_ALIVE
        return splitter.end()

    def _refuse_endless(self, splitter: sse.Splitter) -> None:
        if splitter.held > self._proxy.sizes.answer_bytes:
            message = f"the backend of {self._backend.name} sent an event without an end"
            raise ApiError(502, message, code="answer_too_large")

    async def _whole_events(self, answer: Answer, splitter: sse.Splitter) -> bytes | None:
        """As `_next_events`; None when the stream ended with half an event. Raises UpstreamBroken."""
        while (chunk := await answer.chunk()) is not None:
            if not chunk:
                return sse.KEEP_ALIVE
            if events := splitter.feed(chunk):
                return events
            self._refuse_endless(splitter)
        return splitter.end()

    async def _start(self, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        self._status = status
        self._meter.first_byte(time.perf_counter() - self._began)
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})


class _Silence:
    """Pokes an answer when nothing was sent for `seconds`. One timer a stream, none a chunk."""

    def __init__(self, answer: Answer, seconds: float) -> None:
        self._answer = answer
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "_Silence":
        self._timer = self._loop.call_later(self._seconds, self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def broken(self) -> None:
        """Something was sent."""
        self._since = self._loop.time()

    def _look(self) -> None:
        left = self._since + self._seconds - self._loop.time()
        if left <= 0:
            self._answer.poke()
            left = self._seconds
        self._timer = self._loop.call_later(left, self._look)


class _Leaving:
    """Ends the block, with ClientGone, as soon as the client closes the connection."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise ClientGone from None
