"""From a Model to vLLM's arguments."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve.engine.arguments import CPU_KV_CACHE_BYTES, command_line, engine_arguments
from fairlead_serve.model import Model, load, parse

SAMPLES = Path(__file__).parents[3] / "configs/models"
WEIGHTS = Path("/weights")


def model(**spec: Any) -> Model:
    document = {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": "hf://org/model"}, **spec},
    }
    return parse(document, source="test")


def test_the_sample_says_what_the_old_command_line_said() -> None:
    (coder,) = load(SAMPLES / "qwen-coder-awq.yaml")
    engine, frontend = engine_arguments(coder, WEIGHTS)
    assert engine == {
        "model": "/weights",
        "served_model_name": ["MyCoder", "qwen-coder"],
        "dtype": "auto",
        "tensor_parallel_size": 1,
        "pipeline_parallel_size": 1,
        "max_model_len": 8192,
        "quantization": "awq",
        "max_num_seqs": 256,
        "gpu_memory_utilization": 0.9,
        "override_generation_config": {
            "temperature": 0.7,
            "top_p": 0.8,
            "top_k": 20,
            "repetition_penalty": 1.05,
        },
    }
    assert frontend == {}
    words = " ".join(command_line(coder, WEIGHTS))
    assert "--quantization awq" in words
    assert "--served-model-name MyCoder qwen-coder" in words
    assert "--max-num-seqs 256" in words


def test_what_a_model_leaves_out_is_left_to_vllm() -> None:
    engine, frontend = engine_arguments(model(), WEIGHTS)
    assert not engine.keys() & {"max_model_len", "max_num_seqs", "quantization", "enable_lora"}
    assert frontend == {}


def test_arguments_go_to_the_class_that_takes_them() -> None:
    args = {"enforce_eager": True, "tool_call_parser": "hermes", "enable_auto_tool_choice": True}
    engine, frontend = engine_arguments(model(engine={"args": args}), WEIGHTS)
    assert engine["enforce_eager"] is True
    assert frontend == {"tool_call_parser": "hermes", "enable_auto_tool_choice": True}


def test_aliases_are_served_after_the_name() -> None:
    engine, _ = engine_arguments(model(model={"uri": "hf://a/b", "name": "A", "aliases": ["b", "c"]}), WEIGHTS)
    assert engine["served_model_name"][:3] == ["A", "b", "c"]


@pytest.mark.parametrize(
    ("source", "names"),
    [({"name": "A", "aliases": ["b"]}, ["A", "b", "m"]), ({}, ["m"]), ({"name": "A", "aliases": ["m"]}, ["A", "m"])],
    ids=str,
)
def test_an_engine_also_answers_to_the_name_of_its_resource_once_and_last(
    source: dict[str, Any], names: list[str]
) -> None:
    engine, _ = engine_arguments(model(model={"uri": "hf://a/b", **source}), WEIGHTS)
    assert engine["served_model_name"] == names


def test_a_name_that_an_adapter_has_is_the_adapters() -> None:
    lora = {"adapters": [{"name": "m", "uri": "hf://a/b"}]}
    named = model(model={"uri": "hf://a/b", "name": "A"}, lora=lora)
    engine, frontend = engine_arguments(named, WEIGHTS, {"m": Path("/adapters/m")})
    assert engine["served_model_name"] == ["A"]
    assert [adapter["name"] for adapter in frontend["lora_modules"]] == ["m"]


def test_a_cpu_engine_gets_a_cache_size_instead_of_a_share_of_the_machine() -> None:
    engine, _ = engine_arguments(model(engine={"device": "cpu"}), WEIGHTS)
    assert engine["kv_cache_memory_bytes"] == CPU_KV_CACHE_BYTES
    assert "gpu_memory_utilization" not in engine
    sized, _ = engine_arguments(model(engine={"device": "cpu", "args": {"kv_cache_memory_bytes": 1024}}), WEIGHTS)
    assert sized["kv_cache_memory_bytes"] == 1024


@pytest.mark.parametrize(
    ("spec", "backend"),
    [
        ({}, None),
        ({"parallelism": {"tensor": 2}}, "mp"),
        ({"parallelism": {"tensor": 8, "pipeline": 2}, "cluster": "KubeRay"}, "ray"),
        ({"cluster": "KubeRay"}, None),
    ],
)
def test_an_engine_of_several_gpus_spans_processes_or_machines(spec: dict[str, Any], backend: str | None) -> None:
    engine, _ = engine_arguments(model(**spec), WEIGHTS)
    assert engine.get("distributed_executor_backend") == backend


LORA = {"maxRank": 64, "maxAdapters": 2, "adapters": [{"name": "sql", "uri": "hf://a/b"}]}


def test_adapters_are_served_from_where_they_were_fetched_to() -> None:
    engine, frontend = engine_arguments(model(lora=LORA), WEIGHTS, {"sql": Path("/adapters/sql")})
    assert (engine["enable_lora"], engine["max_loras"], engine["max_lora_rank"]) == (True, 2, 64)
    assert frontend["lora_modules"] == [{"name": "sql", "path": "/adapters/sql"}]


def test_an_adapter_that_was_not_fetched_is_not_forgotten_in_silence() -> None:
    with pytest.raises(ValueError, match="no directory given for the adapters sql of m"):
        engine_arguments(model(lora=LORA), WEIGHTS)


def test_a_model_with_an_upstream_has_no_engine() -> None:
    with pytest.raises(ValueError, match="has no engine"):
        engine_arguments(model(model={}, upstream={"url": "http://h/v1"}), WEIGHTS)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"enable_prefix_caching": True}, ["--enable-prefix-caching"]),
        ({"disable_log_stats": False}, []),
        ({"disable_log_stats": True}, ["--disable-log-stats"]),
        ({"cudagraph_capture_sizes": [1, 2]}, ["--cudagraph-capture-sizes", "1", "2"]),
        ({"hf_overrides": {"a": "ü"}}, ["--hf-overrides", '{"a": "ü"}']),
        ({"chat_template": "-{{x}}"}, ["--chat-template=-{{x}}"]),
        ({"chat_template": None}, ["--chat-template", "None"]),
        ({"watermark": 0.5}, ["--watermark", "0.5"]),
    ],
)
def test_every_kind_of_argument_has_its_form_on_the_command_line(args: dict[str, Any], words: list[str]) -> None:
    plain = command_line(model(), WEIGHTS)
    assert command_line(model(engine={"args": args}), WEIGHTS) == plain + words


def test_an_argument_without_an_option_is_not_forgotten_in_silence() -> None:
    with pytest.raises(ValueError, match="no option for enable_mm_processor_stats"):
        command_line(model(engine={"args": {"enable_mm_processor_stats": True}}), WEIGHTS)


# Run by the interpreter that has vLLM: both ways to the same engine, compared field by field.
_COMPARE = """
import dataclasses, json, sys
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs, make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

