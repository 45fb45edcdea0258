"""What is: everything that a plan for one Model is made from. Pure values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairlead_operator.conditions import SpecReason
from fairlead_operator.engines import EngineStatus
from fairlead_operator.ownership import is_owned
from fairlead_operator.pods import PodFailure
from fairlead_operator.render import Manifest
from fairlead_operator.revisions import WORKLOADS
from fairlead_operator.workload import engine_pods
from fairlead_serve.model import Model


@dataclass(frozen=True)
class Problem:
    """What only the cluster can say against a specification.

    One that `blocks` lets nothing be applied; with one that `hides` the Model no request comes to its engines.
    """

    reason: SpecReason
    message: str
    blocks: bool = True
    hides: bool = False


@dataclass(frozen=True)
class Rewritten:
    """Places at which an object reads otherwise right after it was applied: an admission webhook's doing.

    `applied` is the hash of what was applied; of anything else it says nothing.
    """

    applied: str
    places: frozenset[str]


@dataclass(frozen=True)
class Wanted:
    """What a Model asks for: the objects rendered for it, not yet with an owner, and the revision of its engines.

    `adapters`: what its engines should have loaded, name and uri each.
    """

    model: Model
    objects: Sequence[Manifest]
    revision: str
    adapters: Sequence[Mapping[str, str]] = ()

    def where(self, knows: Callable[[Manifest], bool]) -> "Wanted | Problem":
        """The same for a cluster that `knows` the kinds of some objects.

        Without monitors, where it knows none; engines, where it does not know theirs, cannot be had.
        """
        unknown = [manifest for manifest in self.objects if not knows(manifest)]
        if any(manifest["kind"] == "RayService" for manifest in unknown):
            message = "spec.cluster: KubeRay is not installed in this cluster; install it, or use Standalone"
            return Problem(SpecReason.KUBERAY_NOT_FOUND, message)
        return replace(self, objects=[one for one in self.objects if one not in unknown]) if unknown else self


@dataclass(frozen=True)
class Observed:
    """What there is of one Model at one moment.

    `model` is the object in the cluster and `children` the objects that bear its label, pods and RayClusters included.
    `strangers` bear the name of a wanted object and not its label. `failures` are those of the engines' pods, `engines`
    what the engines say of themselves, by the name of their pod. `rewritten`: what the API server made of what was
    applied, by the uid of the object.
    """

    model: Manifest
    children: Sequence[Manifest] = ()
    strangers: Sequence[Manifest] = ()
    warnings: Sequence[Manifest] = ()
    failures: Sequence[PodFailure] = ()
    engines: Mapping[str, EngineStatus] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    rewritten: Mapping[str, Rewritten] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """That of the Model."""
        return str(self.model["metadata"]["name"])

    def of_kind(self, *kinds: str) -> list[Manifest]:
        """The children of some kinds."""
        return [child for child in self.children if child["kind"] in kinds]

    @property
    def workloads(self) -> list[Manifest]:
        """The Deployments and RayServices that are ours: at most one, or one of each during a move between the two.

        One that leaves is among them only where there is no other.
        """
        owned = [one for one in self.of_kind(*WORKLOADS) if is_owned(one, self.model)]
        return [one for one in owned if not one["metadata"].get("deletionTimestamp")] or owned[:1]

    @property
    def pods(self) -> list[Manifest]:
        """The pods of engines that are not leaving."""
        return engine_pods(self.of_kind("Pod"))
