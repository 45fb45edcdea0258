"""Which backend a model's name leads to, for whom."""

from collections.abc import Iterable, Sequence

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import ANONYMOUS, Caller, require_model
from fairlead_serve.gateway.backends import Backend


class RoutingTable:
    """Every model name that can be asked for, and its backend. `unsettled`: why not all are known yet; else empty."""

    def __init__(self, *, default_model: str = "", unsettled: str = "") -> None:
        self.backends: Sequence[Backend] = ()
        self.unsettled = unsettled
        self._default = default_model
        self._by_name: dict[str, Backend] = {}

    @classmethod
    def fixed(cls, backends: Sequence[tuple[Backend, Sequence[str]]], *, default_model: str = "") -> "RoutingTable":
        """The table of backends that stay, each with the names of its fallbacks.

        Raises ValueError where two backends claim one name, or the default or a fallback is none of them.
        """
        table = cls(default_model=default_model)
        table.route([backend for backend, _ in backends])
        if default_model and default_model not in table._by_name:
            message = f"the default model {default_model!r} is none of: {', '.join(table._by_name)}"
            raise ValueError(message)
        for backend, fallbacks in backends:
            for name in fallbacks:
                if table._by_name.get(name, backend) is backend:
                    there_are = table._listed(ANONYMOUS)
                    message = f"the fallback {name!r} of {backend.name} is no other model; there are: {there_are}"
                    raise ValueError(message)
            backend.fallbacks = [table._by_name[name] for name in fallbacks]
        return table

    def route(self, backends: Sequence[Backend]) -> None:
        """Route to these from now on; requests under way keep theirs. Raises ValueError where two claim one name."""
        by_name: dict[str, Backend] = {}
        for backend in backends:
            for name in (*backend.names, *backend.adapters):
                if name in by_name:
                    message = f"the model name {name!r} is claimed by {by_name[name].name} and {backend.name}"
                    raise ValueError(message)
                by_name[name] = backend
        self.backends, self._by_name = tuple(backends), by_name

    def longest_request(self, default: float) -> float:
        """The longest that a request may take, in seconds; `default` is the bound of models without one."""
        return max((backend.settings.request_seconds or default for backend in self.backends), default=default)

    def names(self, caller: Caller = ANONYMOUS) -> Iterable[tuple[str, Backend]]:
        """(name, backend) for every name that `caller` may ask for."""
        return [(name, backend) for name, backend in self._by_name.items() if may_use(caller, name, backend)]

    def find(self, model: str | None, caller: Caller = ANONYMOUS) -> Backend:
        """The backend of `model`; of the default where it is None or empty.

        Raises ApiError 404, 403 or 400; 503 while not all models are known.
        """
        if not model:
            return self._find_default(caller)
        backend = self._by_name.get(model)
        if backend is None:
            raise self._unknown(model, caller)
        if not may_use(caller, model, backend):
            require_model(caller, model)
        return backend

    def _find_default(self, caller: Caller) -> Backend:
        if self._default:
            default = self._by_name.get(self._default)
            if default is None:
                raise self._unknown(self._default, caller)
            if may_use(caller, self._default, default):
                return default
        if self.unsettled:
            raise self.not_settled()
        allowed = [backend for backend in self.backends if may_use(caller, backend.name, backend)]
        if len(allowed) == 1:
            return allowed[0]
        raise ApiError(
            400,
            f"name a model; there are: {self._listed(caller)}",
            code="model_required",
            param="model",
        )

    def not_settled(self) -> ApiError:
        """503: not all models are known yet."""
        return ApiError(503, self.unsettled, code="not_ready", headers={"retry-after": "5"})

    def _unknown(self, model: str, caller: Caller) -> ApiError:
        if self.unsettled:
            return self.not_settled()
        return ApiError(
            404,
            f"the model {shorten(model)!r} does not exist; there are: {self._listed(caller) or 'none'}",
            code="model_not_found",
            param="model",
        )

    def _listed(self, caller: Caller) -> str:
        return ", ".join(sorted(name for name, _ in self.names(caller)))


def may_use(caller: Caller, name: str, backend: Backend) -> bool:
    """A key for a model is good for all its names, and one for an alias for the model. An adapter is another model."""
    return caller.may_use(name) or (name in backend.names and any(map(caller.may_use, backend.names)))


def shorten(text: str, limit: int = 100) -> str:
    """`text` cut to `limit` characters, for messages that quote what a client sent."""
    return text if len(text) <= limit else text[:limit] + "…"
