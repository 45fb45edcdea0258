"""Composition: the only place where engines, gateway and settings meet. Nothing imports it but the command line."""

import asyncio
import gc
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import uvloop
from pydantic import SecretStr

from fairlead_serve.engine.cluster import LocalCluster, Ports
from fairlead_serve.engine.environment import check_environment
from fairlead_serve.engine.events import EngineAddress
from fairlead_serve.engine.process import EngineProcess
from fairlead_serve.engine.runner import EngineRunner
from fairlead_serve.engine.weights import WeightsStore
from fairlead_serve.errors import ConfigurationError, EngineStartError
from fairlead_serve.gateway.api import Gateway, create_gateway
from fairlead_serve.gateway.server import GatewayServer, listen
from fairlead_serve.internal import engine_path
from fairlead_serve.logs import AccessLog, configure_logging
from fairlead_serve.model import Model
from fairlead_serve.progress import Reporter
from fairlead_serve.settings import (
    BackendSettings,
    ColdStartSettings,
    EngineSettings,
    GatewaySettings,
    SourceSettings,
)
from fairlead_serve.stopping import Stopping

# Ray needs a while to end after the last request has; this much is granted beyond the drain time.
_STOP_MARGIN_SECONDS = 60


@dataclass(frozen=True)
class Started:
    """What there is to tell when everything answers."""

    url: str
    models: Sequence[str]
    log: Path
    engines: EngineAddress | None


def run_engines(
    models: Sequence[Model],
    *,
    host: str | None,
    port: int | None,
    dashboard: bool,
    report: Reporter,
    stopping: Stopping,
    on_ready: Callable[[EngineAddress], None],
) -> None:
    """Run the engines of `models` in this process until told to stop (`fairlead engine`).

    `host` and `port`: where they answer; None: an own loopback address and a free port.
    Raises ConfigurationError, WeightsError, EngineStartError.
    """
    settings, sources = EngineSettings(), SourceSettings()
    own = [model for model in models if has_engines(model)]
    if not own:
        message = "none of the Models has an engine to run: each is suspended or served by an upstream"
        raise ConfigurationError(message)
    check_environment(own, os.environ)
    weights = WeightsStore(
        settings.cache_dir,
        hub_endpoint=sources.hf_endpoint,
        s3_endpoint=sources.aws_endpoint_url,
        claims=settings.claims_dir if settings.claims_dir.is_dir() else None,
    )
    cluster = LocalCluster(Ports.pick(host=host, serve=port), drain_seconds=drain_seconds(own), dashboard=dashboard)
    token = sources.hf_token.get_secret_value() if sources.hf_token else None
    runner = EngineRunner(own, weights, cluster, token, report, stopping)
    runner.run(on_ready=lambda: on_ready(EngineAddress(cluster.url, cluster.metrics_url, str(cluster.log_directory))))


def run_gateway(
    settings: GatewaySettings, *, access_log: IO[bytes], stopping: Stopping, on_started: Callable[[str], None]
) -> None:
    """Run the gateway alone over the backends of `settings` until told to stop (`fairlead gateway`).

    Raises ConfigurationError and PortInUse.
    """
    _refuse_open_address(settings)
    if not settings.backends:
        message = "the gateway has no backends; list them under `backends` (configs/gateway.yaml shows how)"
        raise ConfigurationError(message)
    gateway = _create_gateway(settings, access_log)
    with listen(settings.host, settings.port) as listener:
        server = GatewayServer(gateway, listener, settings)
        _serve(gateway, server, stopping, on_started=lambda: on_started(server.url))


def run_local(
    files: Sequence[Path],
    models: Sequence[Model],
    settings: GatewaySettings,
    *,
    dashboard: bool,
    report: Reporter,
    on_loaded: Callable[[], None],
    stopping: Stopping,
    on_started: Callable[[Started], None],
) -> None:
    """Engines and gateway of `models` on this machine until told to stop (`fairlead serve`).

    `on_loaded` is called after the last report. Raises every FairleadError of its parts; no process is left
    behind, then or at the end.
    """
    _refuse_open_address(settings)
    token = secrets.token_urlsafe(32)
    log = log_file()
    # The port is taken before anything long begins, and held until the gateway listens on it.
    with listen(settings.host, settings.port) as listener, log.open("ab") as access_log, log.open("a") as events:
        configure_logging(events)
        engines = _start_engines(files, models, token=token, log=log, dashboard=dashboard)
        try:
            address = engines.wait_ready(report, cancelled=stopping.drain) if engines else None
            on_loaded()
            if stopping.drain.is_set():
                return
            local = local_settings(settings, models, token=token, engines_url=address.url if address else "")
            gateway = _create_gateway(local, access_log)
            server = GatewayServer(gateway, listener, local)
            started = Started(server.url, [name for name, _ in gateway.table.names()], log, address)
            _serve(gateway, server, stopping, on_started=lambda: on_started(started), engines=engines, wait=True)
            if engines and not engines.running:
                message = f"the engine process ended by itself; its log is {log}"
                raise EngineStartError(message)
        finally:
            if engines:
                _end(engines, stopping, seconds=drain_seconds(models) + _STOP_MARGIN_SECONDS)


def _create_gateway(settings: GatewaySettings, access_log: IO[bytes]) -> Gateway:
    environment: Mapping[str, str] = os.environ
    return create_gateway(settings, environment=environment, created=int(time.time()), access_log=AccessLog(access_log))


