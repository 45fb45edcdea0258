"""Resource quotas, as the API server 1.32 keeps them (plugin/pkg/admission/resourcequota): of pods and their requests.

Without scopes. Only controllers are refused: what a test makes by hand is made.
"""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from fairlead_operator.render import Manifest
from tests.kube.quantities import amount
from tests.kube.simulation import pod_status
from tests.kube.simulation.api import Api
from tests.kube.simulation.scheduler import Amounts, requests_of

FAILURE = "ReplicaFailure"
"""The condition of whoever makes pods and may not."""


class Quotas:
    """The quotas of all namespaces."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def refusal(self, pod: Manifest) -> str:
        """What the API server says against one more pod; empty where nothing does."""
        namespace = pod["metadata"]["namespace"]
        quotas = [one for one in self._api.all("resourcequotas") if one["metadata"]["namespace"] == namespace]
        for quota in quotas:
            asked, used = _usage([pod]), _usage(self._pods(namespace))
            hard = {name: amount(str(value)) for name, value in quota["spec"]["hard"].items()}
            short = sorted(name for name in hard if asked[name] and used[name] + asked[name] > hard[name])
            if short:
                return (
                    f'pods "{pod["metadata"]["name"]}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, '
                    f"requested: {_words(short, asked)}, used: {_words(short, used)}, limited: {_words(short, hard)}"
                )
        return ""

    def _pods(self, namespace: str) -> list[Manifest]:
        pods = self._api.all("pods")
        return [pod for pod in pods if pod["metadata"]["namespace"] == namespace and not pod_status.is_ended(pod)]


def makes_room(event: str, plural: str) -> bool:
    """Whether an event can be that there is room for more pods."""
    return plural == "resourcequotas" or (plural == "pods" and event == "DELETED")


def is_refused(owner: Manifest) -> bool:
    """Whether the pods of `owner` could not be made when it was looked at last."""
    return any(one["type"] == FAILURE for one in owner.get("status", {}).get("conditions", ()))


def _usage(pods: Iterable[Manifest]) -> Amounts:
    total: Amounts = defaultdict(Decimal)
    for pod in pods:
        for name, value in requests_of(pod).items():
            total[name if name == "pods" else f"requests.{name}"] += value
    return total


def _words(names: list[str], amounts: Amounts) -> str:
    return ",".join(f"{name}={amounts[name]:f}" for name in names)
