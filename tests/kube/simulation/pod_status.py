"""What a kubelet of Kubernetes 1.32 writes into the status of a pod, and what the scheduler does before it.

Functions from a pod, as it is now, to its next status. They go on from the status that the pod has: restarts are
counted, the last end of a container is kept, and a condition keeps its time of transition while it stays the same. The
state is that of the first container; others run where that one does. Times are RFC 3339. For pods with several
containers and for init containers a real kubelet says more.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from fairlead_operator.render import Manifest

Status = dict[str, Any]
OUT_OF_MEMORY = 137
START_ERROR = 128
MAX_BACK_OFF_SECONDS = 300

_KEPT = ("hostIP", "hostIPs", "podIP", "podIPs", "startTime", "qosClass")


def unschedulable(pod: Manifest, message: str, *, at: str) -> Status:
    """No node fits; `message` is the scheduler's."""
    scheduled = _condition(pod, "PodScheduled", "False", at, reason="Unschedulable", message=message)
    return {"phase": "Pending", "conditions": [scheduled], "qosClass": qos_class(pod)}


def placed(pod: Manifest, *, host_ip: str, at: str, pod_ip: str = "") -> Status:
    """A node has taken the pod, and creates it; without `pod_ip` it is still about the volumes."""
    addresses: Status = {"hostIP": host_ip, "hostIPs": [{"ip": host_ip}], "startTime": at, "qosClass": qos_class(pod)}
    if pod_ip:
        addresses |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    known = pod.get("status") or {}
    return waiting({**pod, "status": {**known, **addresses, **_times(known)}}, "ContainerCreating", at=at)


def waiting(pod: Manifest, reason: str, message: str = "", *, at: str) -> Status:
    """The container does not run, and did not run before, or is kept from running again."""
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return _live(pod, state, at=at)


def image_pull_error(pod: Manifest, error: str, *, at: str) -> Status:
    """The image was just asked for in vain."""
    return waiting(pod, "ErrImagePull", error, at=at)


def image_pull_back_off(pod: Manifest, error: str, *, at: str) -> Status:
    """The image was asked for in vain, and will be again after a while."""
    message = f'Back-off pulling image "{_containers(pod)[0]["image"]}": ErrImagePull: {error}'
    return waiting(pod, "ImagePullBackOff", message, at=at)


def config_error(pod: Manifest, message: str, *, at: str) -> Status:
    """Something that the environment refers to is not there: `secret "x" not found`."""
    return waiting(pod, "CreateContainerConfigError", message, at=at)


def create_error(pod: Manifest, message: str, *, at: str) -> Status:
    """The container could not be made."""
    return waiting(pod, "CreateContainerError", message, at=at)


def run_error(pod: Manifest, message: str, *, at: str) -> Status:
    """The container was made, and its command could not be started."""
    return waiting(pod, "RunContainerError", message, at=at)


def running(pod: Manifest, *, ready: bool, at: str) -> Status:
    """The container runs; a restart where it had ended."""
    known = _first(pod)
    now = known.get("state", {}).get("running") or {"startedAt": at}
    return _live(pod, {"running": now}, at=at, ready=ready)


def terminated(pod: Manifest, exit_code: int, *, at: str, reason: str = "", message: str = "") -> Status:
    """The container has ended, and will be started again unless the pod is never restarted."""
    end = {
        "exitCode": exit_code,
        "reason": reason or ("Completed" if exit_code == 0 else "Error"),
        **({"message": message} if message else {}),
        "startedAt": (_first(pod).get("state", {}).get("running") or {"startedAt": at})["startedAt"],
        "finishedAt": at,
        "containerID": _container_id(pod, _first(pod).get("restartCount", 0)),
    }
    if pod["spec"].get("restartPolicy", "Always") == "Always":
        return _live(pod, {"terminated": end}, at=at)
    return _ended(pod, {"terminated": end}, "Failed" if exit_code else "Succeeded", at=at)


def out_of_memory(pod: Manifest, *, at: str) -> Status:
    """The kernel killed the container."""
    return terminated(pod, OUT_OF_MEMORY, reason="OOMKilled", at=at)


def start_error(pod: Manifest, message: str, *, at: str) -> Status:
    """The runtime could not start the command, such as one that is not in the image."""
    return terminated(pod, START_ERROR, reason="StartError", message=message, at=at)


def crash_loop(pod: Manifest, *, at: str) -> Status:
    """The container has ended again, and is kept from running for a while."""
    name, metadata = _containers(pod)[0]["name"], pod["metadata"]
    who = f"{metadata['name']}_{metadata.get('namespace', '')}({metadata.get('uid', '')})"
    delay = _duration(back_off_seconds(pod))
    return waiting(pod, "CrashLoopBackOff", f"back-off {delay} restarting failed container={name} pod={who}", at=at)


def back_off_seconds(pod: Manifest) -> int:
    """How long the container that has just ended is kept from running: nothing the first time, then 10 s, doubled."""
    restarts = restarts_of(pod)
    return min(MAX_BACK_OFF_SECONDS, 10 * 2 ** (restarts - 1)) if restarts else 0


def restarts_of(pod: Manifest) -> int:
    return int(_first(pod).get("restartCount", 0))


