"""One engine as a Ray Serve replica: vLLM's own HTTP application, served by the replica itself.

Ray Serve builds the replica, then asks it for its ASGI application (`__serve_build_asgi_app__`, Ray 2.60);
from then on no token passes through a Ray object: the replica's uvicorn answers HAProxy directly.

One Ray Serve application per Model, at `internal.engine_path`. `build` is the import path for a RayService.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from fairlead_serve.engine.arguments import engine_arguments
from fairlead_serve.engine.failures import explain
from fairlead_serve.engine.guard import DeadEngineGuard, TokenGuard
from fairlead_serve.errors import EngineStartError
from fairlead_serve.internal import TASKS_PATH, TOKEN_VARIABLE
from fairlead_serve.model import Model

HEALTH_CHECK_PERIOD_S = 2.0
HEALTH_CHECK_TIMEOUT_S = 30.0


@serve.deployment
@serve.ingress()
class EngineReplica:
    """One vLLM engine. Constructed by Ray Serve in a worker process of its own."""

    # Ray Serve awaits an async constructor; the language knows none.
    async def __init__(self, model: dict[str, Any], weights: str, adapters: dict[str, str]) -> None:  # type: ignore[misc]
        from fairlead_serve.engine.vllm import EmbeddedEngine  # noqa: PLC0415 - seconds; only a replica needs it

        resource = Model.model_validate(model)
        engine, frontend = engine_arguments(
            resource, Path(weights), {name: Path(path) for name, path in adapters.items()}
        )
        try:
            self._engine = await EmbeddedEngine.start(engine, frontend)
        except Exception as error:
            raise EngineStartError(explain(resource, error)) from error
        self._token = os.environ.get(TOKEN_VARIABLE, "")

    async def __serve_build_asgi_app__(self) -> Any:
        application = await self._engine.application()
        tasks = await self._engine.tasks()
        application.add_api_route(TASKS_PATH, lambda: tasks, include_in_schema=False)
        application.add_middleware(DeadEngineGuard, is_dead=lambda: self._engine.dead)
        application.add_middleware(TokenGuard, token=self._token)
        return application

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
    resource = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    deployment: Any = EngineReplica  # what the decorators make of the class; Ray has no types for it
    return deployment.options(**deployment_options(model)).bind(
        resource, str(weights), {name: str(path) for name, path in adapters.items()}
    )


def deployment_options(model: Model) -> dict[str, Any]:
    """What Ray Serve is told about a Model's engines (keyword arguments of `Deployment.options`)."""
    spec = model.spec
    options: dict[str, Any] = {
        "name": "engine",
        # Both bounds are the gateway's to keep, per Model; a replica only must never be the narrower one.
        "max_ongoing_requests": spec.limits.max_ongoing + spec.limits.max_queued,
        "max_queued_requests": -1,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": float(spec.drain_timeout_seconds),
        "graceful_shutdown_wait_loop_s": 0.5,
        # A first start that fails is told at once; Ray Serve goes on replacing a replica that once ran.
        "max_constructor_retry_count": 1,
        **placement(model),
    }
    if spec.scaling is None:
        options["num_replicas"] = 1 if spec.replicas is None else spec.replicas
    else:
        options["autoscaling_config"] = autoscaling(model)
    return options


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