def _start_engines(
    files: Sequence[Path], models: Sequence[Model], *, token: str, log: Path, dashboard: bool
) -> EngineProcess | None:
    if not any(has_engines(model) for model in models):
        return None
    return EngineProcess(files, token=token, log=log, arguments=["--dashboard"] if dashboard else [])


def _end(engines: EngineProcess, stopping: Stopping, *, seconds: float) -> None:
    def kill_on_second_signal() -> None:
        if stopping.leave.is_set():
            engines.kill()

    with stopping.listening(kill_on_second_signal):
        engines.stop(timeout=seconds)


def _serve(
    gateway: Gateway,
    server: GatewayServer,
    stopping: Stopping,
    *,
    on_started: Callable[[], None],
    engines: EngineProcess | None = None,
    wait: bool = False,
) -> None:
    """Run `gateway` in `server` until told to stop, or until its engines have ended by themselves.

    `wait`: `on_started` is not called before all engines answer. Raises ConfigurationError.
    """

    async def announce() -> None:
        if wait:
            await gateway.wait_ready()
        on_started()

    async def serve() -> None:
        loop = asyncio.get_running_loop()

        def stop_soon() -> None:
            loop.call_soon_threadsafe(server.stop)

        if engines is not None:
            engines.on_exit(stop_soon)

        def obey() -> None:
            loop.call_soon_threadsafe(server.leave if stopping.leave.is_set() else server.stop)

        await gateway.open()
        with stopping.listening(obey):
            await server.run(on_started=announce)

    # What is there by now stays: a collector that does not look through it again takes a fifth off a request's CPU.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def has_engines(model: Model) -> bool:
    """Whether there is an engine to run for `model` on this machine."""
    return model.spec.upstream is None and model.max_replicas > 0


def drain_seconds(models: Sequence[Model]) -> int:
    """The longest drain time among `models`, in seconds."""
    return max((model.spec.drain_timeout_seconds for model in models), default=0)


def local_settings(
    settings: GatewaySettings, models: Sequence[Model], *, token: str, engines_url: str
) -> GatewaySettings:
    """`settings` with the backends of `models`, whose engines answer below `engines_url`."""
    served = [model for model in models if has_engines(model) or model.spec.upstream]
    # Models name their fallbacks as resources; the gateway knows them by what clients call them.
    names = {model.name: model.served_names[0] for model in served}
    backends = [backend_of(model, engines_url, names) for model in served]
    return settings.model_copy(
        update={
            "backends": tuple(backends),
            "internal_token": SecretStr(token),
            "times": settings.times.model_copy(update={"drain_seconds": drain_seconds(models)}),
        }
    )


def backend_of(model: Model, engines_url: str, names: Mapping[str, str]) -> BackendSettings:
    """How the gateway reaches `model`: at its engines below `engines_url`, or at its upstream.

    `names`: the served name of every Model that is served; fallbacks to others (suspended ones) are left out.
    """
    spec = model.spec
    cold_start = ColdStartSettings()
    if spec.scaling is not None:
        bounds = spec.scaling.cold_start
        cold_start = ColdStartSettings(max_queued=bounds.max_queued, timeout_seconds=bounds.timeout_seconds)
    name, *aliases = model.served_names
    common: dict[str, Any] = {
        "name": name,
        "aliases": tuple(aliases),
        "max_ongoing": spec.limits.max_ongoing,
        "max_queued": spec.limits.max_queued,
        "request_seconds": float(spec.limits.request_timeout_seconds),
        "cold_start": cold_start,
        "strategy": spec.routing.strategy,
        "fallback": tuple(names[name] for name in spec.fallback if name in names),
    }
    if spec.upstream is None:
        return BackendSettings(kind="engine", endpoints=(engines_url + engine_path(model.name),), **common)
    upstream = spec.upstream
    key = secret_variable(upstream.api_key_secret_ref.name) if upstream.api_key_secret_ref else ""
    return BackendSettings(
        kind="upstream",
        # Model files name the URL as OpenAI's clients do, with /v1; the gateway's paths bring their own.
        endpoints=(upstream.url.rstrip("/").removesuffix("/v1"),),
        upstream_model=upstream.model,
        api_key_env=key,
        **common,
    )


def secret_variable(name: str) -> str:
    """The environment variable that stands for the Secret `name` where there is no cluster: `my-key`, `MY_KEY`."""
    return "".join(letter if letter.isalnum() else "_" for letter in name).upper()


def log_file() -> Path:
    """A new log file of this run, for its owner alone."""
    handle, path = tempfile.mkstemp(prefix=f"fairlead-{time.strftime('%Y%m%d-%H%M%S')}-", suffix=".log")
    os.close(handle)
    return Path(path)


def _refuse_open_address(settings: GatewaySettings) -> None:
    has_keys = settings.key_file is not None
    if (
        has_keys
        or settings.allow_anonymous
        or settings.host in {"localhost", "::1"}
        or settings.host.startswith("127.")
    ):
        return
    message = (
        f"serving on {settings.host} without keys would let anybody who reaches it use the models; "
        "give --key-file (`fairlead key create` makes one), listen on 127.0.0.1, or say --allow-anonymous"
    )
    raise ConfigurationError(message)
