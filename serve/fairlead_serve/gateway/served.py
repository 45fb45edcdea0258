"""From a Model to what the gateway has to know of it. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from fairlead_serve import shapes
from fairlead_serve.errors import ModelFileError, Problem
from fairlead_serve.gateway.upstream import Origin
from fairlead_serve.model import Model, SecretKeyRef, parse_stored
from fairlead_serve.settings import AdapterSettings, ColdStartSettings, ServedModel

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """A Model of a cluster as its resource says it is to be served.

    `key` is `namespace/name`; `fallbacks` are keys too. `upstream` is the base URL of a server that is not ours,
    without the `/v1`; empty where there are engines. `refusal` is why requests are refused; empty where they are not.
    """

    key: str
    served: ServedModel
    fallbacks: tuple[str, ...] = ()
    upstream: str = ""
    api_key: SecretKeyRef | None = None
    refusal: str = ""


def served_model(model: Model, *, created: int = 0) -> ServedModel:
    """The names and bounds of `model`."""
    spec = model.spec
    bounds = spec.scaling.cold_start if spec.scaling is not None else None
    name, *aliases = model.served_names
    return ServedModel(
        name=name,
        aliases=tuple(aliases),
        adapters=tuple(
            AdapterSettings(name=adapter.name, uri=adapter.uri) for adapter in (spec.lora.adapters if spec.lora else ())
        ),
        kind="engine" if spec.upstream is None else "upstream",
        upstream_model=spec.upstream.model if spec.upstream is not None else "",
        created=created,
        max_ongoing=spec.limits.max_ongoing,
        max_queued=spec.limits.max_queued,
        request_seconds=float(spec.limits.request_timeout_seconds),
        cold_start=ColdStartSettings()
        if bounds is None
        else ColdStartSettings(max_queued=bounds.max_queued, timeout_seconds=bounds.timeout_seconds),
        strategy=spec.routing.strategy,
    )


def upstream_url(model: Model) -> str:
    """Where the upstream of `model` is, as the gateway's paths, which bring their own /v1, want it; empty without."""
    if model.spec.upstream is None:
        return ""
    url = model.spec.upstream.url.rstrip("/")
    # Only a path is taken off: a host may be called v1 too.
    return url.removesuffix("/v1") if urlsplit(url).path else url


def key_of(manifest: Manifest) -> str:
    """What a Model is called in its cluster: `namespace/name`."""
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def what_matters(manifest: Manifest) -> tuple[Any, ...]:
    """What of a Model's manifest the gateway goes by. The operator writes its status all the time."""
    return manifest.get("spec"), manifest["metadata"].get("creationTimestamp")


def read_listing(manifest: Manifest) -> Listing:
    """Read a Model as the API server gives it, without fields that only a later release knows.

    Raises ModelFileError for one that this release does not understand.
    """
    key = key_of(manifest)
    source = f"the Model {key}"
    model = parse_stored(manifest, source=source, on_unknown=_ignored)
    namespace = manifest["metadata"]["namespace"]
    upstream = model.spec.upstream
    return Listing(
        key,
        served_model(model, created=_seconds(manifest)),
        fallbacks=tuple(f"{namespace}/{name}" for name in model.spec.fallback),
        upstream=_reachable(upstream_url(model), source),
        api_key=upstream.api_key_secret_ref if upstream is not None else None,
        refusal=_refusal(model),
    )


def _ignored(_place: str) -> None:
    """A field of a later release: the operator tells of it."""


def _reachable(url: str, source: str) -> str:
    """`url`, where it is empty or connections can be made to it. It may hold a secret: it is not quoted."""
    try:
        if url:
            Origin.parse(url)
    except ValueError:
        problem = Problem("spec.upstream.url", f"expected {shapes.URL.wanted}")
        raise ModelFileError(source, [problem]) from None
    return url


def _refusal(model: Model) -> str:
    if model.spec.suspend:
        return "it is suspended (spec.suspend of its Model is true)"
    if model.spec.upstream is None and model.max_replicas == 0:
        return "it has no engines (spec.replicas of its Model is 0)"
    return ""


def _seconds(manifest: Manifest) -> int:
    written = manifest["metadata"].get("creationTimestamp")
    return int(datetime.fromisoformat(written).timestamp()) if written else 0
