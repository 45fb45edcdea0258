"""A single-node Ray of our own, with Ray Serve behind HAProxy, for the engines of one process.

Ray reads its options from the environment, some when it is imported: `LocalCluster.start` writes them first
and imports Ray after, so nothing else in the package may import Ray at module level
(`replica.py` is imported from here). One `LocalCluster` a process.

Every run has its own temporary directory, ports and loopback address: Ray's defaults are fixed, and two Rays
on one machine would take each other's sockets.
"""

import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairlead_serve.engine.failures import explain_log
from fairlead_serve.engine.fetcher import EngineFiles
from fairlead_serve.errors import ConfigurationError, EngineStartError
from fairlead_serve.internal import engine_path

# A stream outlives a reload of HAProxy (which every change of replicas causes) by this much at most.
_HARD_STOP_MARGIN_S = 30
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
_HOSTS = ("127.0.0.1", "0.0.0.0")  # noqa: S104 - only where a person asks for it
# A load may wait for a long step of the engine; what takes longer is asked again.
_HOLD_SECONDS = 120.0
# Sockets live below the temporary directory and their paths must stay under 108 bytes (unix(7)).
_TEMP_PARENT = Path("/tmp")  # noqa: S108 - short on purpose; mkdtemp makes it private
# The address of Ray's own servers. Ray rewrites 127.0.0.1 to the machine's public address, other addresses of
# the loopback network it leaves alone; only Linux answers on all of them without set-up.
_LOOPBACK_NETWORK = "127.77"


@dataclass(frozen=True)
class Ports:
    """The fixed addresses of one Ray, all free a moment ago.

    `node` is the address of Ray's own servers, `host` that of the engines: HAProxy expects replicas of its own
    machine at 127.0.0.1, so that is the only address other than all (0.0.0.0) that works.
    """

    node: str
    host: str
    serve: int
    metrics: int
    haproxy_metrics: int
    haproxy_stats: int

    @classmethod
    def pick(cls, *, host: str | None = None, serve: int | None = None, metrics: int | None = None) -> "Ports":
        """`host` and `serve`: where the engines answer; by default on loopback, on any free port.

        Raises ConfigurationError for another address: Ray's proxy looks for its replicas on loopback and nowhere else.

        `metrics`: the port of Ray's exporter, which answers on all addresses; by default any free one.
        """
        node = own_loopback_address()
        host = host or "127.0.0.1"
        if host not in _HOSTS:
            message = f"engines cannot listen on {host} alone; give --host 127.0.0.1, or 0.0.0.0 for all addresses"
            raise ConfigurationError(message)
        # All are held until all are known, or the system would hand out the same one twice.
        with ExitStack() as stack:
            picked = [free_port(stack, "") for _ in range(4)]
        return cls(node, host, serve or picked[0], metrics or picked[1], *picked[2:])


@dataclass(frozen=True)
class EngineState:
    """What Ray Serve says of one Model's engines: `status` is one of Ray Serve's application states."""

    status: str
    message: str
    running: int

    @property
    def ready(self) -> bool:
        return self.status == "RUNNING"

    @property
    def failed(self) -> bool:
        return self.status == "DEPLOY_FAILED"


