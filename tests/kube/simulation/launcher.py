"""From a pod to a process of this machine: its volumes laid out in a folder, its command rewritten to them."""

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation.api import Api
from tests.kube.simulation.container import expanded, files
from tests.kube.simulation.run import Local, Process, Rewriting

_TERMINATION_LOG = "/dev/termination-log"


class Launcher:
    """Prepares processes. What it lays out is gone when it is closed; claims outlive the pods."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._numbers = itertools.count()

    def process(self, pod: Manifest, local: Local, variables: Mapping[str, str], *, ip: str) -> Process:
        """The first container of `pod`, to be run with the `variables` of its environment."""
        container = pod["spec"]["containers"][0]
        folder = self._new_folder(str(next(self._numbers)))
        last_words = folder / "termination-log"
        mounts = self._mount(pod, container, folder)
        said_at = container.get("terminationMessagePath", _TERMINATION_LOG)
        rewriting = Rewriting(local, ip=ip, mounts={**mounts, said_at: last_words})
        self._lay_out(pod, folder, rewriting)
        probe = dict(container.get("readinessProbe") or {})
        if "exec" in probe:
            probe["exec"] = {"command": rewriting.command(probe["exec"]["command"])}
        words = expanded([*container.get("command", ()), *container.get("args", ())], variables)
        return Process(
            rewriting.command(words),
            environment=rewriting.environment(variables),
            folder=folder,
            probe=probe,
            grace_seconds=pod["spec"].get("terminationGracePeriodSeconds", 30),
            last_words=last_words,
            log_speaks=container.get("terminationMessagePolicy") == "FallbackToLogsOnError",
        )

    def close(self) -> None:
        """Once the processes have ended."""
        if self._folder is not None:
            self._folder.cleanup()

    def _new_folder(self, *parts: str) -> Path:
        if self._folder is None:
            # A short name: the path of a Unix socket in it may have no more than 107 bytes.
            self._folder = tempfile.TemporaryDirectory(prefix="fl-")
        folder = Path(self._folder.name, *parts)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _mount(self, pod: Manifest, container: Mapping[str, Any], folder: Path) -> dict[str, Path]:
        """Where on this machine every mounted path lies."""
        there: dict[str, Path] = {}
        for volume in pod["spec"].get("volumes") or ():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            parts = ("claims", pod["metadata"]["namespace"], claim) if claim else (folder.name, volume["name"])
            there[volume["name"]] = self._new_folder(*parts)
        return {mount["mountPath"]: there[mount["name"]] for mount in container.get("volumeMounts") or ()}

    def _lay_out(self, pod: Manifest, folder: Path, rewriting: Rewriting) -> None:
        for volume in pod["spec"].get("volumes") or ():
            for name, text in files(self._api, pod, volume).items():
                content = rewriting.text(text) if "configMap" in volume else text
                (folder / volume["name"] / name).write_text(content, encoding="utf-8")
