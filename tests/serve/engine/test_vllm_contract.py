"""vLLM's functions that `engine/vllm.py` embeds are still what it was written for.

When one of these fails after a change of the vLLM version, the message says what moved.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fairlead_serve

PINNED = "0.32.0"

# (module, attribute path, parameters that engine/vllm.py relies on)
EMBEDDED: list[tuple[str, str, list[str]]] = [
    ("vllm.engine.arg_utils", "AsyncEngineArgs.create_engine_config", ["usage_context"]),
    (
        "vllm.v1.engine.async_llm",
        "AsyncLLM.from_vllm_config",
        ["vllm_config", "usage_context", "stat_loggers", "enable_log_requests", "disable_log_stats"],
    ),
    ("vllm.v1.engine.async_llm", "AsyncLLM.check_health", []),
    ("vllm.v1.engine.async_llm", "AsyncLLM.reset_mm_cache", []),
    ("vllm.v1.engine.async_llm", "AsyncLLM.get_supported_tasks", []),
    ("vllm.v1.engine.async_llm", "AsyncLLM.shutdown", ["timeout"]),
    ("vllm.v1.engine.async_llm", "AsyncLLM.add_lora", ["lora_request"]),
    ("vllm.lora.request", "LoRARequest", ["lora_name", "lora_int_id", "lora_path"]),
    ("vllm.entrypoints.openai.models.serving", "OpenAIServingModels.is_base_model", ["model_name"]),
    ("vllm.v1.engine.async_llm", "AsyncLLM.errored", []),
    ("vllm.entrypoints.launchers.app", "build_app", ["args", "supported_tasks", "model_config"]),
    (
        "vllm.entrypoints.launchers.api_server.app_state",
        "init_app_state",
        ["engine_client", "state", "args", "supported_tasks"],
    ),
    ("vllm.entrypoints.launchers.launcher", "validate_api_server_args", ["args"]),
    ("vllm.entrypoints.launchers.cli_args", "FrontendArgs", []),
    ("vllm.usage.usage_lib", "UsageContext.OPENAI_API_SERVER", []),
    ("vllm.v1.metrics.ray_wrappers", "RayPrometheusStatLogger", []),
    ("vllm.v1.engine.exceptions", "EngineDeadError", []),
    ("vllm.tool_parsers", "ToolParserManager.import_tool_parser", []),
    ("vllm.reasoning", "ReasoningParserManager.import_reasoning_parser", []),
]

# Importing vLLM changes the process that does it (its logging, its warnings): a process of its own looks.
LOOK = """
import importlib, inspect, json, sys
found = []
for module, path, _ in json.loads(sys.argv[1]):
    try:
        value = importlib.import_module(module)
        for name in path.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError) as error:
        found.append(str(error))
        continue
    try:
        found.append(list(inspect.signature(value).parameters))
    except (TypeError, ValueError):
        found.append([])
import vllm
print("FOUND " + json.dumps([vllm.__version__, found]))
"""


@pytest.fixture(scope="module")
def installed() -> tuple[str, list[Any]]:
    words = [sys.executable, "-W", "ignore", "-c", LOOK, json.dumps(EMBEDDED)]
    output = subprocess.run(words, capture_output=True, text=True, check=True, timeout=200).stdout
    (line,) = [line for line in output.splitlines() if line.startswith("FOUND ")]
    version, found = json.loads(line.removeprefix("FOUND "))
    return version, found


def test_the_installed_vllm_is_the_pinned_one(installed: tuple[str, list[Any]]) -> None:
    assert installed[0].startswith(PINNED), f"vLLM {installed[0]} is installed, engine/vllm.py was written for {PINNED}"


@pytest.mark.parametrize("index", range(len(EMBEDDED)), ids=[f"{module}.{path}" for module, path, _ in EMBEDDED])
def test_what_is_embedded_is_there_and_takes_what_it_is_given(installed: tuple[str, list[Any]], index: int) -> None:
    module, path, wanted = EMBEDDED[index]
    found = installed[1][index]
    assert not isinstance(found, str), f"{module}.{path} is gone ({found}); engine/vllm.py uses it"
    missing = [name for name in wanted if name not in found]
    assert not missing, f"{module}.{path} no longer takes {', '.join(missing)}; it takes {', '.join(found)}"


def test_this_file_watches_every_name_that_the_engine_imports_from_vllm() -> None:
    source = (Path(fairlead_serve.__file__).parent / "engine" / "vllm.py").read_text(encoding="utf-8")
    imported = {
        (line.split()[1], name.strip())
        for line in source.splitlines()
        if line.startswith("from vllm")
        for name in line.partition(" import ")[2].split(",")
    }
    watched = {(module, path.split(".")[0]) for module, path, _ in EMBEDDED}
    assert imported <= watched, f"not watched: {imported - watched}"
