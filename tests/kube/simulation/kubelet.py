"""The kubelets of all nodes: pods that have a node become what the script says."""

import itertools
import random
from collections.abc import Iterator
from ipaddress import IPv4Address

from fairlead_operator.render import Manifest
from tests.kube.simulation.objects import key_of, uid_of
from tests.kube.simulation.pod_worker import PodWorker, Surroundings

_REFERRED = frozenset({"secrets", "configmaps"})


class Kubelet:
    """Keeps a worker for each pod on a node."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._workers: dict[str, PodWorker] = {}
        self._addresses = _addresses()

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "pods":
            if event == "DELETED":
                self._forget(uid_of(manifest))
            elif "nodeName" in manifest["spec"]:
                self._around.work.add(self._worker(manifest).sync)
        elif plural in _REFERRED:
            for worker in self._workers.values():
                if worker.misses:
                    self._around.work.add(worker.sync)

    def look_again(self) -> None:
        """The script has changed."""
        for worker in self._workers.values():
            self._around.work.add(worker.sync)

    def close(self) -> None:
        """End what runs for pods."""
        for worker in self._workers.values():
            worker.close()

    def _worker(self, pod: Manifest) -> PodWorker:
        uid = uid_of(pod)
        if uid not in self._workers:
            address = pod.get("status", {}).get("podIP") or next(self._addresses)
            self._workers[uid] = PodWorker(self._around, key_of(pod), uid, address)
        return self._workers[uid]

    def _forget(self, uid: str) -> None:
        worker = self._workers.pop(uid, None)
        if worker is not None:
            worker.close()


def _addresses() -> Iterator[str]:
    """Loopback addresses; others in each simulation, because two may run on one machine."""
    first = IPv4Address(f"127.{random.randrange(16, 240)}.{random.randrange(256)}.1")
    return (str(first + number) for number in itertools.count())
