"""Errors of the store as answers: the one place that knows both."""

from fairlead_serve.errors import ApiError, NotStored, StoreError, StoreUnavailable
from fairlead_serve.gateway.routing import shorten


def api_error(error: StoreError) -> ApiError:
    """404 for what is not there, or is another key's; 503 with `retry-after` where the database does not answer.

    409 for what is there already: only a server that repeats the ids of its items comes to that.
    """
    if isinstance(error, NotStored):
        return ApiError(404, f"there is no {error.kind} {shorten(error.id)!r}", code=f"{error.kind}_not_found")
    if not isinstance(error, StoreUnavailable):
        return ApiError(409, str(error), code="store_conflict")
    return ApiError(503, f"the store is away: {error}", code="store_unavailable", headers={"retry-after": "5"})
