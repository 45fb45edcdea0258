"""One request at the backend of one model: sent until it is answered, and its answer passed on as bytes.

Nothing of an answer is parsed on the plain path. The first events of a stream are looked at before the 200,
so that an engine that fails at once still gets an honest status; after that, chunks are cut at the ends of
events and copied. Before the first byte a failed attempt is repeated at another engine, or when one is back;
after it, never. Once a stream flows, its chunks go from the upstream's socket to the client's (`line`) without waking
the request's task; it is woken for what has to be looked at: an error, a long silence, the end.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass

from fairlead_serve.asgi import Send, header_of
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway import sse, translation
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.balancing import Endpoint
from fairlead_serve.gateway.inbound import Inbound
from fairlead_serve.gateway.line import Line
from fairlead_serve.gateway.sessions import HEADER as SESSION_HEADER
from fairlead_serve.gateway.sessions import session_of
from fairlead_serve.gateway.upstream import (
    Answer,
    AnswerTooLarge,
    Headers,
    UpstreamBroken,
    UpstreamClient,
    UpstreamError,
)
from fairlead_serve.gateway.usage import UsageMeter
from fairlead_serve.gateway.watching import Deadline, Silence
from fairlead_serve.internal import DEAD_HEADER
from fairlead_serve.metrics import GatewayMetrics
from fairlead_serve.settings import Sizes, Times

# A request that was lost is sent at most this often: it may be what kills the engine.
_MAX_SENT = 3
# The first attempt elsewhere is made at once; from then on the pause doubles.
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
# How long an engine that has the adapter asked for is looked for: one that is new loads its adapters after its start.
_ADAPTER_SECONDS = 30.0
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


class _NotLoaded(_NotServed):
    """The engine is well but does not have the adapter that was asked for: it is new, and others may have it."""

    def __init__(self, adapter: str) -> None:
        super().__init__(f"the adapter {adapter} is not loaded", sent=0)


class _Misnamed(Exception):  # noqa: N818
    """The engine was started before the Model was given the name that was asked for."""


@dataclass(frozen=True)
class Means:
    """What every exchange uses: connections, metrics, bounds."""

    client: UpstreamClient
    metrics: GatewayMetrics
    times: Times
    sizes: Sizes


@dataclass
class Outlet:
    """Where an answer goes, and what the gateway adds to it.

    `line`: the client's connection, where chunks may be written to it directly. `headers` are added to the answer's.
    `raising`: a failure in the middle of a stream is raised, for who makes something else of the events, instead of
    being written at its end.
    """

    send: Send
    line: Line | None = None
    headers: Headers = ()
    usage: UsageMeter | None = None
    raising: bool = False


class Exchange:
    """One request on its way through one backend: what was sent of its answer, and to which endpoint it went.

    `patient`: it may wait for an engine to become ready; else it is refused at once where none is.
    """

    def __init__(self, means: Means, backend: Backend, inbound: Inbound, outlet: Outlet, *, patient: bool) -> None:
        self._means = means
        self._backend = backend
        self._inbound = inbound
        self._outlet = outlet
        self._send = outlet.send
        self._patient = patient
        self._meter = means.metrics.meter(backend.name)
        self._status = 0
        self._streaming = False
        self._last_events = b""
        self._misnamed = False
        self._unloaded_since: float | None = None
        self._began = time.perf_counter()

    @property
    def begun(self) -> bool:
        """Whether the client has seen anything of the answer."""
        return bool(self._status)

    async def run(self) -> None:
        """Answer the request. Raises ApiError while nothing has been sent; ends a stream with it after (see Outlet)."""
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
        seconds = backend.settings.request_seconds or self._means.times.request_seconds
        try:
            with Deadline(seconds):
                if not backend.ready:
                    # Who waits for an engine takes no place: the bounds of a cold start are others.
                    await self._ready()
                async with backend.admission:
                    await self._attempts()
        except TimeoutError:
            await self.fail(ApiError(504, f"no whole answer within {seconds:g} s", code="request_timeout"))
        except ApiError as error:
            await self.fail(error)

    async def fail(self, error: ApiError) -> None:
        """Raise `error` while nothing has been sent; end a stream with it, unless it was at its end."""
        if not self._status or self._outlet.raising:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: together they would keep the request until a collection
        if not self._streaming:
            return  # half a body: the server cuts the connection
        last = b"" if sse.is_done(self._last_events) else sse.failure(error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _ready(self) -> None:
        """Wait until an endpoint is ready. Raises ApiError, at once where others may be asked instead."""
        if not self._patient:
            raise self._backend.unavailable("others are asked instead")
        await self._backend.wait_ready()

    async def _attempts(self) -> None:
        backend = self._backend
        tried: set[str] = set()
        sent = 0
        pause = 0.0
        while True:
            # Each time: the Model may be suspended by now, or served by who must not see what the engines want to see.
            backend.raise_refusal()
            session, headers = self._prepare()
            endpoint = backend.balancer.pick(tried=tried, session=session)
            if endpoint is None:
                await self._ready()
                continue
            try:
                with endpoint:
                    return await self._attempt(endpoint, headers, fresh=bool(tried))
            except _Misnamed:
                self._misnamed = True
                continue
            except _NotLoaded as failure:
                tried.add(endpoint.url)
                self._refuse_long_loading(failure)
                self._meter.retried("not_loaded")
            except _NotServed as failure:
                tried.add(endpoint.url)
                sent += failure.sent
                backend.suspect(endpoint)
                if sent >= _MAX_SENT:
                    raise backend.unavailable(f"{sent} attempts were lost, the last one: {failure}") from failure
                if not backend.is_engine and all(one.url in tried for one in backend.balancer.endpoints):
                    raise backend.unreachable(str(failure)) from failure
                self._meter.retried("lost" if failure.sent else "unreachable")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS) or _FIRST_PAUSE_SECONDS

    def _refuse_long_loading(self, failure: _NotLoaded) -> None:
        """Raises ApiError where an engine with the adapter has been looked for long enough."""
        now = time.perf_counter()
        if self._unloaded_since is None:
            self._unloaded_since = now
        if now - self._unloaded_since >= _ADAPTER_SECONDS:
            raise self._backend.unavailable(f"{failure}; the status of its Model says why") from failure

    def _prepare(self) -> tuple[bytes, Headers]:
        """(the session of the request where it decides who serves it, the headers for the backend)."""
        headers = [*self._inbound.headers, *self._backend.headers]
        if not self._backend.by_prefix:
            return b"", headers
        given = header_of(headers, SESSION_HEADER)
        session = given or session_of(self._inbound.body)
        if session and not given:
            headers.append((SESSION_HEADER, session))
        return session, headers

    async def _attempt(self, endpoint: Endpoint, headers: Headers, *, fresh: bool) -> None:
        inbound = self._inbound
        other_name = self._backend.settings.upstream_model or (self._backend.resource if self._misnamed else "")
        body = inbound.with_model(other_name) if other_name else inbound.body
        try:
            answer = await self._means.client.request(endpoint.origin, "POST", inbound.path, headers, body, fresh=fresh)
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
            body = await answer.read(self._means.sizes.answer_bytes)
        except UpstreamBroken as error:
            raise _NotServed(str(error), sent=error.sent) from error
        except AnswerTooLarge as error:
            raise ApiError(502, str(error), code="answer_too_large") from error
        if not 200 <= answer.status < 300:
            raise self._refusal(answer, body)
        if self._outlet.usage is not None:
            self._outlet.usage.whole(body)
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
        if answer.status == 404 and (unknown := self._unknown_name()) is not None:
            return unknown
        return translation.api_error(answer.status, body, model=backend.name, retry_after=answer.header(b"retry-after"))

    def _unknown_name(self) -> Exception | None:
        """What to make of a 404 that may be about the name asked for; None: nothing but an answer."""
        backend, asked = self._backend, self._inbound.model
        if asked and asked in backend.adapters:
            return _NotLoaded(asked)
        # Engines know the names that they were started with, and always that of the resource.
        if not self._misnamed and asked in backend.names and backend.resource not in {"", asked}:
            return _Misnamed()
        return None

    async def _stream(self, answer: Answer) -> None:
        splitter = sse.Splitter()
        with Silence(answer, self._means.times.keep_alive_comment_seconds) as silence:
            events = await self._first_events(answer, splitter)
            error = sse.find_error(events)
            if error is None or error[0]:
                self._streaming = True
                await self._start(200, sse.HEADERS)
            while error is None:
                await self._pass_on(events)
                silence.broken()
                if events is not sse.KEEP_ALIVE:
                    self._last_events = events
                events = await self._next_events(answer, splitter, silence)
                if not events:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                error = sse.find_error(events)
            before, payload = error
            self._backend.suspect_all()
            if before:
                await self._pass_on(before)
            raise translation.stream_error(payload, model=self._backend.name)

    async def _pass_on(self, events: bytes) -> None:
        usage = self._outlet.usage
        shown = events if usage is None else usage.stream(events)
        if shown:
            await self._send({"type": "http.response.body", "body": shown, "more_body": True})

    async def _first_events(self, answer: Answer, splitter: sse.Splitter) -> bytes:
        """The first whole events, or a comment when they are long in coming. Raises _NotServed."""
        try:
            events = await self._whole_events(answer, splitter)
        except UpstreamBroken as error:
            raise _NotServed(str(error), sent=error.sent) from error
        if not events:
            raise _NotServed("an empty stream", sent=answer.sent)
        return events

    async def _next_events(self, answer: Answer, splitter: sse.Splitter, silence: Silence) -> bytes:
        """The next whole events; a comment after a long silence; b"" at the end. Raises ApiError."""
        line = self._outlet.line
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
        self, answer: Answer, splitter: sse.Splitter, line: Line, silence: Silence
    ) -> bytes | None:
        """As `_whole_events`, except that plain events are written to `line` as they come and not returned."""
        unsure = b""
        limit = self._means.sizes.answer_bytes
        usage = self._outlet.usage

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
            if usage is not None:
                events = usage.stream(events)
            if events and not line.write(events):
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
        if splitter.held > self._means.sizes.answer_bytes:
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
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *self._outlet.headers]}
        )
