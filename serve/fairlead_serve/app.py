"""Composition: the only place where engines, gateway and settings meet. Nothing imports it but the command line."""

import asyncio
import gc
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import uvloop
from pydantic import SecretStr

from fairlead_serve.engine.adapter_list import read_adapters
from fairlead_serve.engine.adapters import AdapterKeeper
from fairlead_serve.engine.cluster import LocalCluster, Ports
from fairlead_serve.engine.environment import check_environment
from fairlead_serve.engine.events import EngineAddress
from fairlead_serve.engine.fetcher import fetcher
from fairlead_serve.engine.process import EngineProcess
from fairlead_serve.engine.runner import EngineRunner
from fairlead_serve.engine.status import Status
from fairlead_serve.engine.status_server import StatusEndpoint, serving
from fairlead_serve.errors import ConfigurationError, EngineStartError
from fairlead_serve.gateway.api import Gateway, create_gateway
from fairlead_serve.gateway.roster import Roster, Source
from fairlead_serve.gateway.served import served_model, upstream_url
from fairlead_serve.gateway.server import GatewayServer, listen
from fairlead_serve.internal import engine_path
from fairlead_serve.logs import AccessLog, configure_logging
from fairlead_serve.model import Model
from fairlead_serve.progress import Report, Reporter
from fairlead_serve.settings import (
    BackendSettings,
    ClusterSettings,
    EngineSettings,
    GatewaySettings,
    SourceSettings,
)
from fairlead_serve.stopping import Stopping

# Ray needs a while to end after the last request has; this much is granted beyond the drain time.
_STOP_MARGIN_SECONDS = 60
# So many that looking through them takes about a hundredth of the CPU, so few that a cycle which some error leaves
# behind, and with it the body of a request, is found soon.
_YOUNG_OBJECTS = 5_000


@dataclass(frozen=True)
class Started:
    """What there is to tell when everything answers."""

    url: str
    models: Sequence[str]
    log: Path
    engines: EngineAddress | None


