"""Every argument of the vLLM release that Fairlead runs, and which of them a Model may set in `engine.args`.

The table lies beside this file; `tools/engine_arguments.py` makes it from the installed vLLM. Checked are names,
types, fixed choices and vLLM's own rules between front-end arguments. The inside of maps such as
`compilation_config`, and whether a model supports what is asked, is left to vLLM. No vLLM is imported.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from fairlead_serve.errors import Problem
from fairlead_serve.sentences import closest, kind_of, nearest, spelling


@dataclass(frozen=True)
class Argument:
    """One argument of vLLM.

    `kind` says which dataclass takes it (AsyncEngineArgs, FrontendArgs or both), `types` what it may be in JSON,
    `items` what a list may hold, `choices` its fixed values (empty: any), `option` how a command line says it:
    `flag` is --x or --no-x, `switch` --x only, `value` --x V (maps as JSON), `values` --x V W, `repeat` --x V --x W,
    and `none` means that it has no option.
    """

    name: str
    kind: Literal["engine", "frontend", "both"]
    types: tuple[str, ...]
    nullable: bool
    option: Literal["flag", "switch", "value", "values", "repeat", "none"]
    choices: tuple[str | int, ...] = ()
    items: tuple[str, ...] = ()


@cache
def known_arguments() -> Mapping[str, Argument]:
    """All arguments by name."""
    return MappingProxyType(
        {
            name: Argument(
                name=name,
                kind=entry["kind"],
                types=tuple(entry["types"]),
                nullable=entry["nullable"],
                option=entry["option"],
                choices=tuple(entry.get("choices", ())),
                items=tuple(entry.get("items", ())),
            )
            for name, entry in _table()["arguments"].items()
        }
    )


def vllm_version() -> str:
    """The vLLM release that the table was made from."""
    return str(_table()["vllm"])


@cache
def _table() -> dict[str, Any]:
    text = files("fairlead_serve").joinpath("engine_arguments.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


_GATEWAY = "clients reach the gateway, which does this; the engine listens only for it"
_KEYS = "the gateway holds the keys; make one with `fairlead key create`"
_TLS = "TLS ends before the gateway; the engine speaks only to it"
_FETCH = "Fairlead fetches the weights before the engine starts; use spec.model and spec.cache"
_SPAN = "Fairlead decides how an engine spans machines; use spec.parallelism and spec.cluster"
_MORE = "an engine is one replica; use spec.replicas or spec.scaling for more"
_ONE_SERVER = "every engine is one server; use spec.replicas or spec.scaling for more"

# Why a Model cannot set these itself; each sentence completes "cannot be set here: ...".
_SET_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "model": "use spec.model.uri",
        "model_weights": _FETCH,
        "download_dir": _FETCH,
        "served_model_name": "use spec.model.name and spec.model.aliases",
        "revision": "use spec.model.revision",
        "hf_token": "use spec.model.accessSecretRef",
        "max_model_len": "use spec.engine.maxModelLen",
        "dtype": "use spec.engine.dtype",
        "quantization": "use spec.engine.quantization",
        "gpu_memory_utilization": "use spec.engine.gpuMemoryUtilization",
        "max_num_seqs": "use spec.engine.maxNumSeqs",
        "tensor_parallel_size": "use spec.parallelism.tensor",
        "pipeline_parallel_size": "use spec.parallelism.pipeline",
        "prefill_context_parallel_size": "it needs GPUs that spec.parallelism does not count",
        "enable_lora": "use spec.lora",
        "max_loras": "use spec.lora.maxAdapters",
        "max_lora_rank": "use spec.lora.maxRank",
        "lora_modules": "use spec.lora.adapters",
        "shutdown_timeout": "use spec.drainTimeoutSeconds",
        "tokens_only": "it takes away the routes that clients use",
        "distributed_executor_backend": _SPAN,
        "nnodes": _SPAN,
        "node_rank": _SPAN,
        "master_addr": _SPAN,
        "master_port": _SPAN,
        "device_ids": "Ray and Kubernetes assign the devices; use spec.resources or spec.resourceProfile",
        "data_parallel_size": _MORE,
        "data_parallel_rank": _MORE,
        "data_parallel_start_rank": _MORE,
        "data_parallel_size_local": _MORE,
        "data_parallel_address": _MORE,
        "data_parallel_rpc_port": _MORE,
        "data_parallel_hybrid_lb": _MORE,
        "data_parallel_external_lb": _MORE,
        "data_parallel_multi_port_external_lb": _MORE,
        "data_parallel_backend": _MORE,
        "data_parallel_supervisor_port": _MORE,
        "dp_supervisor_probe_interval_s": _MORE,
        "dp_supervisor_probe_timeout_s": _MORE,
        "dp_supervisor_probe_failure_threshold": _MORE,
        "host": _GATEWAY,
        "port": _GATEWAY,
        "grpc_port": _GATEWAY,
        "uds": _GATEWAY,
        "root_path": _GATEWAY,
        "middleware": _GATEWAY,
        "allow_credentials": _GATEWAY,
        "allowed_origins": _GATEWAY,
        "allowed_methods": _GATEWAY,
        "allowed_headers": _GATEWAY,
        "enable_request_id_headers": _GATEWAY,
        "uvicorn_log_level": _GATEWAY,
        "disable_uvicorn_access_log": _GATEWAY,
        "disable_access_log_for_endpoints": _GATEWAY,
        "h11_max_incomplete_event_size": _GATEWAY,
        "h11_max_header_count": _GATEWAY,
        "disable_fastapi_docs": _GATEWAY,
        "enable_offline_docs": _GATEWAY,
        "api_key": _KEYS,
        "ssl_keyfile": _TLS,
        "ssl_certfile": _TLS,
        "ssl_ca_certs": _TLS,
        "ssl_cert_reqs": _TLS,
        "ssl_ciphers": _TLS,
        "enable_ssl_refresh": _TLS,
        # Options of vLLM's command that are no arguments of an engine.
        "api_server_count": _ONE_SERVER,
        "headless": _SPAN,
        "config": "write the arguments here",
        "grpc": _GATEWAY,
    }
)


def settable_arguments() -> Mapping[str, Argument]:
    """The arguments that `engine.args` may hold, by name."""
    return MappingProxyType(
        {name: argument for name, argument in known_arguments().items() if name not in _SET_ELSEWHERE}
    )


def argument_problems(args: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with the `engine.args` of a Model; places are the arguments' names."""
    settable = settable_arguments()
    for name, value in args.items():
        if name not in settable:
            yield Problem(name, _refusal(name))
            continue
        message = _mismatch(settable[name], value)
        if message:
            yield Problem(name, message)
    yield from _rules(args)


