"""From a Model to vLLM's arguments: the same engine as keyword arguments and as a command line.

One field, one argument; what a Model leaves out is left to vLLM. Pure: no vLLM, no I/O. Maps for vLLM's
configuration classes (`compilation_config: {...}`) stay plain maps.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fairlead_serve.engine_arguments import Argument, known_arguments
from fairlead_serve.model import Model

CPU_KV_CACHE_BYTES = 4 * 1024**3
"""KV cache of an engine on cpu unless `engine.args.kv_cache_memory_bytes` says otherwise: 4 GiB.

Without a size vLLM 0.32 claims a share of the whole machine's memory and refuses to start where other programs use
some of it. The environment variable VLLM_CPU_KVCACHE_SPACE (GiB), where set, wins over both.
"""

NO_ADAPTERS: Mapping[str, Path] = MappingProxyType({})


def engine_arguments(
    model: Model, weights: Path, adapters: Mapping[str, Path] = NO_ADAPTERS
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments for vLLM's `AsyncEngineArgs` and for its `FrontendArgs`.

    `weights` is the directory that holds the model, `adapters` the directory of each LoRA adapter by name.
    Raises ValueError for a Model with an upstream, which has no engine, and when an adapter's directory is missing.
    """
    if model.spec.upstream is not None:
        raise ValueError(f"{model.name} is served by an upstream and has no engine")
    engine = _from_fields(model, weights)
    frontend = _adapter_arguments(model, adapters)
    arguments = known_arguments()
    for name, value in model.engine.args.items():
        if arguments[name].kind in ("engine", "both"):
            engine[name] = value
        if arguments[name].kind in ("frontend", "both"):
            frontend[name] = value
    return engine, frontend


def command_line(model: Model, weights: Path, adapters: Mapping[str, Path] = NO_ADAPTERS) -> list[str]:
    """Arguments for `python -m vllm.entrypoints.openai.api_server` that start the very same engine.

    Host and port are left to the caller. Raises ValueError as `engine_arguments` does, and for the few arguments that
    vLLM's command line does not have.
    """
    engine, frontend = engine_arguments(model, weights, adapters)
    arguments = known_arguments()
    words: list[str] = []
    for name, value in {**engine, **frontend}.items():
        words += _words(arguments[name], value)
    return words


def _from_fields(model: Model, weights: Path) -> dict[str, Any]:
    settings, parallelism = model.engine, model.spec.parallelism
    arguments: dict[str, Any] = {
        "model": str(weights),
        "served_model_name": _names(model),
        "dtype": settings.dtype,
        "tensor_parallel_size": parallelism.tensor,
        "pipeline_parallel_size": parallelism.pipeline,
    }
    if settings.max_model_len is not None:
        arguments["max_model_len"] = settings.max_model_len
    if settings.quantization:
        arguments["quantization"] = settings.quantization
    if settings.max_num_seqs is not None:
        arguments["max_num_seqs"] = settings.max_num_seqs
    if settings.device == "cpu":
        arguments["kv_cache_memory_bytes"] = CPU_KV_CACHE_BYTES
    else:
        arguments["gpu_memory_utilization"] = float(settings.gpu_memory_utilization)
    if parallelism.tensor * parallelism.pipeline > 1:
        # Said outright, because vLLM's guess depends on whether it finds itself inside a Ray placement group.
        arguments["distributed_executor_backend"] = "ray" if model.spec.cluster == "KubeRay" else "mp"
    if model.spec.lora is not None:
        arguments["enable_lora"] = True
        arguments["max_loras"] = model.spec.lora.max_adapters
        arguments["max_lora_rank"] = model.spec.lora.max_rank
    return arguments


def _names(model: Model) -> list[str]:
    """What the engine answers to for the model itself; vLLM calls it by the first.

    The resource's own name is among them, the one that never changes: an engine keeps the names that it started with
    when the Model is given others.
    """
    # Of two alike vLLM would always take the model and never the adapter.
    own = () if model.name in model.adapter_names else (model.name,)
    return list(dict.fromkeys((*model.served_names, *own)))


def _adapter_arguments(model: Model, adapters: Mapping[str, Path]) -> dict[str, Any]:
    missing = [name for name in model.adapter_names if name not in adapters]
    if missing:
        raise ValueError(f"no directory given for the adapters {', '.join(missing)} of {model.name}")
    if not model.adapter_names:
        return {}
    return {"lora_modules": [{"name": name, "path": str(adapters[name])} for name in model.adapter_names]}


def _words(argument: Argument, value: object) -> list[str]:
    option = f"--{argument.name.replace('_', '-')}"
    if argument.option == "none":
        raise ValueError(f"vLLM's command line has no option for {argument.name}")
    if argument.option in ("flag", "switch"):
        if value is None or (value is False and argument.option == "switch"):
            return []
        return [option if value else option.replace("--", "--no-", 1)]
    if argument.option == "values":
        return [option, *(_word(item) for item in (value if isinstance(value, list) else [value]))]
    if argument.option == "repeat" and isinstance(value, list):
        return [word for item in value for word in (option, _word(item))]
    word = _word(value)
    # A value that looks like an option must be tied to its own.
    return [f"{option}={word}"] if word.startswith("-") else [option, word]


def _word(value: object) -> str:
    if isinstance(value, str):
        return value
    return "None" if value is None else json.dumps(value, ensure_ascii=False)