@dataclass
class LocalCluster:
    """Ray and Ray Serve on this machine, started and stopped by this object.

    `drain_seconds` is the longest that any stream may go on after its engine was told to stop.
    """

    ports: Ports
    drain_seconds: int
    dashboard: bool = False
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="fairlead-", dir=_TEMP_PARENT)))
    # Ray Serve's handles, by Model: each one made is another subscriber to its news.
    _handles: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)

    @property
    def url(self) -> str:
        """Where HAProxy answers for all engines, as this machine reaches it; no path."""
        host = "127.0.0.1" if self.ports.host == "0.0.0.0" else self.ports.host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.ports.serve}"

    @property
    def metrics_url(self) -> str:
        """Ray's Prometheus exporter, with vLLM's metrics in it."""
        return f"http://{self.ports.node}:{self.ports.metrics}/metrics"

    @property
    def log_directory(self) -> Path:
        return self.directory / "session_latest" / "logs"

    def start(self, slots: int) -> None:
        """Start Ray and Ray Serve. `slots`: how many engines may run at once (each asks for one CPU slot)."""
        os.environ.update(environment(self.ports, self.directory, self.drain_seconds))
        import ray  # noqa: PLC0415 - reads the environment written above
        from ray import serve  # noqa: PLC0415

        self._started = True
        try:
            self._start(ray, serve, slots)
        except (RuntimeError, OSError, ray.exceptions.RayError) as error:
            message = f"Ray did not start: {_last_line(error)} (its logs: {self.log_directory})"
            raise EngineStartError(message) from error

    def _start(self, ray: Any, serve: Any, slots: int) -> None:
        ray.init(
            include_dashboard=self.dashboard,
            log_to_driver=False,
            logging_level="warning",
            # Slots, not cores: one for each engine, and headroom for one that is being replaced.
            num_cpus=max(2 * slots, os.cpu_count() or 1),
            # No object of ours goes through Ray: the smallest store it allows.
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address=self.ports.node,
            _metrics_export_port=self.ports.metrics,
            _temp_dir=str(self.directory),
        )
        serve.start(http_options={"host": self.ports.host, "port": self.ports.serve}, proxy_location="HeadOnly")

    def deploy(self, engines: Sequence[EngineFiles]) -> None:
        """Ask Ray Serve for every Model's engines; returns before they are loaded."""
        from ray import serve  # noqa: PLC0415 - see start

        from fairlead_serve.engine.replica import application  # noqa: PLC0415 - imports Ray

        serve.run_many(
            [
                serve.RunTarget(
                    target=application(files.model, files.weights, files.adapters),
                    name=files.model.name,
                    route_prefix=engine_path(files.model.name),
                )
                for files in engines
            ],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )

    def states(self) -> Mapping[str, EngineState]:
        """The state of every Model's engines, by Model name."""
        from ray import serve  # noqa: PLC0415 - see start

        return {name: _state(details) for name, details in serve.status().applications.items()}

    def hold_adapters(self, name: str, directories: Mapping[str, Path]) -> Mapping[str, str] | None:
        """Make `directories`, by adapter, the LoRA adapters that every engine of `name` holds.

        Returns what went wrong, by adapter; None when no engine answers, as while one is being replaced.
        """
        import ray  # noqa: PLC0415 - see start
        from ray import serve  # noqa: PLC0415
        from ray.serve.exceptions import RayServeException  # noqa: PLC0415

        paths = {adapter: str(directory) for adapter, directory in directories.items()}
        try:
            if name not in self._handles:
                self._handles[name] = serve.get_app_handle(name)
            answers = self._handles[name].broadcast("hold_adapters", paths).results(timeout_s=_HOLD_SECONDS)
        except (RayServeException, ray.exceptions.RayError, TimeoutError):
            return None
        except (RuntimeError, CancelledError):
            # A handle whose router is not there yet, and one whose router ends while it waits.
            return None
        return {adapter: words for answer in answers for adapter, words in answer.items()} if answers else None

    def failure(self, name: str, state: EngineState) -> EngineStartError:
        """Why the engines of `name` did not start, from Ray Serve's message and the engine's own log."""
        said = _raised_sentence(state.message)
        logged = explain_log(name, self._error_lines())
        if logged is not None and (said is None or "Engine core initialization failed" in said):
            said = logged
        return EngineStartError(said or f"the engine of {name} did not start: {state.message.strip()}")

    def _error_lines(self) -> Iterator[str]:
        for path in sorted(self.log_directory.glob("worker-*.err"), key=lambda file: file.stat().st_mtime):
            with path.open(encoding="utf-8", errors="replace") as lines:
                yield from lines

    def drain(self, names: Sequence[str], *, give_up: Callable[[], bool]) -> None:
        """Take the Models' engines away; each finishes its requests within its drain time, unless `give_up`."""
        from ray import serve  # noqa: PLC0415 - see start

        for name in names:
            serve.delete(name, _blocking=False)
        deadline = time.monotonic() + self.drain_seconds + _HARD_STOP_MARGIN_S
        while serve.status().applications and time.monotonic() < deadline and not give_up():
            time.sleep(0.1)

    def stop(self) -> None:
        """End Ray and everything it started; remove the temporary directory."""
        if self._started:
            self._end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self) -> None:
        import ray  # noqa: PLC0415 - see start
        from ray import serve  # noqa: PLC0415

        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _state(details: Any) -> EngineState:
    running = 0
    # What an engine raised stands with its deployment; the application says that there was something.
    words = [details.message]
    for deployment in details.deployments.values():
        running += deployment.replica_states.get("RUNNING", 0)
        words.append(deployment.message)
    return EngineState(str(getattr(details.status, "value", details.status)), "\n".join(filter(None, words)), running)


def _raised_sentence(message: str) -> str | None:
    """Our own sentence in the traceback that Ray Serve shows for a replica whose constructor raised."""
    marker = f"{EngineStartError.__name__}: "
    lines = [line.split(marker, 1)[1] for line in message.splitlines() if marker in line]
    return lines[-1].strip() if lines else None


def environment(ports: Ports, directory: Path, drain_seconds: int) -> dict[str, str]:
    """Ray's options as environment variables (ray/serve/_private/constants.py, Ray 2.60).

    They have to be there before Ray is imported and are inherited by every process it starts.
    """
    # Ray puts 57 characters between this and `metrics.sock`, and HAProxy allows 97 in all.
    haproxy = directory / "h"
    haproxy.mkdir(parents=True, exist_ok=True)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # The option above leaves it to the caller's event loop, and `hold_adapters` is called where there is none.
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(drain_seconds + _HARD_STOP_MARGIN_S),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        # One proxy thread a core is plenty for bytes; the default of four fights the engine on small machines.
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        # The gateway has stopped sending by the time an engine is told to go, so nobody has to deregister.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # Ray runs its workers at nice 15, and an engine beside any busy program would starve: its first token came
        # after 300 ms instead of 15.
        "RAY_worker_niceness": "0",
        # Ray would fill a missing GPU request with an empty CUDA_VISIBLE_DEVICES; vLLM decides by itself.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


def own_loopback_address() -> str:
    """An address of the loopback network for this process alone, where the system answers on all of them."""
    if sys.platform != "linux":
        return "127.0.0.1"
    return f"{_LOOPBACK_NETWORK}.{(os.getpid() >> 8) & 0xFF}.{os.getpid() & 0xFF or 1}"


def free_port(stack: ExitStack, host: str) -> int:
    """A TCP port that nobody listens on, held until `stack` closes."""
    held = stack.enter_context(socket.socket())
    held.bind((host, 0))
    return int(held.getsockname()[1])