def _refusal(name: str) -> str:
    if name in _SET_ELSEWHERE:
        return f"cannot be set here: {_SET_ELSEWHERE[name]}"
    close = closest(name, [*known_arguments(), *_SET_ELSEWHERE])
    if not close:
        return f"vLLM {vllm_version()} has no such argument"
    if close[0] in _SET_ELSEWHERE:
        return f"did you mean {close[0]}? It cannot be set here: {_SET_ELSEWHERE[close[0]]}"
    if spelling(close[0]) == spelling(name):
        return f"write it as {close[0]}; arguments have one spelling, that of vLLM's Python classes"
    return f"vLLM {vllm_version()} has no such argument; did you mean {' or '.join(close)}?"


def _mismatch(argument: Argument, value: object) -> str:
    """What is wrong with a value, or an empty string. Shows the value only where the choices are fixed."""
    if value is None:
        return "" if argument.nullable else f"expected {_wanted(argument.types)}, found nothing; remove the line"
    if not any(_is(kind, value) for kind in argument.types):
        hint = "; write it without quotes" if isinstance(value, str) and "dict" not in argument.types else ""
        return f"expected {_wanted(argument.types)}, found {kind_of(value)}{hint}"
    if isinstance(value, list):
        wrong = [item for item in value if not any(_is(kind, item) for kind in argument.items)]
        if wrong:
            return f"expected a list of {_wanted(argument.items)}, found {kind_of(wrong[0])} in it"
    elif argument.choices and value not in argument.choices:
        choices = [str(choice) for choice in argument.choices]
        hint = nearest(str(value), choices) or f"expected one of {', '.join(choices)}"
        return f"{value!r} is not among vLLM's choices; {hint}"
    return ""


def _is(kind: str, value: object) -> bool:
    if kind == "any":
        return True
    if isinstance(value, bool):
        return kind == "bool"
    kinds: Mapping[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "list": (list,),
        "dict": (dict,),
    }
    return kind in kinds and isinstance(value, kinds[kind])


_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "any": "a value",
        "bool": "true or false",
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "list": "a list",
        "dict": "a map",
    }
)


def _wanted(kinds: tuple[str, ...]) -> str:
    return " or ".join(_WORDS[kind] for kind in kinds)


def _rules(args: Mapping[str, Any]) -> Iterator[Problem]:
    """vLLM's own rules between arguments (`validate_parsed_serve_args`), which it checks on command lines only."""
    if args.get("enable_auto_tool_choice") and not args.get("tool_call_parser"):
        yield Problem("enable_auto_tool_choice", "needs tool_call_parser, the parser for this model's tool calls")
    if args.get("enable_log_outputs") and not args.get("enable_log_requests"):
        yield Problem("enable_log_outputs", "needs enable_log_requests: true")
    if args.get("enable_per_request_metrics") and args.get("disable_log_stats"):
        yield Problem("enable_per_request_metrics", "needs statistics; remove disable_log_stats")
    interval = args.get("sse_keep_alive_interval")
    if isinstance(interval, int) and interval < 0:
        yield Problem("sse_keep_alive_interval", "must be 0 (never) or a number of seconds")
