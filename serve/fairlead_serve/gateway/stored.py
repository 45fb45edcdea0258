"""Errors of the store as answers: the one place that knows both."""

from fairlead_serve.errors import ApiError, NotStored, StoreError
from fairlead_serve.gateway.backends import shorten


def api_error(error: StoreError) -> ApiError:
    """404 for what is not there, or is another key's; 503 with `retry-after` where the database does not answer."""
    if isinstance(error, NotStored):
        return ApiError(404, f"there is no {error.kind} {shorten(error.id)!r}", code=f"{error.kind}_not_found")
    return ApiError(503, f"the store is away: {error}", code="store_unavailable", headers={"retry-after": "5"})
