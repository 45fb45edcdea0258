"""One engine as a Ray Serve replica: vLLM's own HTTP application, served by the replica itself.

Ray Serve builds the replica, then asks it for its ASGI application (`__serve_build_asgi_app__`, Ray 2.60);
from then on no token passes through a Ray object: the replica's uvicorn answers HAProxy directly.

One Ray Serve application per Model, at `internal.engine_path`: `application` for a Ray on this machine, `build` for
the configuration of a RayService.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from fairlead_serve.documents import parse_documents
from fairlead_serve.engine.arguments import engine_arguments
from fairlead_serve.engine.failures import cause, explain
from fairlead_serve.engine.fetcher import EngineFiles, fetcher
from fairlead_serve.engine.guard import DeadEngineGuard, TokenGuard
from fairlead_serve.engine.verdict import secrets_of, verdict, without
from fairlead_serve.errors import EngineStartError, FairleadError, ModelFileError
from fairlead_serve.internal import TASKS_PATH, TOKEN_VARIABLE
from fairlead_serve.model import Model, parse
from fairlead_serve.progress import LineReporter
from fairlead_serve.settings import SourceSettings, load_engine_settings

HEALTH_CHECK_PERIOD_S = 2.0
HEALTH_CHECK_TIMEOUT_S = 30.0


@serve.deployment
@serve.ingress()
class EngineReplica:
    """One vLLM engine. Constructed by Ray Serve in a worker process of its own.

    `files`: where its weights (`weights`) and its LoRA adapters (`adapters`, by name) lie; None: to be fetched first.
    """

    # Ray Serve awaits an async constructor; the language knows none.
    async def __init__(self, model: dict[str, Any], files: dict[str, Any] | None) -> None:  # type: ignore[misc]
        self._model = Model.model_validate(model)
        if files is None:
            found = await _fetch_everywhere(self._model)
        else:
            adapters = {name: Path(path) for name, path in files["adapters"].items()}
            found = EngineFiles(self._model, Path(files["weights"]), adapters)
        from fairlead_serve.engine.vllm import EmbeddedEngine  # noqa: PLC0415 - seconds; only a replica needs it

        engine, frontend = engine_arguments(self._model, found.weights, found.adapters)
        try:
            self._engine = await EmbeddedEngine.start(engine, frontend)
        except Exception as error:
            raise _start_error(self._model, error) from error
        self._token = os.environ.get(TOKEN_VARIABLE, "")
        self._holding = asyncio.Lock()

    async def __serve_build_asgi_app__(self) -> Any:
        try:
            application = await self._engine.application()
        except Exception as error:  # a LoRA adapter or a chat template that it cannot use
            raise _start_error(self._model, error) from error
        tasks = await self._engine.tasks()
        self._adapters = self._engine.adapters(application)
        application.add_api_route(TASKS_PATH, lambda: tasks, include_in_schema=False)
        application.add_middleware(DeadEngineGuard, is_dead=lambda: self._engine.dead)
        application.add_middleware(TokenGuard, token=self._token)
        return application

    async def hold_adapters(self, directories: dict[str, str]) -> dict[str, str]:
        """Hold the LoRA adapters of these directories, by name, and no others; what went wrong with which."""
        failures: dict[str, str] = {}
        # A caller that did not wait for the end may be back already.
        async with self._holding:
            for name in self._adapters.directories.keys() - directories.keys():
                self._adapters.unload(name)
            for name, directory in directories.items():
                if self._adapters.directories.get(name) != directory:
                    try:
                        await self._adapters.load(name, Path(directory))
                    except ValueError as error:
                        failures[name] = cause([str(error)])
        return failures

    async def check_health(self) -> None:
        """Ray Serve's probe: raising makes it replace this replica."""
        await self._engine.check_health()

    def __del__(self) -> None:
        # The constructor may have failed before there was an engine.
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.stop()


def application(model: Model, weights: Path, adapters: Mapping[str, Path]) -> Any:
    """The Ray Serve application of one Model, bound but not running. The paths are local directories."""
    files = {"weights": str(weights), "adapters": {name: str(path) for name, path in adapters.items()}}
    # A first start that fails is told at once; Ray Serve goes on replacing a replica that once ran.
    options = {**deployment_options(model), **replicas(model), "max_constructor_retry_count": 1}
    return _deployment(**options).bind(_document(model), files)