def run_engines(
    models: Sequence[Model],
    settings: EngineSettings,
    sources: SourceSettings,
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
    Raises ConfigurationError, WeightsError, EngineStartError, PortInUse.
    """
    own = [model for model in models if has_engines(model)]
    if not own:
        message = "none of the Models has an engine to run: each is suspended or served by an upstream"
        raise ConfigurationError(message)
    check_environment(own, os.environ)
    watched = _only(own) if settings.status_port is not None else None
    ports = Ports.pick(host=host, serve=port, metrics=settings.metrics_port)
    cluster = LocalCluster(ports, drain_seconds=drain_seconds(own), dashboard=dashboard)

    def announce() -> None:
        on_ready(EngineAddress(cluster.url, cluster.metrics_url, str(cluster.log_directory)))

    if watched is not None:
        _run_with_status(watched, settings, sources, cluster, report=report, stopping=stopping, on_ready=announce)
    else:
        source = fetcher(settings, sources, report, cancelled=stopping.drain.is_set)
        EngineRunner(own, source, cluster, report, stopping).run(on_ready=announce)


def _only(models: Sequence[Model]) -> Model:
    if len(models) == 1 and models[0].max_replicas == 1:
        return models[0]
    message = "FAIRLEAD_STATUS_PORT tells of one engine; give one Model with one replica, or unset it"
    raise ConfigurationError(message)


def _run_with_status(
    model: Model,
    settings: EngineSettings,
    sources: SourceSettings,
    cluster: LocalCluster,
    *,
    report: Reporter,
    stopping: Stopping,
    on_ready: Callable[[], None],
) -> None:
    """Run the engine of `model` with a status port beside it, at which its LoRA adapters can be changed."""
    status = Status(model.name, stopping)

    def tell(one: Report) -> None:
        status(one)
        report(one)

    def ready() -> None:
        status.ready()
        on_ready()

    source = fetcher(settings, sources, tell, cancelled=stopping.drain.is_set)
    keeper = AdapterKeeper(partial(source.adapter, model), partial(cluster.hold_adapters, model.name))
    keeper.want(first_adapters(model, settings.adapters_file))
    runner = EngineRunner([model], source, cluster, tell, stopping, keeper)
    endpoint, token = StatusEndpoint(status, keeper), settings.internal_token.get_secret_value()
    with serving(endpoint, host=cluster.ports.host, port=settings.status_port or 0, token=token):
        runner.run(on_ready=ready)


def first_adapters(model: Model, file: Path | None) -> list[tuple[str, str]]:
    """Name and URI of the adapters that an engine begins with: of its Model file and of `file`, which goes before."""
    own = {adapter.name: adapter.uri for adapter in (model.spec.lora.adapters if model.spec.lora else ())}
    listed = dict(read_adapters(file)) if file is not None else {}
    return list({**own, **listed}.items())


def run_gateway(
    settings: GatewaySettings, *, access_log: IO[bytes], stopping: Stopping, on_started: Callable[[str], None]
) -> None:
    """Run the gateway alone until told to stop (`fairlead gateway`): over backends, or over the Models of a cluster.

    `on_started` is called when the cluster's Models are known; with backends, as soon as connections are taken.
    Raises ConfigurationError and PortInUse.
    """
    _refuse_open_address(settings)
    if settings.cluster is None and not settings.backends:
        message = (
            "the gateway has no backends; list them under `backends` (configs/gateway.yaml shows how), or serve the "
            "Models of a cluster with --from-cluster"
        )
        raise ConfigurationError(message)
    if settings.cluster is not None and settings.backends:
        message = "`backends` and `cluster` (--from-cluster) exclude each other; keep one"
        raise ConfigurationError(message)
    make_source = cluster_source(settings.cluster) if settings.cluster is not None else None
    gateway = _create_gateway(settings, access_log, make_source)
    with listen(settings.host, settings.port) as listener:
        server = GatewayServer(gateway, listener, settings)
        _serve(gateway, server, stopping, on_started=lambda: on_started(server.url), wait=make_source is not None)


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


def cluster_source(cluster: ClusterSettings) -> Callable[[Roster], Source]:
    """What makes the source of the Models of `cluster`. Raises ConfigurationError when there is no way to it."""
    # For a gateway in a cluster only.
    from fairlead_serve.api_server import ApiServer, connect, home_namespace  # noqa: PLC0415
    from fairlead_serve.gateway.cluster_source import ClusterSource  # noqa: PLC0415
    from fairlead_serve.informer import Informer  # noqa: PLC0415

    if cluster.all_namespaces and cluster.namespaces:
        message = "--namespace and --all-namespaces exclude each other; keep one"
        raise ConfigurationError(message)
    client = connect(cluster.kubeconfig)
    chosen = () if cluster.all_namespaces else cluster.namespaces or (home_namespace(cluster.kubeconfig),)
    namespaces = tuple(dict.fromkeys(chosen))
    return lambda roster: ClusterSource(roster, ApiServer(client), partial(Informer, client), namespaces)


def _create_gateway(
    settings: GatewaySettings, access_log: IO[bytes], make_source: Callable[[Roster], Source] | None = None
) -> Gateway:
    environment: Mapping[str, str] = os.environ
    return create_gateway(
        settings,
        environment=environment,
        created=int(time.time()),
        access_log=AccessLog(access_log),
        make_source=make_source,
    )


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
    # What is passed on or refused leaves no cycles behind: to look as often as Python does by itself, while many
    # requests are under way, is a twentieth of their CPU, and finds nothing.
    gc.set_threshold(_YOUNG_OBJECTS)
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
    secret = model.spec.upstream.api_key_secret_ref if model.spec.upstream is not None else None
    return BackendSettings(
        **served_model(model).model_dump(),
        endpoints=(upstream_url(model) or engines_url + engine_path(model.name),),
        api_key_env=secret_variable(secret.name) if secret is not None else "",
        fallback=tuple(names[name] for name in model.spec.fallback if name in names),
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
