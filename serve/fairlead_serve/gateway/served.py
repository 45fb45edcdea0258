"""From a Model to what the gateway has to know of it. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairlead_serve.model import Model, SecretKeyRef, parse
from fairlead_serve.settings import AdapterSettings, ColdStartSettings, ServedModel

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Listing:
    """A Model of a cluster as its resource says it is to be served.

    `key` is `namespace/name`; `fallbacks` are keys too. `reserved` are the names of adapters that engines may not have
    yet. `upstream` is the base URL of a server that is not ours, without the `/v1`; empty where there are engines.
    `refusal` is why requests are refused; empty where they are not.
    """

    key: str
    served: ServedModel
    fallbacks: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    upstream: str = ""
    api_key: SecretKeyRef | None = None
    refusal: str = ""


def served_model(model: Model, *, adapters: Collection[str], created: int = 0) -> ServedModel:
    """The names and bounds of `model`. `adapters`: those of its LoRA adapters that can be asked for now."""
    spec = model.spec
    bounds = spec.scaling.cold_start if spec.scaling is not None else None
    name, *aliases = model.served_names
    return ServedModel(
        name=name,
        aliases=tuple(aliases),
        adapters=tuple(
            AdapterSettings(name=adapter.name, uri=adapter.uri)
            for adapter in (spec.lora.adapters if spec.lora else ())
            if adapter.name in adapters
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
    return model.spec.upstream.url.rstrip("/").removesuffix("/v1") if model.spec.upstream is not None else ""


def key_of(manifest: Manifest) -> str:
    """What a Model is called in its cluster: `namespace/name`."""
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"


def what_matters(manifest: Manifest) -> tuple[Any, ...]:
    """What of a Model's manifest the gateway goes by. The operator writes the rest of its status all the time."""
    metadata = manifest["metadata"]
    return manifest.get("spec"), metadata.get("creationTimestamp"), _adapters(manifest)


def read_listing(manifest: Manifest, before: Listing | None) -> Listing:
    """Read a Model as the API server gives it; `before` is what it was until now.

    Raises ModelFileError for one that this release does not understand.
    """
    key = key_of(manifest)
    model = parse(manifest, source=f"the Model {key}")
    namespace = manifest["metadata"]["namespace"]
    upstream = model.spec.upstream
    return Listing(
        key,
        served_model(model, adapters=_usable_adapters(manifest, before), created=_seconds(manifest)),
        fallbacks=tuple(f"{namespace}/{name}" for name in model.spec.fallback),
        reserved=model.adapter_names,
        upstream=upstream_url(model),
        api_key=upstream.api_key_secret_ref if upstream is not None else None,
        refusal=_refusal(model),
    )


def _usable_adapters(manifest: Manifest, before: Listing | None) -> set[str]:
    """Adapters that engines have, and those that they had: while one is loaded anew somewhere, others have it still."""
    states = dict(_adapters(manifest))
    had = {adapter.name for adapter in before.served.adapters} if before is not None else set()
    return {name for name, state in states.items() if state == "Loaded" or (name in had and state != "Failed")}


def _adapters(manifest: Manifest) -> Iterable[tuple[str, str]]:
    status = manifest.get("status") or {}
    return [(adapter["name"], adapter.get("state", "")) for adapter in status.get("adapters") or ()]


def _refusal(model: Model) -> str:
    if model.spec.suspend:
        return "it is suspended (spec.suspend of its Model is true)"
    if model.spec.upstream is None and model.max_replicas == 0:
        return "it has no engines (spec.replicas of its Model is 0)"
    return ""


def _seconds(manifest: Manifest) -> int:
    written = manifest["metadata"].get("creationTimestamp")
    return int(datetime.fromisoformat(written).timestamp()) if written else 0