different = []
for case in json.load(open(sys.argv[1])):
    parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(case["words"])
    pairs = (
        (AsyncEngineArgs(**case["engine"]), AsyncEngineArgs.from_cli_args(parsed)),
        (FrontendArgs(**case["frontend"]), parsed),
    )
    for ours, theirs in pairs:
        for field in dataclasses.fields(ours):
            if not hasattr(theirs, field.name) or field.name.startswith("_"):
                continue
            one, other = getattr(ours, field.name), getattr(theirs, field.name)
            # A set holds a list's members; a configuration class of vLLM takes a map.
            if isinstance(other, set):
                one = set(one)
            if isinstance(one, dict) and dataclasses.is_dataclass(other):
                one = type(other)(**one)
            if one != other and str(one) != str(other):
                different.append([case["name"], field.name, repr(one), repr(other)])
json.dump(different, open(sys.argv[2], "w"))
"""

# vLLM's classes and its command line leave these at different values that mean the same.
_SAME_MEANING = (
    ["enable_lora", "False", "None"],
    ["reasoning_parser_plugin", "None", "''"],
    # On, and settled by what the model can do.
    ["mm_device_do_normalize", "True", "None"],
)

_EVERYTHING: dict[str, Any] = {
    "model": {"uri": "hf://a/b", "aliases": ["x", "y"]},
    "lora": LORA,
    "parallelism": {"tensor": 2},
    "engine": {
        "maxModelLen": 4096, "dtype": "bfloat16", "quantization": "fp8", "maxNumSeqs": 8,
        "args": {
            "enforce_eager": True, "enable_prefix_caching": False, "disable_log_stats": True,
            "enable_chunked_prefill": True, "seed": 7, "cpu_offload_gb": 1.5, "block_size": 32,
            "cudagraph_capture_sizes": [1, 2, 4], "kv_cache_dtype": "fp8", "scheduling_policy": "priority",
            "compilation_config": {"cudagraph_capture_sizes": [1, 2]}, "hf_overrides": {"rope_theta": 1000000.0},
            "structured_outputs_config": {"backend": "xgrammar"}, "pooler_config": {"pooling_type": "CLS"},
            "speculative_config": {"method": "ngram", "num_speculative_tokens": 3},
            "override_generation_config": {"temperature": 0.7}, "limit_mm_per_prompt": {"image": 2},
            "cpu_offload_params": ["a", "b"], "ignore_patterns": ["*.bin"], "optimization_level": 1,
            "attention_backend": "TORCH_SDPA", "collect_detailed_traces": ["model"], "runner": "generate",
            "enable_log_requests": True, "chat_template": "-{{ messages }}", "tool_call_parser": "hermes",
            "enable_auto_tool_choice": True, "default_chat_template_kwargs": {"enable_thinking": False},
            "enable_log_deltas": False, "sse_keep_alive_interval": 5, "fingerprint_mode": "none",
        },
    },
}  # fmt: skip


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="compares with an installed vLLM")
def test_the_command_line_starts_the_same_engine_as_the_arguments(tmp_path: Path) -> None:
    models = [loaded for path in sorted(SAMPLES.glob("*.yaml")) for loaded in load(path)]
    models = [sample for sample in models if sample.spec.upstream is None] + [model(**_EVERYTHING)]
    adapters = {"sql": Path("/adapters/sql")}
    cases = []
    for sample in models:
        engine, frontend = engine_arguments(sample, WEIGHTS, adapters)
        words = command_line(sample, WEIGHTS, adapters)
        cases.append({"name": sample.name, "engine": engine, "frontend": frontend, "words": words})
    given, found = tmp_path / "cases.json", tmp_path / "different.json"
    given.write_text(json.dumps(cases), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _COMPARE, given, found],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    different = json.loads(found.read_text())
    assert [difference for difference in different if difference[1:] not in _SAME_MEANING] == []
