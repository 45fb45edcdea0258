"""The models that the settings name, and what the gateway shows their backends."""

from collections.abc import Mapping

from fairlead_serve.errors import ConfigurationError
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.gateway.upstream import Headers
from fairlead_serve.internal import TOKEN_HEADER
from fairlead_serve.settings import BackendSettings, GatewaySettings


def fixed_table(settings: GatewaySettings, environment: Mapping[str, str], created: int) -> RoutingTable:
    """The table of the backends in `settings`, which stay. Arguments and errors: see create_gateway."""
    try:
        backends = [
            Backend(one, _backend_headers(one, settings, environment), one.created or created, one.endpoints)
            for one in settings.backends
        ]
        fallbacks = [one.fallback for one in settings.backends]
        return RoutingTable.fixed(list(zip(backends, fallbacks, strict=True)), default_model=settings.default_model)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def open_table(settings: GatewaySettings) -> RoutingTable:
    """A table whose models are yet to come, the default one included."""
    return RoutingTable(default_model=settings.default_model, unsettled="the gateway is waiting for the cluster")


def engine_headers(settings: GatewaySettings) -> Headers:
    """What engines want to see of every request: the internal token."""
    return [(TOKEN_HEADER.encode(), settings.internal_token.get_secret_value().encode())]


def _backend_headers(backend: BackendSettings, settings: GatewaySettings, environment: Mapping[str, str]) -> Headers:
    if backend.kind == "engine":
        return engine_headers(settings)
    if not backend.api_key_env:
        return []
    # Files and Secrets tend to end with a newline, which a header must not have.
    key = environment.get(backend.api_key_env, "").strip()
    if not key:
        message = f"the environment variable {backend.api_key_env}, the API key of {backend.name}, is not set"
        raise ConfigurationError(message)
    return [(b"authorization", f"Bearer {key}".encode())]
