"""What is to happen to pods, as a test has it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation.engine import Engine
from tests.kube.simulation.objects import labels_of, matches
from tests.kube.simulation.run import Local


@dataclass(frozen=True)
class Ready:
    """Runs, and is ready `after` seconds of running."""

    after: float = 0


@dataclass(frozen=True)
class Starting:
    """Runs, and is not ready; one that was ready is so no longer."""


@dataclass(frozen=True)
class Pulling:
    """The image is being pulled."""


@dataclass(frozen=True)
class ImagePullError:
    """The image cannot be pulled."""

    error: str = (
        'rpc error: code = NotFound desc = failed to pull and unpack image "registry/engine:missing": failed to '
        'resolve reference "registry/engine:missing": registry/engine:missing: not found'
    )


@dataclass(frozen=True)
class Crash:
    """The container ends after so many seconds, each time it is started; until then it is ready or not.

    `message` is what it wrote to its termination log.
    """

    exit_code: int = 1
    message: str = ""
    after: float = 0
    ready: bool = False
    reason: str = ""


@dataclass(frozen=True)
class OutOfMemory(Crash):
    """The kernel kills the container after so many seconds, each time it is started."""

    exit_code: int = 137
    reason: str = "OOMKilled"


@dataclass(frozen=True)
class CreateError:
    """The container cannot be made."""

    message: str = 'failed to generate container "engine" spec: failed to generate spec: no command specified'


@dataclass(frozen=True)
class RunError:
    """The container is made, and its command cannot be started."""

    message: str = (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        'unable to start container process: error during container init: exec: "fairlead": executable file not found '
        "in $PATH: unknown"
    )


@dataclass(frozen=True)
class Evicted:
    """The node has too little of something, and ends the pod."""

    message: str = (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 8Gi. Container engine "
        "was using 60Gi, request is 0, has larger consumption of ephemeral-storage. "
    )


Fate = Ready | Starting | Pulling | ImagePullError | Crash | CreateError | RunError | Evicted | Local
"""What happens to a pod. Secrets, config maps and claims that are missing need none: they are looked up."""


@dataclass(frozen=True)
class Which:
    """Some pods: those of a Model, of an image, of labels, or one by its name. What is empty fits all."""

    model: str = ""
    image: str = ""
    pod: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def fits(self, pod: Manifest) -> bool:
        labels = labels_of(pod)
        return (
            self.model in ("", labels.get("fairlead.dev/model"))
            and self.image in ("", pod["spec"]["containers"][0]["image"])
            and self.pod in ("", pod["metadata"]["name"])
            and matches(self.labels, labels)
        )


class Script:
    """Says of each pod what happens to it; what was said last counts. Without a word a pod is ready at once.

    May be changed at any time and from any thread: pods that live go on by what it says now, at once even where their
    container was to be kept from running for a while.
    """

    def __init__(self) -> None:
        self._fates: list[tuple[Which, Fate]] = []
        self._leaves: list[tuple[Which, float | None]] = []
        self._engines: list[tuple[Which, Engine]] = []
        self._applications: dict[str, tuple[str, str]] = {}
        self.on_change: Callable[[], None] = lambda: None

    def play(self, fate: Fate, **which: Any) -> None:
        """Let `fate` come upon the pods that fit Which(**which)."""
        self._fates = [(Which(**which), fate), *self._fates]
        self.on_change()

    def leave(self, after: float | None, **which: Any) -> None:
        """Let pods that are deleted take so many seconds to end; None: all of their grace period."""
        self._leaves = [(Which(**which), after), *self._leaves]
        self.on_change()

    def serve(self, engine: Engine, **which: Any) -> Engine:
        """Let `engine` answer at the status port of pods that start from now on."""
        self._engines = [(Which(**which), engine), *self._engines]
        return engine

    def deploy(self, status: str, message: str = "", *, model: str) -> None:
        """Let Ray Serve say this of the application of a Model with a RayService, such as DEPLOY_FAILED; RUNNING is
        what it says once an engine is ready.
        """
        self._applications = {**self._applications, model: (status, message)}
        self.on_change()

    def fate_of(self, pod: Manifest) -> Fate:
        return next((fate for which, fate in self._fates if which.fits(pod)), Ready())

    def leave_of(self, pod: Manifest) -> float | None:
        """Seconds that the pod takes to end; None: all of its grace period."""
        return next((after for which, after in self._leaves if which.fits(pod)), 0)

    def application_of(self, service: Manifest) -> tuple[str, str] | None:
        """Status and message of the Ray Serve application of a RayService, where something was said."""
        return self._applications.get(labels_of(service).get("fairlead.dev/model", ""))

    def engine_of(self, pod: Manifest) -> Engine | None:
        return next((engine for which, engine in self._engines if which.fits(pod)), None)
