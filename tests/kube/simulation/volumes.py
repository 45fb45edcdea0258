"""The controller of volume claims: a claim is bound to a volume of its class, or is told why it is not.

The volumes themselves are not shown.
"""

from fairlead_operator.render import Manifest
from tests.kube.simulation.api import Api
from tests.kube.simulation.container import claims_of
from tests.kube.simulation.events import Recorder
from tests.kube.simulation.objects import Key, annotations_of, key_of, uid_of, with_metadata, with_spec
from tests.kube.simulation.work import Work

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def storage_class(name: str = "standard", *, default: bool = True, waits: bool = False) -> Manifest:
    """A class that makes volumes; one that `waits` does so when a pod is placed that wants one."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": {DEFAULT_CLASS: "true"} if default else {}},
        "provisioner": "simulation.fairlead.dev/volumes",
        "volumeBindingMode": "WaitForFirstConsumer" if waits else "Immediate",
    }


class Volumes:
    """Binds claims."""

    def __init__(self, api: Api, work: Work, recorder: Recorder) -> None:
        self._api = api
        self._work = work
        self._recorder = recorder
        self._unbound: dict[Key, str] = {}
        """What was said to each claim that waits."""

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "persistentvolumeclaims":
            if event == "DELETED":
                self._unbound.pop(key_of(manifest), None)
            else:
                self._work.add(self._sync, key_of(manifest))
        elif plural == "storageclasses":
            for key in self._unbound:
                self._work.add(self._sync, key)
        elif plural == "pods" and self._unbound and "nodeName" in manifest["spec"]:
            for name in claims_of(manifest):
                self._work.add(self._sync, (manifest["metadata"]["namespace"], name))

    def _sync(self, key: Key) -> None:
        claim = self._api.get("persistentvolumeclaims", key)
        if claim is None or claim.get("status", {}).get("phase") == "Bound":
            return
        reason, message, kind = self._obstacle(claim)
        if not reason:
            self._unbound.pop(key, None)
            self._bind(claim)
            return
        if self._unbound.get(key) != message:
            self._unbound[key] = message
            self._api.write_status("persistentvolumeclaims", claim, {"phase": "Pending"})
            self._recorder.record(claim, reason, message, component="persistentvolume-controller", kind=kind)

    def _obstacle(self, claim: Manifest) -> tuple[str, str, str]:
        """Reason, message and type of the Event about why the claim cannot be bound now; empty when it can."""
        name = claim["spec"].get("storageClassName", self._default())
        if not name:
            message = "no persistent volumes available for this claim and no storage class is set"
            return "FailedBinding", message, "Normal"
        found = self._api.get("storageclasses", ("", name))
        if found is None:
            return "ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found', "Warning"
        if found.get("volumeBindingMode") == "WaitForFirstConsumer" and not self._consumed(claim):
            message = "waiting for first consumer to be created before binding"
            return "WaitForFirstConsumer", message, "Normal"
        return "", "", ""

    def _default(self) -> str:
        classes = self._api.all("storageclasses")
        defaults = [one for one in classes if annotations_of(one).get(DEFAULT_CLASS) == "true"]
        return str(defaults[0]["metadata"]["name"]) if defaults else ""

    def _consumed(self, claim: Manifest) -> bool:
        """Whether a pod that wants it has a node."""
        namespace, name = key_of(claim)
        return any(
            "nodeName" in pod["spec"] and pod["metadata"]["namespace"] == namespace and name in claims_of(pod)
            for pod in self._api.all("pods")
        )

    def _bind(self, claim: Manifest) -> None:
        bound = {**annotations_of(claim), "pv.kubernetes.io/bind-completed": "yes"}
        volume = with_spec(with_metadata(claim, annotations=bound), volumeName=f"pvc-{uid_of(claim)}")
        status = {
            "phase": "Bound",
            "accessModes": claim["spec"]["accessModes"],
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        }
        self._api.write_status("persistentvolumeclaims", self._api.update("persistentvolumeclaims", volume), status)
