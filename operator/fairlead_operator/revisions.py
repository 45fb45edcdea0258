"""The revisions of a Model's engines, kept as ControllerRevisions: what ran well, and what did not.

A revision is what engines are made of: the templates of their pods, the Model file that these read and, with KubeRay,
the application. It is kept as it was rendered, so that going back to it needs neither the old Model nor the old chart.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import yaml

from fairlead_operator.render import Manifest
from fairlead_serve.informer import MODEL_LABEL

OUTCOME = "fairlead.dev/outcome"
FAILURE = "fairlead.dev/failure"
ATTEMPT = "fairlead.dev/attempt"
BEGAN = "fairlead.dev/began"
STUCK = "fairlead.dev/stuck"
RETRY = "fairlead.dev/retry"
"""On a Model: another value tries a failed revision once more."""

WORKLOADS = frozenset({"Deployment", "RayService"})
_KEPT = 2

Outcome = Literal["", "Good", "Failed"]


@dataclass(frozen=True)
class Revision:
    """One revision. `outcome` is empty as long as nobody knows; `failure` says why it failed, as `Reason: sentence`.

    `attempt` is the value of the Model's retry annotation under which it was tried, and `began` since when (RFC 3339);
    `stuck` is since when none of its engines can be made, empty while that is not so; `number` counts upwards.
    """

    name: str
    parts: dict[str, Any]
    number: int
    outcome: Outcome = ""
    failure: str = ""
    attempt: str = ""
    began: str = ""
    stuck: str = ""

    @property
    def kind(self) -> str:
        """What its engines run in: Deployment or RayService."""
        return str(self.parts.get("kind", ""))

    @property
    def config_maps(self) -> list[Manifest]:
        """The files of its pods."""
        return list(self.parts.get("configMaps", ()))

    def within(self, manifests: Iterable[Manifest]) -> list[Manifest]:
        """`manifests`, the objects of another revision, with the engines of this one. What surrounds them stays.

        A workload of the other kind is left out: this revision does not run in it.
        """
        others = [one for one in manifests if not _is_file(one) and one["kind"] not in WORKLOADS - {self.kind}]
        return [*self.config_maps, *(self._in_workload(one) if one["kind"] in WORKLOADS else one for one in others)]

    def _in_workload(self, workload: Manifest) -> Manifest:
        made = copy.deepcopy(workload)
        templates = self.parts["templates"]
        if made["kind"] == "Deployment":
            (made["spec"]["template"],) = templates
            return made
        for group, template in zip(_groups(made), templates, strict=True):
            group["template"] = template
        config = yaml.safe_load(made["spec"]["serveConfigV2"])
        for application, arguments in zip(config["applications"], self.parts["arguments"], strict=True):
            application["args"] = arguments
        made["spec"]["serveConfigV2"] = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
        return made

    def judged(self, outcome: Outcome, failure: str = "") -> "Revision":
        """The same revision, now that it is known how it went."""
        return replace(self, outcome=outcome, failure=failure)


def first_attempt(name: str, manifests: Iterable[Manifest], known: Sequence[Revision]) -> Revision:
    """A revision that nobody has tried yet."""
    number = max((revision.number for revision in known), default=0) + 1
    return Revision(name, _parts(list(manifests)), number)


def _parts(manifests: Sequence[Manifest]) -> dict[str, Any]:
    workload = next(manifest for manifest in manifests if manifest["kind"] in WORKLOADS)
    parts = {"kind": workload["kind"], "configMaps": list(filter(_is_file, manifests))}
    if workload["kind"] == "Deployment":
        return {**parts, "templates": [workload["spec"]["template"]]}
    applications = yaml.safe_load(workload["spec"]["serveConfigV2"])["applications"]
    return {
        **parts,
        "templates": [group["template"] for group in _groups(workload)],
        "arguments": [application["args"] for application in applications],
    }


def _is_file(manifest: Manifest) -> bool:
    """Whether it is what pods are made from. What may change while they run surrounds them."""
    return manifest["kind"] == "ConfigMap" and bool(manifest.get("immutable"))


def _groups(service: Manifest) -> list[dict[str, Any]]:
    cluster = service["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def revision_of(manifest: Manifest) -> Revision:
    """What a ControllerRevision keeps."""
    annotations = manifest["metadata"].get("annotations") or {}
    data: Any = manifest.get("data") or {}
    return Revision(
        name=str(data.get("revision", "")),
        parts=dict(data.get("parts") or {}),
        number=int(manifest.get("revision", 0)),
        outcome=annotations.get(OUTCOME, ""),
        failure=annotations.get(FAILURE, ""),
        attempt=annotations.get(ATTEMPT, ""),
        began=annotations.get(BEGAN, ""),
        stuck=annotations.get(STUCK, ""),
    )


def manifest_of(revision: Revision, model: str) -> Manifest:
    """The ControllerRevision that keeps a revision of the Model called `model`."""
    annotations = {
        OUTCOME: revision.outcome,
        FAILURE: revision.failure,
        ATTEMPT: revision.attempt,
        BEGAN: revision.began,
        STUCK: revision.stuck,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{model}-{revision.name}",
            "labels": {MODEL_LABEL: model},
            "annotations": {name: value for name, value in annotations.items() if value},
        },
        "revision": revision.number,
        "data": {"revision": revision.name, "parts": revision.parts},
    }


def last_good(revisions: Iterable[Revision], *, but: str = "") -> Revision | None:
    """The newest revision that ran well, other than the one called `but`."""
    good = [revision for revision in revisions if revision.outcome == "Good" and revision.name != but]
    return max(good, key=lambda revision: revision.number, default=None)


def kept(revisions: Sequence[Revision], wanted: str) -> list[Revision]:
    """The revisions worth keeping: the one that is wanted, the last good one, and a few to look at."""
    kinds = {revision.kind for revision in revisions}
    good = [last_good(revision for revision in revisions if revision.kind == kind) for kind in kinds]
    must = {wanted, *(revision.name for revision in good if revision)}
    others = sorted(
        (revision for revision in revisions if revision.name not in must), key=lambda one: one.number, reverse=True
    )
    return [one for one in revisions if one.name in must] + others[: max(0, _KEPT - len(must))]