class BuildArguments(BaseModel):
    """What a Ray Serve configuration says below `args`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    """The text of a Model file."""


def build(args: BuildArguments) -> Any:
    """The Ray Serve application of one Model, for a Ray Serve configuration (`import_path`).

    How many engines there are is said below `deployments` there. An engine fetches its weights itself, on the machine
    it was placed on, and takes the internal token from that machine's environment.
    Raises EngineStartError for a Model file that is wrong.
    """
    try:
        documents = parse_documents(args.model, source="args.model")
        models = [parse(document, source="args.model") for document in documents]
    except ModelFileError as error:
        # One that Ray can carry from process to process.
        raise EngineStartError(verdict(error, secrets=_secrets())) from None
    if len(models) != 1:
        raise EngineStartError(f"args.model holds {len(models)} Models; give one application for each")
    (model,) = models
    return _deployment(**deployment_options(model)).bind(_document(model), None)


def _deployment(**options: Any) -> Any:
    deployment: Any = EngineReplica  # what the decorators make of the class; Ray has no types for it
    return deployment.options(**options)


def _document(model: Model) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True)


async def _fetch_everywhere(model: Model) -> EngineFiles:
    """The files of an engine that nobody has fetched yet, on every machine that it is placed on."""
    group = ray.util.get_current_placement_group()
    if group is None:
        return await asyncio.to_thread(_fetch, model)
    # One a bundle: those of one machine wait for the first and find everything there.
    places = [PlacementGroupSchedulingStrategy(group, index) for index in range(group.bundle_count)]
    task: Any = ray.remote(num_cpus=0)(_fetch)
    try:
        found: list[EngineFiles] = await asyncio.gather(
            *(task.options(scheduling_strategy=place).remote(model) for place in places)
        )
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return found[0]


def _fetch(model: Model) -> EngineFiles:
    """The files of an engine on this machine; progress goes to the log of this worker."""
    reporter = LineReporter(sys.stderr)
    try:
        return fetcher(load_engine_settings(), SourceSettings(), reporter, cancelled=lambda: False).model(model)
    except FairleadError as error:
        # The line that a Standalone engine leaves, with the reason in front; alone, because Ray shows causes too.
        raise EngineStartError(verdict(error, secrets=_secrets())) from None


def _start_error(model: Model, error: Exception) -> EngineStartError:
    return EngineStartError(without(explain(model, error), _secrets()))


def _secrets() -> list[str]:
    """What this process was given and must not say: whoever may read the RayService or the Model sees its errors."""
    # Not from the engine's settings, which may be what is wrong.
    return [os.environ.get(TOKEN_VARIABLE, ""), *secrets_of(SourceSettings())]


def deployment_options(model: Model) -> dict[str, Any]:
    """What Ray Serve is told about each of a Model's engines (keyword arguments of `Deployment.options`)."""
    spec = model.spec
    return {
        "name": "engine",
        # Both bounds are the gateway's to keep, per Model; a replica only must never be the narrower one.
        "max_ongoing_requests": spec.limits.max_ongoing + spec.limits.max_queued,
        "max_queued_requests": -1,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": float(spec.drain_timeout_seconds),
        "graceful_shutdown_wait_loop_s": 0.5,
        **placement(model),
    }


def replicas(model: Model) -> dict[str, Any]:
    """How many engines Ray Serve is to keep (keyword arguments of `Deployment.options`)."""
    if model.spec.scaling is not None:
        return {"autoscaling_config": autoscaling(model)}
    return {"num_replicas": 1 if model.spec.replicas is None else model.spec.replicas}


def placement(model: Model) -> dict[str, Any]:
    """CPUs, GPUs and environment of one engine.

    A KubeRay engine spreads over nodes, so it asks for one bundle a GPU and vLLM's Ray executor fills them;
    elsewhere one actor holds all GPUs of the engine.
    """
    environment = {variable.name: variable.value for variable in model.engine.env if variable.value is not None}
    actor: dict[str, Any] = {"num_cpus": 1, "runtime_env": {"env_vars": environment}}
    gpus = model.gpus_per_engine
    if model.spec.cluster == "KubeRay" and gpus > 0:
        bundles = [{"CPU": 1, "GPU": 1}] + [{"GPU": 1}] * (gpus - 1)
        return {
            "ray_actor_options": {**actor, "num_gpus": 0},
            "placement_group_bundles": bundles,
            "placement_group_strategy": "PACK",
        }
    return {"ray_actor_options": {**actor, "num_gpus": gpus}}


def autoscaling(model: Model) -> AutoscalingConfig:
    """Ray Serve's autoscaling for `spec.scaling` (seconds and requests, as there)."""
    scaling = model.spec.scaling
    if scaling is None:
        message = f"the Model {model.name} has no spec.scaling"
        raise ValueError(message)
    return AutoscalingConfig(
        min_replicas=scaling.min_replicas,
        initial_replicas=max(scaling.min_replicas, 1),
        max_replicas=scaling.max_replicas,
        target_ongoing_requests=float(scaling.target_ongoing_requests),
        upscale_delay_s=float(scaling.scale_up_delay_seconds),
        downscale_delay_s=float(scaling.scale_down_delay_seconds),
        downscale_to_zero_delay_s=float(scaling.scale_to_zero_delay_seconds),
    )
