"""The table of vLLM's arguments, and what a Model may set of it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve.engine_arguments import argument_problems, known_arguments, settable_arguments, vllm_version

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "serve/fairlead_serve/engine_arguments.json"
REGENERATE = "python tools/engine_arguments.py --write"


def refusals(**args: Any) -> list[str]:
    return [str(problem) for problem in argument_problems(args)]


def differences(table: dict[str, Any], installed: dict[str, Any]) -> list[str]:
    """Sentences naming what the checked-in table does not say as the installed vLLM does."""
    ours, theirs = table["arguments"], installed["arguments"]
    found = [f"added: {name}" for name in theirs.keys() - ours.keys()]
    found += [f"removed: {name}" for name in ours.keys() - theirs.keys()]
    found += [
        f"changed: {name}: {ours[name]} is now {theirs[name]}"
        for name in ours.keys() & theirs.keys()
        if ours[name] != theirs[name]
    ]
    if table["vllm"] != installed["vllm"]:
        found.append(f"made from vLLM {table['vllm']}, installed is {installed['vllm']}")
    return sorted(found)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="compares the table with an installed vLLM")
def test_the_table_says_what_the_installed_vllm_says(tmp_path: Path) -> None:
    output = tmp_path / "table.json"
    # In a process of its own: importing vLLM takes ten seconds and changes the interpreter.
    subprocess.run(
        [sys.executable, ROOT / "tools/engine_arguments.py", "--output", output],
        check=True,
        capture_output=True,
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    found = differences(json.loads(TABLE.read_text()), json.loads(output.read_text()))
    assert not found, "\n".join(["engine_arguments.json is out of date:", *found, f"run: {REGENERATE}"])


def test_a_difference_of_the_tables_names_the_arguments() -> None:
    ours = {"vllm": "1", "arguments": {"a": {"types": ["int"]}, "b": {}}}
    theirs = {"vllm": "2", "arguments": {"a": {"types": ["str"]}, "c": {}}}
    assert differences(ours, theirs) == [
        "added: c",
        "changed: a: {'types': ['int']} is now {'types': ['str']}",
        "made from vLLM 1, installed is 2",
        "removed: b",
    ]


def test_the_table_holds_both_kinds_of_arguments() -> None:
    arguments = known_arguments()
    assert arguments["enforce_eager"].kind == "engine"
    assert arguments["tool_call_parser"].kind == "frontend"
    assert arguments["tokens_only"].kind == "both"
    assert not [name for name in arguments if name.startswith("_")]


@pytest.mark.parametrize(
    "args",
    [
        {"max_num_batched_tokens": 8192, "enable_prefix_caching": False, "cpu_offload_gb": 4, "watermark": 0.5},
        {"override_generation_config": {"temperature": 0.7}, "compilation_config": {"mode": 3}},
        {"chat_template": None, "cudagraph_capture_sizes": [1, 2], "ignore_patterns": "*.bin"},
        {"ignore_patterns": ["*.bin"], "optimization_level": 2, "collect_detailed_traces": ["model"]},
        {"enable_auto_tool_choice": True, "tool_call_parser": "hermes", "tokenizer_mode": "a-plugin"},
    ],
)
def test_arguments_of_the_right_types_are_accepted(args: dict[str, Any]) -> None:
    assert refusals(**args) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("enforce_eager", "true", "expected true or false, found text; write it without quotes"),
        ("enforce_eager", None, "expected true or false, found nothing; remove the line"),
        ("max_num_batched_tokens", "8192", "expected a whole number, found text; write it without quotes"),
        ("max_num_batched_tokens", 1.5, "expected a whole number, found a decimal number"),
        ("max_num_batched_tokens", True, "expected a whole number, found true or false"),
        ("compilation_config", [], "expected a map, found a list"),
        ("cudagraph_capture_sizes", [1, "2"], "expected a list of a whole number, found text in it"),
        ("ignore_patterns", 3, "expected a list or text, found a whole number"),
        ("kv_cache_dtype", "fp8_e5m", "'fp8_e5m' is not among vLLM's choices; did you mean fp8_e5m2 or fp8_e4m3?"),
        ("scheduling_policy", "lifo", "'lifo' is not among vLLM's choices; expected one of fcfs, priority"),
        ("max_num_batched_token", 1, f"vLLM {vllm_version()} has no such argument; did you mean "
         "max_num_batched_tokens or max_num_scheduled_tokens?"),
        ("max-num-batched-tokens", 1, "write it as max_num_batched_tokens; arguments have one spelling, that of "
         "vLLM's Python classes"),
        ("enableChunkedPrefill", True, "write it as enable_chunked_prefill; arguments have one spelling, that of "
         "vLLM's Python classes"),
        ("--max-num-seqs", 1, "did you mean max_num_seqs? It cannot be set here: use spec.engine.maxNumSeqs"),
        ("max_num_seq", 1, "did you mean max_num_seqs? It cannot be set here: use spec.engine.maxNumSeqs"),
        ("api_server_count", 2, "cannot be set here: every engine is one server; use spec.replicas or spec.scaling "
         "for more"),
        ("_api_process_count", 1, f"vLLM {vllm_version()} has no such argument"),
        ("zebra", 1, f"vLLM {vllm_version()} has no such argument"),
        ("served_model_name", "x", "cannot be set here: use spec.model.name and spec.model.aliases"),
        ("api_key", ["x"], "cannot be set here: the gateway holds the keys; make one with `fairlead key create`"),
        ("port", 8000, "cannot be set here: clients reach the gateway, which does this; the engine listens only for "
         "it"),
        ("enable_auto_tool_choice", True, "needs tool_call_parser, the parser for this model's tool calls"),
        ("enable_log_outputs", True, "needs enable_log_requests: true"),
        ("sse_keep_alive_interval", -1, "must be 0 (never) or a number of seconds"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_refused_in_words(name: str, value: object, message: str) -> None:
    assert refusals(**{name: value}) == [f"{name}: {message}"]


def test_what_fairlead_sets_itself_cannot_be_set_by_the_way() -> None:
    taken = {"model", "served_model_name", "host", "port", "tensor_parallel_size", "max_model_len", "dtype",
             "quantization", "gpu_memory_utilization", "max_num_seqs", "revision", "enable_lora", "lora_modules",
             "api_key", "root_path", "middleware", "allowed_origins", "distributed_executor_backend", "hf_token",
             "download_dir", "data_parallel_size", "shutdown_timeout"}  # fmt: skip
    assert not taken & settable_arguments().keys()
    assert not [name for name in settable_arguments() if name.startswith(("ssl_", "uvicorn_", "h11_"))]


def test_arguments_that_only_matter_to_the_engine_can_all_be_set() -> None:
    assert {"trust_remote_code", "enable_prefix_caching", "speculative_config", "kv_transfer_config", "runner",
            "override_generation_config", "chat_template", "tool_call_parser", "reasoning_parser",
            "max_num_queued_reqs"} <= settable_arguments().keys()  # fmt: skip
