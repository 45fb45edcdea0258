"""What the operator would do for Model files, without doing it."""

import copy
import difflib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml

from fairlead_operator.errors import SettingsError
from fairlead_operator.kinds import MODEL, Key, kind_of
from fairlead_operator.observed import Observed, Problem, Wanted
from fairlead_operator.ownership import identity, is_owned
from fairlead_operator.plan import Plan, make_plan
from fairlead_operator.reader import Reader
from fairlead_operator.render import Manifest
from fairlead_operator.renderer import Renderer
from fairlead_serve.model import Model

# What the API server keeps for itself, and what controllers write: neither is anybody's to change.
_NOISE = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")


@dataclass(frozen=True)
class Outlook:
    """What the operator would do for the Model of that name.

    `lines`: a unified diff of each object that would change, none where a problem blocks. `problems`: what it would say
    against the Model, as far as the objects of the Model tell; Secrets, fallbacks and names are not looked for.
    """

    model: str
    lines: Sequence[str]
    problems: Sequence[Problem]


def rendered(models: Sequence[Model], renderer: Renderer, *, namespace: str, now: datetime) -> Iterator[Manifest]:
    """What is made for Models that are new to a cluster, with all labels.

    Without an owner: the garbage collector takes what belongs to a Model that is not there.
    Raises SettingsError with the sentence of a Model that cannot be rendered.
    """
    for model in models:
        written = live_form(model, namespace)
        wanted = renderer.wanted(written)
        if isinstance(wanted, Problem):
            message = f"{model.name}: {wanted.message}"
            raise SettingsError(message)
        plan = make_plan(wanted, Observed(model=written), now=now)
        yield from (_ownerless(manifest) for manifest in plan.apply if not _is_note(manifest))


def changes(
    models: Sequence[Model], renderer: Renderer, cluster: Reader, *, namespace: str, now: datetime
) -> Iterator[Outlook]:
    """What would be done for each Model, with objects as the API server would store them. Raises ClusterError."""
    for model in models:
        wanted, seen = _look(model, renderer, cluster, namespace)
        plan = make_plan(wanted, seen, now=now)
        yield Outlook(model.name, list(_changed(plan, cluster)), plan.problems)


def live_form(model: Model, namespace: str, live: Manifest | None = None) -> Manifest:
    """A Model of a file as the API server would have it; `live` is the one that it has."""
    document = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    document.pop("status", None)
    metadata = document["metadata"]
    where = metadata.get("namespace") or namespace
    there: Mapping[str, Any] = live["metadata"] if live is not None else {}
    metadata |= {
        "namespace": where,
        # Stands for that of a Model which is not in the cluster yet.
        "uid": there.get("uid") or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{where}/{model.name}")),
        "generation": 0,
        # Those that the file does not have stay: one of them says which attempt at a revision this is.
        "annotations": {**(there.get("annotations") or {}), **metadata.get("annotations", {})},
    }
    return document


def _look(model: Model, renderer: Renderer, cluster: Reader, namespace: str) -> tuple[Wanted | None, Observed]:
    key = Key(model.metadata.namespace or namespace, model.name)
    written = live_form(model, namespace, cluster.read(MODEL, key.namespace, key.name))
    by_kind = cluster.children(key)
    children = [child for found in by_kind.values() for child in found or ()]
    wanted = renderer.wanted(written)
    if isinstance(wanted, Wanted):
        wanted = wanted.where(lambda manifest: by_kind.get(kind_of(manifest), ()) is not None)
    if isinstance(wanted, Problem):
        return None, Observed(written, children, problems=[wanted])
    known = {identity(child) for child in children}
    others = (
        cluster.read(kind_of(manifest), key.namespace, manifest["metadata"]["name"])
        for manifest in wanted.objects
        if identity(manifest) not in known
    )
    strangers = [other for other in others if other is not None and not is_owned(other, written)]
    return wanted, Observed(written, children, strangers)


def _changed(plan: Plan, cluster: Reader) -> Iterator[str]:
    # Given up and taken over in one go, their number stays.
    handed_over = {identity(manifest): manifest["spec"] for manifest in plan.handed_over}
    for manifest in plan.apply:
        if not _is_note(manifest):
            metadata = manifest["metadata"]
            before = cluster.read(kind_of(manifest), metadata["namespace"], metadata["name"])
            after = _merged(cluster.tried(manifest), handed_over.get(identity(manifest), {}))
            yield from _diff(_title(manifest), before, after)
    for manifest in plan.delete:
        if not _is_note(manifest):
            yield from _diff(_title(manifest), manifest, None)
    for size in plan.sizes:
        yield from _diff(_title(size.target), size.target, _merged(size.target, size.spec))


def _is_note(manifest: Manifest) -> bool:
    """Whether it is the operator's own, and nobody else's business."""
    return bool(manifest["kind"] == "ControllerRevision")


def _ownerless(manifest: Manifest) -> Manifest:
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "ownerReferences"}
    return {**manifest, "metadata": metadata}


def _merged(manifest: Manifest, spec: Mapping[str, Any]) -> Manifest:
    return {**manifest, "spec": {**manifest["spec"], **spec}} if spec else manifest


def _title(manifest: Manifest) -> str:
    return "/".join(identity(manifest))


def _diff(title: str, before: Manifest | None, after: Manifest | None) -> Iterator[str]:
    old, new = ([] if one is None else _lines(one) for one in (before, after))
    yield from difflib.unified_diff(old, new, f"{title} (now)", f"{title} (then)", lineterm="")


def _lines(manifest: Manifest) -> list[str]:
    shown: dict[str, Any] = copy.deepcopy(manifest)
    shown.pop("status", None)
    for name in _NOISE:
        shown["metadata"].pop(name, None)
    # The API server keeps no order of fields.
    return as_yaml([shown], sort_keys=True).splitlines()


def as_yaml(manifests: Sequence[Manifest], *, sort_keys: bool = False) -> str:
    """Objects as a file for `kubectl`."""
    return yaml.safe_dump_all(manifests, allow_unicode=True, sort_keys=sort_keys, width=120)
