"""What the operator would do for Model files, without doing it."""

import copy
import difflib
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

import yaml

from fairlead_operator.errors import SettingsError
from fairlead_operator.observed import Observed, Problem
from fairlead_operator.ownership import identity
from fairlead_operator.plan import make_plan
from fairlead_operator.render import Manifest
from fairlead_operator.renderer import Renderer
from fairlead_serve.model import API_VERSION, KIND, Model

# What the API server keeps for itself, and what controllers write: neither is anybody's to change.
_NOISE = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")


class Reader(Protocol):
    """Of a cluster what a preview needs. It writes nothing."""

    def read(self, api_version: str, kind: str, namespace: str, name: str) -> Manifest | None:
        """An object as it is now; None where there is none."""

    def apply(self, manifest: Manifest, *, dry_run: bool) -> Manifest:
        """The object as it would be."""


def rendered(models: Sequence[Model], renderer: Renderer, *, namespace: str, now: datetime) -> Iterator[Manifest]:
    """What is applied for Models that are new to a cluster, with their owner and all labels.

    Raises SettingsError with the sentence of a Model that cannot be rendered.
    """
    for model in models:
        yield from _planned(live_form(model, namespace), renderer, now)


def changes(
    models: Sequence[Model], renderer: Renderer, cluster: Reader, *, namespace: str, now: datetime
) -> Iterator[str]:
    """The lines of a unified diff of each object that would change, as the API server would store it.

    Raises SettingsError and ClusterError.
    """
    for model in models:
        written = live_form(model, namespace)
        where = written["metadata"]["namespace"]
        live = cluster.read(API_VERSION, KIND, where, model.name)
        if live is not None:
            written["metadata"]["uid"] = live["metadata"]["uid"]
        for manifest in _planned(written, renderer, now):
            kind, name = identity(manifest)
            if kind == "ControllerRevision":
                # The operator's own notes.
                continue
            before = cluster.read(manifest["apiVersion"], kind, where, name)
            after = cluster.apply(manifest, dry_run=True)
            yield from _diff(before, after, f"{kind}/{name}")


def live_form(model: Model, namespace: str) -> Manifest:
    """A Model of a file as the API server would have it."""
    document = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    document.pop("status", None)
    where = document["metadata"].get("namespace") or namespace
    document["metadata"] |= {
        "namespace": where,
        # Stands for that of a Model which is not in the cluster yet.
        "uid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{where}/{model.name}")),
        "generation": 0,
    }
    return document


def _planned(live: Manifest, renderer: Renderer, now: datetime) -> Sequence[Manifest]:
    wanted = renderer.wanted(live)
    if isinstance(wanted, Problem):
        message = f"{live['metadata']['name']}: {wanted.message}"
        raise SettingsError(message)
    return make_plan(wanted, Observed(model=live), now=now).apply


def _diff(before: Manifest | None, after: Manifest, title: str) -> Iterator[str]:
    old, new = ([] if one is None else _lines(one) for one in (before, after))
    yield from difflib.unified_diff(old, new, f"{title} (now)", f"{title} (then)", lineterm="")


def _lines(manifest: Manifest) -> list[str]:
    shown: dict[str, Any] = copy.deepcopy(manifest)
    shown.pop("status", None)
    for name in _NOISE:
        shown["metadata"].pop(name, None)
    return as_yaml([shown]).splitlines()


def as_yaml(manifests: Sequence[Manifest]) -> str:
    """Objects as a file for `kubectl`."""
    return yaml.safe_dump_all(manifests, allow_unicode=True, sort_keys=False, width=120)
