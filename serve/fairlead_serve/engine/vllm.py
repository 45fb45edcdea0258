"""The embedded engine: an `AsyncLLM` and vLLM's own FastAPI application around it.

The only file that imports vLLM. It relies on functions of one exact release (see pyproject.toml) that vLLM
does not promise to keep: `create_engine_config`, `AsyncLLM.from_vllm_config`, `build_app`,
`init_app_state`. `tests/serve/engine/test_vllm_contract.py` says in words when one of them changes.

Importing this module takes seconds: import it where an engine is about to start, nowhere else.
"""

import argparse
import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.entrypoints.launchers.launcher import validate_api_server_args
from vllm.lora.request import LoRARequest
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.ray_wrappers import RayPrometheusStatLogger

__all__ = ["EmbeddedAdapters", "EmbeddedEngine", "EngineDeadError"]


def with_configurations(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with vLLM's configuration objects in place of the maps that describe them.

    vLLM's command line makes them; the constructor of its arguments leaves some of them maps and fails later.
    Raises pydantic's ValidationError for a map that does not fit.
    """
    declared: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(AsyncEngineArgs)}
    return {
        name: TypeAdapter(declared[name]).validate_python(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }


@dataclass(frozen=True)
class EmbeddedEngine:
    """A running engine (`client`) and the arguments that its HTTP application is built from."""

    client: Any
    arguments: argparse.Namespace

    @classmethod
    async def start(cls, engine: dict[str, Any], frontend: dict[str, Any]) -> "EmbeddedEngine":
        """Load the weights and start the engine core (a child process).

        `engine` are keyword arguments of `AsyncEngineArgs`, `frontend` of `FrontendArgs`. Takes seconds to
        many minutes. Raises what vLLM raises; the caller translates.
        """
        engine_arguments = AsyncEngineArgs(**with_configurations(engine))
        # Without the API server's usage context vLLM picks smaller batch sizes (ray-project/ray#55159).
        context = UsageContext.OPENAI_API_SERVER
        config = engine_arguments.create_engine_config(usage_context=context)
        arguments = argparse.Namespace(**(vars(FrontendArgs(**frontend)) | vars(engine_arguments)))
        if arguments.tool_parser_plugin:
            ToolParserManager.import_tool_parser(arguments.tool_parser_plugin)
        if arguments.reasoning_parser_plugin:
            ReasoningParserManager.import_reasoning_parser(arguments.reasoning_parser_plugin)
        validate_api_server_args(arguments)
        client = AsyncLLM.from_vllm_config(
            config,
            usage_context=context,
            stat_loggers=[RayPrometheusStatLogger],
            enable_log_requests=engine_arguments.enable_log_requests,
            disable_log_stats=engine_arguments.disable_log_stats,
        )
        await client.reset_mm_cache()
        return cls(client, arguments)

    async def tasks(self) -> list[str]:
        """What the model can do, in vLLM's words: `generate`, `embed`, `transcription`, ..."""
        return list(await self.client.get_supported_tasks())

    async def application(self) -> Any:
        """vLLM's FastAPI application around this engine: every route that its tasks support."""
        tasks = await self.tasks()
        application = build_app(self.arguments, tasks, self.client.model_config)
        await init_app_state(self.client, application.state, self.arguments, tasks)
        # vLLM's handler of a dead engine tells its uvicorn server to exit; here the health check does that.
        application.state.server = types.SimpleNamespace(should_exit=False)
        # build_app hands the application over with its middleware stack already built.
        application.middleware_stack = None
        return application

    def adapters(self, application: Any) -> "EmbeddedAdapters":
        """The LoRA adapters that `application`, made by this engine, answers to."""
        return EmbeddedAdapters(self.client, application.state.openai_serving_models, bool(self.arguments.enable_lora))

    @property
    def dead(self) -> bool:
        """Whether the engine core has died; it never comes back, the replica has to be replaced."""
        return bool(self.client.errored)

    async def check_health(self) -> None:
        """Raise `EngineDeadError` when the engine core has died."""
        await self.client.check_health()

    def stop(self) -> None:
        """End the engine core and its workers. Requests in flight are dropped."""
        self.client.shutdown()


@dataclass(frozen=True)
class EmbeddedAdapters:
    """The LoRA adapters of a running engine: in its core (`client`) and under their names in its HTTP application.

    Not vLLM's own loading by request: that answers 404 while it replaces an adapter, or reads the new weights again at
    every step (`load_inplace`, vLLM 0.32).
    """

    client: Any
    models: Any
    enabled: bool

    @property
    def directories(self) -> dict[str, str]:
        """Where each adapter was loaded from, by name."""
        return {name: request.lora_path for name, request in self.models.lora_requests.items()}

    async def load(self, name: str, directory: Path) -> None:
        """Load an adapter and answer to its name; in place of an earlier one only when it is there.

        Raises ValueError with vLLM's words for weights that it cannot use.
        """
        if not self.enabled:
            raise ValueError("the engine was started without LoRA; add spec.lora to the Model")
        if self.models.is_base_model(name):
            raise ValueError(f"the model itself is called {name}; give the adapter another name")
        # Another number for other weights: requests under way keep those that they began with.
        request = LoRARequest(name, self.models.lora_id_counter.inc(1), str(directory))
        try:
            await self.client.add_lora(request)
        except EngineDeadError:
            raise
        except Exception as error:
            raise ValueError(str(error) or type(error).__name__) from error
        self.models.lora_requests[name] = request

    def unload(self, name: str) -> None:
        """Answer to `name` no longer; vLLM drops the weights when it needs their place."""
        del self.models.lora_requests[name]
