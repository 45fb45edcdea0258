"""What a kubelet does with one pod."""

from collections.abc import Callable
from dataclasses import dataclass

from fairlead_operator.render import Manifest
from fairlead_serve.internal import TOKEN_VARIABLE
from tests.kube.simulation import pod_status
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, Timer, stamp
from tests.kube.simulation.container import MissingError, environment, missing_volume, mounted
from tests.kube.simulation.engine import StatusPort
from tests.kube.simulation.events import Recorder
from tests.kube.simulation.launcher import Launcher
from tests.kube.simulation.objects import Key, is_deleted, uid_of
from tests.kube.simulation.pod_status import Status
from tests.kube.simulation.run import Local
from tests.kube.simulation.script import (
    Crash,
    CreateError,
    Evicted,
    Fate,
    ImagePullError,
    Pulling,
    Ready,
    RunError,
    Script,
    Starting,
)
from tests.kube.simulation.work import Background, Errand, Work

_HOST_IP = "10.0.0.1"
# What a kubelet takes to look again after a failure.
_NEXT_LOOK_SECONDS = 1


@dataclass(frozen=True)
class Surroundings:
    """What the pods of a simulation have in common."""

    api: Api
    work: Work
    clock: Clock
    recorder: Recorder
    script: Script
    background: Background
    launcher: Launcher