def evicted(pod: Manifest, message: str, *, at: str) -> Status:
    """The node had too little of something; the pod is not restarted."""
    state = _first(pod).get("state", {})
    if "running" in state:
        state = terminated(pod, OUT_OF_MEMORY, reason="ContainerStatusUnknown", at=at)["containerStatuses"][0]["state"]
    status = _ended(pod, state, "Failed", at=at)
    target = _condition(pod, "DisruptionTarget", "True", at, reason="TerminationByKubelet", message=message)
    return {**status, "reason": "Evicted", "message": message, "conditions": [target, *status["conditions"]]}


def is_running(pod: Manifest) -> bool:
    return "running" in _first(pod).get("state", {})


def is_ready(pod: Manifest) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_ended(pod: Manifest) -> bool:
    """Whether the pod is over, and nothing will start it again."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def qos_class(pod: Manifest) -> str:
    resources = [container.get("resources") or {} for container in _containers(pod)]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    bounded = all({"cpu", "memory"} <= set(one.get("limits") or {}) for one in resources)
    exact = all((one.get("requests") or one["limits"]) == one["limits"] for one in resources) if bounded else False
    return "Guaranteed" if exact else "Burstable"


def _live(pod: Manifest, state: Mapping[str, Any], *, at: str, ready: bool = False) -> Status:
    """The status of a pod that is not over."""
    known = pod.get("status") or {}
    first = _container_status(pod, state, ready=ready)
    others = [_sidecar(container, state) for container in _containers(pod)[1:]]
    unready = [] if ready else [first["name"]]
    again = "waiting" in state and "terminated" not in first["lastState"]
    return {
        "phase": "Pending" if again else "Running",
        "conditions": [
            _condition(pod, "PodReadyToStartContainers", "True" if known.get("podIP") else "False", at),
            _condition(pod, "Initialized", "True", at),
            *(_readiness(pod, name, unready, at) for name in ("Ready", "ContainersReady")),
            _condition(pod, "PodScheduled", "True", at),
        ],
        **{name: known[name] for name in _KEPT if name in known},
        "containerStatuses": [first, *others],
    }


def _ended(pod: Manifest, state: Mapping[str, Any], phase: str, *, at: str) -> Status:
    known = pod.get("status") or {}
    reason = "PodFailed" if phase == "Failed" else "PodCompleted"
    return {
        "phase": phase,
        "conditions": [
            _condition(pod, "PodReadyToStartContainers", "False", at),
            _condition(pod, "Initialized", "True", at),
            *(_condition(pod, name, "False", at, reason=reason) for name in ("Ready", "ContainersReady")),
            _condition(pod, "PodScheduled", "True", at),
        ],
        **{name: known[name] for name in _KEPT if name in known},
        "containerStatuses": [_container_status(pod, state, ready=False)],
    }


def _container_status(pod: Manifest, state: Mapping[str, Any], *, ready: bool) -> dict[str, Any]:
    known = _first(pod)
    container = _containers(pod)[0]
    was = known.get("state", {})
    last = {"terminated": was["terminated"]} if "terminated" in was else known.get("lastState", {})
    restarts = known.get("restartCount", 0)
    runs = "running" in state
    if _attempted(state) and not _attempted(was) and last:
        restarts += 1
    if "terminated" in state:
        last = known.get("lastState", {})
    started = runs or "terminated" in state
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": _image_id(container["image"]) if started or last else "",
        **({"containerID": _container_id(pod, restarts)} if started or last else {}),
        "restartCount": restarts,
        "ready": ready,
        "started": runs and (ready or "startupProbe" not in container),
        "state": dict(state),
        "lastState": last,
    }


def _attempted(state: Mapping[str, Any]) -> bool:
    """Whether there was a container, whatever became of it."""
    return "running" in state or state.get("waiting", {}).get("reason") == "RunContainerError"


def _sidecar(container: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    run = state.get("running") or state.get("terminated")
    runs = run is not None
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": _image_id(container["image"]) if runs else "",
        "restartCount": 0,
        "ready": runs,
        "started": runs,
        "state": {"running": {"startedAt": run["startedAt"]}} if run else {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
    }


def _readiness(pod: Manifest, name: str, unready: list[str], at: str) -> dict[str, Any]:
    if not unready:
        return _condition(pod, name, "True", at)
    message = f"containers with unready status: [{' '.join(unready)}]"
    return _condition(pod, name, "False", at, reason="ContainersNotReady", message=message)


def _condition(
    pod: Manifest, name: str, status: str, at: str, *, reason: str = "", message: str = ""
) -> dict[str, Any]:
    known = next((one for one in (pod.get("status") or {}).get("conditions") or () if one["type"] == name), None)
    since = known["lastTransitionTime"] if known is not None and known["status"] == status else at
    condition = {"type": name, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    return condition | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def _times(known: Mapping[str, Any]) -> dict[str, Any]:
    return {"startTime": known["startTime"]} if "startTime" in known else {}


def _containers(pod: Manifest) -> list[dict[str, Any]]:
    return list(pod["spec"]["containers"])


def _first(pod: Manifest) -> dict[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{}]
    return dict(statuses[0])


def _container_id(pod: Manifest, restarts: int) -> str:
    uid = pod["metadata"].get("uid", "")
    return f"containerd://{_digest(f'{uid}/{restarts}')}"


def _image_id(image: str) -> str:
    name = image.partition("@")[0].rpartition(":")[0] or image
    return f"{name}@sha256:{_digest(image)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _duration(seconds: int) -> str:
    """As Go writes a time.Duration: 10s, 2m40s."""
    return f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60}s"
