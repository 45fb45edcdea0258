"""The byte path: one request read, one backend picked, its answer passed on as bytes."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from fairlead_serve.asgi import Receive, Scope, Send
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import Caller, caller_of
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.exchange import Exchange, Means, Outlet
from fairlead_serve.gateway.inbound import ClientGone, Inbound, read_inbound
from fairlead_serve.gateway.limits import Grant, Limits
from fairlead_serve.gateway.line import line_of
from fairlead_serve.gateway.routing import RoutingTable, may_use
from fairlead_serve.gateway.usage import UsageMeter
from fairlead_serve.gateway.watching import Leaving

# Failures of one request, not of who serves it: another model would not do better, or has no time left to.
_FINAL_CODES = frozenset({"request_timeout", "answer_too_large", "gateway_stopping"})
# Streams that tell their usage only when asked to.
_USAGE_ON_REQUEST = frozenset({"/v1/chat/completions", "/v1/completions"})
_SERVED_BY = b"x-fairlead-served-by"


class Permit(msgspec.Struct, frozen=True):
    """That a caller may ask `backend` now. It counts within the caller's limits until `grant` is released."""

    backend: Backend
    grant: Grant


@dataclass(frozen=True)
class Proxy:
    """A bare ASGI endpoint that passes requests on to the backend of their model, or to its fallbacks."""

    table: RoutingTable
    means: Means
    limits: Limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises ApiError while nothing has been sent."""
        sizes, times = self.means.sizes, self.means.times
        inbound = await read_inbound(scope, receive, limit=sizes.body_bytes, seconds=times.request_seconds)
        await self.forward(scope, receive, inbound, Outlet(send, line_of(scope)))

    async def permit(self, caller: Caller, model: str | None) -> Permit:
        """Let `caller` ask `model`, or the default. Raises ApiError 400, 403, 404 and 429."""
        backend = self.table.find(model, caller)
        return Permit(backend, await self.limits.admit(caller))

    async def forward(
        self, scope: Scope, receive: Receive, inbound: Inbound, outlet: Outlet, permit: Permit | None = None
    ) -> None:
        """Pass `inbound` on for the caller of `scope`, and its answer to `outlet`.

        `permit`: one that the caller has for this request already; it is released here. Raises ApiError while nothing
        has been sent, and ClientGone when `receive` tells that the client left.
        """
        caller = caller_of(scope)
        if permit is None:
            permit = await self.permit(caller, inbound.model)
        backend, grant = permit.backend, permit.grant
        if grant.headers:
            outlet.headers = [*outlet.headers, *grant.headers]
        cut = False
        try:
            if grant.counts_tokens:
                inbound = _metered(inbound, outlet)
            with Leaving(receive, line_of(scope)) as leaving:
                await self._serve(scope, inbound, outlet, leaving, backend=backend, caller=caller)
        except ClientGone:
            cut = True
            raise
        except ApiError:
            cut = outlet.usage is not None and outlet.usage.begun  # what is refused at once costs nothing
            raise
        finally:
            if outlet.usage is not None:
                grant.charge(outlet.usage.tokens(prompt_bytes=len(inbound.body), whole=not cut))
            grant.release()

    async def _serve(
        self, scope: Scope, inbound: Inbound, outlet: Outlet, leaving: Leaving, *, backend: Backend, caller: Caller
    ) -> None:
        if backend.removed:
            backend.raise_refusal()  # nothing is counted of a model that is no more
        refusal: ApiError | None = None
        meter = self.means.metrics.meter(backend.name)
        candidates = self._candidates(backend, caller)
        # Also where another one answers: whoever scales has to know that this one was asked for.
        backend.last_request = time.time()
        try:
            for candidate in candidates:
                if candidate.removed and candidate is not backend:
                    continue  # since it was chosen
                scope["fairlead.model"] = candidate.called(inbound.model)
                request = (inbound, outlet)
                if inbound.elsewhere is not None and not candidate.is_engine:
                    request = (inbound.elsewhere(), outlet)
                if candidate is not backend:
                    meter.fell_back(candidate.name)
                    candidate.last_request = backend.last_request
                    request = _redirected(*request, candidate)
                exchange = Exchange(self.means, candidate, *request, patient=candidate is candidates[-1])
                try:
                    await _finish(exchange, leaving)
                except ApiError as error:
                    gone = candidate is not backend and candidate.removed and error.status == 404
                    if exchange.begun or not (gone or _may_fail_over(error)):
                        raise
                    refusal = refusal or (backend.unavailable("who answers for it was deleted") if gone else error)
                else:
                    return
            if refusal is not None:
                raise refusal
        finally:
            del refusal  # its traceback holds this frame: together they would keep the request until a collection

    def _candidates(self, backend: Backend, caller: Caller) -> Sequence[Backend]:
        """Who may answer, in order: those that are ready, or else the first that it is of use to wait for."""
        if not backend.fallbacks:
            return (backend,)
        allowed = [backend, *(one for one in backend.fallbacks if may_use(caller, one.name, one))]
        ready = [one for one in allowed if one.ready]
        return ready or [next((one for one in allowed if not one.refused), backend)]


async def _finish(exchange: Exchange, leaving: Leaving) -> None:
    try:
        await exchange.run()
    except asyncio.CancelledError:
        if leaving.gone:
            raise
        # Not by the client: the process ends and its drain time is over. Nothing awaits this task any more.
        await exchange.fail(
            ApiError(503, "the gateway is stopping", code="gateway_stopping", headers={"retry-after": "1"})
        )


def _metered(inbound: Inbound, outlet: Outlet) -> Inbound:
    """`inbound`, asking for what it takes to count its tokens, which `outlet` then does."""
    asking = None
    if inbound.stream and inbound.path in _USAGE_ON_REQUEST:
        asking = inbound.asking_for_usage()
    outlet.usage = UsageMeter(asked=asking is not None)
    return asking or inbound


def _redirected(inbound: Inbound, outlet: Outlet, backend: Backend) -> tuple[Inbound, Outlet]:
    """The same request for another model, whose answer tells who gave it."""
    return (
        msgspec.structs.replace(inbound, body=inbound.with_model(backend.name), model=backend.name),
        replace(outlet, headers=[*outlet.headers, (_SERVED_BY, backend.name.encode())]),
    )


def _may_fail_over(error: ApiError) -> bool:
    return error.status == 429 or (error.status >= 500 and error.code not in _FINAL_CODES)