class PodWorker:
    """One pod. `sync` brings it from wherever it is to what the script says now."""

    def __init__(self, around: Surroundings, key: Key, uid: str, ip: str) -> None:
        self._around = around
        self._api = around.api
        self._clock = around.clock
        self._key = key
        self._uid = uid
        self._ip = ip
        self._fate: Fate | None = None
        self._fate_since = 0.0
        self._started = 0.0
        self._pulls = 0
        self._resume_at = 0.0
        self._leaving_since: float | None = None
        self._timer: Timer | None = None
        self._port: StatusPort | None = None
        self._process: Errand | None = None
        self.misses = ""
        """What the pod refers to and is not there, in the kubelet's words."""

    def sync(self) -> None:
        pod = self._pod()
        if pod is None or pod_status.is_ended(pod):
            return
        if is_deleted(pod):
            self._leave(pod)
            return
        self._follow(self._around.script.fate_of(pod))
        if isinstance(self._fate, Evicted):
            self.close()
            self._warn("Evicted", self._fate.message)
            self._write(pod_status.evicted(pod, self._fate.message, at=self._now()))
        elif pod_status.is_running(pod):
            self._go_on(pod)
        elif self._clock.now() >= self._resume_at:
            self._start(pod)

    def close(self) -> None:
        """End what runs for the pod."""
        for running in (self._timer, self._port, self._process):
            if running is not None:
                running.cancel()

    def _follow(self, fate: Fate) -> None:
        if fate != self._fate:
            self._fate = fate
            self._fate_since = self._clock.now()
            self._resume_at = self._pulls = 0

    # Until the container runs

    def _start(self, pod: Manifest) -> None:
        if "podIP" not in pod.get("status", {}) and not self._place(pod):
            return
        pod = self._latest()
        match self._fate:
            case Pulling():
                self._write(pod_status.waiting(pod, "ContainerCreating", at=self._now()))
                return
            case ImagePullError(error):
                self._pull_in_vain(pod, error)
                return
        container = pod["spec"]["containers"][0]
        try:
            variables = environment(self._api, pod, container)
        except MissingError as error:
            if self.misses != str(error):
                self.misses = str(error)
                self._warn("Failed", f"Error: {error}")
            self._write(pod_status.config_error(pod, self.misses, at=self._now()))
            return
        self.misses = ""
        match self._fate:
            case CreateError(message):
                self._warn("Failed", f"Error: {message}")
                self._write(pod_status.create_error(pod, message, at=self._now()))
            case RunError(message):
                self._warn("Failed", f"Error: {message}")
                self._write(pod_status.run_error(pod, message, at=self._now()))
                self._resume_at = self._clock.now() + pod_status.MAX_BACK_OFF_SECONDS
                self._later(_NEXT_LOOK_SECONDS, self._fail_to_run)
            case _:
                self._run(pod, variables)

    def _place(self, pod: Manifest) -> bool:
        """Mount the volumes and give the pod its address; whether that could be done."""
        misses = missing_volume(self._api, pod)
        if misses and misses != self.misses:
            self._warn("FailedMount", misses)
        self.misses = misses
        ip = "" if misses else self._ip
        self._write(pod_status.placed(pod, host_ip=self._host_ip(pod), pod_ip=ip, at=self._now()))
        return not misses

    def _pull_in_vain(self, pod: Manifest, error: str) -> None:
        image = pod["spec"]["containers"][0]["image"]
        self._warn("Failed", f'Failed to pull image "{image}": {error}')
        self._warn("Failed", "Error: ErrImagePull")
        self._write(pod_status.image_pull_error(pod, error, at=self._now()))
        wait = min(pod_status.MAX_BACK_OFF_SECONDS, 10 * 2**self._pulls)
        self._pulls += 1
        self._resume_at = self._clock.now() + _NEXT_LOOK_SECONDS + wait
        self._later(_NEXT_LOOK_SECONDS, self._wait_to_pull)

    def _wait_to_pull(self) -> None:
        pod = self._pod()
        if pod is not None and isinstance(self._fate, ImagePullError):
            self._warn("Failed", "Error: ImagePullBackOff")
            self._write(pod_status.image_pull_back_off(pod, self._fate.error, at=self._now()))
            self._later(self._resume_at - self._clock.now(), self.sync)

    def _fail_to_run(self) -> None:
        pod = self._pod()
        if pod is not None and isinstance(self._fate, RunError):
            self._end_container(pod_status.start_error(pod, self._fate.message, at=self._now()))

    # While it runs

    def _run(self, pod: Manifest, variables: dict[str, str]) -> None:
        self._started = self._clock.now()
        if isinstance(self._fate, Local):
            self._run_locally(pod, self._fate, variables)
        engine = self._around.script.engine_of(pod)
        if engine is not None and self._port is None:
            adapters = variables.get("FAIRLEAD_ADAPTERS_FILE", "")
            engine.start(self._key[1], mounted(self._api, pod, pod["spec"]["containers"][0], adapters))
            token, background = variables.get(TOKEN_VARIABLE, ""), self._around.background
            self._port = StatusPort(engine, pod=self._key[1], token=token, host=self._ip, background=background)
        self._write(pod_status.running(pod, ready=self._is_ready(pod), at=self._now()))
        self._go_on(self._latest())

    def _is_ready(self, pod: Manifest) -> bool:
        match self._fate:
            case Ready(after) if not pod_status.is_ready(pod):
                return self._clock.now() >= self._started + after
            case Crash(ready=ready):
                return ready
            case Starting() | Local():
                return False
        return pod_status.is_ready(pod)  # it was before, or what is to happen would happen to one that starts

    def _go_on(self, pod: Manifest) -> None:
        match self._fate:
            case Local():
                return  # its process says how it is
            case Crash(after=after, exit_code=code, reason=reason, message=message):
                due = max(self._started, self._fate_since) + after
                if self._clock.now() >= due:
                    ended = pod_status.terminated(pod, code, reason=reason, message=message, at=self._now())
                    self._end_container(ended)
                    return
                self._later(due - self._clock.now(), self.sync)
            case Ready(after) if not self._is_ready(pod):
                self._later(self._started + after - self._clock.now(), self.sync)
        self._write(pod_status.running(pod, ready=self._is_ready(pod), at=self._now()))

    def _end_container(self, status: Status) -> None:
        if self._port is not None:
            self._port.cancel()
            self._port = None
        self._write(status)
        pod = self._latest()
        wait = 0 if pod_status.is_ended(pod) else pod_status.back_off_seconds(pod)
        self._resume_at = self._clock.now() + wait
        if wait:
            who = f"{pod['metadata']['name']}_{self._key[0]}({self._uid})"
            name = pod["spec"]["containers"][0]["name"]
            self._warn("BackOff", f"Back-off restarting failed container {name} in pod {who}")
            self._write(pod_status.crash_loop(pod, at=self._now()))
            self._later(wait, self.sync)

    # A real process

    def _run_locally(self, pod: Manifest, local: Local, variables: dict[str, str]) -> None:
        process = self._around.launcher.process(pod, local, variables, ip=self._ip)
        run = process.run(on_ready=self._on_ready, on_exit=self._on_exit)
        self._process = self._around.background.spawn(run, then=self._on_end)

    def _on_ready(self, ready: bool) -> None:
        pod = self._pod()
        if pod is not None and pod_status.is_running(pod):
            self._write(pod_status.running(pod, ready=ready, at=self._now()))

    def _on_exit(self, code: int, words: str) -> None:
        pod = self._pod()
        if pod is None or is_deleted(pod):
            return
        self._end_container(pod_status.terminated(pod, code, message=words, at=self._now()))

    def _on_end(self) -> None:
        self._process = None
        self._around.work.add(self.sync)

    # The end

    def _leave(self, pod: Manifest) -> None:
        now = self._clock.now()
        if self._leaving_since is None:
            self._leaving_since = now
            if self._process is not None:
                self._process.cancel()
        if self._process is not None:
            return  # `_on_end` comes back here
        grace: float = pod["metadata"].get("deletionGracePeriodSeconds", 0)
        after = self._around.script.leave_of(pod)
        over = self._leaving_since + (grace if after is None else min(grace, after))
        if now < over:
            self._later(over - now, self.sync)
            return
        self.close()
        self._api.delete("pods", pod, grace_seconds=0)

    # Small

    def _pod(self) -> Manifest | None:
        pod = self._api.get("pods", self._key)
        return pod if pod is not None and uid_of(pod) == self._uid else None

    def _host_ip(self, pod: Manifest) -> str:
        node = self._api.get("nodes", ("", pod["spec"]["nodeName"])) or {}
        addresses = node.get("status", {}).get("addresses", ())
        return next((one["address"] for one in addresses if one["type"] == "InternalIP"), _HOST_IP)

    def _latest(self) -> Manifest:
        pod = self._pod()
        assert pod is not None  # it is only asked for while the pod is there
        return pod

    def _write(self, status: Status) -> None:
        self._api.write_status("pods", self._latest(), status)

    def _warn(self, reason: str, message: str) -> None:
        pod = self._latest()
        self._around.recorder.record(pod, reason, message, component="kubelet", host=pod["spec"]["nodeName"])

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, lambda: self._around.work.add(call))

    def _now(self) -> str:
        return stamp(self._clock.now())
